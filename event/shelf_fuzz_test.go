package event

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/webhook"
)

// FuzzShelfEntry has a node find what another one may have written of webhooks, or a disk
// has made of that. Nothing of it panics, and other webhooks go on.
func FuzzShelfEntry(f *testing.F) {
	seal := &sharedOutbox{seal: newSealer(nil)}
	rec := hookRecord{id: "wh_1", origin: OriginAPI, made: time.UnixMilli(1e12),
		spec: WebhookSpec{Name: "x", URL: "https://x.example/", Events: []string{"*"}, Ed25519: true}}
	rec.spec.Complete()
	rec.secrets = []secret{{id: "k", key: webhook.NewSigningKey()}}
	hook, err := seal.encodeHook(&rec)
	if err != nil {
		f.Fatal(err)
	}
	short := rec
	short.secrets = []secret{{id: "k", key: webhook.SigningKey{HMAC: []byte{1}, Ed25519: []byte{1}}}}
	badKey, _ := seal.encodeHook(&short)
	turn, _ := json.Marshal(&shelfTurn{Writer: "z/x", Cursor: "not a cursor"})
	delivery, _ := encodeDelivery(&delivery{id: "ev_1", kind: CallEnded, call: "call_1", tries: -5})
	state := encodeState(&hookState{enabled: true, state: WebhookOK})
	for _, own := range [][]byte{hook, badKey} {
		f.Add(own, state, turn, delivery, "1000-1001")
		f.Add(own, []byte(`{"enabled":true,"state":"failing","since":-1,"fails":2147483647}`), []byte("{}"), delivery, "1-1")
		f.Add(own, []byte("null"), []byte(`{"writer":"a/x"}`), []byte("{}"), "9223372036854775807--1")
	}
	f.Add([]byte("{}"), []byte("{}"), []byte("{}"), []byte("{}"), "x")
	f.Add([]byte("null"), []byte(""), []byte("\xff"), []byte("null"), "")
	f.Fuzz(func(t *testing.T, hook, state, turn, delivery []byte, row string) {
		if len(hook)+len(state)+len(turn)+len(delivery) > 8192 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			fl := newFleet(t, "a")
			a := fl.nodes["a"]
			levelOff(t, a.testNode)
			time.Sleep(5 * time.Second)
			good := fl.webhook(a, "good")
			entries := []ShelfEntry{{Name: "h.wh_1", Data: hook}, {Name: "s.wh_1", Data: state}, {Name: "p.wh_1", Data: turn},
				{Name: "d.wh_1." + row, Data: delivery}, {Name: "d." + good.ID + "." + row, Data: delivery}, {Name: row, Data: hook}}
			if strings.Contains(row, good.ID) {
				return
			}
			if _, err := fl.shelf.Write(t.Context(), entries, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			talk(t, a.Bus, "call_1")
			levelOff(t, a.testNode)
			time.Sleep(10 * time.Minute)
			for _, w := range a.out.Webhooks() {
				if _, err := json.Marshal(w); err != nil {
					t.Errorf("a webhook cannot be shown: %v", err)
				}
			}
			if len(fl.to.taken("good")) == 0 {
				t.Error("another webhook has got nothing")
			}
		})
	})
}

package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzStreamRecord has a node read what another one may have written into the stream, or
// a disk has made of that. Nothing of it panics, and what follows is read and kept.
func FuzzStreamRecord(f *testing.F) {
	for _, r := range someRecords(f) {
		f.Add(r.Name, r.Data, uint16(0), byte(0))
		f.Add(r.Name, bytes.ReplaceAll(r.Data, []byte("call_1"), []byte("call_2")), uint16(7), byte(1))
	}
	for _, text := range []string{"", "null", "{}", `{"w":"b/x","t":"call.created","c":"call_1","n":1}`,
		`{"w":"b/x","t":"call.ended","c":"call_1","n":5,"after":null,"ch":null}`,
		`{"w":"b/x","t":"leg.held","c":"call_2","n":9223372036854775807,"at":9223372036854775807,"after":{},"ch":{}}`,
		`{"w":"b/x","t":"system.started","at":-9223372036854775808}`,
		`{"w":"b/x","t":"call.created","c":"call_3","n":1,"key":{"p":"","k":"","h":"a","u":-1},"ch":{"created":{}}}`} {
		f.Add("call_1.5", []byte(text), uint16(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte, at uint16, flip byte) {
		if len(data) > 4096 {
			return
		}
		data = bytes.Clone(data)
		if int(at) < len(data) {
			data[at] ^= flip
		}
		takeAny(t, StreamRecord{Name: name, Data: data})
	})
}

// takeAny has two nodes read a record amid a call of one of them.
func takeAny(t *testing.T, r StreamRecord) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStream()
		lax := func(c *Config) { c.Strict = false }
		log := lax
		if len(r.Data)%8 == 0 { // files are slow
			log = inFile(t)
		}
		a, b := startNode(t, "a", m, lax), startNode(t, "b", m, lax, log)
		half(t, a.Bus, "call_1")
		levelOff(t, a, b)
		if m.Publish(t.Context(), []StreamRecord{r}) != nil {
			return // its name is taken
		}
		levelOff(t, a, b)
		for _, n := range []*testNode{a, b} {
			list, _, err := n.Events(Filter{}, n.Oldest(), 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				if !json.Valid(n.Encoded(e)) {
					t.Errorf("an event is no JSON: %q", n.Encoded(e))
				}
			}
		}
		talk(t, b.Bus, "call_z")
		levelOff(t, a, b)
		for _, n := range []*testNode{a, b} {
			settle(n.Bus)
			if c, ok := n.Call("call_z"); strings.HasPrefix(r.Name, "call_z.") {
			} else if !ok || c.State != Ended {
				t.Errorf("node %s: what followed is not read", n.cfg.Node)
			}
			if s := n.Stats(); s.StoreError != nil {
				t.Errorf("node %s: %v", n.cfg.Node, s.StoreError)
			}
		}
		time.Sleep(5 * time.Minute) // calls that nobody has are ended
	})
}

// someRecords are what nodes write of a call.
func someRecords(t testing.TB) (list []StreamRecord) {
	c := &Call{ID: "call_1", Object: "call", Version: 4, State: Connecting, Legs: []Leg{{ID: "l1"}, {ID: "l2"}}, Transfers: []Transfer{}}
	all := []Type{CallCreated, CallRouted, CallConnecting, CallConnected, CallFlowChanged, CallReleased, CallUpdated, CallMoved, CallEnded,
		LegDialled, LegRedirected, LegRang, LegPickedUp, LegHeld, LegMuted, LegOver, TransferStarted, TransferRinging, TransferFailed,
		SystemStarted}
	change := &Change{Created: &Created{Kind: Inbound, Legs: []Leg{{}, {}}}, Leg: &Leg{}, SIPCallID: "x", Tags: map[string]string{"a": "b"},
		Transfer: &Transfer{ID: "t1", State: "dialing"}, End: &End{Reason: "hung_up", Outcome: Completed}}
	for n, typ := range all {
		e := &Event{Type: typ, Timestamp: At(time.UnixMilli(1e12)), CallSeq: 5, key: &IdempotencyKey{Principal: "user:201", Key: "k"},
			Data: Data{CallID: &c.ID, Leg: "l1", Call: c, Change: change}}
		for _, base := range []bool{false, true} {
			data, err := encodeEvent(e, "b/process", uint32(n), base)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, StreamRecord{Name: fmt.Sprint("call_1.", 5), Data: data})
		}
	}
	return list
}

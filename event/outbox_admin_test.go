package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"sipxrest/internal/fault"
	"sipxrest/internal/webhook"
)

func TestRotationWhileEventsFlow(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		spec := WebhookSpec{Name: "crm", URL: "https://hooks.example/", Ed25519: true}
		spec.Complete()
		w, current, err := r.Create(spec, "", "", Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		// The receiver verifies by one secret. It learns the new one in the middle of
		// the overlap, as operators do.
		refused := 0
		verifies := current
		r.to.set(func(_ context.Context, p posted) (webhook.Posted, error) {
			lib, err := standardwebhooks.NewWebhook(verifies)
			if err == nil {
				err = lib.Verify(p.body, p.header)
			}
			if err != nil {
				refused++
				return webhook.Posted{Code: 401}, nil
			}
			return okay, nil
		})
		flow := func(d time.Duration) {
			for range 20 {
				log.put(LegRang, "call1")
				settleFor(d / 20)
			}
		}
		for range 3 {
			flow(time.Minute)
			_, text, err := r.Rotate(w.ID, time.Hour, "")
			if err != nil {
				t.Fatal(err)
			}
			flow(30 * time.Minute)
			verifies = text
			flow(2 * time.Hour)
			if w, _ = r.Webhook(w.ID); len(w.Secrets) != 1 {
				t.Errorf("%d secrets after the overlap", len(w.Secrets))
			}
		}
		if refused != 0 {
			t.Errorf("%d requests were refused", refused)
		}
		if !strings.HasPrefix(w.Secrets[0].PublicKey, "whpk_") || w.Secrets[0].ID != "s4" {
			t.Errorf("%+v", w.Secrets)
		}
	})
}

func TestAtMostThreeSecretsSign(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		r := newOutboxRig(t, newTestLog(), file, OutboxConfig{})
		w := r.make("crm")
		for range 2 {
			if _, _, err := r.Rotate(w.ID, time.Hour, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := r.Rotate(w.ID, time.Hour, ""); !errors.Is(err, ErrSecretInUse) {
			t.Error(err)
		}
		if _, err := r.Retire(w.ID, "s3"); !errors.Is(err, ErrNoSecret) {
			t.Errorf("the newest one was retired: %v", err)
		}
		got, err := r.Retire(w.ID, "s1")
		if err != nil || len(got.Secrets) != 2 || got.Secrets[0].ID != "s3" || got.Secrets[1].RetiresAt.IsZero() {
			t.Errorf("%+v %v", got.Secrets, err)
		}
		// Without overlap the others end at once.
		got, _, err = r.Rotate(w.ID, 0, "")
		if err != nil || len(got.Secrets) != 1 || got.Secrets[0].ID != "s4" {
			t.Errorf("%+v %v", got.Secrets, err)
		}
		own := webhook.NewSigningKey()
		if _, text, err := r.Rotate(w.ID, 0, own.Secret()); err != nil || text != own.Secret() {
			t.Error(text, err)
		}
		var f *fault.Fault
		if _, _, err := r.Rotate(w.ID, 0, "whsec_short"); !errors.As(err, &f) || f.Key != "secret" {
			t.Error(err)
		}
	})
}

func TestATestIsSignedByTheNewestSecretAlone(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm", func(w *WebhookSpec) { w.Events = []string{"call.ended"} })
		other := r.make("other")
		_, _, err := r.Rotate(w.ID, time.Hour, "")
		if err != nil {
			t.Fatal(err)
		}
		for newest, want := range map[bool]int{true: 1, false: 2} {
			r.to.forget()
			got, err := r.Test(t.Context(), w.ID, newest)
			if err != nil || !got.Taken || got.Attempt.Status != 204 {
				t.Fatalf("%+v %v", got, err)
			}
			settleFor(time.Second)
			all := r.to.all()
			if len(all) != 1 || all[0].hook != "crm" || strings.Count(all[0].header.Get(webhook.HeaderSignature), "v1,") != want ||
				all[0].id != got.EventID {
				t.Errorf("%+v", all)
			}
		}
		off := false
		if _, err := r.Change(other.ID, other.WebhookSpec, &off); err != nil {
			t.Fatal(err)
		}
		r.to.set(code(503))
		if got, err := r.Test(t.Context(), other.ID, false); err != nil || got.Taken || got.Attempt.Status != 503 {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestReplays(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		before := log.put(CallCreated, "call0")
		w := r.make("crm", func(w *WebhookSpec) { w.Events = []string{"call.*"}; w.Agents = []string{"201"} })
		a, b, c := log.put(CallCreated, "call1"), log.put(LegRang, "call1"), log.put(CallEnded, "call1")
		log.mu.Lock()
		log.calls["foreign"] = &Call{ID: "foreign", Agent: "999@example.com"}
		log.mu.Unlock()
		foreign := log.put(CallEnded, "foreign")
		settleFor(time.Second)
		if got := r.to.taken(""); !slices.Equal(got, []string{a, c}) {
			t.Fatal(got)
		}
		start := Cursor{Store: testStore, Run: 1}
		for _, tt := range []struct {
			name string
			q    ReplayQuery
			want []string
			err  error
		}{
			{"after", ReplayQuery{After: start}, []string{before, a, c}, nil},
			{"call", ReplayQuery{CallID: "call1"}, []string{a, c}, nil},
			{"other call", ReplayQuery{CallID: "foreign"}, nil, nil},
			{"ids", ReplayQuery{EventIDs: []string{b, c}}, []string{b, c}, nil},
			{"foreign id", ReplayQuery{EventIDs: []string{foreign}}, nil, ErrNoEvent},
			{"unknown id", ReplayQuery{EventIDs: []string{"evt_abc123_1_9999"}}, nil, ErrNoEvent},
			{"other store", ReplayQuery{After: Cursor{Store: "zzzzzz", Run: 1, Seq: 1}}, nil, ErrOtherStore},
			{"dead", ReplayQuery{Dead: true}, nil, nil},
		} {
			r.to.forget()
			n, next, err := r.Replay(w.ID, tt.q)
			if n != len(tt.want) || !errors.Is(err, tt.err) || !next.IsZero() {
				t.Errorf("%s: %d %v %v", tt.name, n, next, err)
			}
			settleFor(time.Second)
			got := r.to.taken("")
			slices.Sort(got) // calls wait for none of others
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
			for _, p := range r.to.all() {
				if !p.replay {
					t.Errorf("%s: it does not say that it is a replay", tt.name)
				}
			}
		}
		if _, _, err := r.Replay("wh_none", ReplayQuery{Dead: true}); !errors.Is(err, ErrNoWebhook) {
			t.Error(err)
		}
	})
}

func TestLiveEventsGoBeforeReplays(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log, old := newTestLog(), 2000/share(10)
		for i := range old {
			log.put(CallEnded, fmt.Sprint("old", i))
		}
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		r.to.set(func(context.Context, posted) (webhook.Posted, error) {
			time.Sleep(50 * time.Millisecond)
			return okay, nil
		})
		if n, _, err := r.Replay(w.ID, ReplayQuery{After: Cursor{Store: testStore, Run: 1}}); n != old || err != nil {
			t.Fatal(n, err)
		}
		settleFor(time.Second)
		id, at := log.put(CallEnded, "old5"), time.Now() // of a call that is replayed, too
		settleFor(time.Second)
		for _, p := range r.to.all() {
			if p.id == id && p.at.Sub(at) > 200*time.Millisecond {
				t.Errorf("it came after %v", p.at.Sub(at))
			}
		}
		if !slices.Contains(r.to.taken(""), id) {
			t.Error("it waits for the replay")
		}
		settleFor(time.Hour)
		if got := r.to.taken(""); len(got) != old+1 {
			t.Errorf("%d taken", len(got))
		}
	})
}

func TestWebhooksOfOneCallGoWithIt(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		key := webhook.NewSigningKey()
		spec := WebhookSpec{Name: "call", URL: "https://hooks.example/"}
		spec.Complete()
		for _, call := range []string{"taken", "dead", "never"} {
			if err := r.ForCall(call, spec, "crm", key.Secret()); err != nil {
				t.Fatal(err)
			}
		}
		r.ForgetCall("never")
		if n := r.countOf(true); n != 2 || len(r.Webhooks()) != 0 {
			t.Errorf("%d webhooks of calls, %d others", n, len(r.Webhooks()))
		}
		r.to.set(func(_ context.Context, p posted) (webhook.Posted, error) {
			lib, _ := standardwebhooks.NewWebhook(key.Secret())
			if err := lib.Verify(p.body, p.header); err != nil {
				t.Error(err)
			}
			if bytes.Contains(p.body, []byte(`"dead"`)) {
				return webhook.Posted{}, errReceiverAway
			}
			return okay, nil
		})
		log.put(CallCreated, "other")
		want := []string{log.put(CallCreated, "taken"), log.put(CallEnded, "taken")}
		log.put(CallEnded, "dead")
		settleFor(2 * time.Second)
		if got := r.to.taken(""); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if n := r.countOf(true); n != 1 {
			t.Errorf("%d webhooks of calls", n)
		}
		settleFor(40 * time.Hour)
		if n := r.countOf(true); n != 0 {
			t.Errorf("%d webhooks of calls", n)
		}
		if list, err := r.store.hooks(); err != nil || len(list) != 0 {
			t.Errorf("%v %v", list, err)
		}
	})
}

func TestWebhooksOfCallsAfterARestart(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		spec := WebhookSpec{Name: "call", URL: "https://hooks.example/"}
		spec.Complete()
		for _, call := range []string{"ended", "unknown"} {
			if err := r.ForCall(call, spec, "crm", webhook.NewSigningKey().Secret()); err != nil {
				t.Fatal(err)
			}
		}
		log.put(CallCreated, "ended")
		settleFor(time.Second)
		r.stop()
		end := log.put(CallEnded, "ended") // as the bus ends calls at its start
		again := newOutboxRig(t, log, file, OutboxConfig{})
		if n := again.countOf(true); n != 1 {
			t.Errorf("%d webhooks of calls", n)
		}
		settleFor(2 * time.Second)
		if got := again.to.taken(""); !slices.Equal(got, []string{end}) || again.countOf(true) != 0 {
			t.Errorf("%v, %d left", got, again.countOf(true))
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, "", OutboxConfig{})
		w := r.make("crm", func(w *WebhookSpec) { w.Order = OrderNone })
		h := r.find(w.ID)
		r.to.set(away)
		b := newBatch(w.ID)
		for i := range maxMemoryRows + 1500 {
			at := place{2, int64(i)}
			b.puts[at] = &delivery{hook: w.ID, at: at, id: fmt.Sprint(i), since: time.Now(), next: time.Now().Add(time.Hour), body: []byte("{}")}
		}
		if err := r.store.commit([]*hookBatch{b}); err != nil {
			t.Fatal(err)
		}
		h.refresh()
		settleFor(time.Second)
		s, _ := r.Webhook(w.ID)
		if s.Status.Waiting != maxMemoryRows || s.Status.Dead != maxMemoryDead || r.Stats().Forgotten != 500 {
			t.Errorf("%+v, %d forgotten", s.Status, r.Stats().Forgotten)
		}
		big := newBatch(w.ID)
		at := place{3, 1}
		big.puts[at] = &delivery{hook: w.ID, at: at, since: time.Now(), body: make([]byte, maxMemoryBytes+1)}
		if err := r.store.commit([]*hookBatch{big}); err != nil {
			t.Fatal(err)
		}
		if c, _ := r.store.count(w.ID); c.waiting > 1 {
			t.Errorf("%d wait", c.waiting)
		}
	})
}

func TestDeadLettersAreKeptForATime(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{DeadLetterTime: 72 * time.Hour})
		w := r.make("crm")
		r.to.set(away)
		log.put(CallEnded, "call1")
		settleFor(40 * time.Hour)
		if s, _ := r.Webhook(w.ID); s.Status.Dead != 1 {
			t.Fatalf("%+v", s.Status)
		}
		settleFor(74 * time.Hour)
		if s, _ := r.Webhook(w.ID); s.Status.Dead != 0 {
			t.Errorf("%+v", s.Status)
		}
	})
}

func TestAWebhookWhoseEventsAreGoneGoesOn(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		off, on := false, true
		if _, err := r.Change(w.ID, w.WebhookSpec, &off); err != nil {
			t.Fatal(err)
		}
		settleFor(time.Second) // else it may take the events before it is off
		for range 10 {
			log.put(LegRang, "call1")
		}
		log.mu.Lock()
		log.first = 5
		log.mu.Unlock()
		if _, err := r.Change(w.ID, w.WebhookSpec, &on); err != nil {
			t.Fatal(err)
		}
		settleFor(time.Second)
		s, _ := r.Webhook(w.ID)
		if n := len(r.to.taken("")); n != 5 || s.Status.LastError == nil || r.Stats().Lost != 1 {
			t.Errorf("%d taken, %+v, lost %d", n, s.Status, r.Stats().Lost)
		}
	})
}

func TestSecretsAreSealed(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		key := webhook.NewSigningKey()
		log := newTestLog()
		open := func(k string) *outboxRig { return newOutboxRig(t, log, file, OutboxConfig{Key: []byte(k)}) }
		shown := func(r *outboxRig) bool {
			rows, err := r.store.(*sqlOutbox).read.Query(`SELECT keys FROM webhook_secrets UNION ALL SELECT spec FROM webhooks`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var b []byte
				if err := rows.Scan(&b); err != nil {
					t.Fatal(err)
				}
				if bytes.Contains(b, []byte("HMAC")) || bytes.Contains(b, []byte("token")) {
					return true
				}
			}
			return false
		}
		r := open("")
		spec := WebhookSpec{Name: "crm", URL: "https://hooks.example/", Headers: map[string]string{"Authorization": "token"}}
		spec.Complete()
		w, _, err := r.Create(spec, "", key.Secret(), Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		if w.Headers["Authorization"] != "[redacted]" {
			t.Errorf("%v is shown", w.Headers)
		}
		r.stop()
		r = open("a key") // what was in clear is sealed now
		if shown(r) {
			t.Error("secrets are in the database in clear")
		}
		log.put(LegRang, "call1")
		settleFor(time.Second)
		lib, _ := standardwebhooks.NewWebhook(key.Secret())
		all := r.to.all()
		if len(all) != 1 || lib.Verify(all[0].body, all[0].header) != nil || all[0].header.Get("Authorization") != "token" {
			t.Errorf("%+v", all)
		}
		r.stop()
		for _, k := range []string{"", "another key"} {
			r = open(k)
			log.put(LegRang, "call1")
			settleFor(time.Second)
			s, err := r.Webhook(w.ID)
			if err != nil || s.Enabled || s.Status.LastError == nil || len(r.to.all()) != 0 {
				t.Errorf("%+v %v", s, err)
			}
			if _, err := r.Test(t.Context(), w.ID, false); !errors.Is(err, errSealed) {
				t.Error(err)
			}
			r.stop()
		}
		r = open("a key")
		settleFor(time.Second)
		if n := len(r.to.all()); n != 2 {
			t.Errorf("%d are sent when the key is there again", n)
		}
		r.stop()
		_ = os.Remove(file)
	})
}

func TestWebhooksOfTheConfiguration(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		first, second := webhook.NewSigningKey().Secret(), webhook.NewSigningKey().Secret()
		spec := WebhookSpec{Name: "crm", URL: "https://hooks.example/", Ed25519: true}
		spec.Complete()
		private := spec
		private.Name, private.URL = "lan", "http://10.0.0.5/"
		networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		r := newOutboxRig(t, log, file, OutboxConfig{AllowPrivate: networks,
			Webhooks: []ConfiguredWebhook{{spec, []string{first}}, {private, []string{first}}}})
		w := r.Webhooks()[slices.IndexFunc(r.Webhooks(), func(w Webhook) bool { return w.Name == "crm" })]
		if w.Origin != OriginConfig || w.Secrets[0].ID != "s1" {
			t.Errorf("%+v", w)
		}
		if _, err := r.Change(w.ID, spec, nil); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		if err := r.Delete(w.ID); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		if _, _, err := r.Rotate(w.ID, 0, ""); !errors.Is(err, ErrReadOnly) {
			t.Error(err)
		}
		if _, err := r.Enable(w.ID); err != nil {
			t.Error(err)
		}
		// What cannot be taken leaves all as it was.
		if err := r.Reload(nil, []ConfiguredWebhook{{private, []string{first}}}); err == nil || len(r.Webhooks()) != 2 {
			t.Error(err, len(r.Webhooks()))
		}
		// Another URL and another secret, and one webhook less.
		spec.URL = "https://hooks.example/new"
		if err := r.Reload(nil, []ConfiguredWebhook{{spec, []string{second, first}}}); err != nil {
			t.Fatal(err)
		}
		w = r.Webhooks()[0]
		if len(r.Webhooks()) != 1 || w.Secrets[0].ID != "s2" || w.Secrets[1].ID != "s1" {
			t.Errorf("%+v", w)
		}
		public := w.Secrets[1].PublicKey
		log.put(LegRang, "call1")
		settleFor(time.Second)
		all := r.to.all()
		if len(all) != 1 || all[0].url != spec.URL || strings.Count(all[0].header.Get(webhook.HeaderSignature), "v1,") != 2 {
			t.Errorf("%+v", all)
		}
		r.stop()
		r = newOutboxRig(t, log, file, OutboxConfig{Webhooks: []ConfiguredWebhook{{spec, []string{first}}}})
		if w = r.Webhooks()[0]; w.Secrets[0].ID != "s1" || w.Secrets[0].PublicKey != public || w.Status.Cursor != log.Head().String() {
			t.Errorf("%+v", w)
		}
	})
}

func TestDeletedWebhooksTakeTheirRowsWithThem(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		r.to.set(away)
		log.put(LegRang, "call1")
		settleFor(time.Second)
		if list, _, _ := r.Deliveries(w.ID, DeliveryQuery{State: "failed", Limit: 10}); len(list) != 1 {
			t.Errorf("%+v", list)
		}
		if err := r.Delete(w.ID); err != nil {
			t.Fatal(err)
		}
		if list, err := r.store.list(w.ID, deliveryQuery{limit: 10}); err != nil || len(list) != 0 {
			t.Errorf("%+v %v", list, err)
		}
		n := len(r.to.all())
		log.put(LegRang, "call1")
		settleFor(time.Hour)
		if len(r.to.all()) != n {
			t.Error("it is still told")
		}
		if err := r.Delete(w.ID); !errors.Is(err, ErrNoWebhook) {
			t.Error(err)
		}
	})
}

func TestThereAreAtMostAHundredWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOutboxRig(t, newTestLog(), "", OutboxConfig{})
		for i := range MaxWebhooks {
			r.make(fmt.Sprint("hook", i))
		}
		spec := r.Webhooks()[0].WebhookSpec
		if _, _, err := r.Create(spec, "", "", Cursor{}); !errors.Is(err, ErrTooManyWebhooks) {
			t.Error(err)
		}
	})
}

func TestWhatWaitsGoesToTheNewURL(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		r.to.set(away)
		id := log.put(LegRang, "call1")
		settleFor(time.Second)
		spec := w.WebhookSpec
		spec.URL, spec.Events = "https://elsewhere.example/", []string{"call.ended"}
		if _, err := r.Change(w.ID, spec, nil); err != nil {
			t.Fatal(err)
		}
		r.to.set(nil)
		log.put(LegRang, "call2")
		settleFor(time.Minute)
		all := r.to.all()
		if last := all[len(all)-1]; last.id != id || last.url != spec.URL || len(r.to.taken("")) != 1 {
			t.Errorf("%+v", last)
		}
	})
}

// Whoever may manage a webhook must not learn the operator's headers by another URL.
func TestHiddenHeadersStayWithTheirServer(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		r := newOutboxRig(t, newTestLog(), file, OutboxConfig{})
		w := r.make("crm")
		spec := w.WebhookSpec
		spec.Headers = map[string]string{"X-Token": "hunter2"}
		w, err := r.Change(w.ID, spec, nil)
		if err != nil || w.Headers["X-Token"] != redacted {
			t.Fatal(err, w.Headers)
		}
		old := w.URL
		spec = w.WebhookSpec
		spec.URL = "https://attacker.example/"
		var wrong *fault.Fault
		if _, err := r.Change(w.ID, spec, nil); !errors.As(err, &wrong) || wrong.Key != "headers" {
			t.Errorf("another server: %v", err)
		}
		for _, headers := range []map[string]string{{"X-Token": "new"}, {}} {
			spec.Headers = headers
			if _, err := r.Change(w.ID, spec, nil); err != nil {
				t.Errorf("with %v: %v", headers, err)
			}
			spec.URL += "more/"
		}
		spec.URL, spec.Headers = old, map[string]string{"X-Token": "hunter2"}
		if _, err := r.Change(w.ID, spec, nil); err != nil {
			t.Fatal(err)
		}
		spec.URL, spec.Headers = old+"elsewhere", map[string]string{"X-Token": redacted}
		if _, err := r.Change(w.ID, spec, nil); err != nil {
			t.Errorf("another path: %v", err)
		}
		if got := r.find(w.ID).record().spec.Headers["X-Token"]; got != "hunter2" {
			t.Errorf("the header is %q", got)
		}
	})
}

func TestBodiesAsWebhooksWantThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		log.mu.Lock()
		log.calls["big"] = &Call{ID: "big", Agent: "201@example.com", Subject: strings.Repeat("x", maxEnvelope)}
		log.mu.Unlock()
		r := newOutboxRig(t, log, "", OutboxConfig{})
		r.make("all")
		r.make("change", func(w *WebhookSpec) { w.Include = IncludeChange })
		r.make("cloud", func(w *WebhookSpec) { w.Format = FormatCloud })
		log.put(LegRang, "small")
		settleFor(time.Second)
		log.put(LegRang, "big")
		settleFor(time.Second)
		for _, p := range r.to.all() {
			text := string(p.body)
			big := strings.Contains(text, `"big"`)
			has := strings.Contains(text, `"call":{`)
			if strings.Contains(text, "\n") || has != (p.hook != "change" && !big) || strings.Contains(text, `"truncated":true`) != (big &&
				p.hook != "change") {
				t.Errorf("%s: %.300s", p.hook, text)
			}
			want := "application/json"
			if p.hook == "cloud" {
				want = "application/cloudevents+json"
				if !strings.HasPrefix(text, `{"specversion":"1.0","id":"evt_`) || !strings.Contains(text, `"type":"org.sipxrest.leg.ringing"`) {
					t.Errorf("%.300s", text)
				}
			}
			if got := p.header.Get("Content-Type"); got != want {
				t.Errorf("%s: %s", p.hook, got)
			}
		}
	})
}

func TestWhatIsWrongWithAWebhookNamesItsMember(t *testing.T) {
	for member, change := range map[string]func(*WebhookSpec){
		"name":       func(w *WebhookSpec) { w.Name = "" },
		"url":        func(w *WebhookSpec) { w.URL = "https://10.0.0.5/" },
		"events/1":   func(w *WebhookSpec) { w.Events = []string{"call.*", "calls.*"} },
		"events/0":   func(w *WebhookSpec) { w.Events = []string{"leg.dtmf"} },
		"agents/0":   func(w *WebhookSpec) { w.Agents = []string{""} },
		"kinds/0":    func(w *WebhookSpec) { w.Kinds = []Kind{"fax"} },
		"include":    func(w *WebhookSpec) { w.Include = "all" },
		"format":     func(w *WebhookSpec) { w.Format = "xml" },
		"order":      func(w *WebhookSpec) { w.Order = "random" },
		"timeout_ms": func(w *WebhookSpec) { w.TimeoutMS = 999 },
		"headers":    func(w *WebhookSpec) { w.Headers = map[string]string{"webhook-id": "x"} },
	} {
		w := WebhookSpec{Name: "crm", URL: "https://hooks.example/"}
		w.Complete()
		if faults := w.Check(nil); len(faults) != 0 {
			t.Fatal(faults)
		}
		change(&w)
		if faults := w.Check(nil); len(faults) != 1 || faults[0].Key != member {
			t.Errorf("%s: %v", member, faults)
		}
	}
	for _, name := range []string{"Host", "content-type", "Webhook-Signature", "User-Agent", "Sipxrest-Attempt", "a b",
		"Transfer-Encoding", "Idempotency-Key"} {
		if checkHookHeader(name, "x") == nil {
			t.Errorf("%s may be set", name)
		}
	}
	if err := checkHookHeader("X-Key", "a\r\nHost: b"); err == nil || strings.Contains(err.Error(), "Host") {
		t.Error(err)
	}
}

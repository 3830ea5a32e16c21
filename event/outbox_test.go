package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/webhook"
)

// stores runs a test with a database and without one.
func stores(t *testing.T, f func(t *testing.T, file string)) {
	for _, name := range []string{"sqlite", "memory"} {
		t.Run(name, func(t *testing.T) {
			file := ""
			if name == "sqlite" {
				file = testFile(t)
			}
			synctest.Test(t, func(t *testing.T) { f(t, file) })
		})
	}
}

// settleFor lets a time pass, and all that happens in it.
func settleFor(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAWebhookIsToldOfEachEventInTheOrderOfItsCall(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		log.put(CallCreated, "before")
		r := newOutboxRig(t, log, file, OutboxConfig{})
		r.make("crm")
		var want []string
		for i := range 300 {
			call := fmt.Sprintf("call%d", i%7)
			want = append(want, log.put(LegRang, call))
			if i%50 == 0 {
				settleFor(time.Millisecond)
			}
		}
		settleFor(time.Second)
		got := r.to.taken("crm")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d events taken, want %d", len(got), len(want))
		}
		inOrder(t, r.to.all())
		w := r.Webhooks()[0]
		if w.Status.Waiting != 0 || w.Status.State != WebhookOK || w.Status.Cursor != log.Head().String() {
			t.Errorf("%+v", w.Status)
		}
	})
}

// inOrder checks that those of a call came in their order, the first time each.
func inOrder(t *testing.T, got []posted) {
	t.Helper()
	last := map[string]int64{}
	seen := map[string]bool{}
	for _, p := range got {
		if seen[p.id] {
			continue
		}
		seen[p.id] = true
		var e struct {
			CallSeq int64 `json:"call_seq"`
			Data    struct {
				CallID string `json:"call_id"`
			}
		}
		if err := json.Unmarshal(p.body, &e); err != nil {
			t.Fatal(err)
		}
		if e.CallSeq <= last[e.Data.CallID] {
			t.Errorf("%s: %d after %d", e.Data.CallID, e.CallSeq, last[e.Data.CallID])
		}
		last[e.Data.CallID] = e.CallSeq
	}
}

func TestAReceiverThatIsAwayFor30Hours(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		r.to.set(away)
		id := log.put(CallEnded, "call1")
		begin := time.Now()
		settleFor(40 * time.Hour)
		got := r.to.all()
		if len(got) != maxTries {
			t.Fatalf("%d attempts, want %d", len(got), maxTries)
		}
		for i, p := range got {
			if p.id != id || p.attempt != fmt.Sprint(i+1) {
				t.Errorf("attempt %d is %s of %s", i+1, p.attempt, p.id)
			}
			if i == 0 {
				if p.at.Sub(begin) > time.Second {
					t.Errorf("the first attempt is after %v", p.at.Sub(begin))
				}
				continue
			}
			wait, want := p.at.Sub(got[i-1].at), pauses[i-1]
			if wait < want*79/100 || wait > want*121/100+time.Second {
				t.Errorf("attempt %d is %v after the one before, want %v", i+1, wait, want)
			}
		}
		list, more, err := r.Deliveries(w.ID, DeliveryQuery{State: "dead", Limit: 10})
		if err != nil || more || len(list) != 1 || list[0].EventID != id || len(list[0].Attempts) != maxTries ||
			list[0].Attempts[3].Error != errReceiverAway.Error() {
			t.Fatalf("%+v %v", list, err)
		}
		if s, _ := r.Webhook(w.ID); s.Status.Dead != 1 || s.Status.Waiting != 0 {
			t.Errorf("%+v", s.Status)
		}
		r.to.set(nil)
		settleFor(time.Hour)
		if len(r.to.taken("")) != 0 {
			t.Error("a dead letter was sent by itself")
		}
		first := got[0].body
		log.mu.Lock()
		log.first = len(log.events) // retention has taken the event meanwhile
		log.mu.Unlock()
		if n, _, err := r.Replay(w.ID, ReplayQuery{Dead: true}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		settleFor(time.Second)
		all := r.to.all()
		if last := all[len(all)-1]; len(all) != maxTries+1 || last.id != id || !last.replay || string(last.body) != string(first) {
			t.Errorf("replayed as %+v", last)
		}
		if s, _ := r.Webhook(w.ID); s.Status.Dead != 0 || s.Status.Waiting != 0 {
			t.Errorf("%+v", s.Status)
		}
	})
}

func TestWhatHasWaitedComesWhenTheReceiverIsBack(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		other := r.make("pager", func(w *WebhookSpec) { w.Events = []string{"webhook.*"} })
		r.to.set(func(ctx context.Context, p posted) (webhook.Posted, error) {
			if p.hook == "pager" {
				return okay, nil
			}
			return webhook.Posted{Code: 500}, nil
		})
		want := map[string]bool{}
		for i := range 30 * 60 { // one event each minute, for 30 h
			want[log.put(LegRang, fmt.Sprint("call", i/3))] = true
			settleFor(time.Minute)
		}
		// At last one attempt a minute.
		n := len(r.to.all())
		settleFor(10 * time.Minute)
		if got := len(r.to.all()) - n; got > 11 {
			t.Errorf("%d attempts in ten minutes", got)
		}
		if s, _ := r.Webhook(w.ID); s.Status.State != WebhookFailing || s.Status.LastError == nil || s.Status.Since.IsZero() {
			t.Errorf("%+v", s.Status)
		}
		if n := len(r.to.taken("pager")); n != 1 {
			t.Errorf("the other webhook was told %d times", n)
		}
		r.to.set(nil)
		settleFor(2 * time.Minute)
		for _, id := range r.to.taken("crm") {
			delete(want, id)
		}
		list, _, err := r.Deliveries(w.ID, DeliveryQuery{State: "dead", Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			delete(want, d.EventID)
		}
		if len(want) != 0 || len(list) == 0 {
			t.Errorf("%d events are lost, %d dead letters", len(want), len(list))
		}
		if n, _, err := r.Replay(w.ID, ReplayQuery{Dead: true}); n != len(list) || err != nil {
			t.Error(n, err)
		}
		settleFor(time.Minute)
		taken := r.to.taken("crm")
		for _, d := range list {
			if !slices.Contains(taken, d.EventID) {
				t.Errorf("%s was not replayed", d.EventID)
			}
		}
		if n := len(r.to.taken("pager")); n != 2 {
			t.Errorf("the other webhook was told %d times", n)
		}
		for _, p := range r.to.all() {
			if strings.Contains(string(p.body), other.ID) || p.hook == "crm" && strings.Contains(string(p.body), "webhook.") {
				t.Errorf("%s is told of itself: %s", p.hook, p.body)
			}
		}
		if s, _ := r.Webhook(w.ID); s.Status.State != WebhookOK || s.Status.Waiting != 0 || s.Status.Dead != 0 {
			t.Errorf("%+v", s.Status)
		}
	})
}

func TestAWebhookThatAnswers410IsDisabled(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm")
		r.to.set(code(http.StatusGone))
		ids := []string{log.put(LegRang, "call1")}
		settleFor(time.Second)
		ids = append(ids, log.put(CallEnded, "call1"))
		settleFor(time.Hour)
		if n := len(r.to.all()); n != 1 {
			t.Fatalf("%d attempts", n)
		}
		if s, _ := r.Webhook(w.ID); s.Enabled || s.Status.State != WebhookOff || s.Status.LastError == nil {
			t.Errorf("%+v", s)
		}
		r.to.set(nil)
		if s, err := r.Enable(w.ID); err != nil || !s.Enabled {
			t.Fatal(s, err)
		}
		settleFor(time.Second)
		if got := r.to.taken(""); !slices.Equal(got, ids) {
			t.Errorf("%v, want %v", got, ids)
		}
	})
}

func TestAReceiverThatAsksToBeLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		code  int
		after time.Duration
		rest  bool
		want  time.Duration
	}{
		{http.StatusTooManyRequests, 90 * time.Second, true, 90 * time.Second},
		{http.StatusServiceUnavailable, 10 * time.Minute, true, 10 * time.Minute},
		{http.StatusServiceUnavailable, 48 * time.Hour, true, time.Hour},
		{http.StatusBadGateway, 2 * time.Minute, false, 2 * time.Minute},
		{http.StatusGatewayTimeout, 2 * time.Minute, false, 2 * time.Minute},
		{http.StatusInternalServerError, 10 * time.Minute, false, 5 * time.Second}, // not said of this one
		{http.StatusFound, 0, false, 5 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.code, tt.after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newTestLog()
				r := newOutboxRig(t, log, "", OutboxConfig{})
				r.make("crm")
				first := true
				r.to.set(func(context.Context, posted) (webhook.Posted, error) {
					if first {
						first = false
						return webhook.Posted{Code: tt.code, RetryAfter: tt.after}, nil
					}
					return okay, nil
				})
				log.put(LegRang, "call1")
				settleFor(time.Second)
				other := log.put(LegRang, "call2")
				settleFor(2 * time.Hour)
				got := r.to.all()
				if len(got) != 3 {
					t.Fatalf("%d attempts", len(got))
				}
				for _, p := range got[1:] {
					wait := p.at.Sub(got[0].at)
					if p.id == other && !tt.rest {
						if wait > 2*time.Second {
							t.Errorf("another call's event waited %v", wait)
						}
						continue
					}
					if wait < tt.want*79/100 || tt.rest && wait < tt.want || wait > tt.want*121/100+2*time.Second {
						t.Errorf("sent again after %v, want %v", wait, tt.want)
					}
				}
			})
		})
	}
}

func TestFiveDaysOfFailureDisable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, "", OutboxConfig{})
		w := r.make("crm")
		r.to.set(away)
		for range 150 {
			log.put(LegRang, fmt.Sprint("call", rand.Int64()))
			settleFor(time.Hour)
		}
		s, _ := r.Webhook(w.ID)
		if s.Enabled || s.Status.State != WebhookOff {
			t.Errorf("%+v", s.Status)
		}
		n := len(r.to.all())
		settleFor(24 * time.Hour)
		if len(r.to.all()) != n {
			t.Error("it is still tried")
		}
	})
}

func TestTheEndOvertakesAfterTenMinutes(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		r.make("crm")
		stuck := log.nextID()
		r.to.set(func(_ context.Context, p posted) (webhook.Posted, error) {
			if p.id == stuck {
				return webhook.Posted{Code: 500}, nil
			}
			return okay, nil
		})
		log.put(LegRang, "stuck")
		settleFor(time.Second)
		end := log.put(CallEnded, "stuck")
		begin := time.Now()
		var others []string
		for i := range 1000 {
			others = append(others, log.put(CallEnded, fmt.Sprint("call", i)))
			settleFor(100 * time.Millisecond)
		}
		settleFor(9*time.Minute - 100*time.Second)
		taken := r.to.taken("")
		for _, id := range others {
			if !slices.Contains(taken, id) {
				t.Fatalf("%s is held up", id)
			}
		}
		if slices.Contains(taken, end) {
			t.Error("the end has overtaken already")
		}
		settleFor(90 * time.Second)
		if !slices.Contains(r.to.taken(""), end) {
			t.Error("the end has not overtaken")
		}
		for _, p := range r.to.all() {
			if p.id == end && p.at.Sub(begin) < overtake {
				t.Errorf("it overtook after %v", p.at.Sub(begin))
			}
		}
	})
}

func TestWithoutOrderNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, "", OutboxConfig{})
		r.make("crm", func(w *WebhookSpec) { w.Order = OrderNone })
		stuck := log.nextID()
		r.to.set(func(_ context.Context, p posted) (webhook.Posted, error) {
			if p.id == stuck {
				return webhook.Posted{}, errReceiverAway
			}
			return okay, nil
		})
		log.put(LegRang, "call1")
		end := log.put(CallEnded, "call1")
		settleFor(time.Second)
		if got := r.to.taken(""); !slices.Equal(got, []string{end}) {
			t.Errorf("%v", got)
		}
	})
}

// A webhook that does not answer has requests that last 15 s each; healthy ones
// must not notice.
func TestOneDeadWebhookBesideFiftyHealthyOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, "", OutboxConfig{})
		for i := range 50 {
			r.make(fmt.Sprint("healthy", i))
		}
		for i := range 20 {
			r.make(fmt.Sprint("dead", i))
		}
		sent := map[string]time.Time{}
		r.to.set(func(ctx context.Context, p posted) (webhook.Posted, error) {
			if strings.HasPrefix(p.hook, "dead") {
				<-ctx.Done()
				return webhook.Posted{}, context.Cause(ctx)
			}
			time.Sleep(5 * time.Millisecond)
			return okay, nil
		})
		const events = 300
		for i := range events {
			id := log.put(LegRang, fmt.Sprint("call", i%40))
			sent[id] = time.Now()
			settleFor(100 * time.Millisecond)
		}
		settleFor(time.Second)
		var late []time.Duration
		n := 0
		for _, p := range r.to.all() {
			if strings.HasPrefix(p.hook, "healthy") {
				late = append(late, p.at.Sub(sent[p.id]))
				n++
			}
		}
		slices.Sort(late)
		if p99 := late[len(late)*99/100]; n != 50*events || p99 > 50*time.Millisecond {
			t.Errorf("%d of %d delivered, 99 %% within %v", n, 50*events, p99)
		}
	})
}

func TestSlowRequestsDoNotHoldTheCursor(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		w := r.make("crm", func(w *WebhookSpec) { w.TimeoutMS = 30_000 })
		slow := log.nextID()
		r.to.set(func(_ context.Context, p posted) (webhook.Posted, error) {
			if p.id == slow {
				time.Sleep(20 * time.Second)
			}
			return okay, nil
		})
		log.put(LegRang, "slow")
		after := log.put(LegPickedUp, "slow")
		other := log.put(LegRang, "other")
		settleFor(2 * time.Second)
		if got := r.to.taken(""); !slices.Equal(got, []string{other}) {
			t.Errorf("%v", got)
		}
		if s, _ := r.Webhook(w.ID); s.Status.Cursor != log.Head().String() || s.Status.Waiting != 2 {
			t.Errorf("%+v", s.Status)
		}
		settleFor(20 * time.Second)
		if got := r.to.taken(""); !slices.Equal(got, []string{other, slow, after}) {
			t.Errorf("%v", got)
		}
		if s, _ := r.Webhook(w.ID); s.Status.Waiting != 0 {
			t.Errorf("%+v", s.Status)
		}
	})
}

func TestWhatIsThereAtTheEndIsSent(t *testing.T) {
	stores(t, func(t *testing.T, file string) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		r.make("crm")
		r.to.set(func(context.Context, posted) (webhook.Posted, error) {
			time.Sleep(300 * time.Millisecond)
			return okay, nil
		})
		want := []string{log.put(LegRang, "call1"), log.put(LegOver, "call1"), log.put(CallEnded, "call1")}
		r.stop()
		if got := r.to.taken(""); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestTheEndDoesNotWaitForAReceiverThatHangs(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{})
		r.make("crm", func(w *WebhookSpec) { w.TimeoutMS = 30_000 })
		r.to.set(func(ctx context.Context, _ posted) (webhook.Posted, error) {
			<-ctx.Done()
			return webhook.Posted{}, context.Cause(ctx)
		})
		want := []string{log.put(LegRang, "call1"), log.put(CallEnded, "call1")}
		begin := time.Now()
		r.stop()
		if d := time.Since(begin); d > endWait+time.Second {
			t.Errorf("the end took %v", d)
		}
		again := newOutboxRig(t, log, file, OutboxConfig{})
		settleFor(time.Second)
		if got := again.to.taken(""); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, p := range again.to.all() {
			if p.attempt != "1" {
				t.Errorf("attempt %s: the end was counted", p.attempt)
			}
		}
	})
}

// errKilled is what a store says after the process has died.
var errKilled = errors.New("killed")

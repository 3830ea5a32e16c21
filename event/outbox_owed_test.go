package event

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/internal/webhook"
)

// holdAndRefuse holds requests about one event, and refuses the first ones about each
// other.
func holdAndRefuse(held string, first int) func(ctx context.Context, p posted) (webhook.Posted, error) {
	return func(ctx context.Context, p posted) (webhook.Posted, error) {
		switch {
		case p.id == held:
			<-ctx.Done()
			return webhook.Posted{}, context.Cause(ctx)
		case p.attempt <= strconv.Itoa(first):
			return webhook.Posted{Code: 500}, nil
		}
		return okay, nil
	}
}

// The process ends while a request keeps the cursor back, and an event behind it was
// refused. The next one sends that event when it is due: it does not wait for itself.
func TestWhatIsOwedDoesNotWaitForItself(t *testing.T) {
	file := testFile(t)
	synctest.Test(t, func(t *testing.T) {
		log := newTestLog()
		r := newOutboxRig(t, log, file, OutboxConfig{Wait: time.Millisecond})
		r.make("crm")
		r.to.set(holdAndRefuse(log.nextID(), 1))
		want := []string{log.put(CallCreated, "call_1"), log.put(CallCreated, "call_2"), log.put(CallEnded, "call_2")}
		time.Sleep(300 * time.Millisecond)
		r.stop()
		r.to.set(nil)
		next := newOutboxRigFor(t, log, file, OutboxConfig{}, r.to)
		time.Sleep(time.Minute)
		if got := r.to.taken("crm"); !slices.Equal(got, want) {
			t.Errorf("%q were taken within a minute, not %q", got, want)
		}
		if w := next.Webhooks()[0]; w.Status.Waiting != 0 {
			t.Errorf("%+v", w.Status)
		}
	})
}

// The node that has a call and delivers is killed at each step of the call's end: before
// it is in the stream, before it was read from there, before it was sent, before what
// became of it was kept, and after that. Another node tells the rest within minutes.
func TestDelivererIsKilledAtEachStep(t *testing.T) {
	for _, after := range []time.Duration{0, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 20 * time.Millisecond,
		60 * time.Millisecond, 300 * time.Millisecond, 1100 * time.Millisecond, 4 * time.Second, 7 * time.Second} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, "a", "b", "c")
				time.Sleep(3 * time.Second)
				w := f.webhook(f.nodes["a"], "crm")
				time.Sleep(2 * time.Second)
				owner := f.nodes[chosen(w.ID, f.names())]
				at := owner.Head()
				at.Seq++
				f.to.set(holdAndRefuse(at.String(), 2))
				half(t, owner.Bus, "call_1")
				half(t, owner.Bus, "call_2")
				levelOff(t, owner.testNode)
				owner.Tell("call_2", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
				time.Sleep(after)
				f.kill(owner.cfg.Node)
				f.to.set(nil)
				time.Sleep(3 * time.Minute) // calls of the node that is gone end after one
				synctest.Wait()
				for _, d := range f.nodes {
					f.wholly(d, "crm", []string{"call_1", "call_2"})
				}
				if n := f.shelf.rows("d."); n != 0 {
					t.Errorf("%d deliveries wait still", n)
				}
			})
		})
	}
}

// A node hears late of what it has written itself. What it has removed meanwhile does
// not come back: nothing goes twice, and nothing waits for it.
func TestOwnChangesAreHeardOfLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "a")
		time.Sleep(3 * time.Second)
		f.webhook(f.nodes["a"], "crm")
		time.Sleep(2 * time.Second)
		f.shelf.mu.Lock()
		f.shelf.late = 9 * time.Second
		f.shelf.mu.Unlock()
		f.to.set(holdAndRefuse("", 1))
		half(t, f.nodes["a"].Bus, "call_1")
		time.Sleep(8 * time.Second) // what was refused was taken
		f.to.set(nil)
		time.Sleep(2 * time.Second) // of the refusal it has heard by now
		f.nodes["a"].Tell("call_1", CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
		time.Sleep(time.Minute)
		f.wholly(f.nodes["a"], "crm", []string{"call_1"})
		got := f.to.taken("")
		if once := slices.Compact(slices.Sorted(slices.Values(got))); len(once) != len(got) {
			t.Errorf("%d of %d were taken twice", len(got)-len(once), len(got))
		}
	})
}

package event

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startBus is a strict bus that runs until the test ends.
func startBus(t testing.TB, cfg Config) *Bus {
	t.Helper()
	cfg.Strict = true
	b, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go b.Run(ctx) //nolint:errcheck // see below
	t.Cleanup(func() {
		cancel()
		<-b.done
		if err := b.lastError(); err != nil {
			t.Error(err)
		}
		b.Close()
	})
	return b
}

func request(id string) Request {
	return Request{ID: id, Created: Created{Kind: ClickToCall, Source: FromAPI, Agent: "201@example.com",
		Flow: Flow{Requested: "auto", Used: "invite"}, Tags: map[string]string{"deal": "4711"},
		Legs: []Leg{{Role: RoleCalling, Address: "201@example.com"}, {Role: RoleCalled, Address: "202@example.com"}}}}
}

// talk tells of a call that is answered and hung up.
func talk(t testing.TB, b *Bus, id string) {
	t.Helper()
	if err := b.Begin(request(id)); err != nil {
		t.Fatal(err)
	}
	b.Tell(id, LegDialled, "l1", Change{SIPCallID: "a-" + id})
	b.Tell(id, LegRang, "l1", Change{})
	b.Tell(id, LegPickedUp, "l1", Change{})
	b.Tell(id, CallConnecting, "", Change{})
	b.Tell(id, LegDialled, "l2", Change{SIPCallID: "b-" + id})
	b.Tell(id, LegPickedUp, "l2", Change{})
	b.Tell(id, CallConnected, "", Change{})
	b.Tell(id, CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l2"}})
}

// settle waits until all that was told is kept. It is for fake time.
func settle(b *Bus) {
	for {
		synctest.Wait()
		time.Sleep(commitPace)
		synctest.Wait()
		if b.queued.Load() == 0 && b.idle() {
			return
		}
	}
}

func types(list []*Event) (names []Type) {
	for _, e := range list {
		names = append(names, e.Type)
	}
	return names
}

// bothStores runs a test with each kind of store, in fake time.
func bothStores(t *testing.T, test func(t *testing.T, cfg Config)) {
	for _, store := range []string{"memory", "events.db"} {
		t.Run(store, func(t *testing.T) {
			cfg := Config{Store: store}
			if store != "memory" {
				cfg.Store = filepath.Join(t.TempDir(), store)
			}
			synctest.Test(t, func(t *testing.T) { test(t, cfg) })
		})
	}
}

func TestACallOfADoorIsToldFromItsBeginningToItsEnd(t *testing.T) {
	bothStores(t, func(t *testing.T, cfg Config) {
		b := startBus(t, cfg)
		from := b.Head()
		sub := b.Subscribe(Filter{Agents: []string{"201@example.com"}})
		defer sub.Close()
		talk(t, b, "call-1")
		<-sub.Wake()
		settle(b)
		b.Tell("call-1", CallEnded, "", Change{End: &End{Reason: "hung_up"}})
		list, next, err := b.Events(Filter{Users: []string{"202"}}, from, 0)
		if err != nil || next != b.Head() {
			t.Fatal(next, err)
		}
		want := []Type{CallCreated, LegDialled, LegRang, LegPickedUp, CallConnecting, LegDialled, LegPickedUp, CallConnected,
			LegOver, LegOver, CallEnded}
		if got := types(list); len(got) != len(want) {
			t.Fatalf("%v, not %v", got, want)
		}
		for i, e := range list {
			if e.Type != want[i] || e.CallSeq != int64(i+1) || e.Data.Call.Version != e.CallSeq || e.Final != (i == len(want)-1) {
				t.Errorf("event %d: %s", i, b.Encoded(e))
			}
		}
		c, ok := b.Call("call-1")
		if !ok || c.State != Ended || c.End.Outcome != Completed || c.End.By != "called" || c.End.Dialled != "yes" {
			t.Errorf("%+v", c)
		}
		settle(b)
		if late := b.Stats().Late; late != 1 {
			t.Errorf("the second end: %d are late", late)
		}
		if err := b.Begin(request("call-1")); !errors.Is(err, ErrIDInUse) {
			t.Error(err)
		}
		calls, _, err := b.Calls(CallFilter{Users: []string{"202"}, Outcomes: []string{"completed"}}, Page{})
		if err != nil || len(calls) != 1 {
			t.Error(calls, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Committed(ctx, "call-1"); err != nil {
			t.Error(err)
		}
	})
}

// share is n when less is to be done: with -short, and with the race detector, which makes
// all ten times as slow. All of it runs without both in "make test".
func share(n int) int {
	if raceDetector || testing.Short() {
		return n
	}
	return 1
}

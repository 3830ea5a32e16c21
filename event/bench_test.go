package event

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"sipxrest/sipflow"
)

// BenchmarkObserve is what a call's goroutine pays for one event.
func BenchmarkObserve(b *testing.B) {
	bus := startBus(b, Config{})
	spec := &sipflow.Spec{Key: sipflow.Key{Agent: "201@example.com"}, Method: sipflow.MethodInvite}
	legs := []sipflow.LegReport{{N: 1, Role: sipflow.RoleCalling, Address: "201@example.com"}}
	bus.Observe(&sipflow.Event{ID: "call-1", Kind: sipflow.Placed, At: time.Now(), Spec: spec, Legs: legs})
	e := &sipflow.Event{ID: "call-1", Kind: sipflow.LegAlerted, At: time.Now(), Leg: &legs[0]}
	b.ReportAllocs()
	for b.Loop() {
		bus.Observe(e)
	}
}

// BenchmarkEvents is how many events of whole calls get through in a second.
func BenchmarkEvents(b *testing.B) {
	for _, c := range []struct{ name, sync string }{{"memory", ""}, {"sqlite normal", "normal"}, {"sqlite full", "full"}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := Config{Store: "memory", Sync: c.sync, QueueBytes: 64 << 20}
			if c.sync != "" {
				cfg.Store = filepath.Join(b.TempDir(), "events.db")
			}
			bus := startBus(b, cfg)
			began := time.Now()
			var n int
			for b.Loop() {
				n++
				id := fmt.Sprint("call-", n)
				r := request(id)
				r.Created.Source = FromCallController
				if err := bus.Begin(r); err != nil {
					b.Fatal(err)
				}
				for _, t := range []Type{LegDialled, LegRang, LegPickedUp} {
					bus.Tell(id, t, "l1", Change{Hop: "udp:192.0.2.10:5060"})
				}
				bus.Tell(id, CallConnecting, "", Change{})
				for _, t := range []Type{LegDialled, LegRang, LegPickedUp} {
					bus.Tell(id, t, "l2", Change{Hop: "udp:192.0.2.10:5060"})
				}
				bus.Tell(id, CallConnected, "", Change{})
				bus.Tell(id, CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l2"}})
				for bus.backlog.Load() > 6<<20 || bus.queued.Load() > 1<<20 {
					time.Sleep(time.Millisecond) // as fast as it is kept
				}
			}
			for bus.queued.Load() > 0 || bus.stored.Load() < bus.sequenced.Load() {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(bus.stored.Load())/time.Since(began).Seconds(), "events/s")
			if s := bus.Stats(); s.Unstored > 0 {
				b.Errorf("%d were not kept", s.Unstored)
			}
		})
	}
}

// BenchmarkCommitted is how long a create waits for its id to be kept.
func BenchmarkCommitted(b *testing.B) {
	bus := startBus(b, Config{Store: filepath.Join(b.TempDir(), "events.db")})
	var n int
	for b.Loop() {
		n++
		id := fmt.Sprint("call-", n)
		if err := bus.Begin(request(id)); err != nil {
			b.Fatal(err)
		}
		if err := bus.Committed(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

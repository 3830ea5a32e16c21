package event

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkTenThousandReaders is how late events reach 10,000 readers, 9,000 of them of
// one agent each, 900 of one call each and 100 of all, while 200 calls a second come
// and go. What the network takes is not in it.
func BenchmarkTenThousandReaders(b *testing.B) {
	const perSecond, seconds, agents = 200, 3, 100
	for b.Loop() {
		bus := startBus(b, Config{Store: b.TempDir() + "/events.db"})
		agent := func(i int) string { return fmt.Sprintf("%d@example.com", 300+i%agents) }
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		var mu sync.Mutex
		var late []time.Duration
		for i := range 10_000 {
			f := Filter{Agents: []string{agent(i)}}
			switch {
			case i >= 9900:
				f = Filter{}
			case i >= 9000:
				f = Filter{CallID: fmt.Sprint("call-", (i-9000)%(perSecond*seconds))}
			}
			at, s := bus.Head(), bus.Subscribe(f)
			readers.Go(func() {
				defer s.Close()
				var mine []time.Duration
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					late = append(late, mine...)
				}()
				for {
					select {
					case <-s.Wake():
					case <-stop:
						return
					}
					for {
						page, next, err := bus.Events(f, at, 1000)
						if err != nil {
							b.Error(err)
							return
						}
						now := time.Now()
						for _, e := range page {
							bus.Encoded(e)
							mine = append(mine, now.Sub(e.Timestamp.Time))
						}
						if next == at {
							break
						}
						at = next
					}
				}
			})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		tick := time.NewTicker(time.Second / perSecond)
		for i := range perSecond * seconds {
			<-tick.C
			id := fmt.Sprint("call-", i)
			r := request(id)
			r.Created.Agent, r.Created.Source = agent(i), FromCallController
			if err := bus.Begin(r); err != nil {
				b.Fatal(err)
			}
			for _, typ := range []Type{LegDialled, LegRang, LegPickedUp} {
				bus.Tell(id, typ, "l1", Change{})
			}
			bus.Tell(id, CallEnded, "", Change{End: &End{Outcome: Completed, By: "calling", Leg: "l1", Reason: "hung_up"}})
		}
		tick.Stop()
		time.Sleep(time.Second)
		close(stop)
		readers.Wait()
		slices.Sort(late)
		b.ReportMetric(float64(late[len(late)*99/100])/1e6, "ms-p99")
		b.ReportMetric(float64(late[len(late)-1])/1e6, "ms-max")
		b.ReportMetric(float64(len(late)), "deliveries")
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/10_000, "B/reader")
	}
}

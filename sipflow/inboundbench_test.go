package sipflow

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"sipxrest/sipflow/wire"
)

// BenchmarkInboundCallMemory is what a call takes whose Take waits.
func BenchmarkInboundCallMemory(b *testing.B) {
	const calls = 10_000
	for b.Loop() {
		sw, p, stop := canned(b, true)
		sw.cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, _ *Incoming) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		from := pathTo(b, sw, cannedAddr.String())
		before := inUse()
		for i := range calls {
			id := fmt.Sprint("n", i)
			m, err := wire.Parse([]byte(rawInvite("b1", id, "raw1", id)))
			if err != nil {
				b.Fatal(err)
			}
			sw.receive(m, from)
			for len(p.in)+len(p.sent) > 100 {
				runtime.Gosched()
			}
		}
		for len(p.in)+len(p.sent) > 0 {
			runtime.Gosched()
		}
		if n := sw.Active(); n != calls {
			b.Fatalf("%d calls", n)
		}
		b.ReportMetric(float64(inUse()-before)/calls, "B/call")
		runtime.KeepAlive(sw)
		stop()
	}
}

package resolve

import (
	"testing"
)

func BenchmarkHops(b *testing.B) {
	z := newZone(b, pbx...)
	for _, c := range []struct {
		name   string
		target Target
	}{
		{"numeric", Target{Host: "192.0.2.1"}},
		{"port", Target{Host: "plain.example", Port: 5060}},
		{"no SRV", Target{Host: "plain.example"}},
		{"SRV", Target{Host: "srv.example"}},
		{"NAPTR", Target{Host: "naptr.example"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newResolver(b, Config{Exchange: z.exchange})
			mustHops(b, r, c.target)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Hops(b.Context(), c.target); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestKnownTargetAllocatesLittle(t *testing.T) {
	r := newResolver(t, Config{Exchange: newZone(t, pbx...).exchange})
	for host, most := range map[string]float64{"192.0.2.1": 4, "plain.example": 8, "srv.example": 12} {
		mustHops(t, r, Target{Host: host})
		got := testing.AllocsPerRun(100, func() { r.Hops(t.Context(), Target{Host: host}) })
		if got > most {
			t.Errorf("%s: %v allocations, want at most %v", host, got, most)
		}
	}
}

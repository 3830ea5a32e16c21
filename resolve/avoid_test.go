package resolve

import (
	"net/netip"
	"testing"
)

func TestFailedHopGoesLastForAWhile(t *testing.T) {
	c := newClock()
	z := newZone(t, pbx...)
	r := newResolver(t, Config{Exchange: z.exchange, Transports: []string{"udp"}, Network: "ip4", Now: c.now})
	target := Target{Host: "srv.example"}
	hops, err := r.Hops(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := hops[0].String(), hops[1].String(), hops[2].String()
	r.Failed(hops[0])
	wantHops(t, mustHops(t, r, target), two, three, one)
	c.pass(10e9)
	r.Failed(hops[1])
	wantHops(t, mustHops(t, r, target), three, one, two)
	r.Succeeded(hops[1])
	wantHops(t, mustHops(t, r, target), two, three, one)
	c.pass(20e9)
	wantHops(t, mustHops(t, r, target), one, two, three)
	for _, h := range hops {
		r.Failed(h)
	}
	wantHops(t, mustHops(t, r, target), one, two, three)
	// Another transport of the same server is another hop.
	other := hops[0]
	other.Transport = "tcp"
	r.Succeeded(other)
	c.pass(29e9)
	r.Succeeded(hops[1])
	wantHops(t, mustHops(t, r, target), two, one, three)
}

func TestFailedHopsAreForgottenWhenThereAreTooMany(t *testing.T) {
	c := newClock()
	r := newResolver(t, Config{Now: c.now})
	for i := range 3 * maxAvoided {
		r.Failed(Hop{"udp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 5060), ""})
		if i%2 == 0 {
			c.pass(1e6)
		}
	}
	if n := len(r.avoided.until); n > maxAvoided {
		t.Errorf("%d hops remembered", n)
	}
}

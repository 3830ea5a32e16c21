package limit

import (
	"net/netip"
	"testing"
)

func TestNetworks(t *testing.T) {
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.7/32", "192.0.2.7/24": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8::1%eth0": "2001:db8::1/128", "x": "", "192.0.2.7/33": ""} {
		p, err := ParseNetwork(text)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%s is %v, %v, want %s", text, p, err, want)
		}
	}
	list := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	if !Within(list, addr("192.0.2.9")) || Within(list, addr("192.0.3.1")) || Within(nil, addr("192.0.2.9")) || Within(list, netip.Addr{}) {
		t.Error("Within")
	}
}

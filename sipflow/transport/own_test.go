package transport

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestAddressesOfEverybody(t *testing.T) {
	for prefix, want := range map[string]string{
		"192.0.2.77/24": "192.0.2.0 192.0.2.255", "192.0.2.77/28": "192.0.2.64 192.0.2.79", "10.1.2.3/12": "10.0.0.0 10.15.255.255",
		"192.0.2.77/30": "192.0.2.76 192.0.2.79",
		"192.0.2.77/31": "", "192.0.2.77/32": "", "2001:db8::1/64": "", "0.0.0.0/0": "",
	} {
		tr := Sockets{crowds: map[netip.Addr]struct{}{}}
		tr.Crowd(netip.MustParsePrefix(prefix))
		var got []string
		for a := range tr.crowds {
			got = append(got, a.String())
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", prefix, got, want)
		}
	}
}

package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestExternalAddressOfAFamilyWithoutSocket(t *testing.T) {
	for _, tt := range []struct {
		external string
		listen   []string
		warned   bool
	}{
		{"2001:db8::7", []string{"udp:192.0.2.1:6050"}, true},
		{"[2001:db8::7]", []string{"udp:192.0.2.1:6050", "tcp:0.0.0.0:6050"}, true},
		{"198.51.100.7", []string{"udp:[2001:db8::1]:6050"}, true},
		{"198.51.100.7", []string{"udp:[2001:db8::1]:6050", "udp:192.0.2.1:6050"}, false},
		{"198.51.100.7", []string{"udp:[::]:6050"}, false}, // takes both
		{"198.51.100.7", []string{"udp::6050"}, false},
		{"198.51.100.7", nil, false}, // chosen at the start
		{"2001:db8::7", []string{"udp:[2001:db8::1]:6050"}, false},
		{"pbx.example", []string{"udp:192.0.2.1:6050"}, false},
		{"auto", []string{"udp:192.0.2.1:6050"}, false},
		{"", []string{"udp:192.0.2.1:6050"}, false},
	} {
		cfg := Default()
		cfg.SIP.ExternalAddress, cfg.SIP.Listen = tt.external, tt.listen
		if w := strings.Join(cfg.Warnings(), "\n"); strings.Contains(w, "no socket of sip.listen is of the family") != tt.warned {
			t.Errorf("%s with %s: warnings %q", tt.external, tt.listen, w)
		}
	}
}

func TestSocketsThatExcludeEachOther(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{":1", ":1", true},
		{":1", "127.0.0.1:1", true},
		{"[::1]:1", "0.0.0.0:1", true},
		{"[::]:1", "localhost:1", true},
		{":1", ":2", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"127.0.0.1:1", "127.0.0.1:1", true},
	} {
		if got := SameSocket(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestSocketsOnLoopbackWithAProxyElsewhere(t *testing.T) {
	for _, tt := range []struct {
		proxy  string
		listen []string
		warned bool
	}{
		{"sip:192.0.2.1", []string{"udp:127.0.0.1:6050", "tcp:127.0.0.1:6050"}, true},
		{"sip:[2001:db8::1]:5070;transport=tcp", []string{"tcp:[::1]:6050"}, true},
		{"sip:192.0.2.1", []string{"udp:127.0.0.1:6050", "udp:192.0.2.10:6050"}, false},
		{"sip:127.0.0.1:5060", []string{"udp:127.0.0.1:6050"}, false},
		{"sip:pbx.example", []string{"udp:127.0.0.1:6050"}, false}, // DNS may know it here
		{"sip:" + netip.AddrPortFrom(netip.MustParseAddr(OwnAddresses()[0]), 5060).String(), []string{"udp:127.0.0.1:6050"}, false},
		{"sip:192.0.2.1", []string{"udp::6050"}, false},
		{"sip:192.0.2.1", nil, false},
	} {
		cfg := Default()
		cfg.SIP.OutboundProxy, cfg.SIP.Listen = []string{tt.proxy}, tt.listen
		if w := strings.Join(cfg.Warnings(), "\n"); strings.Contains(w, "sip.listen: every socket is on loopback, which leads to this "+
			"machine only, and "+tt.proxy) != tt.warned {
			t.Errorf("%s with %s: warnings %q", tt.proxy, tt.listen, w)
		}
	}
}

// A store that others reach, and that asks nobody for a password, is warned of.
func TestAStoreThatIsOpenToAllIsWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		listen, credentials, ca string
		warned                  bool
	}{
		{"10.0.0.5:4222", "", "", true},
		{":4222", "", "", true},
		{"[::]:4222", "", "", true},
		{"store.example:4222", "", "", true},
		{"10.0.0.5:4222", "store.creds", "", false},
		{"10.0.0.5:4222", "", "ca.pem", false},
		{"127.0.0.1:4222", "", "", false},
		{"localhost:4222", "", "", false},
		{"[::1]:4222", "", "", false},
	} {
		cfg := Default()
		cfg.Store.Listen, cfg.Store.Credentials, cfg.Store.TLS.CA = tt.listen, tt.credentials, tt.ca
		if w := strings.Join(cfg.Warnings(), "\n"); strings.Contains(w, "store.listen: whoever reaches "+tt.listen) != tt.warned {
			t.Errorf("%+v: warnings %q", tt, w)
		}
	}
}

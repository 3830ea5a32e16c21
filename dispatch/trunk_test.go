package dispatch

import (
	"net/netip"
	"testing"
)

func TestATrunkIsKnownByItsAddressOrItsUser(t *testing.T) {
	st := &state{cfg: Config{DomainAddrs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.50")} }}}
	err := st.addTrunks([]Trunk{
		{Name: "net", Sources: []string{"192.0.2.0/24", "2001:db8::/32"}},
		{Name: "host", Sources: []string{"192.0.2.7"}},
		{Name: "tenant", Sources: []string{"192.0.2.7"}, FromHosts: []string{"Tenant.example."}},
		{Name: "proxy", Sources: []string{"domain"}},
		{Name: "user", Username: "branch"},
		{Name: "both", Sources: []string{"198.51.100.1"}, Username: "office"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, from, user string
		want               string
		prove              bool
	}{
		{"192.0.2.1", "x", "", "net", false},
		{"::ffff:192.0.2.1", "x", "", "net", false},
		{"2001:db8::1", "x", "", "net", false},
		{"192.0.2.7", "x", "", "host", false},
		{"192.0.2.7", "tenant.EXAMPLE", "", "tenant", false},
		{"192.0.2.50", "x", "", "proxy", false},
		{"203.0.113.1", "tenant.example", "", "user", true}, // From proves nothing
		{"203.0.113.1", "x", "branch", "user", false},
		{"203.0.113.1", "x", "201", "", false},
		{"198.51.100.1", "x", "", "both", true},
		{"198.51.100.1", "x", "office", "both", false},
		{"203.0.113.1", "x", "office", "", false}, // the right user from elsewhere
	} {
		got, prove := st.trunkOf(netip.MustParseAddr(c.source), c.from, c.user)
		name := ""
		if got != nil {
			name = got.Name
		}
		if name != c.want || prove != c.prove {
			t.Errorf("%+v: %q, %v", c, name, prove)
		}
	}
}

func TestTrunksAreNoStrangersUntilTheyAreGone(t *testing.T) {
	d, err := newDispatcher(t, "{id: r, action: hangup}", func(c *Config) {
		c.Trunks = []Trunk{{Name: "a", Sources: []string{"192.0.2.0/24"}}, {Name: "b", Username: "b"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"192.0.2.9": true, "::ffff:192.0.2.9": true, "192.0.3.9": false, "2001:db8::1": false} {
		if got := d.Known(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	cfg := d.cfg
	cfg.Trunks = nil
	if err := d.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if d.Known(netip.MustParseAddr("192.0.2.9")) {
		t.Error("a trunk that is gone is known")
	}
}

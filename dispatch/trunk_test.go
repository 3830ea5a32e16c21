package dispatch

import (
	"net/netip"
	"testing"

	"sipxrest/sipflow"
	"sipxrest/sipflow/uri"
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

func TestOnlyCallsOfATrunkCountForItsBound(t *testing.T) {
	d, err := newDispatcher(t, "{id: r, action: hangup}", func(c *Config) {
		c.Trunks = []Trunk{{Name: "net", Sources: []string{"192.0.2.0/24"}, MaxCalls: 30}, {Name: "tenant", Sources: []string{"192.0.2.0/24"},
			FromHosts: []string{"tenant.example"}, MaxCalls: 2},
			{Name: "any", Sources: []string{"198.51.100.1"}}, {Name: "branch", Username: "branch", MaxCalls: 4}}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, host, user string
		name               string
		most               int
	}{
		{"192.0.2.7:5060", "x", "", "net", 30},
		{"192.0.2.7:5060", "tenant.example", "", "tenant", 2},
		{"198.51.100.1:5060", "x", "", "any", 0},
		{"203.0.113.1:5060", "x", "branch", "branch", 4},
		{"203.0.113.1:5060", "x", "201", "", 0},
		{"203.0.113.1:5060", "x", "", "", 0}, // not proved
	} {
		in := &sipflow.Incoming{Source: netip.MustParseAddrPort(c.source), From: uri.Address{Host: c.host}, Username: c.user}
		if name, most := d.Inbound("r").Trunk(in); name != c.name || most != c.most {
			t.Errorf("%+v: %q, %d", c, name, most)
		}
	}
}

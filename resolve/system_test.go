package resolve

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string, when time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestHostsFileIsReadAndReadAgain(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "hosts")
	write(t, path, "# comment\n192.0.2.1\tpbx.example PBX # the PBX\n2001:db8::1 pbx.example\n0.0.0.0 blocked.example\nnonsense "+
		"pbx.example\n192.0.2.1 pbx\n", c.now())
	z := newZone(t)
	r := newResolver(t, Config{HostsFile: path, Now: c.now, Exchange: z.exchange})
	wantHops(t, mustHops(t, r, Target{Host: "pbx.example"}), "udp:192.0.2.1:5060", "udp:[2001:db8::1]:5060")
	wantHops(t, mustHops(t, r, Target{Host: "pbx", Port: 5070}), "udp:192.0.2.1:5070")
	if _, err := r.Hops(t.Context(), Target{Host: "blocked.example"}); err == nil {
		t.Error("0.0.0.0 is used")
	}
	write(t, path, "192.0.2.2 pbx.example\n", c.now().Add(time.Hour))
	c.pass(6 * time.Second)
	wantHops(t, mustHops(t, r, Target{Host: "pbx.example"}), "udp:192.0.2.2:5060")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.pass(6 * time.Second)
	if _, err := r.Hops(t.Context(), Target{Host: "pbx.example"}); err == nil {
		t.Error("a removed entry is used")
	}
}

func TestConfiguredHostsComeFirst(t *testing.T) {
	r := newResolver(t, Config{
		Hosts:      map[string][]netip.Addr{"One.Example": {netip.MustParseAddr("192.0.2.200")}},
		Exchange:   newZone(t, pbx...).exchange,
		Transports: []string{"udp"}, Network: "ip4",
	})
	wantHops(t, mustHops(t, r, Target{Host: "srv.example"}), "udp:192.0.2.200:5070", "udp:192.0.2.2:5060", "udp:192.0.2.3:5060")
}

func TestHostsFileWorksWithoutAnyNameServer(t *testing.T) {
	r := newResolver(t, Config{
		Hosts:   map[string][]netip.Addr{"pbx.example": {netip.MustParseAddr("192.0.2.1")}},
		Servers: []string{silent(t)}, Timeout: 20 * time.Millisecond, Attempts: 1,
	})
	wantHops(t, mustHops(t, r, Target{Host: "pbx.example"}), "udp:192.0.2.1:5060")
	got, err := r.Addresses(t.Context(), "pbx.example")
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNameServersAreReadAgain(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	r := newResolver(t, Config{ResolvConf: path, Now: c.now})
	for _, step := range []struct {
		text string
		want []string
	}{
		{"", []string{"127.0.0.1:53"}},
		{"search example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver name.example\n",
			[]string{"192.0.2.53:53", "[2001:db8::53]:53"}},
		{"nameserver fe80::1%eth0\n", []string{"[fe80::1%eth0]:53"}},
	} {
		write(t, path, step.text, c.now())
		c.pass(6 * time.Second)
		if got := r.servers(); !slices.Equal(got, step.want) {
			t.Errorf("got %v, want %v", got, step.want)
		}
	}
}

func TestConfigFaultsAreNamed(t *testing.T) {
	for want, cfg := range map[string]Config{
		`Servers has "dns.example:53", give a numeric host:port`: {Servers: []string{"dns.example:53"}},
		`Servers has "192.0.2.1:0"`:                              {Servers: []string{"192.0.2.1:0"}},
		`Transports has "sctp", give udp, tcp, tls, ws or wss`:   {Transports: []string{"udp", "SCTP"}},
		`Network is "ip5", give ip, ip4 or ip6`:                  {Network: "ip5"},
		`Timeout is -1s`:                                         {Timeout: -time.Second},
		`AvoidFor is -1s`:                                        {AvoidFor: -time.Second},
		`MinTTL 2h0m0s is more than MaxTTL 1h0m0s`:               {MinTTL: 2 * time.Hour},
		`Attempts is 11, give 1 to 10`:                           {Attempts: 11},
		`MaxEntries is -1`:                                       {MaxEntries: -1},
		`Hosts gives x.example the address 0.0.0.0`:              {Hosts: map[string][]netip.Addr{"x.example": {netip.IPv4Unspecified()}}},
		`host "a b" has a character that no name has`:            {Hosts: map[string][]netip.Addr{"a b": nil}},
	} {
		r, err := New(cfg)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

package resolve

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzInterpret reads any DNS message as the answer to any question.
func FuzzInterpret(f *testing.F) {
	for _, lines := range [][]string{pbx[:9], pbx[9:16], pbx[16:24], {"a.example. 0 CNAME b.example.", "b.example. 1 CNAME a.example."}} {
		z := newZone(f, lines...)
		m := new(dns.Msg)
		m.Answer = z.records
		m.Compress = true
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		for _, rr := range z.records {
			f.Add(packed, rr.Header().Name, rr.Header().Rrtype)
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte, name string, qtype uint16) {
		m := new(dns.Msg)
		if m.Unpack(packed) != nil {
			return
		}
		rec, _, next := interpret(name, qtype, m)
		if len(rec.addrs) > maxAddrs || len(rec.srv) > maxSRV || len(rec.naptr) > maxNAPTR {
			t.Errorf("%d addresses, %d SRV, %d NAPTR", len(rec.addrs), len(rec.srv), len(rec.naptr))
		}
		if next != "" && !rec.empty() {
			t.Errorf("records and the alias %q", next)
		}
		for _, a := range rec.addrs {
			if !usable(a) || a.Is4In6() {
				t.Errorf("address %v", a)
			}
		}
		for i, s := range rec.srv {
			if s.port == 0 || s.host == "" || s.addr.IsValid() && !usable(s.addr) || strings.ContainsAny(s.host, "\r\n \\\"<>@;") {
				t.Errorf("SRV %+v", s)
			}
			if i > 0 && s.priority < rec.srv[i-1].priority {
				t.Error("SRV not by priority")
			}
		}
		for _, n := range rec.naptr {
			if serviceOf(n.transport) == "" || n.srv.name == "" || n.srv.qtype != dns.TypeSRV {
				t.Errorf("NAPTR %+v", n)
			}
		}
		ordered := appendWeighted(nil, rec.srv, func(n int) int { return n - 1 })
		if len(ordered) != len(rec.srv) {
			t.Errorf("%d of %d servers", len(ordered), len(rec.srv))
		}
	})
}

// FuzzParseHost reads what a stranger's URI has as its host.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"pbx.example.", "[2001:db8::1]", "192.0.2.1", "fe80::1%eth0", "127.1", "a..b", "00..",
		strings.Repeat("0", 2000), "x\r\ny"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, addr, err := parseHost(s)
		if text := (Target{Host: s, Transport: s}).String(); len(text) > 1024 || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("unsafe in a log: %q", text)
		}
		if err != nil {
			if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("unsafe in a log: %q", err)
			}
			return
		}
		if addr.IsValid() {
			if !usable(addr) || addr.Zone() != "" || strings.ContainsAny(host, "\r\n\x00") {
				t.Errorf("%q is the address %v", host, addr)
			}
			return
		}
		if _, ok := dns.IsDomainName("_sips._tcp." + host + "."); !ok {
			t.Errorf("%q is no name", host)
		}
		if again, _, err := parseHost(host); err != nil || again != host {
			t.Errorf("%q becomes %q, %v", host, again, err)
		}
	})
}

// FuzzSystemFiles reads hosts(5) and resolv.conf(5), which another program may
// be about to write.
func FuzzSystemFiles(f *testing.F) {
	for _, s := range []string{"127.0.0.1 localhost\n::1 x y # z\n10.0.0.1\n",
		"nameserver 1.1.1.1\nnameserver fe80::1%eth0\noptions ndots:0 timeout:-1\nsearch a b", "\x00", "1.1.1.1 a..b [::1] x\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		hosts := parseHostsFile(text)
		if len(hosts["localhost"]) == 0 {
			t.Error("localhost is unknown")
		}
		for name, addrs := range hosts {
			if name == "" || len(addrs) > maxAddrs || strings.ContainsAny(name, "\r\n\x00 ") {
				t.Errorf("%q is %v", name, addrs)
			}
			for _, a := range addrs {
				if !usable(a) || a.Is4In6() {
					t.Errorf("%q is at %v", name, a)
				}
			}
		}
		servers := parseResolvConf(text)
		if len(servers) == 0 || len(servers) > 8 {
			t.Errorf("%d name servers", len(servers))
		}
		for _, s := range servers {
			if _, err := netip.ParseAddrPort(s); err != nil {
				t.Errorf("name server %q: %v", s, err)
			}
		}
	})
}

package sipflow

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

const (
	our6    = "[2001:db8::1]:5060"
	phone6  = "[2001:db8::2]:5060"
	called6 = "[2001:db8::3]:5060"
)

// bothFamilies listens on IPv4 and IPv6.
func bothFamilies(c *Config) {
	c.Listen = []string{"udp:" + ourAddr, "tcp:" + ourAddr, "udp:" + our6, "tcp:" + our6}
}

// raw6 has a phone talk to our IPv6 socket.
func raw6(p *rawPhone) *rawPhone {
	p.peer = netip.MustParseAddrPort(our6)
	return p
}

// A whole call by REFER between IPv6 addresses: every header field and the
// session description are of that family.
func TestReferCallOverIPv6(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				hop := ""
				if transport == "tcp" {
					hop = phone6 + ";transport=tcp"
				}
				r := newRig(t, n, hop, bothFamilies)
				defer r.stop()
				var p *rawPhone
				if transport == "tcp" {
					p = rawTCP(t, n, phone6)
				} else {
					p = raw6(rawUDP(t, n, phone6))
				}
				c := r.place(spec(func(s *Spec) { s.CallingUser, s.CalledUser = "201@[2001:db8::2]", "202@[2001:db8::3]" }))
				if transport == "tcp" {
					p.accept()
				}
				m := p.expect("INVITE")
				p.invite = m
				route := "<sip:" + phone6 + ";lr>"
				if transport == "tcp" {
					route = "<sip:" + phone6 + ";transport=tcp;lr>"
				}
				for h, want := range map[wire.Header]string{
					wire.Via:     "SIP/2.0/" + strings.ToUpper(transport) + " " + our6 + ";rport;branch=",
					wire.Contact: "<sip:callcontroller@" + our6 + ";transport=" + transport + ">",
					wire.Route:   route,
					wire.To:      "<sip:201@[2001:db8::2]>",
				} {
					if got := string(m.Get(h)); !strings.HasPrefix(got, want) {
						t.Errorf("%v: %s, want %s", h, got, want)
					}
				}
				if !strings.HasPrefix(string(m.URI()), "sip:201@[2001:db8::2];") {
					t.Errorf("Request-URI %s", m.URI())
				}
				if body := string(m.Body()); strings.Count(body, "IN IP6 2001:db8::1\r\n") != 2 || strings.Contains(body, "IP4") {
					t.Errorf("described with\n%s", body)
				}
				p.send(p.response(m, 200, p.contact(), ""))
				if got := string(p.expect("ACK").URI()); !strings.HasPrefix(got, "sip:201@"+phone6) {
					t.Errorf("ACK for %s", got)
				}
				refer := p.expect("REFER")
				if got := string(refer.Get(wire.ReferTo)); got != "<sip:202@[2001:db8::3]>" {
					t.Errorf("Refer-To: %s", got)
				}
				p.send(p.response(refer, 202, p.contact(), ""))
				hold := p.wants(200, p.inDialog("INVITE", 1, sdpHeader, sdpOf(4000)))
				if body := string(hold.Body()); strings.Count(body, "IN IP6 2001:db8::1\r\n") != 2 {
					t.Errorf("the re-INVITE was answered with\n%s", body)
				}
				if got := string(hold.Get(wire.Contact)); got != "<sip:callcontroller@"+our6+";transport="+transport+">" {
					t.Errorf("Contact: %s", got)
				}
				p.send(p.inDialog("ACK", 1, "", ""))
				p.wants(200, p.notify(2, "180 Ringing", "active"))
				p.hungUp()
				<-c.Done()
				if c.Err() != nil {
					t.Errorf("ended with %v", c.Err())
				}
				r.empty()
			})
		})
	}
}

// A phone with IPv6 joined with one, or with one that has IPv4: each leg's
// origin is of its own family (RFC 4566 §5.2), what the phones say of
// themselves passes as it is.
func TestBridgedCallOverIPv6(t *testing.T) {
	for _, called := range []string{called6, calledAddr} {
		t.Run(called, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, "", bothFamilies)
				defer r.stop()
				p := &rawPair{rig: r, a: raw6(rawUDP(t, n, phone6)), b: rawUDP(t, n, called)}
				ours, family := "10.0.0.1", "IP4"
				if called == called6 {
					raw6(p.b)
					ours, family = "2001:db8::1", "IP6"
				}
				var err error
				p.call, err = r.sw.Place(t.Context(), spec(func(s *Spec) {
					s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@[2001:db8::2]", "202@"+strings.TrimSuffix(called, ":5060")
				}), Invite)
				if err != nil {
					t.Fatal(err)
				}
				sdp := func(addr string, port int) string {
					return fmt.Sprintf("v=0\r\no=phone 1 1 IN %s\r\ns=-\r\nc=IN %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n", addr, addr, port)
				}
				p.a.invite = p.a.expect("INVITE")
				p.a.send(p.a.response(p.a.invite, 200, p.a.contact()+sdpHeader, sdp("IP6 2001:db8::2", 4000)))
				p.a.expect("ACK")
				p.b.invite = p.b.expect("INVITE")
				if got := string(p.b.invite.Get(wire.Contact)); !strings.Contains(got, ours) {
					t.Errorf("Contact: %s", got)
				}
				p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdp(family+" 2001:db8::3", 5000)))
				m := p.a.expect("INVITE")
				if body := string(m.Body()); !strings.Contains(body, " IN IP6 2001:db8::1\r\n") ||
					!strings.Contains(body, "c=IN "+family+" 2001:db8::3\r\n") {
					t.Errorf("A was offered\n%s", body)
				}
				p.a.send(p.a.response(m, 200, p.a.contact()+sdpHeader, sdp("IP6 2001:db8::2", 4001)))
				p.a.expect("ACK")
				if body := string(p.b.expect("ACK").Body()); !strings.Contains(body, " IN "+family+" "+ours+"\r\n") ||
					!strings.Contains(body, "c=IN IP6 2001:db8::2\r\n") {
					t.Errorf("B was answered\n%s", body)
				}
				synctest.Wait()
				p.a.send(p.a.inDialog("INFO", 1, "", ""))
				p.b.ok(p.b.expect("INFO"), "", "")
				p.a.response1(200)
				p.call.stop(ErrHungUpByUser)
				p.over("")
				r.empty()
			})
		})
	}
}

// A host with addresses of both families: the second is tried when the first
// does not take the call, each from the socket of its family.
func TestHopsOfBothFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"},
			Hosts: map[string][]netip.Addr{"proxy.example": {netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::2")}}})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Close()
		r := newRig(t, n, "proxy.example:5060", bothFamilies, func(c *Config) { c.Resolver = res })
		defer r.stop()
		v4, v6 := rawUDP(t, n, proxyAddr), raw6(rawUDP(t, n, phone6))
		c := r.place(spec())
		m := v4.expect("INVITE")
		if via := string(m.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/UDP "+ourAddr) {
			t.Errorf("Via: %s", via)
		}
		v4.send(v4.response(m, 503, "", ""))
		v4.expect("ACK")
		m = v6.expect("INVITE")
		if via := string(m.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/UDP "+our6) {
			t.Errorf("Via: %s", via)
		}
		v6.send(v6.response(m, 486, "", ""))
		v6.expect("ACK")
		<-c.Done()
		r.empty()
	})
}

// An address of the family that we have no socket of is told, and no reason to fail
// with what the INVITE's way can do.
func TestContactOfTheOtherFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, proxyAddr)
		defer r.stop()
		p := rawUDP(t, n, proxyAddr)
		c := r.place(spec())
		p.send(p.response(p.expect("INVITE"), 200, "Contact: <sip:201@[2001:db8::2]>\r\n", ""))
		if got := string(p.expect("ACK").URI()); got != "sip:201@[2001:db8::2]" {
			t.Errorf("ACK for %s", got)
		}
		p.send(p.response(p.expect("REFER"), 603, "", ""))
		p.hungUp()
		<-c.Done()
		r.empty()

		_, err := r.sw.transport.Path(t.Context(), resolve.Hop{Transport: "udp", Addr: netip.MustParseAddrPort(phone6)})
		if err == nil || !strings.Contains(err.Error(), "add one to sip.listen") {
			t.Errorf("%v", err)
		}
	})
}

// The messages of RFC 5118, with what their sender gets.
func TestIPv6TortureMessages(t *testing.T) {
	for _, c := range []struct {
		name, section string
		code          int
		why           string
	}{
		{"ipv6-good", "4.1", 405, "well-formed; we are no registrar"},
		{"ipv6-bad", "4.2", 400, "no brackets"},
		{"port-ambiguous", "4.3", 405, "well-formed: 5070 is part of the address"},
		{"port-unambiguous", "4.4", 405, "well-formed"},
		{"via-received-param-with-delim", "4.5", 481, "well-formed; no such call"},
		{"via-received-param-no-delim", "4.5", 200, "as good as with them"},
		{"ipv6-in-sdp", "4.6", 404, "well-formed; nobody can be called here"},
		{"mult-ip-in-header", "4.7", 481, "well-formed; no such call"},
		{"mult-ip-in-sdp", "4.8", 404, "well-formed"},
		{"ipv4-mapped-ipv6", "4.9", 404, "well-formed"},
		{"ipv6-bug-abnf-3-colons", "4.10", 200, "to be tolerated"},
		{"ipv6-correct-abnf-2-colons", "4.10", 200, "well-formed"},
	} {
		t.Run(c.section+" "+c.name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("..", "testdata", "rfc5118", c.name+".dat"))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, phoneAddr, bothFamilies)
				defer r.stop()
				for _, from := range []string{"[2001:db8::9:1]:5060", "10.0.0.66:5060"} {
					p := rawUDP(t, n, from)
					if strings.HasPrefix(from, "[") {
						raw6(p)
					}
					listener := p
					if m, _ := wire.Parse([]byte(string(data))); m != nil {
						if via, ok := m.TopVia(); ok {
							if to := wire.SentByAddr(via, mustAddrPort(from)); to.String() != from {
								listener = rawUDP(t, n, to.String())
							}
						}
					}
					p.send(string(data))
					m := listener.read(time.Second)
					if m == nil || m.Code() != c.code {
						t.Errorf("by UDP from %s: %s, want %d (%s)", from, show(m), c.code, c.why)
					} else if via := string(m.Get(wire.Via)); strings.HasPrefix(from, "[") && strings.Contains(c.name, "good") &&
						strings.Contains(via, "received") {
						t.Errorf("Via: %s, though it came from there", via)
					}
				}
				for _, to := range []string{our6, ourAddr} {
					for _, step := range []int{len(data), 1} {
						conn, err := n.DialFrom("2001:db8::66")(t.Context(), "tcp", to)
						if err != nil {
							t.Fatal(err)
						}
						p := &rawPhone{t: t}
						p.use(conn)
						for i := 0; i < len(data); i += step {
							p.send(string(data[i:min(i+step, len(data))]))
						}
						if m := p.read(time.Second); m == nil || m.Code() != c.code {
							t.Errorf("by TCP to %s, %d bytes at a time: %s, want %d (%s)", to, step, show(m), c.code, c.why)
						}
					}
				}
				raw6(rawUDP(t, n, "[2001:db8::67]:5060")).wants(200, stranger("OPTIONS", ""))
				r.empty()
			})
		})
	}
}

// Real sockets on ::1, beside such on 127.0.0.1.
func TestSocketsOfBothFamilies(t *testing.T) {
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6: ", err)
	} else {
		c.Close()
	}
	res, err := resolve.New(resolve.Config{Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	start := func() (*Switchboard, func()) {
		sw, err := New(Config{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0", "tcp:[::1]:0"}, Resolver: res},
			slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- sw.Serve(ctx) }()
		return sw, func() { stop(); <-served }
	}
	one, stopOne := start()
	defer stopOne()
	two, stopTwo := start()
	defer stopTwo()
	for _, a := range two.Addrs() {
		transport, addr, _ := strings.Cut(a, ":")
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		found, err := one.Probe(ctx, resolve.Hop{Transport: transport, Addr: mustAddrPort(addr)}, Probe{Method: "OPTIONS"})
		stop()
		if err != nil || found.Code != 200 {
			t.Errorf("OPTIONS to %s: %v", a, err)
			continue
		}
		if _, host := found.over.Local(); strings.HasPrefix(host, "[::1]:") != strings.HasPrefix(addr, "[::1]:") {
			t.Errorf("to %s we say %s", a, host)
		}
	}
}

package sipflow

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// long is a Subject that takes a request past what a datagram should hold.
var long = strings.Repeat("a long story ", 100)

func longSubject(s *Spec) { s.Subject = long }

// dialled counts the connections that are opened, by address.
type dialled struct {
	mu sync.Mutex
	to map[string]int
}

func (d *dialled) count(addr string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.to[addr]
}

func (d *dialled) all() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.to)
}

// dials counts the connections that are asked for.
func dials(n *siptest.Network, seen *dialled, dial func(ctx context.Context, addr string) (net.Conn, error)) func(*Config) {
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) { return n.DialContext(ctx, "tcp", addr) }
	}
	return func(c *Config) {
		c.Network.DialTCP = func(ctx context.Context, addr string) (net.Conn, error) {
			seen.mu.Lock()
			seen.to[addr]++
			seen.mu.Unlock()
			return dial(ctx, addr)
		}
	}
}

// RFC 3261 §18.1.1: what may not fit a datagram goes over a connection to the
// same hop, and only the Via tells.
func TestLargeRequestGoesOverAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		udp, tcp := rawUDP(t, n, phoneAddr), rawTCP(t, n, phoneAddr)
		c := r.place(spec(longSubject))
		tcp.accept()
		m := tcp.expect("INVITE")
		if via := string(m.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/TCP "+ourAddr+";rport;branch=") {
			t.Errorf("Via: %s", via)
		}
		if got := string(m.Get(wire.Contact)); got != "<sip:callcontroller@"+ourAddr+";transport=udp>" {
			t.Errorf("Contact: %s", got)
		}
		if got := string(m.Get(wire.Subject)); got != strings.TrimSpace(long) {
			t.Errorf("Subject: %s", got)
		}
		udp.quiet(10 * time.Second) // nor is it repeated there
		tcp.send(tcp.response(m, 486, "", ""))
		if ack := tcp.expect("ACK"); !strings.HasPrefix(string(ack.Get(wire.Via)), "SIP/2.0/TCP ") {
			t.Errorf("the ACK has Via: %s", ack.Get(wire.Via))
		}
		<-c.Done()

		c = r.place(spec(longSubject))
		udp.invite = tcp.expect("INVITE")
		tcp.send(tcp.response(udp.invite, 200, udp.contact(), ""))
		udp.expect("ACK") // small, and where the Contact says
		udp.send(udp.response(udp.expect("REFER"), 202, udp.contact(), ""))
		udp.wants(200, udp.notify(1, "180 Ringing", "active"))
		udp.hungUp()
		<-c.Done()
		r.empty()
	})
}

func TestLargeInviteOverAConnectionIsCancelledThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		udp, tcp := rawUDP(t, n, phoneAddr), rawTCP(t, n, phoneAddr)
		c := r.place(spec(longSubject))
		tcp.accept()
		m := tcp.expect("INVITE")
		tcp.send(tcp.response(m, 180, "", ""))
		synctest.Wait()
		c.stop(ErrHungUpByUser)
		cancel := tcp.expect("CANCEL")
		if string(cancel.Get(wire.Via)) != string(m.Get(wire.Via)) {
			t.Errorf("CANCEL with Via: %s, INVITE with %s", cancel.Get(wire.Via), m.Get(wire.Via))
		}
		tcp.send(tcp.response(cancel, 200, "", ""))
		tcp.send(tcp.response(m, 487, "", ""))
		tcp.expect("ACK")
		udp.quiet(time.Second)
		<-c.Done()
		r.empty()
	})
}

// Where no connection can be had the request goes by UDP after all, and the
// next one without asking.
func TestLargeRequestGoesByUDPAfterAll(t *testing.T) {
	for _, c := range []struct {
		name   string
		dial   func(ctx context.Context, addr string) (net.Conn, error)
		after  time.Duration
		adjust func(*Config)
		asked  int
	}{
		{name: "refused", asked: 1},
		{name: "swallowed", asked: 1, after: largeDial, dial: func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{name: "reset once the request is out", asked: 1, dial: func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { far.Read(make([]byte, 1<<16)); far.Close() }()
			return tcpAddrs{near}, nil
		}},
		{name: "reset before", asked: 1, dial: func(context.Context, string) (net.Conn, error) {
			near, far := net.Pipe()
			far.Close()
			return tcpAddrs{near}, nil
		}},
		{name: "no TCP here", adjust: func(c *Config) { c.Listen = c.Listen[:1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				seen := &dialled{to: map[string]int{}}
				adjust := []func(*Config){dials(n, seen, c.dial)}
				if c.adjust != nil {
					adjust = append(adjust, c.adjust)
				}
				r := newRig(t, n, phoneAddr, adjust...)
				defer r.stop()
				p := rawUDP(t, n, phoneAddr)
				for i := range 2 {
					start := time.Now()
					call := r.place(spec(longSubject))
					m := p.expect("INVITE")
					if via := string(m.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/UDP "+ourAddr) {
						t.Errorf("Via: %s", via)
					}
					want := siptest.DefaultDelay
					if i == 0 {
						want += c.after
					}
					if got := time.Since(start); got != want {
						t.Errorf("INVITE %d after %v, want %v", i+1, got, want)
					}
					p.send(p.response(m, 486, "", ""))
					p.expect("ACK")
					<-call.Done()
				}
				if seen.count(phoneAddr) != c.asked {
					t.Errorf("%d connections were asked for, want %d", seen.count(phoneAddr), c.asked)
				}
				time.Sleep(datagramsOnly)
				call := r.place(spec(longSubject))
				p.send(p.response(p.expect("INVITE"), 486, "", ""))
				p.expect("ACK")
				<-call.Done()
				if seen.count(phoneAddr) != 2*c.asked {
					t.Errorf("after %v %d connections were asked for, want %d", datagramsOnly, seen.count(phoneAddr), 2*c.asked)
				}
				r.empty()
			})
		})
	}
}

// tcpAddrs gives a pipe the address of the phone.
type tcpAddrs struct{ net.Conn }

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (tcpAddrs) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(mustAddrPort(phoneAddr)) }

// Credentials may be what makes a request large.
func TestRequestThatCredentialsMakeLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		udp, tcp := rawUDP(t, n, phoneAddr), rawTCP(t, n, phoneAddr)
		c := r.place(spec(func(s *Spec) { s.Subject = strings.Repeat("x", 300) }))
		m := udp.expect("INVITE")
		udp.send(udp.response(m, 401, fmt.Sprintf("WWW-Authenticate: Digest realm=\"sipx.test\", nonce=%q\r\n", strings.Repeat("n", 400)), ""))
		udp.expect("ACK")
		tcp.accept()
		again := tcp.expect("INVITE")
		if again.Get(wire.Authorization) == nil || again.Seq() != m.Seq()+1 || len(again.Raw()) <= maxDatagram || len(m.Raw()) > maxDatagram {
			t.Errorf("%d bytes, then %d:\n%s", len(m.Raw()), len(again.Raw()), again.Raw())
		}
		tcp.send(tcp.response(again, 486, "", ""))
		tcp.expect("ACK")
		<-c.Done()
		r.empty()
	})
}

// longSDP is a description with many codecs.
func longSDP(port int) string {
	return sdpOf(port) + strings.Repeat("a=rtpmap:96 opus/48000/2\r\n", 60)
}

// What is relayed, and the ACK that carries a description, may be large too.
func TestLargeRequestsWithinADialog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := &rawPair{rig: newRig(t, n, ""), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr)}
		defer p.stop()
		tcp := rawTCP(t, n, calledAddr)
		joining := p.ring()
		p.a.send(p.a.response(joining, 200, p.a.contact()+sdpHeader, longSDP(4001)))
		p.a.expect("ACK")
		tcp.accept()
		ack := tcp.expect("ACK")
		if len(ack.Body()) < 1000 || !strings.HasPrefix(string(ack.Get(wire.Via)), "SIP/2.0/TCP ") {
			t.Errorf("ACK with %d bytes of SDP, Via: %s", len(ack.Body()), ack.Get(wire.Via))
		}
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000))) // repeated
		if again := tcp.expect("ACK"); string(again.Raw()) != string(ack.Raw()) {
			t.Errorf("the repeated 200 got\n%s", again.Raw())
		}

		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, longSDP(4002)))
		m := tcp.expect("INVITE")
		if !strings.Contains(string(m.Body()), "m=audio 4002") || !strings.HasPrefix(string(m.Get(wire.Via)), "SIP/2.0/TCP ") {
			t.Errorf("relayed\n%s", m.Raw())
		}
		tcp.send(tcp.response(m, 200, p.b.contact()+sdpHeader, sdpOf(5002)))
		p.b.expect("ACK")
		p.a.response1(200)
		p.a.send(p.a.ack(1, ""))
		synctest.Wait()
		p.call.stop(ErrHungUpByUser)
		p.over("")
		p.empty()
	})
}

// A phone that a proxy led us to must not have us connect to hosts it chose.
func TestLargeRequestOpensNoConnectionForAForeignContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		seen := &dialled{to: map[string]int{}}
		r := newRig(t, n, proxyAddr, dials(n, seen, nil))
		defer r.stop()
		proxy, victim := rawUDP(t, n, proxyAddr), rawUDP(t, n, "10.0.0.77:25")
		n.ListenTCP("10.0.0.77:25")
		c, err := r.sw.Place(t.Context(), spec(func(s *Spec) { s.ConfPIN = strings.Repeat("1", 1200) }), Refer)
		if err != nil {
			t.Fatal(err)
		}
		m := proxy.expect("INVITE")
		proxy.send(proxy.response(m, 200, "Contact: <sip:201@10.0.0.77:25>\r\n", ""))
		victim.expect("ACK")
		refer := victim.expect("REFER")
		if len(refer.Raw()) <= maxDatagram {
			t.Fatalf("REFER of %d bytes", len(refer.Raw()))
		}
		victim.send(victim.response(refer, 403, "", ""))
		victim.hungUp()
		<-c.Done()
		if seen.count("10.0.0.77:25") != 0 {
			t.Error("a connection was opened")
		}
		r.empty()
	})
}

func TestAddressesWithoutStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d datagrams
		for i := range 2 * maxDatagrams {
			d.remember(mustAddrPort(fmt.Sprintf("10.1.%d.%d:5060", i>>8, i&255)))
			if len(d.until) > maxDatagrams {
				t.Fatalf("%d are kept", len(d.until))
			}
		}
		last := mustAddrPort("10.1.7.255:5060")
		if !d.only(last) {
			t.Error("the latest was forgotten")
		}
		time.Sleep(datagramsOnly + 1)
		if d.only(last) {
			t.Error("remembered for ever")
		}
	})
}

package sipflow

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// A phone, or what stands in its way, names its Contact and its route set. It
// cannot have us talk to ourselves, to what only this machine reaches, or
// connect to hosts it chose. It is hung up the way that the INVITE went.
func TestContactsThatAreNotGoneTo(t *testing.T) {
	for _, c := range []struct{ name, header, says string }{
		{"our own socket", "Contact: <sip:201@10.0.0.1:5060>\r\n", "socket of this service"},
		{"our own socket by its default port", "Contact: <sip:201@10.0.0.1>\r\n", "socket of this service"},
		{"our own socket by TCP", "Contact: <sip:201@10.0.0.1;transport=tcp>\r\n", "socket of this service"},
		{"our own socket as maddr", "Contact: <sip:201@phone.example;maddr=10.0.0.1>\r\n", "socket of this service"},
		{"our own socket as a mapped address", "Contact: <sip:201@[::ffff:10.0.0.1]:5060>\r\n", "socket of this service"},
		{"our own socket as the route", "Contact: <sip:201@10.0.0.2>\r\nRecord-Route: <sip:10.0.0.1;lr>\r\n", "socket of this service"},
		{"loopback", "Contact: <sip:201@127.0.0.1:5060>\r\n", "this machine's own"},
		{"loopback, IPv6", "Contact: <sip:201@[::1]:5060>\r\n", "this machine's own"},
		{"loopback as the route", "Contact: <sip:201@10.0.0.2>\r\nRecord-Route: <sip:127.0.0.1:22;lr>\r\n", "this machine's own"},
		{"link-local", "Contact: <sip:201@169.254.169.254:80>\r\n", "its link's addresses"},
		{"everybody on our network", "Contact: <sip:201@10.0.0.255:5060>\r\n", "broadcast or multicast"},
		{"everybody on our network, to some", "Contact: <sip:201@10.0.0.0>\r\n", "broadcast or multicast"},
		{"everybody on the route", "Contact: <sip:201@10.0.0.2>\r\nRecord-Route: <sip:10.0.0.255;lr>\r\n", "broadcast or multicast"},
		{"everybody as maddr", "Contact: <sip:201@phone.example;maddr=10.0.0.255>\r\n", "broadcast or multicast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				seen := &dialled{to: map[string]int{}}
				r := newRig(t, n, proxyAddr, dials(n, seen, nil))
				defer r.stop()
				r.sw.transport.Crowd(netip.MustParsePrefix("10.0.0.1/24"))
				p := rawUDP(t, n, proxyAddr)
				call := r.place(spec())
				m := p.expect("INVITE")
				p.send(p.response(m, 200, c.header, ""))
				ack, bye := p.expect("ACK"), p.hungUp()
				for _, m := range []*wire.Message{ack, bye} {
					if string(m.URI()) != "sip:201@sipx.test" || string(m.Get(wire.Route)) != "<sip:"+proxyAddr+";lr>" {
						t.Errorf("%s %s by %s", m.Method(), m.URI(), m.Get(wire.Route))
					}
				}
				<-call.Done()
				if call.Err() == nil || !strings.Contains(call.Err().Error(), c.says) {
					t.Errorf("ended with %v", call.Err())
				}
				for _, p := range n.Packets() {
					if p.From == p.To || p.To.Addr().IsLoopback() || p.To.Addr().IsLinkLocalUnicast() || r.sw.transport.Many(p.To.Addr()) {
						t.Errorf("%s went to %s", p.Method(), p.To)
					}
				}
				if seen.all() > 0 {
					t.Errorf("connected to %v", seen.to)
				}
				r.empty()
			})
		})
	}
}

// Where we listen on loopback phones may be there.
func TestLoopbackContactWhereWeListenThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, proxyAddr, func(c *Config) { c.Listen = append(c.Listen, "udp:127.0.0.1:5060") })
		defer r.stop()
		proxy, phone := rawUDP(t, n, proxyAddr), rawUDP(t, n, "127.0.0.1:5070")
		call := r.place(spec())
		proxy.send(proxy.response(proxy.expect("INVITE"), 200, "Contact: <sip:201@127.0.0.1:5070>\r\n", ""))
		phone.expect("ACK")
		call.stop(ErrHungUpByUser)
		m := phone.expect1()
		if m.Method() == "REFER" {
			phone.send(phone.response(m, 202, "", ""))
			m = phone.expect1()
		}
		phone.send(phone.response(m, 200, "", ""))
		<-call.Done()
		r.empty()
	})
}

func TestNextHopThatIsOurselves(t *testing.T) {
	for _, hop := range []string{ourAddr, ourAddr + ";transport=tcp"} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, hop)
			defer r.stop()
			_, err := r.sw.Place(t.Context(), spec(), Refer)
			if !errors.Is(err, ErrUnreachable) || !errors.Is(err, transport.ErrOwn) {
				t.Errorf("Place: %v", err)
			}
			if len(n.Packets()) > 0 {
				t.Error("something was sent")
			}
			r.empty()
		})
	}
}

// A dialog that came by UDP opens connections only to those who have a part in it.
func TestContactByTCPOfAPhoneCalledByUDP(t *testing.T) {
	for _, c := range []struct {
		contact string
		dialled bool
	}{
		{"<sip:201@10.0.0.77:25;transport=tcp>", false},
		{"<sip:201@10.0.0.9:5070;transport=tcp>", true}, // the proxy's address
		{"<sip:201@10.0.0.8:5070;transport=tcp>", true}, // another outbound proxy's
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			seen := &dialled{to: map[string]int{}}
			r := newRig(t, n, proxyAddr, dials(n, seen, nil), func(c *Config) { c.OutboundProxies = append(c.OutboundProxies, "sip:10.0.0.8") })
			defer r.stop()
			p := rawUDP(t, n, proxyAddr)
			call := r.place(spec())
			p.send(p.response(p.expect("INVITE"), 200, "Contact: "+c.contact+"\r\n", ""))
			ack := p.expect("ACK") // by UDP, where nobody takes connections, too
			if got := "<" + string(ack.URI()) + ">"; got != c.contact {
				t.Errorf("ACK for %s", got)
			}
			call.stop(ErrHungUpByUser)
			for m := p.expect1(); ; m = p.expect1() {
				p.send(p.response(m, 200, "", ""))
				if m.Method() == "BYE" {
					break
				}
			}
			<-call.Done()
			if (seen.all() > 0) != c.dialled {
				t.Errorf("%s: connections to %v", c.contact, seen.to)
			}
			r.empty()
		})
	}
}

// Within a call such a Contact is refused, and the call goes on as it was.
func TestRequestsThatNameWhereWeDoNotGo(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		own, loop := "<sip:201@10.0.0.1>", "<sip:201@127.0.0.1>"
		const was = "<sip:201@" + phoneAddr + ">"
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002), was, own))
		p.a.response1(482)
		p.a.send(p.a.ack(1, ""))
		p.a.wants(403, p.a.inDialog("UPDATE", 2, "", "", was, loop))
		p.a.wants(482, p.a.inDialog("REFER", 3, "Refer-To: <sip:202@10.0.0.1>\r\n", ""))
		p.a.send(p.a.inDialog("INFO", 4, "", "", was, own)) // says nothing there
		p.b.ok(p.b.expect("INFO"), "", "")
		p.a.response1(200)
		p.b.send(p.b.inDialog("INFO", 1, "", ""))
		p.a.ok(p.a.expect("INFO"), "", "") // still where it was
		p.b.response1(200)
		p.a.send(p.a.inDialog("INVITE", 5, sdpHeader, sdpOf(4002)))
		m := p.b.expect("INVITE")
		p.b.send(p.b.response(m, 200, "Contact: <sip:202@10.0.0.1>\r\n"+sdpHeader, sdpOf(5002)))
		p.b.expect("ACK")
		p.a.response1(200)
		p.a.send(p.a.ack(5, ""))
		synctest.Wait()
		p.a.send(p.a.inDialog("UPDATE", 6, sdpHeader, sdpOf(4003)))
		p.b.send(p.b.response(p.b.expect("UPDATE"), 200, "Contact: <sip:202@10.0.0.1>\r\n"+sdpHeader, sdpOf(5003)))
		p.a.response1(200)
		p.a.send(p.a.inDialog("INFO", 7, "", ""))
		p.b.ok(p.b.expect("INFO"), "", "") // still where it was
		p.a.response1(200)
		p.hangUp()
	})
}

// RFC 7332: what goes from one phone to the other has one hop less, so that it
// ends where two of us lead to each other.
func TestMaxForwardsOfWhatIsRelayed(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		seq := 0
		for _, c := range []struct{ in, out string }{
			{"70", "69"}, {"255", "254"}, {"2", "1"}, {"1", "0"}, {"", "70"}, {"0", ""},
		} {
			for _, method := range []string{"INFO", "MESSAGE", "INVITE"} {
				seq++
				header := ""
				if c.in != "" {
					header = "Max-Forwards: " + c.in + "\r\n"
				}
				body := ""
				if method == "INVITE" {
					header, body = header+sdpHeader, sdpOf(4000+seq)
				}
				msg := p.a.inDialog(method, seq, header, body)
				if c.out == "" {
					p.a.send(msg)
					p.a.response1(483)
					if method == "INVITE" {
						p.a.send(p.a.ack(seq, ""))
					}
					continue
				}
				p.a.send(msg)
				m := p.b.expect(method)
				if got := string(m.Get(wire.MaxForwards)); got != c.out {
					t.Errorf("%s with %q went on with %s", method, c.in, got)
				}
				if method == "INVITE" {
					p.b.ok(m, "", sdpOf(5000+seq))
					p.b.expect("ACK")
				} else {
					p.b.ok(m, "", "")
				}
				p.a.response1(200)
				if method == "INVITE" {
					p.a.send(p.a.ack(seq, ""))
					synctest.Wait()
					time.Sleep(time.Second)
				}
			}
		}
		p.hangUp()
	})
}

func TestLiteralAddressesInURIs(t *testing.T) {
	for text, want := range map[string]string{
		"sip:201@sipx.test":                      "",
		"sip:201@sipx.test;maddr=10.0.0.1":       "10.0.0.1:5060",
		"sip:201@10.0.0.1":                       "10.0.0.1:5060",
		"sip:10.0.0.1:6050":                      "10.0.0.1:6050",
		"sips:201@10.0.0.1":                      "10.0.0.1:5061",
		"sip:201@10.0.0.1;transport=TLS":         "10.0.0.1:5061",
		"sip:[2001:db8::1]":                      "[2001:db8::1]:5060",
		"sip:201@[::ffff:10.0.0.1]:" + "5070":    "10.0.0.1:5070",
		"sip:201@10.0.0.1:0":                     "",
		"sip:201@1.example":                      "",
		"sip:201@" + strconv.Itoa(0x0a000001):    "",
		"tel:+4930":                              "",
		"sip:":                                   "",
		"":                                       "",
		"sip:201@[2001:db8::1;maddr=[::1]":       "",
		"sip:201@x;maddr=[2001:db8::2]:whatever": "",
	} {
		got := ""
		if a := uri.AddrPort(text); a.IsValid() {
			got = a.String()
		}
		if got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

// A client may name any host, but none that only this machine reaches.
func TestClientsDoNotReachThisMachineThroughUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "")
		defer r.stop()
		for _, host := range []string{"127.0.0.1", "127.0.0.1:9100;transport=tcp", "169.254.1.2", "[::1]", "[fe80::1]"} {
			_, err := r.sw.Place(t.Context(), spec(func(s *Spec) { s.CallingUser = "x@" + host }), Refer)
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s: %v", host, err)
			}
		}
		if sent := n.Ladder(); sent != "" {
			t.Errorf("sent\n%s", sent)
		}
	})
}

// Of a network the first and the last address are everybody's, of a link between
// two machines none is.
// A caller's Contact, that of a phone within a call, and where a redirection
// leads: none is everybody's.
func TestEverybodyIsNeitherCalledNorCaller(t *testing.T) {
	everybody := func(p *rig) { p.sw.transport.Crowd(netip.MustParsePrefix("10.0.0.1/24")) }
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		everybody(p.rig)
		for i, host := range []string{"10.0.0.255", "255.255.255.255", "224.0.1.75", "[ff05::1]", "0.0.0.0", "10.0.0.0:5070"} {
			p.wants(403, rawInvite("<sip:201@10.0.0.2:5060>", "<sip:201@"+host+">", "raw1", fmt.Sprint("raw", i)))
		}
	})
	byHand(t, func(t *testing.T, p *rawPair) {
		everybody(p.rig)
		p.up()
		p.a.send(p.a.inDialog("INVITE", 1, sdpHeader, sdpOf(4002), "<sip:201@10.0.0.2:5060>", "<sip:201@10.0.0.255>"))
		p.a.response1(403)
		p.a.send(p.a.ack(1, ""))
		if err := p.sw.barred("sip:203@10.0.0.255"); !errors.Is(err, errCrowd) {
			t.Errorf("a redirection there: %v", err)
		}
		if hops, err := p.call.namedHops(t.Context(), "sip:203@10.0.0.255"); err == nil {
			t.Errorf("a client's call goes to %v", hops)
		}
		p.hangUp()
	})
}

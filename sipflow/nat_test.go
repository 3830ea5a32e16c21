package sipflow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// seenAs makes the Via of a response what a server behind a NAT writes.
func seenAs(msg, addr, port string) string {
	return strings.Replace(msg, ";rport;", ";received="+addr+";rport="+port+";", 1)
}

// RFC 3581: a proxy tells where it sees us, and with external-address auto that
// is what we say.
func TestAddressThatTheProxySees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		log := new(syncBuffer)
		r, log := checked(t, n, func(c *Config) {
			c.OutboundProxies, c.ExternalAddress = c.OutboundProxies[:1], "auto"
		})
		defer r.stop()
		p := rawUDP(t, n, proxyAddr)
		says := func(m *wire.Message, host string) {
			t.Helper()
			ip, _, _ := strings.Cut(host, ":")
			if via := string(m.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/UDP "+host+";rport;") {
				t.Errorf("Via: %s, want %s", via, host)
			}
			if m.Method() != "INVITE" {
				return
			}
			if got := string(m.Get(wire.Contact)); got != "<sip:callcontroller@"+host+";transport=udp>" {
				t.Errorf("Contact: %s, want %s", got, host)
			}
			if body := string(m.Body()); strings.Count(body, "IN IP4 "+ip+"\r\n") != 2 {
				t.Errorf("described with\n%s", body)
			}
		}
		answer := func(code int, addr, port string) {
			m := p.expect("OPTIONS")
			p.send(seenAs(p.response(m, code, "", ""), addr, port))
			time.Sleep(time.Second)
		}
		call := func(host string) {
			t.Helper()
			c := r.place(spec())
			m := p.expect1()
			for m.Method() == "OPTIONS" {
				p.send(p.response(m, 200, "", ""))
				m = p.expect1()
			}
			says(m, host)
			// Nobody else is believed, nor the proxy in a response to a call.
			p.send(seenAs(p.response(m, 486, "", ""), "203.0.113.66", "666"))
			p.expect("ACK")
			<-c.Done()
		}
		m := p.expect("OPTIONS")
		says(m, ourAddr)
		p.send(p.response(m, 200, "", "")) // a server without RFC 3581
		time.Sleep(time.Second)
		call(ourAddr)
		answer(200, "10.0.0.1", "5060") // no NAT: nothing to tell
		call(ourAddr)
		answer(404, "198.51.100.7", "40001")
		call("198.51.100.7:40001")
		call("198.51.100.7:40001")
		for _, junk := range [][2]string{{"x", "1"}, {"0.0.0.0", "1"}, {"198.51.100.8", "0"}, {"198.51.100.8", "65536"},
			{"198.51.100.8;x", "junk"}, {"224.0.0.1", "5060"}} {
			answer(200, junk[0], junk[1])
		}
		call("198.51.100.7:40001")
		answer(200, "198.51.100.9", "40002") // the NAT has given us another
		call("198.51.100.9:40002")
		if got := strings.Count(log.String(), "seen from outside"); got != 2 {
			t.Errorf("told %d times:\n%s", got, log)
		}
		// A next hop that is ourselves, from outside.
		if err := r.sw.barred("sip:201@198.51.100.9:40002"); err == nil {
			t.Error("the address seen is not ours")
		}
	})
}

// With a written address, or none, what proxies see changes nothing.
func TestAddressSeenIsNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r, _ := checked(t, n, func(c *Config) { c.OutboundProxies = c.OutboundProxies[:1] })
		defer r.stop()
		p := rawUDP(t, n, proxyAddr)
		p.send(seenAs(p.response(p.expect("OPTIONS"), 200, "", ""), "198.51.100.7", "40001"))
		time.Sleep(time.Second)
		if _, host := pathTo(t, r.sw, proxyAddr).Link.Local(); host != ourAddr {
			t.Errorf("says %s", host)
		}
	})
}

// A phone behind a NAT for which no proxy makes up: its Contact leads nowhere,
// and the dialog goes to where its messages come from.
func TestPhoneBehindANAT(t *testing.T) {
	const outside, elsewhere = "203.0.113.5:41000", "192.168.1.5:5060"
	for _, c := range []struct {
		name, contact, header string
		source                string
		nat                   bool
		to                    string
	}{
		{"private Contact, public source", "192.168.1.5", "", outside, true, outside},
		{"carrier-grade NAT", "100.64.3.4", "", outside, true, outside},
		{"unique local", "[fd00::5]", "", outside, true, outside},
		{"switched off", "192.168.1.5", "", outside, false, elsewhere},
		{"public Contact", "198.51.100.3:5060", "", outside, true, "198.51.100.3:5060"},
		{"both private", "192.168.1.5", "", "10.0.0.2:5060", true, elsewhere},
		{"a proxy in the route", "192.168.1.5", "Record-Route: <sip:198.51.100.3:5060;lr>\r\n", outside, true, "198.51.100.3:5060"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				r := newRig(t, n, c.source, func(cfg *Config) { cfg.NAT = c.nat })
				defer r.stop()
				p := rawUDP(t, n, c.source)
				to := p
				if c.to != c.source {
					to = rawUDP(t, n, c.to)
				}
				call := r.place(spec())
				p.send(p.response(p.expect("INVITE"), 200, fmt.Sprintf("Contact: <sip:201@%s>\r\n", c.contact)+c.header, ""))
				if m := to.expect("ACK"); string(m.URI()) != "sip:201@"+c.contact {
					t.Errorf("ACK for %s", m.URI())
				}
				to.send(to.response(to.expect("REFER"), 603, "", ""))
				to.hungUp()
				<-call.Done()
				r.empty()
			})
		})
	}
}

// It moves, as when the NAT forgets its binding: its next request tells.
func TestPhoneBehindANATThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		const first, later, called = "203.0.113.5:41000", "203.0.113.5:41999", "198.51.100.3:5060"
		r := newRig(t, n, "", func(c *Config) { c.NAT = true })
		defer r.stop()
		const private = "<sip:201@192.168.1.5>"
		p := &rawPair{rig: r, a: rawUDP(t, n, first), b: rawUDP(t, n, called)}
		var err error
		p.call, err = r.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.CallingUser, s.CalledUser = MethodInvite, "201@"+first, "202@"+called
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		contact := "Contact: " + private + "\r\n"
		p.a.invite = p.a.expect("INVITE")
		p.a.send(p.a.response(p.a.invite, 200, contact+sdpHeader, sdpOf(4000)))
		p.a.expect("ACK")
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.response(p.b.invite, 200, p.b.contact()+sdpHeader, sdpOf(5000)))
		p.a.send(p.a.response(p.a.expect("INVITE"), 200, contact+sdpHeader, sdpOf(4001)))
		p.a.expect("ACK")
		p.b.expect("ACK")
		synctest.Wait()

		moved := rawUDP(t, n, later)
		moved.invite = p.a.invite
		moved.send(moved.inDialog("UPDATE", 1, "", "", "<sip:201@"+later+">", private))
		moved.response1(200)
		p.b.send(p.b.inDialog("INFO", 1, "", ""))
		moved.send(moved.response(moved.expect("INFO"), 200, "", ""))
		p.b.response1(200)
		p.call.stop(ErrHungUpByUser)
		moved.hungUp()
		p.b.hungUp()
		<-p.call.Done()
		r.empty()
	})
}

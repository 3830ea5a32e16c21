package sipflow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// other is a spec with a key of its own.
func other(i int) Spec {
	return spec(func(s *Spec) { s.Key.Called = fmt.Sprintf("%d@sipx.test", i) })
}

func TestPlaceWithoutANextHop(t *testing.T) {
	for _, c := range []struct {
		name   string
		hop    string
		adjust func(*Config)
		hurry  time.Duration // of the client; default none
		says   string
	}{
		{name: "the name does not exist", hop: "", says: "sipx.test"},
		{name: "TCP is refused", hop: phoneAddr + ";transport=tcp", says: "refused"},
		{name: "each of two proxies refuses", hop: phoneAddr + ";transport=tcp", says: proxyAddr, adjust: func(c *Config) {
			c.OutboundProxies = append(c.OutboundProxies, "sip:"+proxyAddr+";transport=tcp")
		}},
		{name: "no socket reaches it", hop: "[2001:db8::1]:5060", says: "no UDP socket"},
		{name: "the proxy swallows the connection", hop: phoneAddr + ";transport=tcp", hurry: 5 * time.Second, says: "context deadline exceeded",
			adjust: func(c *Config) {
				c.Network.DialTCP = func(ctx context.Context, addr string) (net.Conn, error) {
					<-ctx.Done()
					return nil, context.Cause(ctx)
				}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}, HostsFile: "/dev/null",
					Exchange: func(_ context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
						return new(dns.Msg).SetRcode(q, dns.RcodeNameError), nil
					}})
				if err != nil {
					t.Fatal(err)
				}
				defer res.Close()
				r := newRig(t, siptest.NewNetwork(), c.hop, func(cfg *Config) {
					cfg.Resolver = res
					if c.adjust != nil {
						c.adjust(cfg)
					}
				})
				defer r.stop()
				ctx := t.Context()
				if c.hurry > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, c.hurry)
					defer stop()
				}
				began := time.Now()
				call, err := r.sw.Place(ctx, spec(), Refer)
				if call != nil || !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, %v; want %q", call, err, c.says)
				}
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("took %v", took)
				}
				synctest.Wait()
				if n := r.sw.Active(); n != 0 {
					t.Errorf("%d calls are active", n)
				}
				r.empty()
			})
		})
	}
}

func TestPlaceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		phone := n.Phone("201", phoneAddr, siptest.Script{NeverAnswer: true})
		defer phone.Close()
		r := newRig(t, n, phoneAddr, func(c *Config) { c.MaxCalls = 3 })
		n.Drop = func(p siptest.Packet) bool { return p.Method() == "CANCEL" } // what is replaced takes long to end
		defer r.stop()
		for i := range 3 {
			r.place(other(i))
		}
		if _, err := r.sw.Place(t.Context(), other(3), Refer); !errors.Is(err, ErrTooManyCalls) {
			t.Errorf("the fourth of three calls: %v", err)
		}
		r.place(other(0)) // takes the place of one, which is hung up
		for range 20 {    // and so does each of these, but not without end
			if _, err := r.sw.Place(t.Context(), other(1), Refer); err != nil && !errors.Is(err, ErrTooManyCalls) {
				t.Errorf("replaced: %v", err)
			}
		}
		if n := r.sw.Active(); n != 6 {
			t.Errorf("%d calls are active", n)
		}
		r.sw.Drain()
		if _, err := r.sw.Place(t.Context(), other(0), Refer); !errors.Is(err, ErrDraining) {
			t.Errorf("while draining: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if n := r.sw.Active(); n != 0 {
			t.Errorf("%d calls are active", n)
		}
		r.empty()
	})
}

// 100 clients ask for the same call at once: all get a result, the last one has
// the call, the phone rings for one at a time.
func TestHundredTimesTheSameCall(t *testing.T) {
	for _, script := range map[string]siptest.Script{
		"phone answers":       {Ring: 3 * time.Second},
		"phone does not ring": {Silent: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			phone := n.Phone("201", phoneAddr, script)
			defer phone.Close()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			calls := make([]*Call, 100)
			var all sync.WaitGroup
			for i := range calls {
				all.Go(func() {
					var err error
					if calls[i], err = r.sw.Place(t.Context(), spec(), Refer); err != nil {
						t.Errorf("Place: %v", err)
					}
				})
			}
			all.Wait()
			last := r.sw.Find(spec().Key)
			if last == nil {
				t.Fatal("none of them has the call")
			}
			time.Sleep(5 * time.Minute)
			good, replaced := 0, 0
			for _, c := range calls {
				<-c.Done()
				switch {
				case errors.Is(c.Err(), ErrReplaced):
					replaced++
				case c == last:
					good++
				}
			}
			if good != 1 || replaced != 99 {
				t.Errorf("%d calls went on, %d were replaced", good, replaced)
			}
			ringing, most := 0, 0
			seen := map[string]bool{}
			for _, p := range n.Packets() {
				m, err := wire.Parse(append([]byte(nil), p.Data...))
				if err != nil || m.Method() != "INVITE" {
					continue
				}
				switch id := string(m.Get(wire.CallID)); {
				case m.IsRequest() && !seen[id]:
					seen[id] = true
					ringing++
				case m.Code() >= 200 && seen[id]:
					seen[id] = false
					ringing--
				}
				most = max(most, ringing)
			}
			if len(seen) > 2 || (!script.Silent && most != 1) {
				t.Errorf("%d INVITEs, %d at a time", len(seen), most)
			}
			if !phone.OnHook() {
				t.Error("the phone is off-hook")
			}
			r.empty()
		})
	}
}

// The service ends: whoever rings is cancelled, whoever answered is hung up
// with a reason, and a phone that says nothing does not hold it up for long.
func TestShutdownHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "", func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		at := func(addr string, i int) Spec {
			s := other(i)
			s.CallingUser = "201@" + addr
			return s
		}
		ringing, up := rawUDP(t, n, phoneAddr), rawUDP(t, n, calledAddr)
		c1, c2 := r.place(at(phoneAddr, 1)), r.place(at(calledAddr, 2))
		ringing.invite = ringing.expect("INVITE")
		ringing.send(ringing.response(ringing.invite, 180, "", ""))
		up.answerAndAccept()
		up.wants(200, up.notify(1, "180 Ringing", "active"))

		var both sync.WaitGroup
		both.Go(func() {
			cancel := ringing.expect("CANCEL")
			if got := string(cancel.Get(wire.Reason)); !strings.HasPrefix(got, "SIP;cause=503") {
				t.Errorf("CANCEL has Reason %q", got)
			}
			if string(cancel.Get(wire.Via)) != string(ringing.invite.Get(wire.Via)) || string(cancel.URI()) != string(ringing.invite.URI()) {
				t.Errorf("this CANCEL is not the INVITE's:\n%s", cancel.Raw())
			}
			ringing.send(ringing.response(cancel, 200, "", ""))
			ringing.send(ringing.response(ringing.invite, 487, "", ""))
			ringing.expect("ACK")
		})
		both.Go(func() {
			if bye := up.hungUp(); !strings.HasPrefix(string(bye.Get(wire.Reason)), "SIP;cause=503") {
				t.Errorf("BYE has Reason %q", bye.Get(wire.Reason))
			}
		})
		began := time.Now()
		r.stop()
		both.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
		for _, c := range []*Call{c1, c2} {
			select {
			case <-c.Done():
			default:
				t.Error("a call goes on")
			}
			if !errors.Is(c.Err(), ErrDraining) {
				t.Errorf("ended with %v", c.Err())
			}
		}
		if _, err := r.sw.Place(t.Context(), spec(), Refer); err == nil {
			t.Error("a call was placed after the end")
		}
		r.empty()
	})
}

func TestShutdownDoesNotWaitForSilentPhones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "", func(c *Config) { c.HangUpOn = Outcome })
		at := func(addr string, i int) Spec {
			s := other(i)
			s.CallingUser = "201@" + addr
			return s
		}
		silent, ringing, up := rawUDP(t, n, proxyAddr), rawUDP(t, n, phoneAddr), rawUDP(t, n, calledAddr)
		calls := []*Call{r.place(at(proxyAddr, 0)), r.place(at(phoneAddr, 1)), r.place(at(calledAddr, 2))}
		silent.expect("INVITE")
		ringing.send(ringing.response(ringing.expect("INVITE"), 180, "", ""))
		up.answerAndAccept()
		began := time.Now()
		err := r.shutdown()
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "3 calls") {
			t.Errorf("Serve: %v", err)
		}
		for _, c := range calls {
			select {
			case <-c.Done():
			default:
				t.Error("a call outlives the service")
			}
		}
		r.empty()
	})
}

// RFC 3263 §4.3: one hop refuses the connection, one responds 503, one works.
func TestFailoverToTheNextHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "10.0.1.1:5060;transport=tcp", func(c *Config) {
			c.OutboundProxies = append(c.OutboundProxies, "sip:10.0.1.2:5060", "sip:"+phoneAddr)
		})
		defer r.stop()
		busy, phone := rawUDP(t, n, "10.0.1.2:5060"), rawUDP(t, n, phoneAddr)
		for i := range 2 {
			c := r.place(other(i))
			if i == 0 {
				first := busy.expect("INVITE")
				busy.send(busy.response(first, 503, "Retry-After: 5\r\n", ""))
				if ack := busy.expect("ACK"); string(ack.Get(wire.Via)) != string(first.Get(wire.Via)) {
					t.Errorf("this ACK is not the INVITE's:\n%s", ack.Raw())
				}
			}
			phone.answerAndAccept() // at once the second time: the others failed a moment ago
			phone.wants(200, phone.notify(1, "180 Ringing", "active"))
			phone.hungUp()
			<-c.Done()
			if c.Err() != nil {
				t.Errorf("the call ended with %v", c.Err())
			}
		}
		if m := busy.read(time.Minute); m != nil {
			t.Errorf("the hop that failed got %s", show(m))
		}
		r.empty()
	})
}

func TestFailoverAfterATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "10.0.1.1:5060", func(c *Config) { c.OutboundProxies = append(c.OutboundProxies, "sip:"+phoneAddr) })
		defer r.stop()
		phone := rawUDP(t, n, phoneAddr)
		began := time.Now()
		c := r.place(spec(func(s *Spec) { s.Timeout = time.Minute }))
		phone.answerAndAccept()
		if took := time.Since(began); took < 32*time.Second || took > 33*time.Second {
			t.Errorf("the second hop was tried after %v", took)
		}
		phone.wants(200, phone.notify(1, "180 Ringing", "active"))
		phone.hungUp()
		<-c.Done()
		if s := r.status(); c.Err() != nil || s != "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 180 Ringing" {
			t.Errorf("ended with %v after %s", c.Err(), s)
		}
		r.empty()
	})
}

// Every hop fails: the call ends with what the last one said.
func TestNoHopIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, "10.0.1.1:5060", func(c *Config) { c.OutboundProxies = append(c.OutboundProxies, "sip:10.0.1.2:5060;transport=tcp") })
		defer r.stop()
		busy := rawUDP(t, n, "10.0.1.1:5060")
		c := r.place(spec())
		busy.send(busy.response(busy.expect("INVITE"), 503, "", ""))
		busy.expect("ACK")
		<-c.Done()
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") || !strings.Contains(err.Error(), "refused") ||
			strings.Contains(err.Error(), "%!") {
			t.Errorf("ended with %v", err)
		}
		r.empty()
	})
}

// A whole call over TCP goes over one connection (RFC 5923).
func TestCallOverTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawTCP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		c := r.place(spec())
		p.accept()
		p.invite = p.expect("INVITE")
		if via := string(p.invite.Get(wire.Via)); !strings.HasPrefix(via, "SIP/2.0/TCP "+ourAddr) {
			t.Errorf("Via %s", via)
		}
		if contact := string(p.invite.Get(wire.Contact)); !strings.Contains(contact, "transport=tcp") {
			t.Errorf("Contact %s", contact)
		}
		if route := string(p.invite.Get(wire.Route)); route != "<sip:"+phoneAddr+";transport=tcp;lr>" {
			t.Errorf("Route %s", route)
		}
		p.send("\r\n\r\n") // a ping (RFC 5626 §3.5.1)
		p.send(p.response(p.invite, 180, "", "") + p.response(p.invite, 200, p.contact(), ""))
		p.expect("ACK")
		p.send(p.response(p.expect("REFER"), 202, p.contact(), "") + p.notify(1, "100 Trying", "active"))
		if m := p.read(time.Second); m == nil || m.Code() != 200 {
			t.Errorf("NOTIFY answered %s", show(m))
		}
		p.wants(200, p.notify(2, "180 Ringing", "active"))
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("ended with %v", c.Err())
		}
		p.wants(200, p.notify(3, "200 OK", "terminated"))
		if got, want := r.status(), "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"; got != want {
			t.Errorf("recorded %s, want %s", got, want)
		}
		r.empty()
	})
}

// Calls to the same hop share a connection (RFC 3261 §18.1.1, RFC 5923): the
// second dials none.
func TestCallsShareTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawTCP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		for i := range 3 {
			c := r.place(other(i))
			if i == 0 {
				p.accept()
			}
			p.answerAndAccept() // over the one that was accepted
			p.wants(200, p.notify(1, "180 Ringing", "active"))
			p.hungUp()
			<-c.Done()
			p.wants(200, p.notify(2, "200 OK", "terminated"))
		}
		r.empty()
	})
}

// The phone's connection is gone: what follows opens another.
func TestConnectionClosedInTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawTCP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr+";transport=tcp")
		defer r.stop()
		c := r.place(spec())
		p.accept()
		p.answerAndAccept()
		p.conn.Close()
		time.Sleep(time.Second)
		// The phone says how it goes over a connection of its own.
		own, err := n.DialFrom("10.0.0.2")(t.Context(), "tcp", ourAddr)
		if err != nil {
			t.Fatal(err)
		}
		p.use(own)
		p.wants(200, p.notify(1, "180 Ringing", "active"))
		p.accept()
		p.hungUp()
		<-c.Done()
		if c.Err() != nil {
			t.Errorf("ended with %v", c.Err())
		}
		r.empty()
	})
}

// A connection is kept as long as its peer pings, and closed when it is silent
// or talks nonsense.
func TestConnectionsThatStayAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr)
		defer r.stop()
		dial := func() net.Conn {
			c, err := r.net.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		open := func() int {
			synctest.Wait()
			_, peers := r.sw.transport.Connections()
			return peers
		}
		pinging, silent, half := dial(), dial(), dial()
		defer pinging.Close()
		defer silent.Close()
		defer half.Close()
		half.Write([]byte(stranger("OPTIONS", "")[:100])) //nolint:errcheck // in memory
		for range 15 {
			time.Sleep(2 * time.Minute)
			pinging.Write([]byte("\r\n\r\n")) //nolint:errcheck // in memory
		}
		if n := open(); n != 1 {
			t.Errorf("%d connections are open, want the one that pings", n)
		}
		p := &rawPhone{t: t}
		p.use(pinging)
		p.wants(200, stranger("OPTIONS", ""))
		p.wants(400, stranger("OPTIONS", "", "Length: 0", "Length: -1")) // told, then closed
		time.Sleep(time.Second)
		if n := open(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// A hop that responds to an OPTIONS is alive (RFC 3261 §11).
func TestOptionsTellsWhetherAHopIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, phoneAddr)
		defer r.stop()
		p, options := rawUDP(t, n, phoneAddr), Probe{Method: "OPTIONS"}
		hop := func(transport, addr string) resolve.Hop {
			return resolve.Hop{Transport: transport, Addr: netip.MustParseAddrPort(addr)}
		}
		go func() { p.send(p.response(p.expect("OPTIONS"), 404, "", "")) }()
		if found, err := r.sw.Probe(t.Context(), hop("udp", phoneAddr), options); err != nil || found.Code != 404 {
			t.Errorf("got %+v, %v", found, err)
		}
		if _, err := r.sw.Probe(t.Context(), hop("udp", proxyAddr), options); !errors.Is(err, ErrUnreachable) {
			t.Errorf("nobody there: %v", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := r.sw.Probe(ctx, hop("udp", proxyAddr), options); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in a hurry: %v", err)
		}
		if _, err := r.sw.Probe(t.Context(), hop("tcp", proxyAddr), options); err == nil {
			t.Error("a closed port is alive")
		}
		r.empty()
	})
}

// A 2xx that comes in the very instant in which we stop waiting for it is
// acknowledged and hung up, whichever is first.
func TestAnswerComesAsTheWaitEnds(t *testing.T) {
	for i := range 40 {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, phoneAddr)
			defer r.stop()
			p := rawUDP(t, n, phoneAddr)
			began := time.Now()
			c := r.place(spec()) // rings for 20 s, and is waited for 32 s more
			p.invite = p.expect("INVITE")
			p.send(p.response(p.invite, 180, "", ""))
			p.send(p.response(p.expect("CANCEL"), 200, "", "")) // and rings on
			time.Sleep(time.Until(began.Add(20*time.Second + tEnd - siptest.DefaultDelay + time.Duration(i-20)*100*time.Nanosecond)))
			p.send(p.response(p.invite, 200, p.contact(), ""))
			p.expect("ACK")
			p.hungUp()
			<-c.Done()
			if !errors.Is(c.Err(), ErrNoAnswer) {
				t.Errorf("ended with %v", c.Err())
			}
			r.empty()
		})
	}
}

// Without a resolver no call is placed, and nothing else breaks.
func TestPlacingNeedsAResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, siptest.NewNetwork(), phoneAddr, func(c *Config) { c.Resolver = nil })
		defer r.stop()
		if _, err := r.sw.Place(t.Context(), spec(), Refer); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Place returned %v", err)
		}
	})
}

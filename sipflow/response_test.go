package sipflow

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// callerByTCP gives a caller a connection to us and a listener at the port of its
// Via.
func callerByTCP(t *testing.T, p *rawInbound) *rawPhone {
	t.Helper()
	caller := &rawPhone{t: t, via: "SIP/2.0/TCP " + phoneAddr, port: phoneAddr, listener: p.rig.net.ListenTCP(phoneAddr)}
	t.Cleanup(func() { caller.listener.Close() })
	conn, err := p.rig.net.DialFrom("10.0.0.2")(t.Context(), "tcp", ourAddr)
	if err != nil {
		t.Fatal(err)
	}
	caller.use(conn)
	return caller
}

func tcpOf(msg string) string { return strings.ReplaceAll(msg, "SIP/2.0/UDP", "SIP/2.0/TCP") }

// reads is the next response with that code and method.
func (p *rawPhone) reads(method string, code int) *wire.Message {
	p.t.Helper()
	for {
		m := p.read(10 * time.Second)
		if m == nil {
			p.t.Fatalf("no %d to %s", code, method)
		}
		if !m.IsRequest() && m.Method() == method && m.Code() == code {
			return m
		}
	}
}

// The connection of an INVITE ends before its response, which comes over a new
// one.
func TestAnAnswerFindsACallerWhoseConnectionHasEnded(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		caller := callerByTCP(t, p)
		caller.send(tcpOf(rawInvite()))
		caller.reads("INVITE", 100)
		caller.conn.Close()
		caller.accept()
		res := caller.reads("INVITE", 200)
		caller.send(tcpOf(within(res, "ACK", 1, "", "")))
		time.Sleep(time.Second)
		caller.wants(200, tcpOf(within(res, "INFO", 2, "", "")))
		if s := p.sw.Stats(); s.StreamsOurs != 0 || s.StreamsPeers != 1 {
			t.Errorf("%d connections of ours, %d of peers", s.StreamsOurs, s.StreamsPeers)
		}
		caller.wants(200, tcpOf(within(res, "BYE", 3, "", "")))
		caller.conn.Close()
	})
}

// A refusal is sent once over a stream: it is not lost either.
func TestARefusalFindsACallerWhoseConnectionHasEnded(t *testing.T) {
	slow := func(ctx context.Context, in *Incoming) error {
		time.Sleep(5 * time.Second)
		return in.Refuse(486, "")
	}
	inboundRaw(t, slow, func(t *testing.T, p *rawInbound) {
		caller := callerByTCP(t, p)
		caller.send(tcpOf(rawInvite()))
		caller.reads("INVITE", 100)
		caller.conn.Close()
		caller.accept()
		res := caller.reads("INVITE", 486)
		caller.send(tcpOf(refusalACK(res)))
		time.Sleep(time.Second)
		caller.conn.Close()
	})
}

func TestAReliableRingingFindsACallerWhoseConnectionHasEnded(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		p.target.SetScript(siptest.Script{Ring: 5 * time.Second, Ringing: 180})
		caller := callerByTCP(t, p)
		caller.send(tcpOf(rawInvite("Max-Forwards", "Supported: 100rel\r\nMax-Forwards")))
		ringing := caller.reads("INVITE", 180)
		caller.conn.Close()
		caller.accept() // for the repeat
		if again := caller.reads("INVITE", 180); string(again.Get(wire.RSeq)) != string(ringing.Get(wire.RSeq)) {
			t.Errorf("RSeq %s, then %s", ringing.Get(wire.RSeq), again.Get(wire.RSeq))
		}
		caller.wants(200, tcpOf(within(ringing, "PRACK", 2, rack(ringing), "")))
		res := caller.reads("INVITE", 200)
		caller.send(tcpOf(within(res, "ACK", 1, "", "")))
		caller.wants(200, tcpOf(within(res, "BYE", 3, "", "")))
		caller.conn.Close()
	})
}

// Within a call the response of the other phone finds its way, too.
func TestAnAnswerWithinACallFindsAPhoneWhoseConnectionHasEnded(t *testing.T) {
	inboundRaw(t, connectTo202, func(t *testing.T, p *rawInbound) {
		caller := callerByTCP(t, p)
		caller.send(tcpOf(rawInvite()))
		res := caller.reads("INVITE", 200)
		caller.send(tcpOf(within(res, "ACK", 1, "", "")))
		time.Sleep(time.Second)
		caller.send(tcpOf(within(res, "INVITE", 2, sdpHeader, sdpOf(4002))))
		caller.conn.Close()
		caller.accept()
		again := caller.reads("INVITE", 200)
		if again.Seq() != 2 {
			t.Errorf("CSeq %d", again.Seq())
		}
		caller.send(tcpOf(within(again, "ACK", 2, "", "")))
		time.Sleep(time.Second)
		caller.wants(200, tcpOf(within(res, "BYE", 3, "", "")))
		caller.conn.Close()
	})
}

// A phone that we have called by TCP sends no other responses over a connection
// that it has closed: neither do we.
func TestAnAnswerToACalledPhoneGoesWhereItWasCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		p := rawTCP(t, n, phoneAddr)
		r := newRig(t, n, phoneAddr+";transport=tcp", func(c *Config) { c.HangUpOn = Outcome })
		defer r.stop()
		c := r.place(spec())
		p.accept()
		p.answerAndAccept()
		p.wants(200, p.notify(1, "180 Ringing", "active"))
		p.send(p.inDialog("INVITE", 2, sdpHeader, sdpOf(4000)))
		p.conn.Close()
		p.accept()
		res := p.reads("INVITE", 200)
		p.send(p.inDialog("ACK", int(res.Seq()), "", ""))
		p.wants(200, p.inDialog("BYE", 3, "", ""))
		<-c.Done()
		p.conn.Close()
		r.empty()
	})
}

// Over TLS only a peer that proves the name in its Via gets a response over a
// new connection.
func TestAnAnswerOverANewTLSConnectionIsForWhomTheViaNames(t *testing.T) {
	for _, certified := range []string{phoneName, "other.test"} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			s := newSecured(t, n, phoneAddr, func(c *Config) {
				c.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: func(ctx context.Context, in *Incoming) error {
					time.Sleep(5 * time.Second)
					return in.Refuse(486, "")
				}}
			})
			defer s.stop()
			dial, err := n.DialFrom("10.0.0.2")(t.Context(), "tcp", ourTLS)
			if err != nil {
				t.Fatal(err)
			}
			l := n.ListenTCP(phoneTLS)
			defer l.Close()
			answers := make(chan string, 1)
			go func() {
				defer close(answers)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				secure := tls.Server(c, s.listener(s.ca.issue(forNames(certified))))
				b := make([]byte, 1000)
				if k, err := secure.Read(b); err == nil {
					answers <- string(b[:k])
				}
			}()
			conn := tls.Client(dial, s.dialer())
			fmt.Fprint(conn, strings.Replace(rawInvite(), "SIP/2.0/UDP "+phoneAddr, "SIP/2.0/TLS "+phoneName+":5061", 1))
			time.Sleep(time.Second)
			conn.Close()
			time.Sleep(time.Minute)
			l.Close()
			if got := <-answers; strings.HasPrefix(got, "SIP/2.0 486 ") != (certified == phoneName) {
				t.Errorf("who is %s got %q", certified, got)
			}
			s.empty()
		})
	}
}

// What belongs to no call has us connect to nobody. A caller has us connect to
// itself at most, and not often: such connections count as if it had opened
// them.
func TestStrangersConnectionsAreNotOpenedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		var mu sync.Mutex
		var dialled []string
		var last net.Conn
		r := newRig(t, n, phoneAddr, func(c *Config) {
			c.Limits.StreamsPerSource = 4
			c.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Take: refuse486}
			dial := c.Network.DialTCP
			c.Network.DialTCP = func(ctx context.Context, addr string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				if len(dialled) == 0 || dialled[len(dialled)-1] != addr { // for 100, then for 486
					dialled = append(dialled, addr)
				}
				return dial(ctx, addr)
			}
		})
		defer r.stop()
		r.sw.transport.Receive = func(m *wire.Message, from transport.Path) { // his connection has ended by then
			mu.Lock()
			last.Close()
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			r.sw.receive(m, from)
		}
		asks := func(method, via string, number int) {
			t.Helper()
			conn, err := n.DialFrom("10.0.0.66")(t.Context(), "tcp", ourAddr)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			last = conn
			mu.Unlock()
			fmt.Fprint(conn, stranger(method, "Contact: <sip:s@10.0.0.66>\r\n", "UDP phone.lan:5066", "TCP "+via, "bKs", fmt.Sprint("bK", number),
				"Call-ID: stranger", fmt.Sprint("Call-ID: ", number)))
			time.Sleep(5 * time.Second)
		}
		for method, want := range map[string]string{"OPTIONS": "",
			"INVITE": "10.0.0.66:5060 10.0.0.66:22 10.0.0.66:5060 10.0.0.66:5061 10.0.0.66:5060 10.0.0.66:6001 10.0.0.66:5060"} {
			dialled = nil
			for i, via := range []string{"10.0.0.77:5060", "localhost:22", "10.0.0.66", "[::1]:5061", "10.0.0.1:5060", "10.0.0.66 : 6001",
				"x:99999"} {
				asks(method, via, i)
			}
			mu.Lock()
			if got := strings.Join(dialled, " "); got != want {
				t.Errorf("%s has us connect to %q, want %q", method, got, want)
			}
			mu.Unlock()
		}
		// Each at a port of his that takes connections.
		for i := range 9 {
			l := n.ListenTCP(fmt.Sprintf("10.0.0.66:%d", 7000+i))
			defer l.Close()
			asks("INVITE", fmt.Sprint("x:", 7000+i), 100+i)
		}
		if s := r.sw.Stats(); s.StreamsOurs != 0 || s.StreamsPeers != 4 {
			t.Errorf("%d connections of ours, %d of peers", s.StreamsOurs, s.StreamsPeers)
		}
		time.Sleep(transport.StreamIdle)
		if s := r.sw.Stats(); s.StreamsOurs+s.StreamsPeers != 0 {
			t.Errorf("%d connections of ours, %d of peers stay", s.StreamsOurs, s.StreamsPeers)
		}
		r.empty()
	})
}

// Strangers whose ports swallow what comes do not keep others from their responses:
// neither by requests that belong to no call, nor by calls.
func TestARefusalFindsItsCallerThoughStrangersReconnect(t *testing.T) {
	for _, method := range []string{"OPTIONS", "INVITE"} {
		t.Run(method, func(t *testing.T) {
			adjust := func(c *Config) {
				c.Limits.Known = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.2") }
				dial := c.Network.DialTCP
				c.Network.DialTCP = func(ctx context.Context, addr string) (net.Conn, error) {
					if strings.HasPrefix(addr, "10.0.1.") {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return dial(ctx, addr)
				}
			}
			slow := func(ctx context.Context, in *Incoming) error {
				if in.From.User == "201" {
					time.Sleep(5 * time.Second)
				}
				return in.Refuse(486, "")
			}
			inboundRaw(t, slow, func(t *testing.T, p *rawInbound) {
				over := make(chan struct{})
				var strangers sync.WaitGroup
				for a := range 10 {
					ip := fmt.Sprintf("10.0.1.%d", a+1)
					strangers.Go(func() {
						for k := 0; ; k++ {
							select {
							case <-over:
								return
							case <-time.After(97 * time.Millisecond):
							}
							conn, err := p.rig.net.DialFrom(ip)(context.Background(), "tcp", ourAddr)
							if err != nil {
								continue
							}
							b := ""
							for i := range 2 {
								id := fmt.Sprint(ip, ".", 2*k+i)
								b += stranger(method, "Contact: <sip:s@10.0.0.66>\r\n", "UDP phone.lan:5066", fmt.Sprintf("TCP %s:%d", ip, 1000+2*k+i), "bKs",
									"bK"+id, "Call-ID: stranger", "Call-ID: "+id)
							}
							fmt.Fprint(conn, b)
							conn.Close()
						}
					})
				}
				time.Sleep(2 * time.Second)
				caller := callerByTCP(t, p)
				caller.send(tcpOf(rawInvite()))
				caller.reads("INVITE", 100)
				caller.conn.Close()
				came := make(chan net.Conn, 1)
				go func() {
					c, _ := caller.listener.Accept()
					came <- c
				}()
				select {
				case c := <-came:
					caller.use(c)
					caller.send(tcpOf(refusalACK(caller.reads("INVITE", 486))))
				case <-time.After(time.Minute):
					t.Error("the refusal has not come")
					caller.listener.Close()
				}
				close(over)
				strangers.Wait()
				time.Sleep(10 * time.Second)
				if n := p.sw.transport.Reconnecting(); n != 0 {
					t.Errorf("%d responses still wait for a connection", n)
				}
				caller.conn.Close()
			}, adjust)
		})
	}
}

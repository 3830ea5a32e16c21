package sipflow

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"sipxrest/resolve"
	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/wire"
)

// syncBuffer is a log that a test reads while others write it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// logTo writes to a buffer once there is one.
type logTo struct{ b atomic.Pointer[syncBuffer] }

func (l *logTo) Write(p []byte) (int, error) {
	if b := l.b.Load(); b != nil {
		return b.Write(p)
	}
	return len(p), nil
}

// checked starts a switchboard with two outbound proxies whose health is
// checked every 30 s, and what it logs.
func checked(t *testing.T, n *siptest.Network, adjust ...func(*Config)) (*rig, *syncBuffer) {
	log := new(syncBuffer)
	r := newRig(t, n, proxyAddr, append([]func(*Config){func(c *Config) {
		c.HealthInterval = 30 * time.Second
		c.OutboundProxies = append(c.OutboundProxies, "sip:10.0.0.8:5060")
	}}, adjust...)...)
	r.log.b.Store(log)
	return r, log
}

// server responds to every OPTIONS with a code, 0 for none, and counts them.
type server struct {
	*rawPhone
	mu    sync.Mutex
	code  int
	asked []time.Time
}

func newServer(t *testing.T, n *siptest.Network, addr string, code int) *server {
	s := &server{rawPhone: rawUDP(t, n, addr), code: code}
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 65535)
		for {
			size, _, err := s.udp.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			m, err := wire.Parse(bytes.Clone(b[:size]))
			if err != nil || !m.IsRequest() || m.Method() == "ACK" {
				continue
			}
			s.mu.Lock()
			code := s.code
			if m.Method() == "OPTIONS" {
				s.asked = append(s.asked, time.Now())
			}
			s.mu.Unlock()
			if m.Method() == "INVITE" {
				code = 486
			}
			if code != 0 {
				s.send(s.response(m, code, "", ""))
			}
		}
	})
	t.Cleanup(reader.Wait)
	t.Cleanup(func() { s.udp.Close() })
	return s
}

func (s *server) answers(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = code
}

// served is the address of the server that a call's INVITE goes to first.
func served(t *testing.T, r *rig, n *siptest.Network) string {
	t.Helper()
	at := len(n.Packets())
	c := r.place(spec())
	<-c.Done()
	synctest.Wait()
	for _, p := range n.Packets()[at:] {
		if p.Method() == "INVITE" && p.Status() == 0 {
			return p.To.String()
		}
	}
	t.Fatal("no INVITE was sent")
	return ""
}

func TestProxyThatDoesNotAnswerOptionsGoesLast(t *testing.T) {
	for _, bad := range []int{0, 503} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				first, second := newServer(t, n, proxyAddr, 200), newServer(t, n, "10.0.0.8:5060", 404) // any response will do
				r, log := checked(t, n)
				defer r.stop()
				time.Sleep(5 * time.Second)
				if got := served(t, r, n); got != proxyAddr {
					t.Errorf("with both up the call went to %s", got)
				}
				if strings.Contains(log.String(), "outbound proxy") {
					t.Errorf("logged\n%s", log)
				}
				first.answers(bad)
				time.Sleep(3 * time.Minute)
				if got := served(t, r, n); got != "10.0.0.8:5060" {
					t.Errorf("with the first down the call went to %s", got)
				}
				state := r.sw.Hops()
				if len(state) != 2 || state[0].Up || state[0].Failure == "" || state[0].Proxy != "sip:"+proxyAddr || !state[1].Up ||
					state[1].Trip.Round(time.Millisecond) != 2*siptest.DefaultDelay {
					t.Errorf("state %+v", state)
				}
				if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), "hop=udp:"+proxyAddr) {
					t.Errorf("%d warnings:\n%s", got, log)
				}
				first.answers(200)
				time.Sleep(time.Minute)
				if got := served(t, r, n); got != proxyAddr {
					t.Errorf("with the first up again the call went to %s", got)
				}
				if got := strings.Count(log.String(), "outbound proxy answers again"); got != 1 {
					t.Errorf("%d notes:\n%s", got, log)
				}
				// Both are down: the order is the configured one, and both are used.
				first.answers(0)
				second.answers(0)
				time.Sleep(time.Minute)
				if got := served(t, r, n); got != proxyAddr {
					t.Errorf("with both down the call went to %s", got)
				}
				if state := r.sw.Hops(); !state[0].Up { // it has answered the INVITE
					t.Errorf("state %+v", state)
				}
			})
		})
	}
}

// The checks keep a NAT's binding open, so they come at least as often as asked.
func TestHealthChecksAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		s := newServer(t, n, proxyAddr, 200)
		newServer(t, n, "10.0.0.8:5060", 200)
		r, _ := checked(t, n)
		defer r.stop()
		time.Sleep(20 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		different := map[time.Duration]bool{}
		for i := 1; i < len(s.asked); i++ {
			d := s.asked[i].Sub(s.asked[i-1])
			if d < 24*time.Second || d > 30*time.Second+10*time.Millisecond {
				t.Errorf("asked after %v", d)
			}
			different[d] = true
		}
		if len(s.asked) < 40 || len(different) < 10 {
			t.Errorf("asked %d times, at %d intervals", len(s.asked), len(different))
		}
	})
}

func TestOnlyProxyIsUsedThoughItsChecksFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		newServer(t, n, proxyAddr, 503)
		r, _ := checked(t, n, func(c *Config) { c.OutboundProxies = c.OutboundProxies[:1] })
		defer r.stop()
		time.Sleep(time.Minute)
		if state := r.sw.Hops(); len(state) != 1 || state[0].Up {
			t.Errorf("state %+v", state)
		}
		if got := served(t, r, n); got != proxyAddr {
			t.Errorf("the call went to %s", got)
		}
	})
}

// Nothing is left of checks that were not answered, not even at the end.
func TestHealthChecksLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r, _ := checked(t, n, func(c *Config) { c.HealthInterval = time.Hour })
		time.Sleep(3 * time.Second)
		for i := range r.sw.shards {
			r.sw.shards[i].mu.Lock()
			if k := len(r.sw.shards[i].clients); k != 0 {
				t.Errorf("%d transactions are kept", k)
			}
			r.sw.shards[i].mu.Unlock()
		}
		start := time.Now()
		r.stop()
		if d := time.Since(start); d > time.Second {
			t.Errorf("Serve ended after %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r, _ := checked(t, n)
		time.Sleep(time.Second) // amid a check
		start := time.Now()
		r.stop()
		if d := time.Since(start); d > time.Millisecond {
			t.Errorf("Serve ended after %v", d)
		}
	})
}

// RFC 3261 §21.5.4: a 503 says how long.
func TestRetryAfterIsHonoured(t *testing.T) {
	for _, c := range []struct {
		header string
		avoids time.Duration
	}{
		{"", 30 * time.Second},
		{"Retry-After: 5\r\n", 5 * time.Second},
		{"Retry-After: 120 (maintenance);duration=60\r\n", 2 * time.Minute},
		{"Retry-After: 999999\r\n", maxRetryAfter},
		{"Retry-After: soon\r\n", 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			r := newRig(t, n, proxyAddr, func(cfg *Config) { cfg.OutboundProxies = append(cfg.OutboundProxies, "sip:"+phoneAddr) })
			defer r.stop()
			busy, good := rawUDP(t, n, proxyAddr), newServer(t, n, phoneAddr, 200)
			call := r.place(spec())
			busy.send(busy.response(busy.expect("INVITE"), 503, c.header, ""))
			busy.expect("ACK")
			failed := time.Now()
			<-call.Done()
			time.Sleep(c.avoids - time.Since(failed) - time.Second)
			if got := served(t, r, n); got != good.port {
				t.Errorf("%q: a second before the end the call went to %s", c.header, got)
			}
			time.Sleep(2 * time.Second)
			call = r.place(spec())
			busy.send(busy.response(busy.expect("INVITE"), 486, "", ""))
			<-call.Done()
		})
	}
}

// Over real sockets: the servers of one domain by SRV, of which the first
// refuses the connection, the second says 503, and the third takes the call.
func TestServersOfADomainAreTriedInTheirOrder(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	closed, busy, good := listen(), listen(), listen()
	closed.Close()
	defer busy.Close()
	defer good.Close()
	var zone []dns.RR
	for i, l := range []net.Listener{closed, busy, good} {
		rr, err := dns.NewRR(fmt.Sprintf("_sip._tcp.pbx.example. 60 IN SRV %d 0 %d sip.pbx.example.", i, l.Addr().(*net.TCPAddr).Port))
		if err != nil {
			t.Fatal(err)
		}
		zone = append(zone, rr)
	}
	a, _ := dns.NewRR("sip.pbx.example. 60 IN A 127.0.0.1")
	zone = append(zone, a)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		for _, rr := range zone {
			if rr.Header().Name == q.Question[0].Name && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	})}
	var all sync.WaitGroup
	defer all.Wait()
	started := make(chan struct{})
	names.NotifyStartedFunc = func() { close(started) }
	all.Go(func() { names.ActivateAndServe() })
	<-started
	defer names.Shutdown()

	res, err := resolve.New(resolve.Config{Servers: []string{pc.LocalAddr().String()}, Network: "ip4", Transports: []string{"udp", "tcp"}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	sw, err := New(Config{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, OutboundProxies: []string{"sip:pbx.example"},
		Realm: "pbx.example", Resolver: res,
		HealthInterval: time.Hour}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	all.Go(func() { sw.Serve(ctx) })
	defer stop()

	// Both tell the INVITEs that they got, and respond to OPTIONS with 200.
	type got struct {
		by    string
		again bool // with credentials, or a later transaction
	}
	invites := make(chan got, 8)
	serve := func(name string, l net.Listener, codes ...int) {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		p := &rawPhone{t: t, port: l.Addr().String(), conn: c}
		p.use(c)
		for i := 0; ; {
			m := p.read(20 * time.Second)
			switch {
			case m == nil:
				return
			case m.Method() == "INVITE" && i < len(codes):
				invites <- got{name, i > 0}
				p.send(p.response(m, codes[i], "WWW-Authenticate: Digest realm=\"pbx.example\", nonce=\"n\"\r\n", ""))
				i++
			case m.Method() == "OPTIONS":
				p.send(p.response(m, 200, "", ""))
			}
		}
	}
	all.Go(func() { serve("busy", busy, 503) })
	all.Go(func() { serve("good", good, 401, 486) })
	c, err := sw.Place(ctx, Spec{Key: Key{"200@pbx.example", "201@pbx.example", "202@pbx.example"}, CallingUser: "201@pbx.example",
		CalledUser: "202@pbx.example",
		Timeout:    20 * time.Second, Credentials: Credentials{Username: "200", Password: "secret"}}, Refer)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	// Sticky: the credentials go to the server that challenged.
	for i, want := range []got{{"busy", false}, {"good", false}, {"good", true}} {
		if g := <-invites; g != want {
			t.Errorf("INVITE %d: %+v, want %+v", i+1, g, want)
		}
	}
	if c.Err() == nil || !strings.Contains(c.Err().Error(), "486") {
		t.Errorf("ended with %v", c.Err())
	}
	var state []HopState
	for by := time.Now().Add(10 * time.Second); len(state) != 3 && time.Now().Before(by); runtime.Gosched() {
		state = sw.Hops() // the first check may be later than a call
	}
	if len(state) != 3 {
		t.Fatalf("state %+v", state)
	}
	for _, s := range state {
		if down := s.Hop.Addr.String() == closed.Addr().String(); s.Up == down {
			t.Errorf("%v is up: %v, %s", s.Hop, s.Up, s.Failure)
		}
	}
}

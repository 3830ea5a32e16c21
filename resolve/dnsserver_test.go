package resolve

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zone is what a name server knows. It answers like a resolver: the records of
// the name, or its CNAME and what that leads to, or none and a SOA.
type zone struct {
	mu      sync.Mutex
	records []dns.RR
	negTTL  uint32
	asked   []string                                    // questions in the order received
	answer  func(w dns.ResponseWriter, q *dns.Msg) bool // true: has dealt with q
}

func newZone(t testing.TB, lines ...string) *zone {
	t.Helper()
	z := &zone{negTTL: 60}
	z.set(t, lines...)
	return z
}

func (z *zone) set(t testing.TB, lines ...string) {
	t.Helper()
	var records []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		records = append(records, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = records
}

// questions returns and forgets what was asked, sorted.
func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := z.asked
	z.asked = nil
	slices.Sort(asked)
	return asked
}

func (z *zone) reply(q *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	question := q.Question[0]
	z.asked = append(z.asked, dns.TypeToString[question.Qtype]+" "+strings.TrimSuffix(question.Name, "."))
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	exists := false
	name := question.Name
	for range 10 {
		alias := ""
		for _, rr := range z.records {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c.Target
				m.Answer = append(m.Answer, rr)
			} else if rr.Header().Rrtype == question.Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if len(m.Answer) == 0 {
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600},
			Ns: "ns.example.", Mbox: "host.example.", Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: z.negTTL}}
	}
	return m
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if z.answer != nil && z.answer(w, q) {
		return
	}
	m := z.reply(q)
	if w.LocalAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
			m.SetEdns0(udpSize, false)
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

// exchange answers without a socket.
func (z *zone) exchange(_ context.Context, q *dns.Msg, _ string) (*dns.Msg, error) {
	return z.reply(q), nil
}

// serve runs h on a free port of UDP and TCP.
func serve(t testing.TB, h dns.Handler) string {
	t.Helper()
	var pc net.PacketConn
	var l net.Listener
	for range 20 {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if pc == nil {
		t.Fatal("no port is free for both UDP and TCP")
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		go func() { defer close(ended); s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { s.Shutdown(); <-ended })
	}
	return l.Addr().String()
}

// silent returns the address of a server that never answers.
func silent(t testing.TB) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc.LocalAddr().String()
}

func newResolver(t testing.TB, cfg Config) *Resolver {
	t.Helper()
	nowhere := filepath.Join(t.TempDir(), "none")
	if cfg.HostsFile == "" {
		cfg.HostsFile = nowhere
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = nowhere
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// texts returns hops as their strings.
func texts(hops []Hop) []string {
	out := make([]string, 0, len(hops))
	for _, h := range hops {
		out = append(out, h.String())
	}
	return out
}

func mustHops(t testing.TB, r *Resolver, target Target) []string {
	t.Helper()
	hops, err := r.Hops(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return texts(hops)
}

func wantHops(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("hops\n got %v\nwant %v", got, want)
	}
}

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

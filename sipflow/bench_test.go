package sipflow

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// cannedPeer is a socket whose other end responds at once, from the bytes of
// the request, so that a benchmark measures sipflow and little else.
type cannedPeer struct {
	rings  bool        // responds to INVITE with 180 only
	in     chan []byte // to the switchboard
	sent   chan []byte // by it
	free   chan []byte
	once   sync.Once
	closed chan struct{}
	lost   atomic.Int64
}

var cannedAddr = netip.MustParseAddrPort("10.0.0.2:5060")

func newCannedPeer(rings bool) *cannedPeer {
	p := &cannedPeer{rings: rings, in: make(chan []byte, 1<<16), sent: make(chan []byte, 1<<16), free: make(chan []byte, 1<<12),
		closed: make(chan struct{})}
	for range cap(p.free) {
		p.free <- make([]byte, 0, 1024)
	}
	return p
}

func (p *cannedPeer) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5060} }

func (p *cannedPeer) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *cannedPeer) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		select {
		case m := <-p.in:
			n := copy(b, m)
			select {
			case p.free <- m[:0]:
			default:
			}
			return n, cannedAddr, nil
		case m := <-p.sent:
			p.respond(m)
		case <-p.closed:
			return 0, netip.AddrPort{}, net.ErrClosed
		}
	}
}

// WriteToUDPAddrPort leaves the answering to the reader: a call's goroutine is
// to have the stack that a socket gives it.
func (p *cannedPeer) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	select {
	case p.sent <- b:
	default:
		p.lost.Add(1)
	}
	return len(b), nil
}

// reply puts one message into the socket, as a network would: never waiting.
func (p *cannedPeer) reply(parts ...[]byte) {
	var b []byte
	select {
	case b = <-p.free:
	default:
		b = make([]byte, 0, 1024)
	}
	for _, s := range parts {
		b = append(b, s...)
	}
	select {
	case p.in <- b:
	default:
		p.lost.Add(1)
	}
}

// line is the header line of that name, its end included.
func line(b []byte, name string) []byte {
	i := bytes.Index(b, []byte("\r\n"+name+": "))
	if i < 0 {
		return nil
	}
	b = b[i+2:]
	return b[:bytes.IndexByte(b, '\n')+1]
}

var (
	cannedContact = []byte("Contact: <sip:201@10.0.0.2:5060>\r\n")
	cannedEnd     = []byte("Content-Length: 0\r\n\r\n")
	cannedTag     = []byte(";tag=phone\r\n")
)

func (p *cannedPeer) respond(b []byte) {
	if bytes.HasPrefix(b, []byte("SIP/2.0 ")) || bytes.HasPrefix(b, []byte("ACK ")) {
		return
	}
	via, from, to, id, cseq := line(b, "Via"), line(b, "From"), line(b, "To"), line(b, "Call-ID"), line(b, "CSeq")
	tag := []byte("\r\n")
	if !bytes.Contains(to, []byte(";tag=")) {
		tag = cannedTag
	}
	response := func(status string, cseq []byte) {
		p.reply([]byte(status), via, from, to[:len(to)-2], tag, id, cseq, cannedContact, cannedEnd)
	}
	notify := func(seq, state, body string) {
		p.reply([]byte("NOTIFY sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKn\r\nFrom: "),
			to[4:len(to)-2], tag,
			[]byte("To: "), from[6:], id, []byte("CSeq: "+seq+" NOTIFY\r\nEvent: refer\r\nSubscription-State: "+state+
				"\r\nContent-Type: message/sipfrag\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body))
	}
	switch {
	case bytes.HasPrefix(b, []byte("INVITE ")):
		response("SIP/2.0 180 Ringing\r\n", cseq)
		if !p.rings {
			response("SIP/2.0 200 OK\r\n", cseq)
		}
	case bytes.HasPrefix(b, []byte("CANCEL ")):
		response("SIP/2.0 200 OK\r\n", cseq)
		response("SIP/2.0 487 Request Terminated\r\n", bytes.Replace(cseq, []byte("CANCEL"), []byte("INVITE"), 1))
	case bytes.HasPrefix(b, []byte("REFER ")):
		response("SIP/2.0 202 Accepted\r\n", cseq)
		notify("1", "active;expires=60", "SIP/2.0 180 Ringing\r\n")
	case bytes.HasPrefix(b, []byte("BYE ")):
		response("SIP/2.0 200 OK\r\n", cseq)
		notify("2", "terminated;reason=noresource", "SIP/2.0 200 OK\r\n")
	default:
		response("SIP/2.0 200 OK\r\n", cseq)
	}
}

// canned runs a switchboard whose only peer is canned. stop waits for its end.
func canned(b *testing.B, rings bool, adjust ...func(*Config)) (sw *Switchboard, p *cannedPeer, stop func()) {
	b.Helper()
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		b.Fatal(err)
	}
	p = newCannedPeer(rings)
	cfg := Config{Listen: []string{"udp:10.0.0.1:5060"}, Realm: "sipx.test", Resolver: res, MaxCalls: 1 << 20,
		OutboundProxies: []string{"sip:10.0.0.2:5060"},
		Network:         transport.Network{ListenUDP: func(string) (transport.PacketConn, error) { return p, nil }},
	}
	for _, f := range adjust {
		f(&cfg)
	}
	sw, err = New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sw.Serve(ctx) }()
	return sw, p, func() {
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
		res.Close()
		if n := p.lost.Load(); n > 0 {
			b.Errorf("%d messages were lost", n)
		}
	}
}

func cannedSpec(i int64) Spec {
	s := spec()
	s.Key.Called = strconv.FormatInt(i, 10) + "@sipx.test"
	return s
}

// BenchmarkReferCall is a whole call: Place, INVITE, 180, 200, ACK, REFER, 202,
// NOTIFY, BYE, and the last NOTIFY. Its allocations are the calls' and the few
// of the peer. So many are in progress at once that the pause before the REFER
// leaves the processors no rest.
func BenchmarkReferCall(b *testing.B) { benchRefer(b) }

// BenchmarkReferCallKept is that at a node of a cluster whose store takes no time.
func BenchmarkReferCallKept(b *testing.B) {
	benchRefer(b, func(c *Config) { c.Keeper = newNoKeeper() })
}

func benchRefer(b *testing.B, adjust ...func(*Config)) {
	b.Helper()
	sw, _, stop := canned(b, false, adjust...)
	defer stop()
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(2048)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c, err := sw.Place(context.Background(), cannedSpec(next.Add(1)), Refer)
			if err != nil {
				b.Error(err)
				return
			}
			<-c.Done()
			if c.Err() != nil {
				b.Error(c.Err())
				return
			}
		}
	})
}

// inUse is the memory that is held, stacks included.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkCallMemory tells what one call holds while it rings, and what is
// left of one for the half minute after its end.
func BenchmarkCallMemory(b *testing.B) {
	const calls = 20_000
	for _, c := range []struct {
		name  string
		rings bool
	}{{"ringing", true}, {"husk", false}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				sw, p, stop := canned(b, c.rings)
				before := inUse()
				var placed []*Call
				for i := range int64(calls) {
					call, err := sw.Place(context.Background(), cannedSpec(i), Refer)
					if err != nil {
						b.Fatal(err)
					}
					if !c.rings {
						placed = append(placed, call)
					}
				}
				for _, call := range placed {
					<-call.Done()
				}
				placed = nil
				for len(p.in)+len(p.sent) > 0 {
					runtime.Gosched()
				}
				b.ReportMetric(float64(inUse()-before)/calls, "B/call")
				runtime.KeepAlive(sw)
				stop()
			}
		})
	}
}

// BenchmarkStrangersOptions is the response to a request outside of any call.
func BenchmarkStrangersOptions(b *testing.B) {
	sw, _, stop := canned(b, false)
	defer stop()
	msg := []byte(stranger("OPTIONS", ""))
	from := pathTo(b, sw, cannedAddr.String())
	b.ReportAllocs()
	for b.Loop() {
		m, err := wire.Parse(bytes.Clone(msg))
		if err != nil {
			b.Fatal(err)
		}
		sw.receive(m, from)
	}
}

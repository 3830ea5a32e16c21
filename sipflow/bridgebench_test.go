package sipflow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
)

// bridgedPeer responds as both phones of a bridged call, which hang up as soon
// as they talk unless they hold.
type bridgedPeer struct {
	*cannedPeer
	holds bool
	up    atomic.Int64
}

var cannedSDP = func() []byte {
	body := sdpOf(4000)
	return []byte("Content-Type: application/sdp\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}()

func (p *bridgedPeer) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	ack := bytes.HasPrefix(b, []byte("ACK "))
	if !ack && !bytes.HasPrefix(b, []byte("INVITE ")) {
		return p.cannedPeer.WriteToUDPAddrPort(b, to)
	}
	via, from, to_, id, cseq := line(b, "Via"), line(b, "From"), line(b, "To"), line(b, "Call-ID"), line(b, "CSeq")
	if ack {
		if line(b, "Content-Type") == nil { // the calling phone's
			return len(b), nil
		}
		if p.up.Add(1); !p.holds {
			p.reply([]byte("BYE sip:callcontroller@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKb\r\nFrom: "), to_[4:],
				[]byte("To: "), from[6:], id, []byte("CSeq: 1 BYE\r\n"), cannedEnd)
		}
		return len(b), nil
	}
	tag := []byte("\r\n")
	if !bytes.Contains(to_, []byte(";tag=")) {
		tag = cannedTag
		p.reply([]byte("SIP/2.0 180 Ringing\r\n"), via, from, to_[:len(to_)-2], tag, id, cseq, cannedContact, cannedEnd)
	}
	p.reply([]byte("SIP/2.0 200 OK\r\n"), via, from, to_[:len(to_)-2], tag, id, cseq, cannedContact, cannedSDP)
	return len(b), nil
}

func cannedBridge(b *testing.B, holds bool, adjust ...func(*Config)) (sw *Switchboard, p *bridgedPeer, stop func()) {
	b.Helper()
	res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
	if err != nil {
		b.Fatal(err)
	}
	p = &bridgedPeer{cannedPeer: newCannedPeer(false), holds: holds}
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

func bridgedSpec(i int64) Spec {
	s := cannedSpec(i)
	s.Method = MethodInvite
	return s
}

// BenchmarkBridgedCall is a whole call by INVITE: both phones called, joined,
// and hung up by one of them.
func BenchmarkBridgedCall(b *testing.B) { benchBridged(b) }

// BenchmarkBridgedCallKept is that at a node of a cluster whose store takes no time.
func BenchmarkBridgedCallKept(b *testing.B) {
	benchBridged(b, func(c *Config) { c.Keeper = newNoKeeper() })
}

func benchBridged(b *testing.B, adjust ...func(*Config)) {
	b.Helper()
	sw, _, stop := cannedBridge(b, false, adjust...)
	defer stop()
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c, err := sw.Place(context.Background(), bridgedSpec(next.Add(1)), Invite)
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

// BenchmarkBridgedCallMemory tells what one bridged call holds while the
// phones talk, and how long it takes to hang 5,000 of them up.
func BenchmarkBridgedCallMemory(b *testing.B) {
	const calls = 5_000
	for b.Loop() {
		sw, p, stop := cannedBridge(b, true)
		before, goroutines := inUse(), runtime.NumGoroutine()
		placed := make([]*Call, calls)
		for i := range placed {
			c, err := sw.Place(context.Background(), bridgedSpec(int64(i)), Invite)
			if err != nil {
				b.Fatal(err)
			}
			placed[i] = c
		}
		for p.up.Load() < calls || len(p.in) > 0 {
			runtime.Gosched()
		}
		held := float64(inUse()-before) / calls
		b.ReportMetric(held, "B/call")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/calls, "goroutines/call")
		if held > 24<<10 {
			b.Errorf("a bridged call holds %.0f bytes, more than 24 KiB", held)
		}
		start := time.Now()
		stop()
		b.ReportMetric(float64(time.Since(start))/calls, "ns/hangup")
		for _, c := range placed {
			if <-c.Done(); !errors.Is(c.Err(), ErrDraining) {
				b.Fatalf("a call ended with %v", c.Err())
			}
		}
	}
}

package media

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"sipxrest/sipflow/siptest"
)

const phoneAddr = "192.0.2.20:4000"

// ports has sockets on the network, at 192.0.2.1.
func ports(t testing.TB, n *siptest.Network, change ...func(*Config)) *Ports {
	t.Helper()
	cfg := Config{
		Address: netip.MustParseAddr("192.0.2.1"), MinPort: 20000, MaxPort: 20007, Log: slog.New(slog.DiscardHandler),
		ListenUDP: func(at netip.AddrPort) (Conn, error) { return n.Listen(at.String()), nil },
	}
	for _, c := range change {
		c(&cfg)
	}
	p, err := NewPorts(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rig is a session and the phone at its other end.
type rig struct {
	t   *testing.T
	net *siptest.Network
	s   *Session

	mu    sync.Mutex
	audio [][]int16 // frames of Audio
	when  []time.Time
	keys  string
	quiet int // calls of NoMedia
}

// inCall runs a test with an agreed session of one codec, in fake time.
func inCall(t *testing.T, desc string, f func(r *rig, p *phone), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		r := newRig(t, n, Options{}, change...)
		p := newPhone(t, n, phoneAddr)
		if _, err := r.s.Answer([]byte(desc)); err != nil {
			t.Fatal(err)
		}
		f(r, p)
		r.s.Close()
	})
}

func newRig(t *testing.T, n *siptest.Network, opt Options, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, net: n}
	opt.Audio = func(pcm []int16) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.audio, r.when = append(r.audio, slices.Clone(pcm)), append(r.when, time.Now())
	}
	opt.Digit = func(k byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.keys += string(k)
	}
	opt.NoMedia = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.quiet++
	}
	s, err := ports(t, n, change...).Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.s = s
	return r
}

// heard is all sound so far.
func (r *rig) heard() []int16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.audio...)
}

// describe is a description of the phone's.
func describe(at, pts string, more ...string) string {
	a := netip.MustParseAddrPort(at)
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\na=rtpmap:101 "+
		"telephone-event/8000\r\n%s",
		a.Addr(), a.Port(), pts, strings.Join(more, ""))
}

// phone is the peer: two sockets and a scripted stream.
type phone struct {
	t         *testing.T
	at        netip.AddrPort
	rtp, rtcp *siptest.PacketConn
	to        netip.AddrPort

	ssrc uint32
	seq  uint16
	ts   uint32
	pt   uint8
}

func newPhone(t *testing.T, n *siptest.Network, at string) *phone {
	a := netip.MustParseAddrPort(at)
	p := &phone{
		t: t, at: a, rtp: n.Listen(at), rtcp: n.Listen(netip.AddrPortFrom(a.Addr(), a.Port()+1).String()),
		to: netip.MustParseAddrPort("192.0.2.1:20000"), ssrc: 0x1234, seq: 65530, ts: 1<<32 - 800, pt: 8,
	}
	t.Cleanup(func() { _ = p.rtp.Close(); _ = p.rtcp.Close() })
	return p
}

// packet makes the next packet of the stream.
func (p *phone) packet(payload []byte) []byte {
	p.t.Helper()
	b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: p.pt, SequenceNumber: p.seq, Timestamp: p.ts, SSRC: p.ssrc},
		Payload: payload}).Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	p.seq++
	p.ts += uint32(len(payload))
	return b
}

func (p *phone) send(b []byte) {
	p.t.Helper()
	if _, err := p.rtp.WriteToUDPAddrPort(b, p.to); err != nil {
		p.t.Fatal(err)
	}
}

// talk sends sound for d, a packet every 20 ms.
func (p *phone) talk(d time.Duration, payload func(i int) []byte) {
	p.t.Helper()
	for i := range int(d / frameTime) {
		p.send(p.packet(payload(i)))
		time.Sleep(frameTime)
	}
}

// loud is 20 ms of PCMA whose samples all decode to the same loud value.
func loud(int) []byte { return slices.Repeat([]byte{0xaa}, frameTicks) }

// got reads every packet that has come.
func (p *phone) got() []*rtp.Packet {
	p.t.Helper()
	var all []*rtp.Packet
	buf := make([]byte, 2000)
	for {
		if err := p.rtp.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
			p.t.Fatal(err)
		}
		n, from, err := p.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return all
		}
		if from != p.to {
			p.t.Errorf("RTP from %s", from)
		}
		var r rtp.Packet
		if err := r.Unmarshal(slices.Clone(buf[:n])); err != nil {
			p.t.Fatal(err)
		}
		all = append(all, &r)
	}
}

// reports reads every RTCP packet that has come.
func (p *phone) reports() [][]rtcp.Packet {
	p.t.Helper()
	var all [][]rtcp.Packet
	buf := make([]byte, 2000)
	for {
		if err := p.rtcp.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
			p.t.Fatal(err)
		}
		n, _, err := p.rtcp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return all
		}
		compound, err := rtcp.Unmarshal(slices.Clone(buf[:n]))
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, compound)
	}
}

// code is that of a refusal, 0 without one.
func code(err error) int {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return 0
}

package attendant

import (
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
)

// The clips of tests are tones, which tell them apart.
var clips = map[string][]int16{
	"long":  media.Tone(400, 2*time.Second, -12),
	"short": media.Tone(1000, 200*time.Millisecond, -12),
	"music": media.Tone(2000, 300*time.Millisecond, -12),
}

// rig is an attendant and the phone of its caller.
type rig struct {
	*testing.T
	net   *siptest.Network
	a     *Attendant
	began time.Time
	log   strings.Builder

	phone *media.Session // nil: the phone has a socket only
	raw   *siptest.PacketConn
	seq   uint16

	mu    sync.Mutex
	heard []int16
	first time.Time // when the phone first heard something
	last  time.Time
	quiet int // calls of NoMedia
}

const attendantAt = "10.0.0.1:20000"

// withCaller runs f with an attendant and a caller whose media are agreed on.
func withCaller(t *testing.T, f func(r *rig)) { withRig(t, false, f) }

// withSocket runs f with a caller that sends only what the test has it send.
func withSocket(t *testing.T, f func(r *rig)) { withRig(t, true, f) }

func withRig(t *testing.T, raw bool, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, net: siptest.NewNetwork(), began: time.Now()}
		var err error
		r.a, err = New(Config{Ports: r.ports("10.0.0.1:20000"), Clip: func(name string) []int16 { return clips[name] },
			NoMedia: func() { r.mu.Lock(); defer r.mu.Unlock(); r.quiet++ }, Log: slog.New(slog.NewTextHandler(&r.log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer r.a.Close()
		if raw {
			r.raw = r.net.Listen("10.0.0.3:40000")
			defer r.raw.Close()
			if _, err := r.a.Conversation().Reoffer([]byte(description("0 101"))); err != nil {
				t.Fatal(err)
			}
		} else {
			r.phone, err = r.ports("10.0.0.3:40000").Open(media.Options{Audio: r.hear})
			if err != nil {
				t.Fatal(err)
			}
			defer r.phone.Close()
			answer, err := r.a.Conversation().Reoffer(r.phone.Offer())
			if err == nil {
				err = r.phone.Accept(answer)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		f(r)
	})
}

func description(formats string) string {
	return "v=0\r\no=- 1 1 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\nm=audio 40000 RTP/AVP " + formats +
		"\r\na=rtpmap:101 telephone-event/8000\r\n"
}

func (r *rig) ports(at string) *media.Ports {
	r.Helper()
	a := netip.MustParseAddrPort(at)
	p, err := media.NewPorts(media.Config{Address: a.Addr(), MinPort: a.Port(), MaxPort: a.Port() + 1, Log: slog.New(slog.DiscardHandler),
		ListenUDP: func(at netip.AddrPort) (media.Conn, error) { return r.net.Listen(at.String()), nil }})
	if err != nil {
		r.Fatal(err)
	}
	return p
}

func (r *rig) hear(pcm []int16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, pcm...)
	if slices.Max(pcm) > 300 {
		if r.first.IsZero() {
			r.first = time.Now()
		}
		r.last = time.Now()
	}
}

// since is what the phone has heard since it was called last.
func (r *rig) since() []int16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	pcm := r.heard
	r.heard = nil
	return pcm
}

// hears fails unless the phone heard just these tones.
func (r *rig) hears(pcm []int16, tones ...float64) {
	r.Helper()
	for _, hz := range []float64{400, 1000, 2000} {
		if is, want := strength(pcm, hz) > 300, slices.Contains(tones, hz); is != want {
			r.Errorf("%.0f Hz was heard: %v, want %v (%.0f in %d samples)", hz, is, want, strength(pcm, hz), len(pcm))
		}
	}
}

// strength is the loudest amplitude of a frequency in 100 ms of pcm (Goertzel).
func strength(pcm []int16, hz float64) (most float64) {
	for part := range slices.Chunk(pcm, 1600) {
		k, a, b := 2*math.Cos(2*math.Pi*hz/16000), 0.0, 0.0
		for _, v := range part {
			a, b = float64(v)+k*a-b, a
		}
		most = max(most, 2*math.Sqrt(max(0, a*a+b*b-k*a*b))/1600)
	}
	return most
}

// press has the phone send a digit by RFC 4733.
func (r *rig) press(keys string) {
	r.Helper()
	for _, key := range []byte(keys) {
		if err := r.phone.SendDigit(key, 100*time.Millisecond); err != nil {
			r.Fatal(err)
		}
	}
}

// event sends one packet of a digit from the socket.
func (r *rig) event(key byte, ts uint32, marker, end bool) {
	r.Helper()
	flags := byte(10)
	if end {
		flags |= 0x80
	}
	r.send(101, ts, marker, []byte{key, flags, 3, 32})
}

func (r *rig) send(pt uint8, ts uint32, marker bool, payload []byte) {
	r.Helper()
	r.seq++
	b, err := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: r.seq, Timestamp: ts, SSRC: 77, Marker: marker},
		Payload: payload}).Marshal()
	if err == nil {
		_, err = r.raw.WriteToUDPAddrPort(b, netip.MustParseAddrPort(attendantAt))
	}
	if err != nil {
		r.Fatal(err)
	}
}

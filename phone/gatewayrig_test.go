package phone

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// An exchange is a house with a switchboard, and a SIP phone that is kim's.
type exchange struct {
	*house
	desk    *siptest.Phone
	board   *sipflow.Switchboard
	ports   *media.Ports
	far     *media.Session // what the SIP phone speaks and hears by
	heard   *ear
	stop    func()
	allowed func(target string) error
	proved  string // the digest user of the caller

	mu    sync.Mutex
	taken []error // what Take returned
}

// ear keeps what a phone hears.
type ear struct {
	mu  sync.Mutex
	pcm []int16
}

func (e *ear) hear(pcm []int16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
}

func (e *ear) all() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]int16(nil), e.pcm...)
}

// withDesk runs f in an exchange. The script is that of kim's SIP phone.
func withDesk(t *testing.T, script siptest.Script, f func(x *exchange), options ...func(*Config)) {
	t.Helper()
	withSecuredDesk(t, script, media.SRTPOffered, f, options...)
}

// withSecuredDesk is withDesk with a SIP phone that says whether its audio is encrypted.
func withSecuredDesk(t *testing.T, script siptest.Script, desk media.Security, f func(x *exchange), options ...func(*Config)) {
	t.Helper()
	at(t, func(h *house) {
		t := h.t
		x := &exchange{house: h, heard: &ear{}}
		listen := func(a netip.AddrPort) (media.Conn, error) { return h.net.Listen(a.String()), nil }
		var err error
		fail := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		x.ports, err = media.NewPorts(media.Config{Address: netip.MustParseAddr("10.0.0.1"), MinPort: 20000, MaxPort: 20007,
			Log: slog.New(slog.DiscardHandler), ListenUDP: listen})
		fail(err)
		there, err := media.NewPorts(media.Config{Address: netip.MustParseAddr("10.0.0.3"), MinPort: 40000, MaxPort: 40001,
			Log: slog.New(slog.DiscardHandler), ListenUDP: listen})
		fail(err)
		x.far, err = there.Open(media.Options{Security: desk, Audio: x.heard.hear})
		fail(err)
		defer x.far.Close()
		if script.SDP == "" {
			script.SDP = string(x.far.Offer())
		}
		x.desk = siptest.NewPhone(h.net.Listen(deskAddr), siptest.Account{User: "202", Domain: "10.0.0.3"}, script)
		defer x.desk.Close()
		res, err := resolve.New(resolve.Config{Servers: []string{"10.0.0.53:53"}})
		fail(err)
		defer res.Close()
		x.board, err = sipflow.New(sipflow.Config{Listen: []string{"udp:" + boardAddr}, Realm: "10.0.0.1", Resolver: res,
			Network: sipflow.Network{
				ListenUDP: func(a string) (sipflow.PacketConn, error) { return h.net.Listen(a), nil },
				ListenTCP: func(a string) (net.Listener, error) { return h.net.ListenTCP(a), nil },
				DialTCP:   func(ctx context.Context, a string) (net.Conn, error) { return h.net.DialContext(ctx, "tcp", a) },
			},
			Allow: func(_ *sipflow.Spec, target string) error {
				if x.allowed != nil {
					return x.allowed(target)
				}
				return nil
			},
			Inbound: &sipflow.Inbound{NewID: func() string { return NewID().String() },
				Admit: func(*sipflow.Incoming) sipflow.Admission { return sipflow.Trusted },
				Take: func(ctx context.Context, in *sipflow.Incoming) error {
					in.Username = x.proved
					err := h.Take(ctx, in, in.To.User, 30*time.Second)
					x.mu.Lock()
					defer x.mu.Unlock()
					x.taken = append(x.taken, err)
					return err
				}},
		}, slog.New(slog.DiscardHandler))
		fail(err)
		serving, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- x.board.Serve(serving) }()
		x.stop = sync.OnceFunc(func() {
			stop()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		h.cfg.Gateway = &Gateway{Board: x.board, Ports: x.ports, Domain: "10.0.0.1", Guests: true}
		fail(h.cfg.Store.SetSIP(t.Context(), h.users["kim"].ID, deskSIP))
		f(x)
		time.Sleep(2 * time.Minute) // all that is under way
		if !x.desk.OnHook() {
			t.Errorf("the SIP phone is not on hook: %v", x.desk.Log())
		}
		if n := x.ports.InUse(); n != 0 {
			t.Errorf("%d pairs of ports are left", n)
		}
		if n := x.board.Active(); n != 0 {
			t.Errorf("%d SIP calls are left", n)
		}
		h.Shutdown()
		x.stop()
	}, options...)
}

// calls has sam call kim.
func (x *exchange) calls() *client {
	x.t.Helper()
	return x.open("sam", initiatePath(callA, x.id("kim")))
}

// started wants that a phone socket has had its start frame, and no more.
func (c *client) started(what string) {
	c.h.t.Helper()
	if got := c.heard(); len(got) != 1 || !strings.HasPrefix(got[0], `{"phonecallStartTime":"`) {
		c.h.t.Fatalf("%s: %q, want the start frame", what, got)
	}
}

// outcome wants that the last call came to o, and no other.
func (x *exchange) outcome(o Outcome) {
	x.t.Helper()
	settle()
	if s := x.Stats(); s.Calls != 0 || s.Outcomes[o] != 1 {
		x.t.Errorf("want one call that was %v: %+v", o, s)
	}
}

// power is how much of a tone of f Hz there is in pcm at 16 kHz, by Goertzel's
// algorithm: 1 for a pure tone.
func power(pcm []int16, f float64) float64 {
	if len(pcm) == 0 {
		return 0
	}
	c := 2 * math.Cos(2*math.Pi*f/16000)
	var s1, s2, all float64
	for _, v := range pcm {
		x := float64(v)
		s1, s2 = x+c*s1-s2, s1
		all += x * x
	}
	if all == 0 {
		return 0
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / (float64(len(pcm)) * all)
}

// tone is d of a tone of f Hz in messages of n samples.
func tone(f float64, d time.Duration, n int) (frames [][]int16) {
	for i := 0; i < int(d.Seconds()*16000); i += n {
		pcm := make([]int16, n)
		for j := range pcm {
			pcm[j] = int16(8000 * math.Sin(2*math.Pi*f*float64(i+j)/16000))
		}
		frames = append(frames, pcm)
	}
	return frames
}

func message(pcm []int16) string {
	b := []byte(audio(len(pcm), 0))
	for i, v := range pcm {
		b[4+2*i], b[5+2*i] = byte(v), byte(uint16(v)>>8)
	}
	return string(b)
}

// speak has both sides play a tone for two seconds: each hears the other's.
func (x *exchange) speak(user *client) {
	x.t.Helper()
	user.heard()
	before := len(x.heard.all())
	near, far := tone(800, 2*time.Second, 640), tone(1200, 2*time.Second, 320)
	for i := range far {
		if i%2 == 0 {
			user.say(message(near[i/2]))
		}
		x.far.Write(far[i])
		time.Sleep(20 * time.Millisecond)
	}
	middle := func(pcm []int16) []int16 {
		if len(pcm) < 20000 {
			x.t.Fatalf("only %d samples were heard", len(pcm))
		}
		return pcm[8000:20000]
	}
	if p := power(middle(x.heard.all()[before:]), 800); p < 0.9 {
		x.t.Errorf("the SIP phone hears %.2f of the user's tone", p)
	}
	var pcm []int16
	for _, m := range user.heard() {
		if len(m) != 644 {
			x.t.Fatalf("a message of %d bytes", len(m))
		}
		for i := 4; i < len(m); i += 2 {
			pcm = append(pcm, int16(uint16(m[i])|uint16(m[i+1])<<8))
		}
	}
	if p := power(middle(pcm), 1200); p < 0.9 {
		x.t.Errorf("the user hears %.2f of the SIP phone's tone", p)
	}
}

// offered is the session description of the last request of ours to the phone.
func (x *exchange) offered() []byte {
	x.t.Helper()
	all := x.desk.Requests("INVITE")
	if len(all) == 0 {
		x.t.Fatal("no INVITE came")
	}
	return all[len(all)-1].Body()
}

// sounds has the SIP phone say something all the time.
func (x *exchange) sounds(t *testing.T, d time.Duration) {
	t.Helper()
	if err := x.far.Accept(x.offered()); err != nil {
		t.Fatal(err)
	}
	for range d / time.Second {
		for _, pcm := range tone(500, 100*time.Millisecond, 320) {
			x.far.Write(pcm)
		}
		time.Sleep(time.Second)
	}
}

// fromDesk has kim's phone call a user; what comes of it is sent.
func (x *exchange) fromDesk(ctx context.Context, name string) <-chan error {
	got := make(chan error, 1)
	go func() { got <- x.desk.Call(ctx, "sip:"+name+"@"+boardAddr) }()
	settle()
	return got
}

// onlyCall is the ID of the call that there is.
func (x *exchange) onlyCall() string {
	x.Service.mu.Lock()
	defer x.Service.mu.Unlock()
	for id := range x.Service.calls {
		return id.String()
	}
	x.t.Fatal("there is no call")
	return ""
}

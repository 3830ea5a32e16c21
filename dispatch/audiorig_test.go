package dispatch

import (
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/sipflow/siptest"
)

// callerAudio is what the caller speaks and hears by.
type callerAudio struct {
	*media.Session
	mu    sync.Mutex
	heard []int16
}

func mediaPorts(t *testing.T, n *siptest.Network, at string) *media.Ports {
	t.Helper()
	a := netip.MustParseAddrPort(at)
	p, err := media.NewPorts(media.Config{Address: a.Addr(), MinPort: a.Port(), MaxPort: a.Port() + 1, Log: slog.New(slog.DiscardHandler),
		ListenUDP: func(at netip.AddrPort) (media.Conn, error) { return n.Listen(at.String()), nil }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newCallerAudio is at the address that the caller's descriptions have.
func newCallerAudio(t *testing.T, n *siptest.Network) *callerAudio {
	t.Helper()
	c := &callerAudio{}
	var err error
	c.Session, err = mediaPorts(t, n, "10.0.0.2:40000").Open(media.Options{Audio: func(pcm []int16) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.heard = append(c.heard, pcm...)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// listens has the caller send and hear, as it was answered.
func (h *hooked) listens() {
	h.t.Helper()
	answers := h.caller.Answers()
	if len(answers) == 0 {
		h.t.Fatal("the caller was not answered")
	}
	h.far.Offer()
	if err := h.far.Accept(answers[len(answers)-1].Body()); err != nil {
		h.t.Fatal(err)
	}
}

// dials presses keys by RFC 4733, the first after a second, the others 200 ms apart; a
// blank is a second.
func (h *hooked) dials(keys string) {
	h.t.Helper()
	time.Sleep(time.Second)
	for _, key := range []byte(keys) {
		if key == ' ' {
			time.Sleep(time.Second)
			continue
		}
		if err := h.far.SendDigit(key, 80*time.Millisecond); err != nil {
			h.t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// since is what the caller has heard since it was called last.
func (c *callerAudio) since() []int16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	pcm := c.heard
	c.heard = nil
	return pcm
}

// hears fails unless the caller has heard just these tones.
func (h *hooked) hears(what string, tones ...float64) {
	h.t.Helper()
	pcm := h.far.since()
	for _, hz := range []float64{200, 425, 440} {
		if is, want := strength(pcm, hz) > 600, slices.Contains(tones, hz); is != want {
			h.t.Errorf("%s: %.0f Hz was heard: %v, want %v", what, hz, is, want)
		}
	}
}

// strength is the loudest amplitude of a frequency in 200 ms of pcm (Goertzel), where no
// other is near.
func strength(pcm []int16, hz float64) (most float64) {
	for part := range slices.Chunk(pcm, 3200) {
		amplitude := func(hz float64) float64 {
			k, a, b := 2*math.Cos(2*math.Pi*hz/16000), 0.0, 0.0
			for _, v := range part {
				a, b = float64(v)+k*a-b, a
			}
			return 2 * math.Sqrt(max(0, a*a+b*b-k*a*b)) / 3200
		}
		if here := amplitude(hz); here > max(amplitude(hz-15), amplitude(hz+15)) {
			most = max(most, here)
		}
	}
	return most
}

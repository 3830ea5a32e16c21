package sfu

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// patience is how long is waited for what comes at once, unless the machine has much
// else to do. It only matters when a test fails.
const patience = time.Minute

// rig is an SFU of ours and a stand-in for Janus, over the loopback interface:
// pion needs real sockets, so time is real as well.
type rig struct {
	t     testing.TB
	sfu   *SFU
	janus *talktest.SFU
}

func newRig(t testing.TB) *rig {
	t.Helper()
	s, err := New(Config{Address: netip.MustParseAddr("127.0.0.1"), Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	s.connectTime, s.serverTime = patience, patience
	t.Cleanup(func() { _ = s.Close() })
	return &rig{t, s, talktest.NewSFU(t)}
}

// events collects those of one connection.
type events struct {
	connected chan time.Duration
	failed    chan error
}

func newEvents() (*events, Events) {
	e := &events{make(chan time.Duration, 4), make(chan error, 4)}
	return e, Events{Connected: func(d time.Duration) { e.connected <- d }, Failed: func(err error) { e.failed <- err }}
}

func (e *events) up(t testing.TB) {
	t.Helper()
	select {
	case <-e.connected:
	case err := <-e.failed:
		t.Fatalf("not connected: %v", err)
	case <-time.After(patience):
		t.Fatalf("not connected in %v", patience)
	}
}

func (e *events) down(t testing.TB) error {
	t.Helper()
	select {
	case err := <-e.failed:
		return err
	case <-time.After(patience):
		t.Fatalf("not over in %v", patience)
		return nil
	}
}

// candidates keeps those that come before somebody wants them.
type candidates struct {
	mu    sync.Mutex
	early []Candidate
	take  func(Candidate) error
}

func (c *candidates) candidate(from talktest.Candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.take == nil {
		c.early = append(c.early, Candidate(from))
		return
	}
	_ = c.take(Candidate(from))
}

func (c *candidates) begin(take func(Candidate) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take = take
	for _, e := range c.early {
		_ = take(e)
	}
}

// publish has a publisher be connected.
func (r *rig) publish(codec media.Codec, name string) (*Publisher, talktest.MCUPublisher, *events) {
	r.t.Helper()
	e, ev := newEvents()
	p, offer, err := r.sfu.Publish(codec, ev)
	if err != nil {
		r.t.Fatal(err)
	}
	// The candidates come while the answer is not yet in.
	there, answer, err := r.janus.Publish(offer, name, func(c talktest.Candidate) { _ = p.Candidate(Candidate(c)) })
	if err != nil {
		r.t.Fatal(err)
	}
	if err := p.Answer(answer); err != nil {
		r.t.Fatal(err)
	}
	e.up(r.t)
	return p, there, e
}

// subscribe hears a publisher.
func (r *rig) subscribe(there talktest.MCUPublisher) (*Subscription, *events) {
	r.t.Helper()
	var c candidates
	theirs, offer, err := there.Subscribe(c.candidate)
	if err != nil {
		r.t.Fatal(err)
	}
	e, ev := newEvents()
	s, answer, err := r.sfu.Subscribe(offer, ev)
	if err != nil {
		r.t.Fatal(err)
	}
	c.begin(s.Candidate)
	if err := theirs.Answer(answer); err != nil {
		r.t.Fatalf("%v\n%s", err, answer)
	}
	e.up(r.t)
	return s, e
}

// flows waits until what is published gets through.
func (r *rig) flows(p *Publisher, s *Subscription) {
	r.t.Helper()
	eventually(r.t, "packets get through", func() bool {
		p.Write(tone(440, 0))
		return !s.Stats().First.IsZero()
	})
}

// tone is 20 ms of one, that go on from n frames before.
func tone(hz float64, n int) *[320]int16 {
	var out [320]int16
	for i := range out {
		out[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(n*320+i)/16000))
	}
	return &out
}

// level is how loud a frequency is in samples of 16 kHz, in dBFS.
func level(pcm []int16, hz float64) float64 {
	var re, im float64
	for i, v := range pcm {
		w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(pcm)))
		a := 2 * math.Pi * hz * float64(i) / 16000
		re += w * float64(v) * math.Cos(a)
		im += w * float64(v) * math.Sin(a)
	}
	return 20 * math.Log10(4*math.Hypot(re, im)/float64(len(pcm))/32768+1e-9)
}

// hearing is half a second of what is heard lately, which is looked at once it is full.
type hearing struct {
	pcm []int16
}

func (h *hearing) pull(s *Subscription, now time.Time) {
	var out [320]int16
	if !s.Pull(now, &out) && len(h.pcm) == 0 {
		return // it has not begun
	}
	if h.pcm = append(h.pcm, out[:]...); len(h.pcm) > 8000 {
		h.pcm = slices.Delete(h.pcm, 0, len(h.pcm)-8000)
	}
}

// level is how loud a frequency is.
func (h *hearing) level(hz float64) float64 {
	if len(h.pcm) < 8000 {
		return -100
	}
	return level(h.pcm, hz)
}

// run calls f every 20 ms, until it is content.
func run(t testing.TB, f func(i int, now time.Time) bool) {
	t.Helper()
	clock := time.NewTicker(20 * time.Millisecond)
	defer clock.Stop()
	for i := 0; !f(i, <-clock.C); i++ {
		if i == int(patience/(20*time.Millisecond)) {
			t.Errorf("not in %d frames", i)
			return
		}
	}
}

// eventually waits until is is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	end := time.After(patience)
	clock := time.NewTicker(5 * time.Millisecond)
	defer clock.Stop()
	for !is() {
		select {
		case <-clock.C:
		case <-end:
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

package sfu

import (
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

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
	case <-time.After(10 * time.Second):
		t.Fatal("not connected in 10 s")
	}
}

func (e *events) down(t testing.TB, within time.Duration) error {
	t.Helper()
	select {
	case err := <-e.failed:
		return err
	case <-time.After(within):
		t.Fatalf("not over in %v", within)
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
	eventually(r.t, "packets get through", 5*time.Second, func() bool {
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

// run calls f every 20 ms, n times.
func run(n int, f func(i int, now time.Time)) {
	clock := time.NewTicker(20 * time.Millisecond)
	defer clock.Stop()
	for i := range n {
		f(i, <-clock.C)
	}
}

// eventually waits until is is true.
func eventually(t testing.TB, what string, within time.Duration, is func() bool) {
	t.Helper()
	end := time.After(within)
	clock := time.NewTicker(5 * time.Millisecond)
	defer clock.Stop()
	for !is() {
		select {
		case <-clock.C:
		case <-end:
			t.Fatalf("not in %v: %s", within, what)
		}
	}
}

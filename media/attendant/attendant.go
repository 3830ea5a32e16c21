// Package attendant is the service's side of a caller whom it talks to: it plays
// prompts, and takes the digits that the caller presses.
//
//	a, err := attendant.New(attendant.Config{Ports: ports, Clip: set.In("en")})
//	defer a.Close()
//	err = in.Answer(ctx, a.Conversation())
//	err = in.Wait(ctx, a.Start(prompts.EnterPIN))
//	pin, err := a.Entry(ctx, attendant.EntryOptions{})
//
// An attendant has a clock, a goroutine that begins with the first agreement on media
// and ends by Release or Close.
package attendant

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sipxrest/internal/boundary"

	"sipxrest/media"
	"sipxrest/sipflow"
)

// ErrClosed is the cause of waits that Close has ended.
var ErrClosed = errors.New("the audio has ended")

// Config is what an Attendant needs.
type Config struct {
	Ports *media.Ports
	// Signaling is media.Options.Signaling.
	Signaling netip.Addr
	// Security says whether the audio is encrypted.
	Security media.Security
	// Clip returns the prompt of a name: 16 kHz, mono. See prompts.Set.
	Clip func(name string) []int16
	// NoMedia is told that the caller's phone has sent nothing for 60 s, though it
	// should. It must return at once. It may be nil.
	NoMedia func()
	Log     *slog.Logger // slog.Default if nil
}

// Attendant is the audio of one caller. It is safe for concurrent use; but one goroutine
// at a time waits for digits.
type Attendant struct {
	s   *media.Session
	cfg Config
	end sipflow.Conversation

	mu      sync.Mutex
	keys    []byte        // that nobody has taken yet
	more    chan struct{} // has a token while there may be some
	pressed presses
	player  player
	agreed  time.Time     // when the media were agreed on first
	told    bool          // that digits come by INFO only
	stop    chan struct{} // ends the clock; nil while there is none
	away    bool          // the session is somebody else's by Release
	closed  chan struct{}
	clock   sync.WaitGroup
}

// New opens ports for a caller's audio. The error is media.ErrNoPorts when there are
// none. Whoever calls it calls Close.
func New(cfg Config) (*Attendant, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	a := &Attendant{cfg: cfg, more: make(chan struct{}, 1), closed: make(chan struct{})}
	var err error
	a.s, err = cfg.Ports.Open(media.Options{Signaling: cfg.Signaling, Security: cfg.Security, Stepped: true, NoMedia: cfg.NoMedia,
		Digit: func(key byte) { a.press(key, byRTP) }})
	if err != nil {
		return nil, err
	}
	a.end = sipflow.Conversation{Offer: a.s.Offer, Answered: a.answered, Reoffer: a.reoffer, Expect: a.s.Expect,
		Digit: func(key byte) { a.press(key, byINFO) }, Secret: true}
	return a, nil
}

// Conversation is the caller's media for sipflow: Incoming.Converse or Incoming.Answer.
// It is always the same one. Its digits are told to nobody else: they may be a PIN.
func (a *Attendant) Conversation() *sipflow.Conversation { return &a.end }

// answered takes the phone's answer to our offer.
func (a *Attendant) answered(answer []byte, early bool) error {
	if early {
		return nil
	}
	if err := a.s.Accept(answer); err != nil {
		return refusal(err)
	}
	a.begin(answer)
	return nil
}

// reoffer answers an offer of the phone's.
func (a *Attendant) reoffer(offer []byte) ([]byte, error) {
	answer, err := a.s.Answer(offer)
	if err != nil {
		return nil, refusal(err)
	}
	a.begin(answer)
	return answer, nil
}

// refusal is a refusal of a description as SIP says it.
func refusal(err error) error {
	var refused *media.Refusal
	if errors.As(err, &refused) {
		return &sipflow.StatusError{Method: "INVITE", Code: refused.Code, Reason: refused.Reason}
	}
	return err
}

// begin starts the clock, once there is an agreement. answer is the one of the two
// descriptions that says what both sides take.
func (a *Attendant) begin(answer []byte) {
	byInfo := !bytes.Contains(bytes.ToLower(answer), []byte("telephone-event"))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.agreed.IsZero() {
		a.agreed = time.Now()
		a.player.hold(a.agreed.Add(startTime))
	}
	if byInfo && !a.told {
		a.told = true
		a.cfg.Log.Info("no telephone-event was offered: digits can come by INFO only")
	}
	a.tick()
}

// Release ends the attendant's clock and hands its session on: a mixer calls its Pull
// and Push from then on. What is played ends. Digits are still for Digit and Entry.
func (a *Attendant) Release() *media.Session {
	a.mu.Lock()
	a.away = true
	a.player.clear()
	a.mu.Unlock()
	a.halt()
	return a.s
}

// Resume takes the session back, once nobody calls its Pull and Push any more.
func (a *Attendant) Resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = false
	a.tick()
}

// Close ends the audio, and whatever waits for it.
func (a *Attendant) Close() {
	a.mu.Lock()
	select {
	case <-a.closed:
	default:
		close(a.closed)
	}
	a.player.clear()
	a.mu.Unlock()
	a.halt()
	a.s.Close()
}

// Session is that of the audio, for its Stats and Directions.
func (a *Attendant) Session() *media.Session { return a.s }

// tick starts the clock, if it should run and does not. The caller holds a.mu.
func (a *Attendant) tick() {
	select {
	case <-a.closed:
		return
	default:
	}
	if a.stop != nil || a.away || a.agreed.IsZero() {
		return
	}
	stop := make(chan struct{})
	a.stop = stop
	a.clock.Go(func() { a.run(stop) })
}

// halt ends the clock and waits for that.
func (a *Attendant) halt() {
	a.mu.Lock()
	if a.stop != nil {
		close(a.stop)
		a.stop = nil
	}
	a.mu.Unlock()
	a.clock.Wait()
}

const (
	frameTime = 20 * time.Millisecond
	makeUp    = 5 // frames at most, when the clock was held up
)

// run is the clock: a frame from the caller, and one to it.
func (a *Attendant) run(stop <-chan struct{}) {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	began, frames := time.Now(), 0
	var in, out [frame]int16
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		now := time.Now()
		due := int(now.Sub(began)/frameTime) - frames
		frames += due
		for range min(due, makeUp) {
			boundary.Try(a.cfg.Log, "the sound of a caller", func() {
				if a.next(now, a.s.Pull(now, &in), &out) {
					a.s.Push(now, &out)
				} else {
					a.s.Push(now, nil)
				}
			})
		}
	}
}

// next is what is played to the caller in this frame, if there is anything.
func (a *Attendant) next(now time.Time, heard bool, out *[frame]int16) (sound bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if heard {
		a.player.hold(now) // the caller's phone is ready: prompts may begin
	}
	return a.player.next(now, out)
}

// wait returns once c has something or is closed, or with why it never will be.
func (a *Attendant) wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-a.closed:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

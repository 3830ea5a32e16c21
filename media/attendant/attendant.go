// Package attendant is the service's side of a caller whom it talks to: it plays
// prompts, and takes the digits that the caller presses.
package attendant

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"sipxrest/media"
	"sipxrest/sipflow"
)

// Config is what an Attendant needs.
type Config struct {
	Ports *media.Ports
	// Signaling is media.Options.Signaling.
	Signaling netip.Addr
	// Clip returns the prompt of a name: 16 kHz, mono. See prompts.Set.
	Clip func(name string) []int16
	// NoMedia is told that the caller's phone has sent nothing for 60 s, though it
	// should. It must return at once. It may be nil.
	NoMedia func()
	Log     *slog.Logger // slog.Default if nil
}

// Attendant is the audio of one caller.
type Attendant struct {
	s *media.Session
}

// New opens ports for a caller's audio. The error is media.ErrNoPorts when there are
// none. Whoever calls it calls Close, or takes the session by Release and closes that.
func New(cfg Config) (*Attendant, error) { return nil, media.ErrNoPorts }

// Conversation is the caller's media for sipflow: Incoming.Converse or Incoming.Answer.
func (a *Attendant) Conversation() *sipflow.Conversation { return nil }

// Start has prompts played one after the other, in place of what is played.
func (a *Attendant) Start(names ...string) {}

// Play is Start, and returns when the last one has been played, when a digit has
// stopped it, or with the cause of ctx's end.
func (a *Attendant) Play(ctx context.Context, names ...string) error { return nil }

// Loop has music played over and over, after what is played now.
func (a *Attendant) Loop(pcm []int16) {}

// Stop ends what is played.
func (a *Attendant) Stop() {}

// Digit is the next key that the caller presses.
func (a *Attendant) Digit(ctx context.Context) (byte, error) { return 0, nil }

// EntryOptions say when an entry is complete.
type EntryOptions struct {
	Max   int           // digits that it has at most; 0: 32
	Pause time.Duration // without a further digit; 0: 5 s
	Clear byte          // begins the entry anew, as its first key; 0: none
}

// Entry is the digits that the caller enters up to a #, a pause or the most that there
// can be. It is empty when the caller enters # alone.
func (a *Attendant) Entry(ctx context.Context, o EntryOptions) (string, error) { return "", nil }

// Release ends the attendant's clock and hands its session on: a mixer calls its Pull
// and Push from then on. Digits are still for Digit.
func (a *Attendant) Release() *media.Session { return a.s }

// Close ends the audio.
func (a *Attendant) Close() {}

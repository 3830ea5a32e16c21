package media

import (
	"errors"
	"time"
)

// Errors of [Session.SendDigit].
var (
	ErrNoDigits   = errors.New("media: the phone takes no telephone-event: digits cannot be sent by RFC 4733")
	ErrManyDigits = errors.New("media: too many digits wait to be sent")
)

// Pull gives the next 20 ms that came from the phone of a stepped session, and
// makes the callbacks Digit and NoMedia. It reports whether something is to be
// heard: if not, out is silence. Nothing came, or the phone holds its call, or
// it sends a digit or did so within the last 100 ms. See [Options.Stepped].
func (s *Session) Pull(now time.Time, out *[frameSamples]int16) (heard bool) {
	clear(out[:])
	return false
}

// Push sends the next 20 ms to the phone of a stepped session; nil and zeros
// alone are silence. Reports by RTCP are sent out of it, too. See [Options.Stepped].
func (s *Session) Push(now time.Time, in *[frameSamples]int16) {}

// SendDigit presses a key towards the phone for the time d (RFC 4733): 0-9, *,
// #, A-D. It returns at once. Several digits wait for each other.
func (s *Session) SendDigit(key byte, d time.Duration) error { return ErrNoDigits }

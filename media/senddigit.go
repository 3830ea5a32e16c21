package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pion/rtp"
)

// Why [Session.SendDigit] sends nothing.
var (
	ErrNoDigits   = errors.New("media: the phone takes no telephone-event: digits cannot be sent by RFC 4733")
	ErrHeld       = errors.New("media: the call is held: digits cannot be sent")
	ErrManyDigits = errors.New("media: too many digits wait to be sent")
)

const (
	shortestDigit = 40 * time.Millisecond // what receivers of tones must notice (ITU-T Q.24)
	longestDigit  = 6 * time.Second       // fits into the 16 bits of a duration
	digitPause    = 5                     // frames between two digits
	digitEnds     = 3                     // packets that say that it has ended (RFC 4733 §2.5.1.4)
	digitVolume   = 10                    // -dBm0
)

// press is a digit on its way to the phone. The zero value is none.
type press struct {
	event    byte
	length   int // ticks in all
	duration int // ticks so far
	ends     int // packets with the end that are still to be sent, 0: none is on its way
	ts       uint32
}

func (p *press) on() bool { return p.ends > 0 }

// presses are the digits that wait, in a ring. It is guarded by Session.mu.
type presses struct {
	waiting [32]press
	head, n int
	pause   int // frames until the next may begin
}

// DigitTime is how long a key is pressed for somebody who only says which.
const DigitTime = 160 * time.Millisecond

// SendDigit presses a key towards the phone by RFC 4733: 0-9, *, #, A-D, for so
// long, at least 40 ms and at most 6 s. It does not wait. Up to 32 digits wait for each
// other, 100 ms apart. They are forgotten when the phone holds the call.
func (s *Session) SendDigit(key byte, d time.Duration) error {
	event := strings.IndexByte(keys, key)
	if event < 0 {
		return fmt.Errorf("media: %q is no key", key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.presses
	switch {
	case s.terms == nil || s.terms.event < 0:
		return ErrNoDigits
	case s.closed || !s.terms.sends() || !s.destination().IsValid():
		return ErrHeld
	case w.n == len(w.waiting):
		return ErrManyDigits
	}
	length := min(max(d, shortestDigit), longestDigit) * clockRate / time.Second
	w.waiting[(w.head+w.n)%len(w.waiting)] = press{event: byte(event), length: int(length), ends: digitEnds}
	w.n++
	return nil
}

// nextDigit begins the next digit that waits, if none is on its way. It belongs to
// the clock, which holds s.mu.
func (s *Session) nextDigit(t *terms) {
	w := &s.presses
	switch {
	case t.event < 0:
		s.forgetDigits()
	case s.press.on():
	case w.pause > 0:
		w.pause--
	case w.n > 0:
		s.press = w.waiting[w.head]
		s.press.ts = s.ts
		w.head = (w.head + 1) % len(w.waiting)
		w.n--
	}
}

// forgetDigits ends the digit that is on its way, and those that wait. It belongs to
// the clock, which holds s.mu.
func (s *Session) forgetDigits() { s.press, s.presses = press{}, presses{} }

// sendDigit sends one packet of the digit that is on its way.
func (s *Session) sendDigit(w way) {
	p := &s.press
	first := p.duration == 0
	p.duration = min(p.duration+frameTicks, p.length)
	end := byte(0)
	if p.duration == p.length {
		end = 0x80
		if p.ends--; p.ends == 0 {
			s.mu.Lock()
			s.presses.pause = digitPause
			s.mu.Unlock()
		}
	}
	b := [4]byte{p.event, end | digitVolume}
	binary.BigEndian.PutUint16(b[2:], uint16(p.duration))
	s.send(w, rtp.Header{Marker: first, PayloadType: uint8(w.terms.event), Timestamp: p.ts}, b[:])
}

package attendant

import (
	"context"
	"errors"
	"time"
)

const (
	maxKeys   = 32 // that wait to be taken: who dials more in advance means nothing
	entryMax  = 32
	entryTime = 5 * time.Second
	// twice is how far a digit by RTP and the same one by INFO may be apart: phones
	// that send both mean it once.
	twice = 400 * time.Millisecond
)

var errPause = errors.New("no further digit")

// More has a token while digits may wait to be taken, for Incoming.Wait: Next takes
// them then.
func (a *Attendant) More() <-chan struct{} { return a.more }

// Next takes the next digit, 0 if none waits.
func (a *Attendant) Next() byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.keys) == 0 {
		return 0
	}
	key := a.keys[0]
	a.keys = a.keys[1:]
	if len(a.keys) > 0 {
		a.notify()
	}
	return key
}

// Digit is the next key that the caller presses, or has pressed since the answer: one of
// 0123456789*#ABCD.
func (a *Attendant) Digit(ctx context.Context) (byte, error) {
	for {
		if key := a.Next(); key != 0 {
			return key, nil
		}
		if err := a.wait(ctx, a.more); err != nil {
			return 0, err
		}
	}
}

// Forget drops the digits that nobody has taken.
func (a *Attendant) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = nil
}

// EntryOptions say when an entry is complete.
type EntryOptions struct {
	Max   int           // digits that it has at most; 0: 32
	Pause time.Duration // without a further digit; 0: 5 s
	Clear byte          // as its first key it is no part of the entry; 0: none
}

// Entry is the digits that the caller enters up to a #, a pause or the most that there
// can be. It is empty when the caller enters # alone.
func (a *Attendant) Entry(ctx context.Context, o EntryOptions) (string, error) {
	if o.Max == 0 {
		o.Max = entryMax
	}
	if o.Pause == 0 {
		o.Pause = entryTime
	}
	var entered []byte
	for {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if len(entered) > 0 {
			waiting, cancel = context.WithTimeoutCause(ctx, o.Pause, errPause)
		}
		key, err := a.Digit(waiting)
		cancel()
		switch {
		case errors.Is(err, errPause) && ctx.Err() == nil:
			return string(entered), nil
		case err != nil:
			return "", err
		case key == '#':
			return string(entered), nil
		case key == o.Clear && len(entered) == 0:
		default:
			if entered = append(entered, key); len(entered) >= o.Max {
				return string(entered), nil
			}
		}
	}
}

// press takes a key, unless it is the same one again, in the other way.
func (a *Attendant) press(key byte, by way) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.pressed.counts(key, by, now) {
		return
	}
	if a.player.stops {
		a.player.stop()
	}
	if len(a.keys) < maxKeys {
		a.keys = append(a.keys, key)
		a.notify()
	}
}

// notify says that digits wait. The caller holds a.mu.
func (a *Attendant) notify() {
	select {
	case a.more <- struct{}{}:
	default:
	}
}

// way is how a digit has come.
type way uint8

const (
	byRTP  way = iota // RFC 4733
	byINFO            // application/dtmf-relay, application/dtmf
)

// presses are the digits of late that have come in one way only. The zero value is
// ready.
type presses []press

type press struct {
	key byte
	by  way
	at  time.Time
}

// counts reports whether a key is one of its own, and not the same one that has come
// before in the other way.
func (p *presses) counts(key byte, by way, now time.Time) bool {
	late := 0
	for late < len(*p) && now.Sub((*p)[late].at) > twice {
		late++
	}
	*p = append((*p)[:0], (*p)[late:]...)
	for i, was := range *p {
		if was.key == key && was.by != by {
			*p = append((*p)[:i], (*p)[i+1:]...)
			return false
		}
	}
	if len(*p) < maxKeys {
		*p = append(*p, press{key, by, now})
	}
	return true
}

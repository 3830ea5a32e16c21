package dispatch

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"time"

	"sipxrest/media/prompts"
)

const (
	// pinTries is how often a PIN may be entered, pinTime how long that may take
	// all together, and pinToldTime with the prompts that are played. pinPause after
	// a digit the entry counts as complete.
	pinTries    = 3
	pinTime     = 30 * time.Second
	pinToldTime = 60 * time.Second
	pinPause    = 5 * time.Second
)

var (
	errPINTime  = errors.New("no PIN was entered in time")
	errPINWrong = errors.New("no PIN that was entered is right")
	errPause    = errors.New("no further digit")
)

// enterPIN answers the caller, and has it enter the PIN. It returns
// the next decision if the webhook made one, nil if the PIN is right.
//
//go:noinline
func (c *call) enterPIN(ctx context.Context, p plan) (*Decision, error) {
	guess := c.guess(p.Room)
	if !guess.allowed() {
		return nil, c.wrongPIN(ctx, errGuesses)
	}
	if err := c.pickUp(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, c.pinTime(), errPINTime)
	defer cancel()
	c.start(prompts.EnterPIN)
	for try := range pinTries {
		digits, err := c.digits(limited)
		if err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		timeout := errors.Is(err, errPINTime)
		if err == nil && digits != "" && !guess.take() {
			return nil, c.wrongPIN(ctx, errGuesses)
		}
		switch {
		// The fallback's PIN is checked here: the webhook has failed.
		case c.rule.CheckPIN && p.Decision != &c.rule.Fallback && (err == nil || timeout):
			next, again, err := c.askPIN(ctx, digits)
			if err != nil || !again {
				if err == nil && digits != "" && !c.fellBack && next.Action != Hangup {
					guess.right()
				}
				return next, err
			}
		case err != nil && !timeout:
			return nil, err
		case err == nil && samePIN(digits, string(p.PIN)):
			guess.right()
			return nil, nil
		}
		if timeout {
			return nil, c.wrongPIN(ctx, errPINTime)
		}
		switch {
		case try == pinTries-1:
		case digits == "": // a # alone
			c.start(prompts.EnterPIN)
		default:
			c.start(prompts.WrongPIN, prompts.EnterPIN)
		}
	}
	return nil, c.wrongPIN(ctx, errPINWrong)
}

// wrongPIN hangs up, and says why (RFC 3326).
func (c *call) wrongPIN(ctx context.Context, why error) error {
	if errors.Is(why, errGuesses) {
		c.log.Warn("inbound call: no PIN may be tried for now", "reason", why, "minutes", int(guessTime/time.Minute))
	} else {
		c.log.Info("inbound call: hung up", "reason", why)
	}
	c.d.count(c, OutcomePIN)
	c.refuses(ByPIN)
	if errors.Is(why, errPINTime) {
		c.say(ctx, prompts.Goodbye)
	} else {
		c.say(ctx, prompts.WrongPIN, prompts.Goodbye)
	}
	if err := c.in.Refuse(403, "PIN"); err != nil {
		return err
	}
	return why
}

// askPIN has the webhook check what was entered. again means that it is not
// right.
func (c *call) askPIN(ctx context.Context, digits string) (next *Decision, again bool, err error) {
	c.asked = time.Now()
	m := c.rule.message(&c.Call, eventPINEntered)
	m.Add("pin", digits)
	m.Add("no_pin", digits == "")
	c.attach(m)
	next, err = c.ask(ctx, m)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case err != nil:
		return next, false, nil // the fallback
	}
	c.decision = next
	return next, next.Action == Answer && next.PIN != "", nil
}

// digits are those up to a #, or up to a pause after them.
func (c *call) digits(ctx context.Context) (string, error) {
	var entered []byte
	for {
		waiting, cancel := ctx, context.CancelFunc(func() {})
		if len(entered) > 0 {
			waiting, cancel = context.WithTimeoutCause(ctx, pinPause, errPause)
		}
		digit, err := c.digit(waiting)
		cancel()
		switch {
		case errors.Is(err, errPause) && ctx.Err() == nil:
			return string(entered), nil
		case err != nil:
			return "", err
		case digit == '#':
			return string(entered), nil
		case len(entered) <= maxPIN: // one more makes it wrong
			entered = append(entered, digit)
		}
	}
}

// samePIN compares in a time that tells nothing of either.
func samePIN(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

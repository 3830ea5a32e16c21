package dispatch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"sipxrest/media"
	"sipxrest/media/attendant"
	"sipxrest/media/prompts"
	"sipxrest/sipflow"
)

// Audio is what callers who are asked for a PIN hear, and are heard by: digits count as
// most phones and trunks send them (RFC 4733).
type Audio struct {
	Ports   *media.Ports
	Prompts *prompts.Set
	// Language is that of the prompts, for rules that have none of their own.
	Language string
	Security media.Security
}

// ringBackTone is what a caller hears whose target rings: as telephones in most of Europe,
// a second in five (ITU-T E.180).
var ringBackTone = slices.Concat(media.Tone(425, time.Second, -20), media.Pause(4*time.Second))

// pickUp answers the caller who is to enter a PIN: with audio, or on hold where there is
// none. One who is answered already has it again.
func (c *call) pickUp(ctx context.Context) error {
	if c.ears == nil && !c.held && c.st.cfg.Audio != nil {
		c.open(c.st.cfg.Audio)
	}
	if c.ears != nil {
		err := c.in.Answer(ctx, c.ears.Conversation())
		if err == nil {
			c.held = true
			return nil
		}
		var refused *sipflow.StatusError
		if c.held || !c.answered.IsZero() || ctx.Err() != nil || !errors.As(err, &refused) {
			return err
		}
		c.log.Warn("inbound call: digits of the PIN can come by INFO only", "reason", err)
		c.hush()
	}
	if c.held {
		return nil
	}
	if err := c.in.AnswerHeld(ctx); err != nil {
		return err
	}
	c.held = true
	return nil
}

// open takes ports for the caller's audio. Without any the PIN can still be entered.
func (c *call) open(audio *Audio) {
	ears, err := attendant.New(attendant.Config{Ports: audio.Ports, Security: audio.Security, Clip: audio.Prompts.In(cmp.Or(c.rule.Language, audio.Language)), Log: c.log})
	if err != nil {
		c.log.Warn("inbound call: digits of the PIN can come by INFO only", "reason", err)
		return
	}
	c.ears = ears
}

// hush ends the caller's audio: another one's has taken its place, or the call is over.
func (c *call) hush() {
	if c.ears != nil {
		c.ears.Close()
		c.ears = nil
	}
}

// pinTime is how long a PIN may take: prompts take their part.
func (c *call) pinTime() time.Duration {
	if c.ears != nil {
		return pinToldTime
	}
	return pinTime
}

// start has prompts played, until a digit comes.
func (c *call) start(names ...string) {
	if c.ears != nil {
		c.ears.Start(names...)
	}
}

// say has prompts played, and returns once they have been, or the call is over.
func (c *call) say(ctx context.Context, names ...string) {
	if c.ears != nil && ctx.Err() == nil {
		c.in.Wait(ctx, c.ears.Say(names...)) //nolint:errcheck // the call is over then, which who hangs it up sees
	}
}

// ringBack has the caller hear that its target is called.
func (c *call) ringBack() {
	if c.ears != nil {
		c.ears.Stop()
		c.ears.Loop(ringBackTone)
	}
}

// silence ends that.
func (c *call) silence() {
	if c.ears != nil {
		c.ears.Stop()
	}
}

// digit is the next one that the caller enters.
func (c *call) digit(ctx context.Context) (byte, error) {
	if c.ears == nil {
		return c.in.Digit(ctx)
	}
	for {
		if key := c.ears.Next(); key != 0 {
			return key, nil
		}
		if err := c.in.Wait(ctx, c.ears.More()); err != nil {
			return 0, err
		}
	}
}

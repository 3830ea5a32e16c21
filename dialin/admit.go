package dialin

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"sipxrest/media/prompts"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

const (
	// pollTime is how often a conversation is looked at while the caller is in its
	// lobby, a fifth more or less.
	pollTime = 10 * time.Second
	// consentTime is how long a caller has to agree, consentTries how often he is asked.
	consentTime  = 15 * time.Second
	consentTries = 2
)

// admit has the caller agree to a recording, and wait until he is let in. waiting is
// when he began to.
func (c *call) admit(ctx context.Context, waiting time.Time) *ending {
	for {
		if e := c.consent(ctx); e != nil {
			return e
		}
		if !c.info.Lobby || c.who.Moderator || c.who.IgnoresLobby {
			return nil
		}
		if e := c.lobby(ctx, waiting); e != nil {
			return e
		}
	}
}

// consent asks whether the caller agrees to being recorded, where Talk would.
func (c *call) consent(ctx context.Context) *ending {
	if c.agreed || !c.info.Recording && !c.info.Consent {
		return nil
	}
	if c.s.cfg.Consent == ConsentRefuse {
		return &ending{NoConsent, []string{prompts.Unavailable}, errNoRecorded}
	}
	for range consentTries {
		c.ears.Start(prompts.Recording)
		timer := time.NewTimer(consentTime + c.length(prompts.Recording))
		select {
		case key := <-c.keys:
			c.agreed = key == '1'
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &ending{outcome: Left, why: context.Cause(ctx)}
		}
		timer.Stop()
		c.ears.Stop()
		if c.agreed {
			return nil
		}
	}
	return &ending{NoConsent, []string{prompts.Goodbye}, errNoConsent}
}

// length is how long a prompt is.
func (c *call) length(name string) time.Duration {
	return time.Duration(len(c.clip(name))) * time.Second / 16000
}

// lobby waits until the lobby is opened. Nextcloud tells nobody, so it is asked.
func (c *call) lobby(ctx context.Context, waiting time.Time) *ending {
	c.ears.Start(prompts.Lobby)
	c.ears.Loop(c.s.cfg.Music)
	defer c.ears.Stop()
	for c.info.Lobby {
		left := time.Until(waiting.Add(c.s.cfg.Wait))
		if left <= 0 {
			return &ending{Waited, []string{prompts.Goodbye}, errLobby}
		}
		poll := pollTime*4/5 + rand.N(pollTime*2/5)
		if e := c.wait(ctx, min(poll, left), nil); e != nil {
			return e
		}
		if e := c.look(ctx); e != nil {
			return e
		}
	}
	return nil
}

// look asks what the conversation is like now. A Nextcloud that does not say leaves it
// as it was.
func (c *call) look(ctx context.Context) *ending {
	token := c.info.Token
	info, err := c.cloud.Room(ctx, token)
	switch {
	case ctx.Err() != nil:
		return &ending{outcome: Left, why: context.Cause(ctx)}
	case errors.Is(err, talk.ErrNotFound):
		return &ending{Over, []string{prompts.Ended}, errDeleted}
	case err != nil:
		c.s.say(c.log, "a conversation cannot be looked at while a caller waits for it", "backend", c.cloud.URL(), "error", withoutURL(err))
		return nil
	case info.SIP == talk.SIPOff && !c.q.Direct: // one that was made for the call need not be open to others
		return &ending{Over, []string{prompts.Ended}, errClosed}
	}
	c.info = info
	c.info.Token = token
	return nil
}

// wait waits for a time, or until something changes. *9 leaves meanwhile.
func (c *call) wait(ctx context.Context, d time.Duration, changed <-chan struct{}) *ending {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var star stars
	for {
		select {
		case <-timer.C:
			return nil
		case <-changed:
			return nil
		case key := <-c.keys:
			if star.pressed(key) == '9' {
				return &ending{Left, []string{prompts.Goodbye}, errLeft}
			}
		case <-ctx.Done():
			return &ending{outcome: Left, why: context.Cause(ctx)}
		}
	}
}

// goIn has us be in the conversation, so that we hear of its call. Nobody sees that.
func (c *call) goIn() *ending {
	if c.room != nil {
		return nil
	}
	var err error
	if c.room, err = c.s.parts.Enter(c.session, c.info.Token, c.happened); err != nil {
		if errors.Is(err, talkroom.ErrRooms) {
			return &ending{Full, []string{prompts.Full}, err}
		}
		return &ending{Unavailable, []string{prompts.Unavailable}, err}
	}
	return nil
}

// mayStart reports whether the caller may begin the conversation's call.
func (c *call) mayStart() bool {
	if c.q.Direct { // his call is what the conversation was made for
		return true
	}
	switch c.s.cfg.StartCalls {
	case StartAll:
		return c.who.MayStart
	case StartMembers:
		return c.who.Member && c.who.MayStart
	}
	return false
}

// begun waits until somebody is in the conversation's call, if the caller may not
// begin it.
func (c *call) begun(ctx context.Context, waiting time.Time) *ending {
	if c.mayStart() || c.info.HasCall || c.room.InCall() {
		return nil
	}
	c.ears.Start(prompts.NotStarted)
	c.ears.Loop(c.s.cfg.Music)
	defer c.ears.Stop()
	for !c.room.InCall() {
		left := time.Until(waiting.Add(c.s.cfg.Wait))
		if left <= 0 {
			return &ending{Waited, []string{prompts.Goodbye}, errNotBegun}
		}
		if e := c.wait(ctx, left, c.changed); e != nil {
			return e
		}
	}
	// The lobby, or a recording, may have come meanwhile.
	if e := c.look(ctx); e != nil {
		return e
	}
	c.ears.Stop()
	return c.admit(ctx, waiting)
}

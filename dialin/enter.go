package dialin

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"sipxrest/media/prompts"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

var (
	// tokenPattern is the number of a conversation. Its length is not known: Talk has
	// changed it.
	tokenPattern = regexp.MustCompile(`^[0-9]{4,30}$`)
	pinPattern   = regexp.MustCompile(`^[0-9]{1,32}$`)
)

// enter has the caller say which conversation he means, and who he is.
func (c *call) enter(ctx context.Context) *ending {
	ctx, cancel := context.WithTimeoutCause(ctx, c.s.cfg.Time, errTime)
	defer cancel()
	say := []string{prompts.Welcome}
	for try := 1; ; try++ {
		right, e := c.try(ctx, say)
		switch {
		case errors.Is(context.Cause(ctx), errTime):
			return &ending{Wrong, []string{prompts.Goodbye}, errTime}
		case ctx.Err() != nil:
			return &ending{outcome: Left, why: context.Cause(ctx)}
		case e != nil:
			return e
		case right:
			return nil
		}
		wrong := prompts.Wrong
		if c.q.Token != "" {
			wrong = prompts.WrongPIN // no number was asked for
		}
		if try >= c.s.cfg.Tries {
			return &ending{Wrong, []string{wrong, prompts.Goodbye}, errWrong}
		}
		say = []string{wrong, prompts.Again}
	}
}

// try asks for the conversation, if that is not known, and for the PIN.
func (c *call) try(ctx context.Context, say []string) (right bool, e *ending) {
	if c.q.Token == "" {
		right, e = c.meeting(ctx, append(say, prompts.EnterMeeting))
		say = nil
	} else {
		right, e = c.fixed(ctx)
	}
	if !right || e != nil {
		return false, e
	}
	return c.pin(ctx, say)
}

// meeting asks which conversation is meant.
func (c *call) meeting(ctx context.Context, say []string) (right bool, e *ending) {
	entered, err := c.entry(ctx, say...)
	if err != nil {
		return false, c.gone(err)
	}
	token := strings.TrimPrefix(entered, "00") // as Talk's invitations have it
	if !tokenPattern.MatchString(token) {
		return false, nil
	}
	if !c.guess.take() {
		return false, c.tooMany()
	}
	start := time.Now()
	c.info, err = c.cloud.Room(ctx, token)
	switch {
	case err == nil && c.info.SIP != talk.SIPOff:
		c.guess.right()
		return true, nil
	case err == nil, errors.Is(err, talk.ErrNotFound): // one without phones tells a stranger no more than none
		return false, nil
	}
	c.guess.unsaid(ctx, start)
	return false, c.unless(ctx, err)
}

// fixed looks at the conversation of the rule.
func (c *call) fixed(ctx context.Context) (right bool, e *ending) {
	if c.info.Token != "" { // as before
		return true, nil
	}
	info, err := c.cloud.Room(ctx, c.q.Token)
	switch {
	case err == nil && info.SIP != talk.SIPOff:
		c.info = info
		c.info.Token = c.q.Token
		return true, nil
	case err == nil, errors.Is(err, talk.ErrNotFound):
		c.s.say(c.log, "a caller cannot be taken to Talk: look at the token of the rule, and at the conversation's SIP dial-in", "error", errNoRoom)
		return false, &ending{Unavailable, []string{prompts.Unavailable}, errNoRoom}
	}
	return false, c.unless(ctx, err)
}

// pin asks who calls.
func (c *call) pin(ctx context.Context, say []string) (right bool, e *ending) {
	open := c.info.SIP == talk.SIPOpen
	say = append(say, prompts.EnterPIN)
	if open {
		say = append(say, prompts.NoPIN)
	}
	entered, err := c.entry(ctx, say...)
	var who talk.Caller
	switch {
	case err != nil:
		return false, c.gone(err)
	case entered == "" && open:
		who, err = c.cloud.OpenDialin(ctx, c.info.Token)
		if errors.Is(err, talk.ErrNoSIP) || errors.Is(err, talk.ErrNotFound) { // no more
			return false, nil
		}
		if err != nil {
			return false, c.unless(ctx, err)
		}
	case !pinPattern.MatchString(entered):
		return false, nil
	default:
		if !c.guess.take() {
			return false, c.tooMany()
		}
		start := time.Now()
		who, err = c.cloud.VerifyDialin(ctx, c.info.Token, entered)
		switch {
		case errors.Is(err, talk.ErrNotFound):
			return false, nil
		case err != nil:
			c.guess.unsaid(ctx, start)
			return false, c.unless(ctx, err)
		}
		c.guess.right()
	}
	c.is(who)
	return true, nil
}

// is notes who calls, and what his conversation is like now.
func (c *call) is(who talk.Caller) {
	token := c.info.Token
	c.who = who
	c.who.MayStart = who.MayStart || who.Room.Lobby // Nextcloud says of whom the lobby holds that he may not: it decides
	if who.Room.Token != "" {
		c.info = who.Room
	}
	if token != "" {
		c.info.Token = token
	}
}

// tooMany ends a call in which nothing may be entered any more. What the last entry was
// is not told.
func (c *call) tooMany() *ending {
	c.s.say(c.log, "a caller may not enter anything for now", "error", errGuesses, "minutes", int(guessTime.Minutes()))
	return &ending{Guesses, []string{prompts.Goodbye}, errGuesses}
}

// gone is the ending for an entry that did not come.
func (c *call) gone(err error) *ending {
	return &ending{outcome: Left, why: err}
}

// unless is nextcloud's ending, but for a caller who has gone meanwhile.
func (c *call) unless(ctx context.Context, err error) *ending {
	if ctx.Err() != nil {
		return &ending{outcome: Left, why: context.Cause(ctx)}
	}
	return c.nextcloud(err)
}

// direct has Nextcloud make a conversation with the user who has the number that was
// called. Nothing is answered before: a caller to one person's number hears from his
// own network that nobody is there.
func (c *call) direct(ctx context.Context) error {
	s := c.s
	if s.barred(c.cloud, c.q) {
		s.say(c.log, "a caller is not taken to Talk", "error", errBarred)
		return s.refused(Unavailable, 480, "")
	}
	who, err := c.cloud.DirectDialin(ctx, c.q.Called, c.q.Caller)
	switch {
	case err == nil:
		c.is(who)
		return nil
	case ctx.Err() != nil:
		s.counted[Left].Add(1)
		return context.Cause(ctx)
	case errors.Is(err, talk.ErrNotFound):
		return s.refused(NotFound, 404, "")
	}
	c.nextcloud(err)
	s.counted[Unavailable].Add(1)
	return &sipflow.StatusError{Method: "INVITE", Code: 480}
}

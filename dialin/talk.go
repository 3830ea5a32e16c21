package dialin

import (
	"context"
	"errors"
	"time"

	"sipxrest/media"
	"sipxrest/media/prompts"
	"sipxrest/talk"
	"sipxrest/talkroom"
)

const (
	// addTime is how long the participants may not see a phone before it is heard all
	// the same. A Nextcloud that refuses it takes less, as a rule.
	addTime = 10 * time.Second
	// joiningTime is how much of the prompt is heard at least.
	joiningTime = 1500 * time.Millisecond
	// maxAdds is how often a phone is added that Nextcloud refuses, addPause how long it
	// waits for that although there is a call.
	maxAdds  = 4
	addPause = 5 * time.Second
	// lookTime is how often it is looked whether we are in the conversation.
	lookTime = 50 * time.Millisecond
	// starTime is how long after a * another key counts with it.
	starTime = 3 * time.Second
)

// join shows the phone in the conversation and has it take part until the call ends.
// again: Nextcloud does not let it in for now.
func (c *call) join(ctx context.Context) (e *ending, again bool) {
	for forgotten := false; !forgotten; { // what came of an earlier attempt
		select {
		case <-c.failed:
		case <-c.seen:
		default:
			forgotten = true
		}
	}
	if c.full() {
		return &ending{Full, []string{prompts.Full}, errFull}, false
	}
	c.s.mu.Lock()
	c.s.calls[c.id] = c
	c.s.mu.Unlock()
	c.ears.Start(prompts.Joining)
	if e := c.show(ctx); e != nil {
		return e, false
	}
	late, told := time.NewTimer(addTime), time.NewTimer(joiningTime)
	defer late.Stop()
	defer told.Stop()
	for seen, heard := false, false; !seen || !heard; {
		select {
		case <-c.seen:
			seen = true
		case <-told.C:
			heard = true
		case <-late.C:
			seen = true
		case <-c.failed:
			c.takeOut()
			return nil, true
		case <-c.keys: // typed ahead
		case <-ctx.Done():
			return &ending{outcome: Left, why: context.Cause(ctx)}, false
		}
	}
	if c.full() {
		return &ending{Full, []string{prompts.Full}, errFull}, false
	}
	c.takePart()
	e, again = c.talk(ctx)
	if again {
		c.takeOut()
		c.ears.Resume()
		c.release = false
	}
	return e, again
}

// full reports whether there are as many phones in the conversation as may be.
func (c *call) full() bool { return c.room.Phones() >= c.s.cfg.RoomPhones }

// show adds the phone among the participants. It waits until we are in the conversation:
// a signaling server that does not know it yet would drop the phone without a word.
func (c *call) show(ctx context.Context) *ending {
	for late := time.Now().Add(talk.EmptyTime); ; {
		err := talk.ErrNoRoom
		if c.room.Inside() {
			err = c.add()
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, talk.ErrNoRoom) || time.Now().After(late):
			c.s.say(c.log, "the phone cannot be shown in its conversation", "error", err)
			return &ending{Unavailable, []string{prompts.Unavailable}, err}
		}
		if e := c.wait(ctx, lookTime, c.changed); e != nil {
			return e
		}
	}
}

// add adds the phone session for the first time.
func (c *call) add() error {
	number := shownNumber(c.q.Caller, c.q.Vouched)
	p := talk.Phone{CallID: c.id, RoomID: c.info.Token, Number: number, DisplayName: displayName(c.who.Name, number),
		Options: talk.Options{AttendeeID: c.who.AttendeeID, ActorType: c.who.ActorType, ActorID: c.who.ActorID}}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addLocked(p)
}

// addLocked adds the phone session. c.mu is held.
func (c *call) addLocked(p talk.Phone) error {
	err := c.session.AddSession(p)
	if errors.Is(err, talk.ErrAdded) {
		err = nil
	}
	if err == nil {
		c.shown, c.as = true, p
	}
	return err
}

// takePart puts the phone into the sound.
func (c *call) takePart() {
	audio := c.ears.Release()
	c.release, c.joined = true, true
	phone := c.room.AddPhone(c.id, audio, talkroom.PhoneOptions{MayNotSpeak: !c.who.MayPublish, Clip: c.clip, Music: c.s.cfg.Music})
	phone.Shown()
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.room
	c.phone, c.audio, c.count = phone, audio, func() int { return room.Phones() + room.Foreign() }
	c.tellHeld()
}

// stars takes keys for commands: a * and another within starTime.
type stars struct{ at time.Time }

// pressed returns the second key of a command, 0 if that is not complete.
func (s *stars) pressed(key byte) byte {
	now := time.Now()
	begun := !s.at.IsZero() && now.Sub(s.at) <= starTime
	s.at = time.Time{}
	switch {
	case begun && key != '*':
		return key
	case key == '*':
		s.at = now
	}
	return 0
}

// talk does what the caller and moderators want until the call ends. again: Nextcloud
// has refused the phone late.
func (c *call) talk(ctx context.Context) (e *ending, again bool) {
	var star stars
	for {
		select {
		case key := <-c.keys:
			if e := c.command(star.pressed(key)); e != nil {
				return e, false
			}
		case m := <-c.controls:
			c.obey(m)
		case <-c.failed:
			return nil, true
		case <-ctx.Done():
			return &ending{outcome: Joined, why: context.Cause(ctx)}, false
		}
	}
}

// command does what the caller wants by a * and a key.
func (c *call) command(key byte) *ending {
	switch key {
	case '6':
		c.muteSelf()
	case '7':
		c.phone.Raise(!c.phone.Raised())
	case '9':
		return &ending{Joined, []string{prompts.Goodbye}, errLeft}
	case '#':
		c.phone.Play(c.clip(prompts.Help))
	}
	return nil
}

// muteSelf mutes the caller, or has him speak again. Who may not speak stays as he is.
func (c *call) muteSelf() {
	if !c.who.MayPublish {
		return
	}
	flags := c.phone.Muted()
	if flags&talk.MutedSpeaking == 0 {
		c.phone.Mute(flags | talk.MutedSpeaking)
		c.phone.Play(c.clip(prompts.Muted))
		return
	}
	if c.forced && !c.s.cfg.AllowUnmute {
		c.phone.Play(c.clip(prompts.Muted))
		return
	}
	c.forced = false
	c.phone.Mute(flags &^ talk.MutedSpeaking)
	c.phone.Play(c.clip(prompts.Unmuted))
}

// obey does what a moderator wants.
func (c *call) obey(m talk.Control) {
	switch m.Kind {
	case talk.DTMF:
		if err := c.audio.SendDigit(m.Digit, media.DigitTime); err != nil {
			c.s.say(c.log, "the phone did not take a digit", "error", err) // not which: it may belong to a PIN
		}
	case talk.Mute:
		before := c.phone.Muted()
		c.phone.Mute(m.Mute & (talk.MutedSpeaking | talk.MutedListening))
		c.forced = m.Mute&talk.MutedSpeaking != 0
		switch {
		case !c.who.MayPublish:
		case c.forced && before&talk.MutedSpeaking == 0:
			c.phone.Play(c.clip(prompts.MutedByModerator))
		case !c.forced && before&talk.MutedSpeaking != 0:
			c.phone.Play(c.clip(prompts.Unmuted))
		}
	}
}

// notAdded waits for what may have Nextcloud let the phone in: somebody who begins the
// call, or a while.
func (c *call) notAdded(ctx context.Context, waiting time.Time) *ending {
	c.ears.Start(prompts.NotStarted)
	c.ears.Loop(c.s.cfg.Music)
	defer c.ears.Stop()
	c.info.HasCall = false
	if c.room.InCall() {
		return c.wait(ctx, addPause, nil)
	}
	for !c.room.InCall() {
		left := time.Until(waiting.Add(c.s.cfg.Wait))
		if left <= 0 {
			return &ending{Waited, []string{prompts.Goodbye}, errNotBegun}
		}
		if e := c.wait(ctx, left, c.changed); e != nil {
			return e
		}
	}
	return c.look(ctx)
}

// change has whoever waits look again.
func (c *call) change() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// happened is told what happens in the conversation. It returns at once.
func (c *call) happened(e talkroom.Event) {
	switch e {
	case talkroom.Begun, talkroom.Ended:
		c.change()
	case talkroom.EndedForEveryone:
		if c.takesPart() { // who waits goes on waiting
			c.finish(&ending{Joined, []string{prompts.Ended}, errEveryone})
		}
	case talkroom.Deleted:
		o := Over
		if c.takesPart() {
			o = Joined
		}
		c.finish(&ending{o, []string{prompts.Ended}, errDeleted})
	case talkroom.MediaFailed:
		if c.takesPart() {
			c.finish(&ending{Unavailable, []string{prompts.Unavailable}, errMediaFailed})
		}
	case talkroom.Empty:
		c.lonely()
	}
}

// takesPart reports whether the phone is in the conversation's call, or about to be.
func (c *call) takesPart() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown || c.phone != nil
}

// lonely is told that no human but phones is in the call, again and again as long as it
// is so.
func (c *call) lonely() {
	others := c.others()
	now := time.Now()
	c.mu.Lock()
	switch {
	case c.phone == nil || others:
		c.alone = time.Time{}
	case c.alone.IsZero() || now.Sub(c.empty) > 2*talk.EmptyTime:
		c.alone = now.Add(-talk.EmptyTime)
	}
	c.empty = now
	long := !c.alone.IsZero() && now.Sub(c.alone) >= c.s.cfg.Wait
	c.mu.Unlock()
	if long {
		c.finish(&ending{Joined, []string{prompts.Goodbye}, errAlone})
	}
}

// others reports whether there are further phones in the conversation.
func (c *call) others() bool {
	c.mu.Lock()
	count := c.count
	c.mu.Unlock()
	return count != nil && count() > 1
}

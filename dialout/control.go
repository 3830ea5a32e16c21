package dialout

import (
	"context"
	"errors"
	"time"

	"sipxrest/talk"
)

const (
	// maxControls is how many digits may wait for the phone.
	maxControls = 64
	// controlTime bounds how long the phone has to take one.
	controlTime = 10 * time.Second
)

// control is talk.Handler.Control: a moderator of the phone's own room, or
// Nextcloud, wants something of it.
func (s *Service) control(session *talk.Session, m talk.Control) {
	c := s.find(m.CallID)
	if c == nil || c.talk == nil || c.talk.session != session {
		s.log.Debug("a control message for no call of ours", "callid", m.CallID)
		return
	}
	switch m.Kind {
	case talk.HangUp:
		why := errModerator
		if m.Sender == "" {
			why = errDisinvited
		}
		c.hangUp(why)
	case talk.DTMF, talk.Mute:
		select {
		case c.controls <- m:
		default:
			if s.lines.Allow() {
				c.log.Warn("too many digits at once: some are left out", "limit", maxControls)
			}
		}
	}
}

// obey does what moderators want of the phone, one after another, until the
// call ends.
func (c *call) obey() {
	for {
		select {
		case m := <-c.controls:
			c.one(m)
		case <-c.gone.Done():
			return
		}
	}
}

func (c *call) one(m talk.Control) {
	ctx, cancel := context.WithTimeout(c.gone, controlTime)
	defer cancel()
	c.mu.Lock()
	l := c.line
	c.mu.Unlock()
	if l == nil || ctx.Err() != nil {
		return
	}
	switch m.Kind {
	case talk.DTMF:
		if err := l.dtmf(ctx, m.Digit); err != nil && c.gone.Err() == nil {
			c.log.Warn("the phone did not take a digit", "error", err) // not which: it may belong to a PIN
		}
	case talk.Mute:
		flags := m.Mute & (talk.MutedSpeaking | talk.MutedListening)
		if err := l.mute(ctx, flags); err != nil {
			if c.gone.Err() == nil {
				c.log.Warn("the phone cannot be muted, or heard again", "error", err)
			}
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flags = flags
		c.changedLocked()
		if c.talk.sound != nil { // the conversation shows them
			return
		}
		// One that is not shown is added with them.
		if err := c.talk.session.UpdateSession(c.id, flags); err != nil && !errors.Is(err, talk.ErrNotAdded) {
			c.log.Warn("that the phone is muted, or no more, is not shown", "error", err)
		}
	}
}

// roomChanged is talk.Handler.Room.
func (s *Service) roomChanged(session *talk.Session, e talk.RoomEvent) {
	key := roomKey{session, e.RoomID}
	switch e.Kind {
	case talk.EndedForEveryone:
		s.hangUpRoom(key, errEveryone)
	case talk.Deleted:
		s.hangUpRoom(key, errRoomDeleted)
	case talk.Empty: // its phones would cost money for nothing
		if session.Callers(e.RoomID) > 0 {
			return // who has dialled in talks with them
		}
		s.hangUpRoom(key, errRoomEmpty)
	}
}

func (s *Service) hangUpRoom(key roomKey, why error) {
	for _, c := range s.callsOf(func(c *call) bool { return c.in(key) }) {
		c.hangUp(why)
	}
}

func (c *call) in(key roomKey) bool {
	return c.talk != nil && c.talk.session == key.session && c.talk.roomID == key.room
}

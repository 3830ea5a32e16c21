package dialin

import (
	"sipxrest/talk"
)

// Handler is what the signaling client is to tell. It is one of several of
// talk.Handlers.
func (s *Service) Handler() talk.Handler {
	return talk.Handler{
		Control:   func(session *talk.Session, m talk.Control) { s.control(session, m) },
		Added:     func(session *talk.Session, callID string) { s.added(session, callID) },
		AddFailed: func(session *talk.Session, callID string, err error) { s.addFailed(session, callID, err) },
		Again:     func(session *talk.Session, roomID string) { s.again(session, roomID) },
	}
}

// find returns the call that is shown by that name, nil for none.
func (s *Service) find(session Session, id string) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[id]; c != nil && c.session == session {
		return c
	}
	return nil
}

// control is told what a moderator of the phone's conversation, or Nextcloud, wants.
func (s *Service) control(session Session, m talk.Control) {
	c := s.find(session, m.CallID)
	if c == nil {
		return
	}
	switch m.Kind {
	case talk.HangUp:
		why := errModerator
		if m.Sender == "" {
			why = errDisinvited
		}
		c.finish(&ending{outcome: Joined, why: why})
	case talk.DTMF, talk.Mute:
		select {
		case c.controls <- m:
		default:
			s.say(c.log, "too much is wanted of the phone at once: some is left out", "limit", maxControls)
		}
	}
}

// added is told that the participants see a phone.
func (s *Service) added(session Session, callID string) {
	if c := s.find(session, callID); c != nil {
		select {
		case c.seen <- struct{}{}:
		default:
		}
	}
}

// addFailed is told that a phone was not added. The session has forgotten it.
func (s *Service) addFailed(session Session, callID string, err error) {
	c := s.find(session, callID)
	if c == nil {
		return
	}
	c.mu.Lock()
	c.shown = false
	c.mu.Unlock()
	select {
	case c.failed <- err:
	default:
	}
}

// again is told that the signaling server, which had forgotten us, knows a conversation
// again: its phones are shown again.
func (s *Service) again(session Session, roomID string) {
	s.mu.Lock()
	var list []*call
	for _, c := range s.calls {
		if c.session == session {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		c.change()
		if err := c.addAgain(roomID); err != nil {
			s.say(c.log, "the phone is not shown in its conversation any more", "error", err)
		}
	}
}

// addAgain adds the phone once more, if it was added to that conversation. It may not
// be heard yet.
func (c *call) addAgain(roomID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shown && c.phone == nil || c.as.RoomID != roomID {
		return nil
	}
	if err := c.addLocked(c.as); err != nil {
		return err
	}
	if c.phone != nil {
		c.phone.Shown()
	}
	return nil
}

package dialout

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"sipxrest/cluster"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// keptTalk is what another node needs of a call of Talk's to go on with it.
type keptTalk struct {
	Server  string          `json:"server"`
	Backend string          `json:"backend"`
	RoomID  string          `json:"roomid"`
	Options json.RawMessage `json:"options"`
	Name    string          `json:"name,omitempty"`
	Flags   talk.Flags      `json:"flags,omitempty"`
	Silent  bool            `json:"silent,omitempty"` // Nextcloud does not let the phone speak
}

// kept is the call's side that faces Talk. c.mu is held.
func (t *conversation) kept(flags talk.Flags) *keptTalk {
	k := &keptTalk{Server: t.session.Server(), Backend: t.session.Backend().URL(), RoomID: t.roomID, Options: t.options.Raw, Name: t.name, Flags: flags}
	if t.sound != nil {
		k.Silent = t.sound.silent
	}
	return k
}

// sessionOf returns the session by which a conversation is reached: of the same signaling
// server, else of another one of the same Nextcloud, which then are nodes of one cluster.
// nil means that the Nextcloud is not configured here.
func (s *Service) sessionOf(server, backend string) (found *talk.Session) {
	if s.client == nil {
		return nil
	}
	for _, session := range s.client.Sessions() {
		if session.Backend().URL() == backend && (found == nil || session.Server() == server) {
			found = session
		}
	}
	return found
}

// conversationOf is the side that faces Talk of a call that this node has taken over. nil
// means that Talk cannot be reached for it.
func (s *Service) conversationOf(k *keptTalk) *conversation {
	session := s.sessionOf(k.Server, k.Backend)
	options, ok := talk.ReadOptions(k.Options)
	if session == nil || !ok || !roomPattern.MatchString(k.RoomID) {
		return nil
	}
	return &conversation{session: session, roomID: k.RoomID, options: options, name: shortened(k.Name)}
}

// enterAgain has this node be in the conversation in place of the one that had the call.
// With media that ended there, the phone's go on here. It reports whether the call can go
// on.
func (c *call) enterAgain(k *keptTalk, spec *sipflow.Spec, joined bool) (goes bool) {
	t := c.talk
	t.entry.of(c)
	c.s.journal.put(&t.entry)
	goes = true
	if spec.Converse != nil && joined {
		if err := c.soundAgain(k, spec.Converse); err != nil {
			c.log.Warn("a phone that another node had cannot be heard in its conversation: it is hung up", "error", err)
			goes = false
		}
	}
	if t.room == nil {
		t.room = t.session.Join(t.roomID)
	}
	return goes
}

// soundAgain gives the phone audio at this node.
func (c *call) soundAgain(k *keptTalk, end *sipflow.Conversation) error {
	if c.s.cfg.Audio == nil {
		return errors.New("dialout.audio is not configured here")
	}
	if err := c.openSound(k.Silent); err != nil {
		return err
	}
	d := c.talk.sound
	d.flags = k.Flags
	*end = *d.conversation()
	end.Expect = d.session.Expect
	return nil
}

// leaves ends what this node has of a call that another one has now. That one shows the
// phone, and says how the call fares.
func (c *call) leaves(connected bool) {
	t := c.talk
	if t != nil {
		t.sound.end() // whose callbacks may wait for c.mu
	}
	c.mu.Lock()
	if t != nil && connected {
		c.removePhone() // ours alone: the other node has shown its own
	}
	c.away = true
	close(c.said) // who follows the call asks again, and finds it at the other node
	c.said = make(chan struct{})
	c.mu.Unlock()
	c.log.Debug("a call goes on at another node")
	c.s.dismiss(c)
	if t != nil {
		t.room.Leave()
		c.s.journal.remove(c.id)
	}
}

// dismiss forgets a call that is another node's.
func (s *Service) dismiss(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vacate(c)
	if s.calls[c.id] == c {
		delete(s.calls, c.id)
	}
}

// ours are those of the calls that a former run has left behind which no other node has
// taken over: else that one ends them. Those of which it is not known are asked about
// again later.
func (s *Service) ours(session *talk.Session, list []*entry) (ours []*entry) {
	if s.cfg.Elsewhere == nil {
		return list
	}
	var unknown []*entry
	for _, e := range list {
		if s.find(e.CallID) != nil {
			continue // this node has taken it over
		}
		ctx, stop := context.WithTimeout(s.hard, askTime)
		_, err := s.cfg.Elsewhere.FindID(ctx, e.CallID)
		stop()
		switch {
		case err == nil: // another node has it, or has ended it
			s.journal.remove(e.CallID)
		case errors.Is(err, cluster.ErrNone):
			ours = append(ours, e)
		default:
			unknown = append(unknown, e)
		}
	}
	if len(unknown) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leftovers[session] = append(s.leftovers[session], unknown...)
		time.AfterFunc(rejectPause, func() { s.sessionUp(session, talk.Resumed) })
	}
	return ours
}

package dialout

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"sipxrest/dialout/talk"
)

// conversation is the side of a call that faces Talk.
type conversation struct {
	session *talk.Session
	roomID  string
	options talk.Options
	room    *talk.Room // joined once the call was accepted
	entry   entry      // owned by the call's goroutine
	// added: the signaling server shows the phone, as far as is known, and tells
	// Nextcloud of its end. Guarded by call.mu.
	added bool
	left  bool   // nothing is left to be said of the call, as far as is known; likewise
	name  string // of the phone
}

// attendee tells who is called: nobody is called twice at once.
type attendee struct {
	backend, room string
	id            int64
}

// roomKey tells conversations apart.
type roomKey struct {
	session *talk.Session
	room    string
}

// dialout is talk.Handler.Dialout.
func (s *Service) dialout(r *talk.Request) {
	c := s.newCall(FromTalk, "")
	c.talk = &conversation{session: r.Session, roomID: r.RoomID, options: r.Options}
	if why := s.admit(c); why != nil {
		s.refuse(c, r, why)
		return
	}
	go func() {
		defer s.running.Done()
		if why := s.accept(c, r); why != nil {
			s.release(c)
			s.refuse(c, r, why)
			return
		}
	}()
}

// refuse answers a request for a call that is not made.
func (s *Service) refuse(c *call, r *talk.Request, why *refusal) {
	c.stop()
	s.count(FromTalk, Refused)
	if s.lines.Allow() {
		c.log.Info("phone call refused", "room", r.RoomID, "backend", r.Session.Backend().URL(), "code", why.code, "reason", why.message)
	}
	if err := r.Refuse(why.code, why.message); err != nil && !errors.Is(err, talk.ErrAnswered) {
		c.log.Warn("the refusal was not sent", "error", err)
	}
}

// accept checks a request, makes its call and sees it through. It answers why
// the call is not made.
func (s *Service) accept(c *call, r *talk.Request) *refusal {
	o, why := s.check(c, r)
	if why != nil {
		return why
	}
	// The number goes back as it came: Nextcloud compares it with its own.
	ctx, cancel := s.within(r.Context())
	stop := context.AfterFunc(c.gone, cancel) // a slow Nextcloud does not keep us from the end
	who, err := r.Session.Backend().VerifyDialout(ctx, r.RoomID, r.Number, r.Options)
	stop()
	cancel()
	if why := c.doomed(); why != nil {
		return doomRefusal(why)
	}
	if err != nil {
		if s.lines.Allow() {
			c.log.Warn("the number was not verified", "room", r.RoomID, "error", err)
		}
		return verifyRefusal(err)
	}
	if c.talk.name = shortened(who.DisplayName); c.talk.name == "" {
		c.talk.name = displayNumber(c.number)
	}
	c.talk.entry = entry{CallID: c.id, Server: r.Session.Server(), Backend: r.Session.Backend().URL(),
		RoomID: r.RoomID, Options: r.Options.Raw, At: time.Now()}
	s.journal.put(&c.talk.entry)
	if err := r.Accept(c.id); err != nil {
		// Nobody knows of the call, so it must not be made.
		s.journal.remove(c.id)
		c.log.Warn("the request could not be accepted any more", "error", err)
		return refuse(internalError, "")
	}
	c.say(talk.Status{State: talk.Accepted})
	c.log.Info("phone call accepted", "room", r.RoomID, "backend", r.Session.Backend().URL())
	c.talk.room = r.Session.Join(r.RoomID)
	if c.doomed() == nil { // or else nobody needs to be called any more
		if err := c.place(o); err != nil {
			c.failPlacing(err)
		}
	}
	c.run()
	return nil
}

// check answers what is to be called, or why not.
func (s *Service) check(c *call, r *talk.Request) (*order, *refusal) {
	if !roomPattern.MatchString(r.RoomID) {
		return nil, refuse(badRoom, "")
	}
	if !e164.MatchString(r.Number) {
		return nil, refuse(badNumber, "")
	}
	number, why := parseNumber(r.Number, "")
	if why != nil {
		return nil, why
	}
	c.number = number
	o := r.Options
	if o.ActorType != "phones" || o.ActorID == "" || o.AttendeeID == 0 {
		return nil, refuse(badOptions, "Only participants that are phones can be called.")
	}
	if why := checkCaller(o.Caller, o.Anonymous); why != nil {
		return nil, why
	}
	target, err := targetURI(roomTarget(s.cfg.RoomTarget, r.RoomID), "")
	if err != nil {
		return nil, refuse(internalError, "")
	}
	// As the users are now: they may have been read again. The policy of one who
	// was removed is gone with him, and everybody's may allow more.
	agent, known := s.known.Lookup(s.cfg.Agent)
	if s.cfg.Agent != "" && !known {
		c.log.Error("Talk calls nobody: dialout.agent is no user any more", "agent", s.cfg.Agent)
		return nil, refuse(notAllowed, "Calling phones is switched off: the phone service's user does not exist any more. Please tell the administrator.")
	}
	if why := s.allowed(s.cfg.Agent, number); why != nil {
		return nil, why
	}
	return &order{callID: c.id, agent: agent, trusted: true, number: number, target: target, caller: o.Caller, anonymous: o.Anonymous}, nil
}

// tellTalk says a status in the room. Called with call.mu held, so that what
// is said after the session was renewed does not come in between.
func (c *call) tellTalk(status talk.Status) {
	if err := c.talk.session.Status(c.talk.roomID, status); err != nil {
		c.log.Warn("a status was not sent", "status", status.State, "error", err)
	}
}

// addPhone shows the phone in its room, as it is. Called with call.mu held.
func (c *call) addPhone() {
	t := c.talk
	err := t.session.AddSession(talk.Phone{CallID: c.id, RoomID: t.roomID, Number: c.number, DisplayName: t.name, Options: t.options})
	t.added = err == nil || errors.Is(err, talk.ErrAdded)
	if !t.added {
		c.log.Warn("the phone is not shown in its conversation: nobody can hang it up there", "error", err)
		return
	}
	if c.flags != 0 {
		_ = t.session.UpdateSession(c.id, c.flags) // as soon as it is muted again
	}
}

// leave ends what the call has in the room and at Nextcloud.
func (c *call) leave(connected bool) {
	c.talk.room.Leave()
	c.mu.Lock()
	shown := connected && c.talk.added
	c.talk.left = shown
	c.mu.Unlock()
	if shown || c.s.reject(c.talk.session, &c.talk.entry, c.log) {
		c.s.unnote(c)
	}
}

// unnote forgets a call that is over once Talk has been told so: now, or when
// the signaling server is there again, or in another process.
func (s *Service) unnote(c *call) {
	t := c.talk
	s.mu.Lock()
	up, _ := t.session.Connected()
	if !up {
		s.untold[t.session] = append(s.untold[t.session], c.id)
	}
	s.mu.Unlock()
	if up {
		s.journal.remove(c.id)
	} else if !t.entry.Connected {
		t.entry.Connected = true // nothing is left to be done at Nextcloud
		s.journal.put(&t.entry)
	}
}

// reject says to Nextcloud that a call was never established, so that its
// number can be called again. It answers whether nothing is left to be done:
// not if Nextcloud could not be asked.
func (s *Service) reject(session *talk.Session, e *entry, log *slog.Logger) bool {
	ctx, cancel := context.WithTimeout(s.hard, talk.RejectTime)
	defer cancel()
	err := session.Backend().RejectDialout(ctx, e.RoomID, e.CallID, e.options())
	var answer *talk.BackendError
	switch {
	case err == nil:
		return true
	case errors.As(err, &answer) && (answer.Code == http.StatusBadRequest || answer.Code == http.StatusNotFound):
		// It knows the call no more, or never did.
		log.Info("Nextcloud did not take that the call came to nothing", "callid", e.CallID, "error", err)
		return true
	}
	log.Warn("Nextcloud could not be told that the call came to nothing", "callid", e.CallID, "error", err)
	return false
}

// sessionUp is talk.Handler.Up.
func (s *Service) sessionUp(session *talk.Session, h talk.Hello) {
	if h == talk.Renewed {
		for _, c := range s.callsOf(func(c *call) bool { return c.talk != nil && c.talk.session == session }) {
			c.again()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.untold[session]
	delete(s.untold, session)
	forget := func() {
		for _, callID := range told { // their last statuses go out now
			s.journal.remove(callID)
		}
	}
	if s.stopping {
		forget()
		return // leftovers are still noted
	}
	left := s.leftovers[session]
	delete(s.leftovers, session)
	if len(told)+len(left) == 0 {
		return
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		forget()
		s.endLeftovers(session, left)
	}()
}

// again says what the signaling server has forgotten of a call.
func (c *call) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.statuses)
	if n == 0 || c.statuses[n-1].State.Terminal() {
		return
	}
	if c.statuses[n-1].State == talk.Connected {
		c.addPhone()
	}
	c.tellTalk(c.statuses[n-1])
}

// addFailed is talk.Handler.AddFailed. Nextcloud knows nothing of the phone
// then, and learns only from us that the call is over.
func (s *Service) addFailed(session *talk.Session, callID string, _ error) {
	if c := s.find(callID); c != nil && c.talk != nil && c.notShown() {
		s.rejectLate(session, &c.talk.entry)
	}
}

// phoneInDoubt is talk.Handler.InDoubt. Nextcloud may know nothing of the phone,
// or never learn that it is gone: it is told by us as well. Where it knows all
// that it answers 400, and nothing comes of it.
func (s *Service) phoneInDoubt(session *talk.Session, p talk.Phone) {
	if c := s.find(p.CallID); c == nil || c.notShown() {
		s.rejectLate(session, &entry{CallID: p.CallID, RoomID: p.RoomID, Options: p.Options.Raw})
	}
}

// notShown notes that Nextcloud does not learn from the signaling server that
// the call is over, and answers whether it is over: or else leave tells it.
func (c *call) notShown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk.added = false
	return c.talk.left
}

// rejectLate is reject for a call that is over.
func (s *Service) rejectLate(session *talk.Session, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.reject(session, e, s.log)
	}()
}

// endLeftovers ends the calls of a former process that belong to a session.
func (s *Service) endLeftovers(session *talk.Session, list []*entry) {
	if len(list) == 0 {
		return
	}
	for _, e := range list {
		status := cleared("EndedByLocal", 500, "The phone service was interrupted")
		status.CallID = e.CallID
		if err := session.Status(e.RoomID, status); err != nil {
			s.log.Warn("a call of a former run stays as it is", "callid", e.CallID, "error", err)
			return
		}
	}
	s.log.Info("ended what a former run left behind", "calls", len(list), "backend", session.Backend().URL())
	for _, e := range list {
		if s.hard.Err() != nil {
			return
		}
		if e.Connected || s.reject(session, e, s.log) {
			s.journal.remove(e.CallID)
		}
	}
}

package dialout

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"sipxrest/order"
	"sipxrest/talk"
)

// conversation is the side of a call that faces Talk.
type conversation struct {
	session *talk.Session
	roomID  string
	options talk.Options
	room    joined // once the call was accepted
	sound   *sound // of the phone that is in the conversation itself; nil without Config.Audio
	entry   entry  // owned by the call's goroutine
	// left: the call is over, and Nextcloud learns that from the signaling server,
	// which removes the phone. Guarded by call.mu, as the next.
	left bool
	adds int    // attempts to show the phone that have failed
	name string // of the phone
}

// joined is a conversation that was entered.
type joined interface{ Leave() }

// attendee identifies the called party: nobody is called twice at once.
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

// refuse refuses a request for a call, and logs why.
func (s *Service) refuse(c *call, r *talk.Request, why *refusal) {
	c.stop()
	s.count(FromTalk, Refused)
	if s.lines.Allow() {
		c.log.Info("phone call refused", "room", talk.Masked(r.RoomID), "backend", r.Session.Backend().URL(), "code", why.code, "reason", why.message)
	}
	if err := r.Refuse(why.code, why.message); err != nil && !errors.Is(err, talk.ErrAnswered) {
		c.log.Warn("the refusal was not sent", "error", err)
	}
}

// accept checks a request, makes its call and sees it through. It returns why
// the call is not made.
func (s *Service) accept(c *call, r *talk.Request) *refusal {
	o, why := s.check(c, r)
	if why != nil {
		c.number = cmp.Or(c.number, shortened(r.Number))
		c.refused(nil, why)
		return why
	}
	// The number goes back as it came: Nextcloud compares it with its own.
	ctx, cancel := s.within(r.Context())
	stop := context.AfterFunc(c.gone, cancel) // a slow Nextcloud does not keep us from the end
	who, err := r.Session.Backend().VerifyDialout(ctx, r.RoomID, r.Number, r.Options)
	stop()
	cancel()
	if why := c.doomed(); why != nil {
		c.refused(o, doomRefusal(why))
		return doomRefusal(why)
	}
	if err != nil {
		if s.lines.Allow() {
			c.log.Warn("the number was not verified", "room", talk.Masked(r.RoomID), "error", err)
		}
		c.refused(o, verifyRefusal(err))
		return verifyRefusal(err)
	}
	if c.talk.name = shortened(who.DisplayName); c.talk.name == "" {
		c.talk.name = displayNumber(c.number)
	}
	if why := s.enter(r, c, o, who); why != nil {
		c.refused(o, why)
		return why
	}
	c.talk.entry.of(c)
	s.journal.put(&c.talk.entry)
	if err := r.Accept(c.id); err != nil {
		// Nobody knows of the call, so it must not be made.
		s.journal.remove(c.id)
		c.talk.part()
		c.log.Warn("the request could not be accepted any more", "error", err)
		return refuse(internalError, "")
	}
	c.say(talk.Status{State: talk.Accepted})
	c.log.Info("phone call accepted", "room", talk.Masked(r.RoomID), "backend", r.Session.Backend().URL())
	if c.talk.room == nil {
		c.talk.room = r.Session.Join(r.RoomID)
	}
	if why := c.doomed(); why != nil { // nobody needs to be called any more
		c.refused(o, doomRefusal(why))
	} else if err := c.place(o); err != nil {
		c.failPlacing(err)
	}
	c.run()
	return nil
}

// check returns what is to be called, or why not.
func (s *Service) check(c *call, r *talk.Request) (*placement, *refusal) {
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
	target := ""
	if s.cfg.Audio == nil {
		var err error
		if target, err = targetURI(roomTarget(s.cfg.RoomTarget, r.RoomID), ""); err != nil {
			return nil, refuse(internalError, "")
		}
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
	return &placement{callID: c.id, agent: agent, client: order.Client{Trusted: true}, number: number, target: target, caller: o.Caller, anonymous: o.Anonymous}, nil
}

// tellTalk says a status in the room. Called with call.mu held, so that what
// is said after the session was renewed does not come in between.
func (c *call) tellTalk(status talk.Status) {
	var then func()
	if status.State.Terminal() {
		then = func() { c.s.settle(&c.talk.entry) }
	}
	if err := c.talk.session.StatusThen(c.talk.roomID, status, then); err != nil {
		c.log.Warn("a status was not sent", "status", status.State, "error", err)
	}
}

// addPhone shows the phone in its room, as it is. Called with call.mu held.
func (c *call) addPhone() {
	t := c.talk
	err := t.session.AddSession(talk.Phone{CallID: c.id, RoomID: t.roomID, Number: c.number, DisplayName: t.name, Options: t.options})
	switch {
	case errors.Is(err, talk.ErrAdded):
	case errors.Is(err, talk.ErrNoRoom): // roomAgain follows
	case err != nil:
		c.log.Warn("the phone is not shown in its conversation: nobody can hang it up there", "error", err)
	case t.sound != nil:
		t.sound.shown()
	case c.flags != 0:
		_ = t.session.UpdateSession(c.id, c.flags) // as soon as it is muted again
	}
}

// removePhone takes the phone out of its room once the call is over. Called with
// call.mu held.
func (c *call) removePhone() {
	var err error
	if c.talk.left, err = c.talk.session.RemoveSession(c.id); err != nil {
		c.log.Warn("the phone cannot be taken out of its conversation", "error", err)
	}
}

// leave ends what the call has in the room and at Nextcloud.
func (c *call) leave() {
	t := c.talk
	t.room.Leave()
	if !c.overInTalk() && !c.s.reject(t.session, &t.entry, c.log) {
		if t.entry.Connected { // but the signaling server has not told Nextcloud
			t.entry.Connected = false
			c.s.journal.put(&t.entry)
		}
		c.s.rejectAgain(t.session, &t.entry)
		return
	}
	if !t.entry.Connected && t.entry.open.Load() > 1 { // the last status waits for the connection
		t.entry.Connected = true // and it is all that is left to be done
		c.s.journal.put(&t.entry)
	}
	c.s.settle(&t.entry)
}

// settle notes that one of two things is done at the end of a call: its last
// status was sent, and Nextcloud knows that it is over. After both it is
// forgotten.
func (s *Service) settle(e *entry) {
	if e.open.Add(-1) == 0 {
		s.journal.remove(e.CallID)
	}
}

// reject says to Nextcloud that a call was never established, so that its
// number can be called again. It reports whether nothing is left to be done:
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

// rejectPause is between attempts to tell Nextcloud of calls that came to nothing,
// while it cannot be told.
const rejectPause = time.Minute

// rejectAgain has reject be tried once more, after a while or when the signaling
// server was away and is back. The next process does what comes to nothing here.
func (s *Service) rejectAgain(session *talk.Session, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unrejected[session]) >= maxEntries {
		return
	}
	if s.unrejected[session] = append(s.unrejected[session], e); len(s.unrejected[session]) == 1 {
		time.AfterFunc(rejectPause, func() { s.sessionUp(session, talk.Resumed) })
	}
}

// sessionUp is talk.Handler.Up.
func (s *Service) sessionUp(session *talk.Session, _ talk.Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left, unrejected := s.leftovers[session], s.unrejected[session]
	if s.stopping || len(left)+len(unrejected) == 0 {
		return // they are still noted
	}
	delete(s.leftovers, session)
	delete(s.unrejected, session)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.endLeftovers(session, s.ours(session, left))
		s.rejectAll(session, unrejected)
	}()
}

// roomAgain is talk.Handler.Again.
func (s *Service) roomAgain(session *talk.Session, roomID string) {
	for _, c := range s.callsOf(func(c *call) bool { return c.in(roomKey{session, roomID}) }) {
		c.again()
	}
}

// again says what the signaling server has forgotten of a call.
func (c *call) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.statuses)
	if n == 0 || c.statuses[n-1].State.Terminal() {
		return
	}
	c.talk.adds = 0
	if c.statuses[n-1].State == talk.Connected {
		c.addPhone()
	}
	c.tellTalk(c.statuses[n-1])
}

// addFailed is talk.Handler.AddFailed. Nextcloud knows nothing of the phone
// then, and learns only from us that the call is over. While it is not, the
// phone is added again after a pause: Nextcloud may be away for longer.
func (s *Service) addFailed(session *talk.Session, callID string, _ error) {
	c := s.find(callID)
	switch {
	case c == nil || c.talk == nil:
	case c.overInTalk():
		s.rejectLate(session, &c.talk.entry)
	default:
		c.addLater()
	}
}

const (
	// The pauses between attempts to have a phone shown double from firstAddPause to
	// lastAddPause.
	firstAddPause = 5 * time.Second
	lastAddPause  = time.Minute
)

// addLater shows the phone after a pause, if it is still up and not shown.
func (c *call) addLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.talk
	t.adds++
	time.AfterFunc(min(firstAddPause<<min(t.adds-1, 10), lastAddPause), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.statuses[len(c.statuses)-1].State == talk.Connected {
			c.addPhone()
		}
	})
}

// phoneInDoubt is talk.Handler.InDoubt. Nextcloud may know nothing of the phone,
// or never learn that it is gone: so we tell it as well. If it knows all that,
// its response is 400, and nothing changes. One that is up is taken out and shown
// anew: it is not known whether there is one, and there must not be two.
func (s *Service) phoneInDoubt(session *talk.Session, p talk.Phone) {
	if c := s.find(p.CallID); c == nil || !c.showAnew() {
		s.rejectLate(session, &entry{CallID: p.CallID, RoomID: p.RoomID, Options: p.Options.Raw})
	}
}

// showAnew shows the phone again. It reports false if the call is over.
func (c *call) showAnew() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.talk == nil || c.talk.left:
		return false
	case c.statuses[len(c.statuses)-1].State == talk.Connected:
		if _, err := c.talk.session.RemoveSession(c.id); err == nil {
			c.addPhone()
		}
	}
	return true
}

// overInTalk reports whether the call is over and Nextcloud was to learn that
// from the signaling server.
func (c *call) overInTalk() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
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
		if !s.reject(session, e, s.log) {
			s.rejectAgain(session, e)
		}
	}()
}

// endLeftovers ends the calls of an earlier process that belong to a session.
func (s *Service) endLeftovers(session *talk.Session, list []*entry) {
	if len(list) == 0 {
		return
	}
	for _, e := range list {
		e.open.Store(2)
		status := interrupted()
		status.CallID = e.CallID
		if err := session.StatusThen(e.RoomID, status, func() { s.settle(e) }); err != nil {
			s.log.Warn("a call of a former run stays as it is", "callid", e.CallID, "error", err)
			return
		}
	}
	s.log.Info("ended what a former run left behind", "calls", len(list), "backend", session.Backend().URL())
	s.rejectAll(session, list)
}

// rejectAll has Nextcloud forget the calls that were never established. If it
// cannot be told of one, the others wait.
func (s *Service) rejectAll(session *talk.Session, list []*entry) {
	away := false
	for _, e := range list {
		switch {
		case e.Connected || !away && s.reject(session, e, s.log):
			s.settle(e)
		case s.hard.Err() != nil:
			return
		default:
			away = true
			s.rejectAgain(session, e)
		}
	}
}

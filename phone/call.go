package phone

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"sipxrest/sipflow"
)

// A call is one of a user's with another. It moves through states:
//
//	                 claim            join
//	ringing ──────────────▶ answering ─────▶ active        mediated: audio goes through here
//	   │  ◀──────────────────    │              │
//	   │      unclaim            │              │
//	   └────────────┬────────────┴──────────────┘
//	                ▼ end
//	              over
//
// A direct call is ringing until it is answered, declined, or its time is over;
// the phones speak with each other.
type call struct {
	id             ID
	caller, callee User
	direct         bool
	address        *address // of the caller, direct only

	// Guarded by Service.mu.
	state state
	legs  [2]*leg // of the caller and of the callee; nil without a socket
	// tokens are those that the two came with; zero before the answer.
	tokens [2]tokenHash
	timer  *time.Timer
	// phone hangs up a SIP phone, with the reason; nil without, or when it is over.
	phone context.CancelCauseFunc
	// accepted is closed when a device answers a SIP phone's call; nil for others.
	accepted chan struct{}
	guest    bool // the caller is no user: he is never busy
	// began is when it was placed, and peer the caller's address, for the log.
	began time.Time
	peer  netip.Addr
	tale  tale
}

type state int

const (
	ringing state = iota
	answering
	active
	over
)

// An Outcome is what a call came to.
type Outcome int

// Outcomes.
const (
	Completed  Outcome = iota // hung up after it was answered
	Declined                  // by the callee before the answer
	Cancelled                 // by the caller, or his socket ended, before the answer
	NoAnswer                  // in time
	TooLong                   // longer than MaxCall
	HandedOver                // answered on the direct path
	Ended                     // because the service shut down, or a party logged out

	numOutcomes int = iota
)

func (o Outcome) String() string {
	return [...]string{"completed", "declined", "cancelled", "no_answer", "too_long", "handed_over", "ended"}[o]
}

// begin registers a call that is allowed: both are free, and the callee has a
// device. offline is what is said if he has none.
func (s *Service) begin(c *call, offline *refusal) *refusal {
	s.name(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.cannot(c, offline); refusal != nil {
		return refusal
	}
	c.began = time.Now()
	s.calls[c.id], s.busy[c.callee.ID] = c, c
	if !c.guest {
		s.busy[c.caller.ID] = c
	}
	s.stats.placed(c.direct)
	s.begins(c)
	c.timer = time.AfterFunc(s.cfg.RingTime, func() { s.unanswered(c) })
	if c.direct {
		s.notify(c.callee.ID, incoming(c))
		s.rings(c)
	}
	return nil
}

// cannot says why a call cannot begin now. s.mu is held.
func (s *Service) cannot(c *call, offline *refusal) *refusal {
	switch {
	case s.draining:
		return errDraining
	case len(s.devices[c.callee.ID]) == 0 && !s.hasPhone(c):
		return offline
	case s.busy[c.caller.ID] != nil:
		return errCallerBusy
	case s.busy[c.callee.ID] != nil:
		return errCalleeBusy
	case s.calls[c.id] != nil:
		return errDuplicate
	case len(s.calls) >= s.cfg.MaxCalls:
		return errCalls
	}
	return nil
}

// hasPhone reports whether a call can ring the callee's SIP phone. That of one
// phone to another does not come through here.
func (s *Service) hasPhone(c *call) bool {
	return s.cfg.Gateway != nil && c.callee.SIP != "" && !c.direct && c.accepted == nil
}

// ring gives a mediated call its caller's leg and tells the callee: his
// devices, and his SIP phone. It returns false when the call has ended
// meanwhile.
func (s *Service) ring(c *call, l *leg) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == over {
		return false
	}
	c.legs[0] = l
	if c.state != ringing {
		return true // a device knew its ID, and has answered before it was told
	}
	s.notify(c.callee.ID, incoming(c))
	s.rings(c)
	if s.hasPhone(c) {
		s.ringPhone(c)
	}
	return true
}

// claim takes a mediated call for one of the callee's devices: of many that
// answer at once, the first gets it.
func (s *Service) claim(id ID, user ID) (*call, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c == nil || c.callee.ID != user || c.direct || c.state != ringing || c.legs[0] == nil {
		return nil, errNoCall
	}
	c.state = answering
	s.tellAnswering(c)
	return c, nil
}

// unclaim lets other devices answer: the one that claimed the call has failed.
func (s *Service) unclaim(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == answering {
		c.state = ringing
	}
}

// join gives a claimed call its callee's leg: the call is up. It returns false
// when the call has ended meanwhile.
func (s *Service) join(c *call, l *leg, token tokenHash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state != answering {
		return false
	}
	c.tokens[1] = token
	if c.phone != nil && c.accepted == nil {
		c.phone(sipflow.AnsweredElsewhere())
	}
	s.connectLegs(c, l)
	return true
}

// connectLegs makes a call active whose callee's leg is known. s.mu is held.
func (s *Service) connectLegs(c *call, l *leg) {
	c.state = active
	c.legs[1] = l
	s.stats.answered.Add(1)
	s.tellJoined(c)
	s.notify(c.callee.ID, answered(c.id))
	start := startFrame(time.Now())
	for i, side := range c.legs {
		side.tell(start) // before any audio: the leg has had no other
		side.peer.Store(c.legs[1-i])
	}
	c.timer.Stop()
	if s.cfg.MaxCall > 0 {
		c.timer = time.AfterFunc(s.cfg.MaxCall, func() { s.tooLong(c) })
	}
	if c.accepted != nil {
		close(c.accepted)
	}
}

// unanswered ends a call that has rung for long enough. Its timer may have fired
// in the moment of the answer.
func (s *Service) unanswered(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == ringing || c.state == answering {
		s.end(c, NoAnswer, c.direct)
	}
}

// tooLong ends a call that has lasted for long enough.
func (s *Service) tooLong(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(c, TooLong, false)
}

// hangUp ends a call because one of its sockets has ended.
func (s *Service) hangUp(c *call, side int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.endedBy(side, nil)
	s.end(c, outcomeOf(c, side), false)
}

// outcomeOf is what a call came to that one side has ended.
func outcomeOf(c *call, side int) Outcome {
	switch {
	case c.state == active:
		return Completed
	case side == 0:
		return Cancelled
	}
	return Declined
}

// decline ends a call of which user is a party; others change nothing.
func (s *Service) decline(id ID, user ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	switch {
	case c == nil:
	case c.caller.ID == user:
		c.endedBy(0, nil)
		s.end(c, outcomeOf(c, 0), true)
	case c.callee.ID == user:
		c.endedBy(1, nil)
		s.end(c, outcomeOf(c, 1), true)
	}
}

// answer tells the user's devices that one of them has answered. On the direct
// path the callee thereby ends what there is of the call here; a mediated call
// is answered by its socket, and this comes beside it.
func (s *Service) answer(id ID, user ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify(user, answered(id))
	if c := s.calls[id]; c != nil && c.direct && c.callee.ID == user {
		c.endedBy(1, nil)
		s.remove(c, HandedOver)
	}
}

// end ends a call that is not over: the callee's devices are told, those of the
// caller if his socket does not tell him, and both sockets are closed. All of it
// is queued before either can begin another call, which a client would take the
// end for. s.mu is held.
func (s *Service) end(c *call, o Outcome, tellCaller bool) {
	if c.state == over {
		return
	}
	s.remove(c, o)
	if tellCaller {
		s.notify(c.caller.ID, ended(c.id))
	}
	s.notify(c.callee.ID, ended(c.id))
	for _, l := range c.legs {
		if l != nil {
			l.end()
		}
	}
}

// remove forgets a call. s.mu is held.
func (s *Service) remove(c *call, o Outcome) {
	c.state = over
	c.timer.Stop()
	delete(s.calls, c.id)
	delete(s.busy, c.caller.ID)
	delete(s.busy, c.callee.ID)
	if c.phone != nil {
		c.phone(ending(o))
	}
	s.stats.ended[o].Add(1)
	s.tellEnd(c, o)
	s.logEnd(c, o)
}

// logEnd tells an operator how a call ended. Those that went as they should are
// told at debug level only, unless the configuration asks for all. s.mu is held.
func (s *Service) logEnd(c *call, o Outcome) {
	level := slog.LevelInfo
	if !s.cfg.LogCalls && (o == Completed || o == HandedOver) {
		level = slog.LevelDebug
	}
	end := sipflow.End{Flow: "phone", Key: sipflow.Key{Calling: cmp.Or(c.caller.Username, c.caller.SIP), Called: c.callee.Username}, Peer: c.peer,
		Outcome: o.String(), Took: time.Since(c.began)}
	write := func() {
		s.log.LogAttrs(context.Background(), level, sipflow.EndText, end.Attrs(slog.String("call", c.id.String()))...)
	}
	switch {
	case !s.log.Enabled(context.Background(), level):
	case s.closed:
		write()
	default: // a log that is slow must not keep others' calls waiting
		s.serving.Go(write)
	}
}

package phone

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"sipxrest/media"
	"sipxrest/sipflow"
	"sipxrest/sipflow/uri"
)

// Gateway is what lets users call SIP phones, and be called by them.
type Gateway struct {
	Board *sipflow.Switchboard
	Ports *media.Ports
	// Security says whether audio of SIP phones is encrypted.
	Security media.Security
	// Domain is the host of our From.
	Domain string
	// Credentials are for the challenges of Domain's servers; nil: there are none.
	Credentials func() sipflow.Credentials
	// User is the SIP user of Domain whose name, or one of whose names, a caller
	// has proved by digest; "" for others, a trunk. Nil: there are none.
	User func(username string) string
	// Guests lets phones call that are no user's. They are nobody's favourites,
	// and need not be.
	Guests bool
}

// placeTime is how long the way to a phone may take to be found.
const placeTime = 10 * time.Second

// sipSide is a SIP phone's side of a call: 0 if it calls, 1 if it is called.
// Its goroutine is that of dial, or of the switchboard's inbound call.
type sipSide struct {
	s    *Service
	c    *call
	side int
	leg  *leg

	ctx      context.Context
	stop     context.CancelCauseFunc // any goroutine's; ends the SIP call
	accepted chan struct{}           // closed when a device has answered; of side 0
	up       bool                    // of side 1: joined; owned by the SIP call's goroutine
	session  *media.Session
}

// newSide prepares a phone's side. The leg's peer hears what the phone says.
func (s *Service) newSide(ctx context.Context, side int) (*sipSide, error) {
	p := &sipSide{s: s, side: side, leg: newLeg(&s.stats.frames)}
	var err error
	g := s.cfg.Gateway
	p.session, err = g.Ports.Open(media.Options{Security: g.Security, Audio: p.hear, NoMedia: p.silent})
	if err != nil {
		return nil, err
	}
	p.ctx, p.stop = context.WithCancelCause(ctx)
	p.leg.out = p.speak
	return p, nil
}

// close ends the audio.
func (p *sipSide) close() {
	p.stop(nil)
	p.leg.end()
	p.session.Close()
	p.s.stats.rtp.add(p.session.Stats())
}

// hear passes on what the phone says: 20 ms as one message.
func (p *sipSide) hear(pcm []int16) {
	f := newFrame()
	f.data = f.room[:4+2*len(pcm)]
	binary.LittleEndian.PutUint32(f.data, uint32(len(pcm)))
	for i, v := range pcm {
		binary.LittleEndian.PutUint16(f.data[4+2*i:], uint16(v))
	}
	p.leg.hear(f)
}

// speak sends a message of audio to the phone.
func (p *sipSide) speak(f *frame) {
	var pcm [320]int16
	for rest := f.data[4:]; len(rest) > 0; {
		n := min(len(rest)/2, len(pcm))
		for i := range n {
			pcm[i] = int16(binary.LittleEndian.Uint16(rest[2*i:]))
		}
		p.session.Write(pcm[:n])
		rest = rest[2*n:]
	}
}

// silent ends a call whose phone has sent nothing for long.
func (p *sipSide) silent() { p.s.hangUp(p.c, p.side) }

// conversation is the phone's side for the switchboard.
func (p *sipSide) conversation() *sipflow.Conversation {
	return &sipflow.Conversation{Offer: p.session.Offer, Answered: p.answered, Reoffer: p.reoffer, Expect: p.session.Expect}
}

// answered takes the phone's answer to our offer. Of a phone that was called
// the first one answers the call.
func (p *sipSide) answered(answer []byte, early bool) error {
	if early { // nobody hears it before the call is answered
		return nil
	}
	if err := p.session.Accept(answer); err != nil {
		return sipRefusal(err)
	}
	if p.side == 1 && !p.up {
		if p.up = p.s.pickUp(p.c, p); !p.up {
			return cmp.Or(context.Cause(p.ctx), sipflow.AnsweredElsewhere())
		}
	}
	return nil
}

func (p *sipSide) reoffer(offer []byte) ([]byte, error) {
	answer, err := p.session.Answer(offer)
	return answer, sipRefusal(err)
}

// sipRefusal is a refusal of a description as SIP says it.
func sipRefusal(err error) error {
	var refused *media.Refusal
	if errors.As(err, &refused) {
		return &sipflow.StatusError{Method: "INVITE", Code: refused.Code, Reason: refused.Reason}
	}
	return err
}

// ringPhone calls the callee's phone beside his devices. s.mu is held.
func (s *Service) ringPhone(c *call) {
	ctx, stop := context.WithCancelCause(context.Background())
	c.phone = stop
	s.serving.Add(1)
	id := c.tale.id
	go func() {
		defer s.serving.Done()
		defer stop(nil)
		s.stats.toPhones.Add(1)
		err := s.dial(ctx, c, id)
		if err != nil {
			s.log.Debug("the call to a SIP phone has ended", "call", c.id, "error", err)
		}
		s.phoneOver(c, 1, err)
	}()
}

// dial calls the callee's phone and returns when that call is over. id is that by which
// c is told.
func (s *Service) dial(ctx context.Context, c *call, id string) error {
	p, err := s.newSide(ctx, 1)
	if err != nil {
		s.log.Warn("a SIP phone is not called", "call", c.id, "error", err)
		return err
	}
	p.c = c
	defer p.close()
	g := s.cfg.Gateway
	user := string(uri.AppendUser(nil, c.caller.Username))
	if c.caller.SIP != "" {
		user = userOf(c.caller.SIP)
	}
	spec := sipflow.Spec{
		Key:    sipflow.Key{Agent: user + "@" + g.Domain, Calling: "phone-" + c.id.String(), Called: aorOf(c.callee.SIP)},
		Method: sipflow.MethodInvite, AgentName: cmp.Or(c.caller.DisplayName, c.caller.Username), CalledUser: aorOf(c.callee.SIP),
		Timeout: s.cfg.RingTime + closeWait, Converse: p.conversation(), // the call's own timer comes first
	}
	if g.Credentials != nil {
		spec.Credentials = g.Credentials()
	}
	spec.ID = id
	placing, placed := context.WithTimeout(p.ctx, placeTime)
	defer placed()
	call, err := g.Board.Place(placing, spec, sipflow.Converse)
	if err != nil {
		return err
	}
	select {
	case <-call.Done():
		return call.Err()
	case <-p.ctx.Done():
	}
	call.HangUp(context.Cause(p.ctx))
	p.session.Close()
	wait := time.NewTimer(closeWait) // a phone that does not respond to its BYE keeps nobody
	defer wait.Stop()
	select {
	case <-call.Done():
	case <-wait.C:
	}
	return context.Cause(p.ctx)
}

// pickUp gives a call that rings to the callee's phone: of all that answer at
// once, the first gets it.
func (s *Service) pickUp(c *call, p *sipSide) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state != ringing {
		return false
	}
	c.state = answering
	s.connectLegs(c, p.leg)
	return true
}

// phoneOver notes that a SIP phone's part of a call has ended, for a reason. A
// phone that refuses ends a call that no device can answer, and one that
// declines (603) ends it for all.
func (s *Service) phoneOver(c *call, side int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.phone = nil
	s.sideOver(c)
	l := c.legs[side]
	switch {
	case c.state == over:
	case c.state == active:
		if l != nil && l.out != nil {
			c.endedBy(side, err)
			s.end(c, Completed, false)
		}
	case side == 0:
		c.endedBy(side, err)
		s.end(c, Cancelled, false)
	default:
		var refused *sipflow.StatusError
		declines := errors.As(err, &refused) && refused.Code >= 600
		switch {
		case !declines && (c.state == answering || len(s.devices[c.callee.ID]) > 0):
		case declines, refused != nil && refused.Code != 408 && refused.Code != 480, errors.Is(err, sipflow.ErrForbidden):
			c.endedBy(side, err)
			s.end(c, Declined, true)
		default:
			c.endedBy(side, err)
			s.end(c, NoAnswer, false)
		}
	}
}

// ending is what a SIP phone is hung up with.
func ending(o Outcome) error {
	switch o {
	case Declined:
		return refusing(603)
	case NoAnswer:
		return sipflow.ErrNoAnswer
	case Ended: // the user is not there any more
		return refusing(480)
	}
	return sipflow.ErrHungUpByUser
}

// Take is the call of a SIP phone to a user: his devices ring. It is called as
// sipflow.Inbound's Take is, and returns when the call is over.
//
//	phone              here             devices
//	  │ INVITE          │                 │
//	  │────────────────▶│ incoming        │
//	  │◀──────180───────│────────────────▶│ all
//	  │                 │  socket/answer  │
//	  │                 │◀────────────────│ one
//	  │◀──────200───────│───start frame──▶│
//	  │◀═══════════════audio═════════════▶│
//
// A user who does not answer, is not there, or may not be called leaves the
// caller unanswered, so that another target can be tried: the error is a
// *sipflow.StatusError or ErrNoAnswer.
func (s *Service) Take(ctx context.Context, in *sipflow.Incoming, name string, ring time.Duration) error {
	c, code, err := s.fromPhone(ctx, in, name)
	if err != nil {
		if ctx.Err() != nil { // a caller that is gone gets no response
			return context.Cause(ctx)
		}
		s.log.Error("the phone's database fails", "error", err)
		code = 500
	}
	if code != 0 {
		return refusing(code)
	}
	c.accepted = make(chan struct{})
	s.mu.Lock() // before ports are taken for a call that cannot be
	refusal := s.cannot(c, errOffline)
	s.mu.Unlock()
	if refusal != nil {
		return asSIP(refusal)
	}
	p, err := s.newSide(ctx, 0)
	if err != nil {
		s.log.Warn("a call from a SIP phone is refused", "error", err)
		return refusing(500)
	}
	p.c, c.phone, p.accepted = c, p.stop, c.accepted
	defer p.close()
	if refusal := s.begin(c, errOffline); refusal != nil {
		return asSIP(refusal)
	}
	s.stats.fromPhones.Add(1)
	if err = in.Ring(); err == nil {
		if s.ring(c, p.leg) {
			err = p.await(in, ring)
		} else {
			err = context.Cause(p.ctx)
		}
	}
	s.phoneOver(c, 0, err)
	return err
}

// await picks up for the caller when a device has, and stays in the call.
func (p *sipSide) await(in *sipflow.Incoming, ring time.Duration) error {
	limit := time.AfterFunc(ring, func() { p.s.unanswered(p.c) })
	defer limit.Stop()
	if err := in.Wait(p.ctx, p.accepted); err != nil {
		return err
	}
	return in.Converse(p.ctx, p.conversation())
}

// refusing is a refusal by code.
func refusing(code int) error { return &sipflow.StatusError{Method: "INVITE", Code: code} }

// asSIP is how the phone of a caller is told that his call cannot begin.
func asSIP(r *refusal) error {
	switch r {
	case errOffline:
		return refusing(480)
	case errCallerBusy, errCalleeBusy:
		return refusing(486)
	}
	return refusing(500)
}

// fromPhone makes the call of a phone, or returns why not: as a code for the
// caller, which does not tell him who refuses him.
func (s *Service) fromPhone(ctx context.Context, in *sipflow.Incoming, name string) (c *call, code int, err error) {
	to, err := s.cfg.Store.Find(ctx, name)
	if errors.Is(err, ErrNoUser) {
		to, err = s.cfg.Store.WithSIP(ctx, sipAddress(name, s.cfg.Gateway.Domain))
	}
	if errors.Is(err, ErrNoUser) {
		return nil, 404, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if s.off.Load() || !reaches(to.Level, s.cfg.MinLevel) {
		return nil, 480, nil
	}
	from, guest, err := s.callerOf(ctx, in)
	if err != nil {
		return nil, 0, err
	}
	callee, err := s.cfg.Store.callee(ctx, from.ID, to.ID)
	switch {
	case errors.Is(err, ErrNoUser): // deleted meanwhile
		return nil, 404, nil
	case err != nil:
		return nil, 0, err
	case callee.refuses, from.ID == to.ID, guest && !s.cfg.Gateway.Guests, !guest && !callee.favorite, !guest && !reaches(from.Level, s.cfg.MinLevel):
		return nil, 603, nil
	}
	return &call{id: NewID(), caller: from, callee: callee.User, guest: guest, peer: in.Source.Addr().Unmap(), tale: tale{id: in.ID(), inbound: true}}, 0, nil
}

// callerOf is the user whose phone calls, or a guest. A caller that digest has
// proved is that user, whatever From says. Another of his names, or a foreign
// host, neither makes him somebody else nor gets him past those who blocked
// him.
func (s *Service) callerOf(ctx context.Context, in *sipflow.Incoming) (u User, guest bool, err error) {
	g := s.cfg.Gateway
	addresses := []string{sipAddress(in.From.User, in.From.Host)}
	if in.Username != "" && g.User != nil {
		if name := g.User(in.Username); name != "" {
			addresses = []string{sipAddress(name, g.Domain), sipAddress(in.From.User, g.Domain)}
		}
	}
	for _, address := range addresses {
		if u, err = s.cfg.Store.WithSIP(ctx, address); !errors.Is(err, ErrNoUser) {
			return u, false, err
		}
	}
	name := cmp.Or(in.From.User, "anonymous")
	if _, err := s.cfg.Store.Find(ctx, name); err == nil {
		name = aorOf(addresses[0]) // clients show the name: it must not be a user's
	} else if !errors.Is(err, ErrNoUser) {
		return u, false, err
	}
	u = User{ID: guestID(addresses[0]), Username: cut(name, maxUsername), DisplayName: cut(in.From.Name, maxText)}
	return u, true, nil
}

// sipAddress is the SIP address of a user as the store has it.
func sipAddress(user, host string) string {
	return "sip:" + string(uri.AppendUser(nil, user)) + "@" + strings.ToLower(host)
}

// cut shortens a text to so many bytes.
func cut(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// rtpStats are the sums of sessions that are over.
type rtpStats struct {
	mu  sync.Mutex
	sum media.Stats
}

func (r *rtpStats) add(m media.Stats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Sent += m.Sent
	r.sum.Received += m.Received
	r.sum.Lost += m.Lost
	r.sum.Late += m.Late
	r.sum.Dropped += m.Dropped
	r.sum.Foreign += m.Foreign
	r.sum.Forged += m.Forged
	r.sum.Jitter = max(r.sum.Jitter, m.Jitter)
}

func (r *rtpStats) read() media.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum
}

package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// A Conversation is a call whose media end here: what its owner says of the
// media, and is told. The functions are called from the call's goroutine, one
// after the other, and must return soon.
type Conversation struct {
	// Offer is our offer, the current one when the session goes on. The origin
	// (o=) is written anew.
	Offer func() []byte
	// Answered takes the phone's answer to the latest Offer: early says that it
	// is of a provisional response, so that another may follow. The error of one
	// that is not early ends the call: the phone is acknowledged and hung up,
	// and told the code of a *StatusError, or 488.
	Answered func(answer []byte, early bool) error
	// Reoffer answers an offer of the phone's, its first one or one by which it
	// holds the call, takes it back or changes codecs. An error refuses it, with
	// the code of a *StatusError, or 488; the session is then as before.
	Reoffer func(offer []byte) ([]byte, error)
	// Expect, when set, is told the phone's description before Offer is asked for in a
	// call that was answered before, on hold or elsewhere: a phone that wants SRTP
	// takes no offer of plain RTP.
	Expect func(description []byte)
	// Digit, when set, is told the digits that come by INFO.
	Digit func(digit byte)
	// Secret says that the digits may be a PIN: nobody but Digit is told.
	Secret bool
}

// allowTalk is what a phone may send within a conversation. REFER is none of
// it: there is nobody here who could be sent elsewhere.
const allowTalk = "INVITE, ACK, OPTIONS, CANCEL, BYE, INFO, UPDATE"

// errElsewhere is told to a phone whose call was taken by another device (RFC
// 3326 §3.1): it is not to be shown as missed.
var errElsewhere = &StatusError{"INVITE", 200, "Call completed elsewhere"}

// AnsweredElsewhere is for HangUp of a call that another device has answered.
func AnsweredElsewhere() error { return errElsewhere }

// Converse is the flow that calls Spec.CalledUser and is the other end of its
// media, as Spec.Converse says:
//
//	sipxrest               Phone
//	    | INVITE (offer)     |
//	    |------------------->|
//	    |           180, 183 |
//	    |<-------------------|
//	    |       200 (answer) |
//	    |<-------------------|
//	    | ACK                |
//	    |------------------->|
//	    |<===== media ======>|
//	    | INVITE (hold)      |
//	    |<-------------------|
//	    | 200, ACK           |
//	    |<------------------>|
//	    | BYE                |
//	    |<-------------------|
//
// The Key's Calling is the caller's to choose, and not a user's. The From is
// Key.Agent with Spec.AgentName.
//
// With Spec.Dial it calls that number by way of its gateway instead, as Dial does.
// The phone is then the calling party, and the conversation is in the place of the
// target.
func Converse(ctx context.Context, c *Call) (err error) {
	l, far := c.conversing()
	t := &endpoint{callee: l.callee, call: c, leg: l, end: c.Spec.Converse, far: far}
	l.joinedMedia()
	l.isWith(t)
	l.peer.forwarding(true) // from the answer on
	answer, err := c.ring(ctx, l, l.describe(t.end.Offer()))
	l.onRinging = nil
	if err != nil {
		return c.blame(ctx, far, err)
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { t.close(); c.hangUp(ctx, l, err) }()
	c.observe(&Event{Kind: Answered, At: time.Now(), CallID: l.callID})
	if len(answer.SDP) == 0 {
		return errors.Join(c.blame(ctx, far, errNoSDP), answer.Ack(nil))
	}
	if err := t.agree(answer.SDP); err != nil {
		return errors.Join(c.blame(ctx, Self, err), answer.Ack(nil))
	}
	c.at(stepMedia)
	if err := answer.Ack(nil); err != nil {
		return err
	}
	return t.run(ctx)
}

// conversing prepares the call to the phone of a conversation, and says which party
// it is.
func (c *Call) conversing() (*Leg, Party) {
	if c.Dial != nil {
		return c.phoneLeg(allowTalk), CallingParty
	}
	l := c.newLegFrom("sip:"+c.CalledUser, c.CalledUser, c.AgentName, c.Key.Agent)
	l.record = c.record.leg(RoleCalled, l.party)
	l.first = c.inviteHeader(c.Subject, "", l.callee.allow())
	l.onRinging = func() { c.observe(&Event{Kind: Alerted, At: time.Now(), CallID: l.callID}) }
	return l, CalledParty
}

// takeBack invites a caller that is answered, and on hold or elsewhere, with our media.
func (t *endpoint) takeBack(ctx context.Context) error {
	if said := t.leg.saidLast(); said != nil && t.end.Expect != nil {
		t.end.Expect(said)
	}
	again, err := t.leg.reinvite(ctx, t.leg.describe(t.end.Offer()))
	if err != nil {
		return err
	}
	if err := again.Ack(nil); err != nil {
		return err
	}
	t.leg.peer.forwarding(true)
	return t.agree(again.SDP)
}

// endpoint is our side of a call whose media end here. It belongs to the call's
// goroutine.
type endpoint struct {
	callee // without it
	call   *Call
	leg    *Leg
	end    *Conversation
	far    Party     // the phone
	onward bool      // it is to be connected with a target later on
	owed   *serverTx // its ACK has the answer to our offer
}

func (t *endpoint) allow() string {
	if t.onward {
		return t.callee.allow()
	}
	return allowTalk
}

func (t *endpoint) passwordKey() string {
	if t.far == CallingParty {
		return t.callee.passwordKey()
	}
	return "phone.sip.agent"
}

// ringing takes what a phone says of its media before it answers.
func (t *endpoint) ringing(_ *Leg, m *wire.Message) {
	if answer := bodyOf(m); answer != nil && m.Code() > 100 {
		t.end.Answered(answer, true) //nolint:errcheck // its 200 decides
	}
}

// agree takes the phone's answer to our offer.
func (t *endpoint) agree(answer []byte) error {
	t.leg.heard(answer)
	if err := t.end.Answered(answer, false); err != nil {
		return unacceptable(err)
	}
	t.disclosed(answer)
	return nil
}

// disclosed says once that the keys of encrypted media can be read by who can read the
// SIP messages: an answer has them, and the offer that it is for.
func (t *endpoint) disclosed(answer []byte) {
	sw := t.call.sw
	if t.leg.secure || sw.keysShown.Load() || sdp.SecurityOf(answer)&sdp.SDES == 0 || sw.keysShown.Swap(true) {
		return
	}
	sw.log.Warn("sip: a call's media are encrypted, but their keys go over SIP in the clear: have the phone use TLS", "call", t.call)
}

// unacceptable is the refusal of a description.
func unacceptable(err error) error {
	if errors.As(err, new(*StatusError)) {
		return err
	}
	return errors.Join(&StatusError{"INVITE", 488, ""}, err)
}

// run stays in the call until somebody hangs up, which is no error.
func (t *endpoint) run(ctx context.Context) error {
	talk, stop := t.call.whileTalking(ctx)
	defer stop()
	t.call.by = Self
	t.joined()
	return t.stay(talk)
}

// joined tells that the phone takes part in the conversation.
func (t *endpoint) joined() {
	c := t.call
	c.wasUp = true
	c.connected()
	c.keepIfNew()
	c.observe(&Event{Kind: Joined, At: time.Now(), CallID: t.leg.callID})
}

// stay takes what comes from the phone until somebody hangs up.
func (t *endpoint) stay(talk context.Context) error {
	c := t.call
	t.leg.media.joint = t
	for {
		e, err := t.next(talk)
		if err == nil {
			err = t.event(e)
		}
		if e.ack != nil && err == nil {
			c.keepIfNew()
		}
		if errors.Is(err, ErrHungUp) {
			t.hungUp()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hungUp notes that the phone has.
func (t *endpoint) hungUp() {
	t.call.by = t.far
	t.call.dialled(t.leg, Terminated)
	t.call.record.fell(ErrHungUp)
}

// next waits for what comes from the phone. One that never pauses does not hold up
// the end of ctx.
func (t *endpoint) next(ctx context.Context) (event, error) {
	if err := context.Cause(ctx); err != nil {
		return event{}, err
	}
	if e, ok := t.leg.media.nextDeferred(); ok {
		return e, nil
	}
	return t.leg.event(ctx)
}

// listen has what the phone sends go to the call's goroutine, which takes it by event.
func (t *endpoint) listen() {
	t.leg.isWith(t)
	t.leg.peer.forwarding(true)
	t.leg.joinedMedia().joint = t
}

// leave is the opposite of listen.
func (t *endpoint) leave() {
	t.leg.peer.forwarding(false)
	t.leg.isWith(t.callee)
	t.leg.joinedMedia().joint = nil
}

// told implements joint.
func (t *endpoint) told(l *Leg) []byte { return l.describe(t.end.Offer()) }

// retold implements joint.
func (t *endpoint) retold(_ *Leg, answer []byte) error {
	if len(answer) == 0 {
		return errNoSDP
	}
	return t.agree(answer)
}

// close leaves nothing that the phone waits for.
func (t *endpoint) close() {
	t.leg.peer.forwarding(false)
	t.leg.refuseOpen()
}

// event takes what came from the phone.
func (t *endpoint) event(e event) error {
	switch {
	case e.hungUp:
		return ErrHungUp
	case e.in != nil && e.err != nil: // no ACK for our 2xx (RFC 3261 §13.3.1.4)
		return t.leg.fault(e.err)
	case e.in != nil && e.ack != nil:
		if e.in != t.owed {
			return nil
		}
		t.owed = nil
		answer := bodyOf(e.ack)
		if answer == nil {
			if e.in.initial {
				return errNoSDP
			}
			return nil // the session is as before
		}
		return t.agree(answer)
	case e.in != nil && !e.cancel: // a CANCEL comes too late: every request has had its response
		t.request(e.in)
	}
	return nil
}

// describe responds to an INVITE or UPDATE of the phone's, which may have an
// offer.
func (t *endpoint) describe(in *serverTx) wire.Reply {
	l, m := t.leg, in.req
	offer := bodyOf(m)
	if no := unfitOffer(m); no.Code != 0 {
		return no
	}
	r := wire.Reply{Code: 200}
	switch {
	case offer != nil:
		answer, err := t.end.Reoffer(offer)
		if err != nil {
			refused := &StatusError{Code: 488}
			errors.As(err, &refused)
			return wire.Reply{Code: refused.Code, Reason: wire.PlainPhrase(refused.Reason)}
		}
		r.Body = l.answerTo(offer, answer)
		l.heard(offer)
		t.disclosed(answer)
	case in.method == "INVITE":
		r.Body = l.describe(t.end.Offer())
		t.owed = in
	}
	if len(r.Body) > 0 {
		r.ContentType = sdp.Type
	}
	l.refreshTarget(m, in.path)
	r.Header = string(appendContact(nil, in.path.Link)) + "Allow: " + allowTalk + "\r\n" + supported + l.sessionAnswer(m, nil)
	return r
}

// firstUser is user@host that the first INVITE goes to.
func (c *Call) firstUser() string {
	if c.Spec.Converse != nil {
		return c.CalledUser
	}
	return c.CallingUser
}

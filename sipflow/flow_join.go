package sipflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sipxrest/sipflow/sdp"
)

// connectTo joins a calling phone that is up with a called one, as the ladder of
// Invite shows, and stays between them. Where a phone refuses its part of that
// there are other ways to one description, and each is tried once:
//
//   - A called phone that takes no INVITE without an offer gets one: what the calling
//     phone is known by (offerKnown), what that offers when it is invited again without
//     an offer (offerFresh), and at last our own (offerHeld). offer is false where the
//     called phone has refused the calling one's offer before.
//   - A calling phone that cannot do what the called one offers is asked for an offer
//     of its own, which the called one gets (turnRound) once it has picked up.
func (c *Call) connectTo(ctx context.Context, calling, called *Leg, offer bool) (err error) {
	c.at(stepSecond)
	// A calling phone that hangs up ends every wait for the called one.
	waiting, stop := calling.While(ctx)
	defer stop()
	waiting, fail := context.WithCancelCause(waiting)
	defer fail(nil)
	early := &earlyOffer{calling: calling, fail: fail}
	called.joinedMedia().early = early
	offered, err := c.ring(waiting, called, nil)
	switch {
	case waiting.Err() == nil && called.wantsOffer(err) && offer:
		return c.offerKnown(ctx, waiting, calling, called, err)
	case waiting.Err() == nil && called.wantsOffer(err):
		return c.offerHeld(ctx, waiting, calling, called, err)
	case err != nil:
		return err
	}
	called.media.early = nil
	defer func() { c.hangUp(ctx, called, err) }()
	called.heard(offered.SDP)
	if offered.settled != unsettled {
		if err := errors.Join(context.Cause(waiting), offered.Ack(nil)); err != nil {
			return err
		}
		return c.connectSettled(ctx, waiting, calling, called, offered, early.refused)
	}
	if len(offered.SDP) == 0 {
		return errors.Join(errNoSDP, offered.Ack(nil))
	}
	c.keep(stepJoining)
	answer, err := calling.reinvite(waiting, calling.describe(offered.SDP))
	if refusesOffer(err) {
		if err := offered.Ack(called.onHold(offered.SDP)); err != nil {
			return err
		}
		return c.turnRound(ctx, waiting, calling, called, offered.SDP, err)
	}
	if err != nil {
		return errors.Join(err, offered.Ack(called.refuse(offered.SDP)))
	}
	// The answer to B first: B repeats its 200 until then.
	if err := errors.Join(offered.Ack(called.answerTo(offered.SDP, answer.SDP)), answer.Ack(nil)); err != nil {
		return err
	}
	calling.heard(answer.SDP)
	return c.bridge(ctx, calling, called)
}

// connectSettled is the rest of connectTo for a called phone whose offer came before its
// 2xx. refused is how the calling one has refused it, where it has.
func (c *Call) connectSettled(ctx, waiting context.Context, calling, called *Leg, offered *Success, refused error) error {
	switch offered.settled {
	case refusedEarly:
		return c.turnRound(ctx, waiting, calling, called, offered.SDP, refused)
	case heldEarly: // what calling knows is the offer of another phone
		again, err := calling.reinvite(waiting, calling.describe(offered.SDP))
		if refusesOffer(err) {
			return c.turnRound(ctx, waiting, calling, called, offered.SDP, err)
		}
		if err != nil {
			return c.blame(ctx, CallingParty, err)
		}
		if err := c.toldAgain(ctx, waiting, calling, called, again, offered.SDP, nil); err != nil {
			return err
		}
	}
	return c.bridge(ctx, calling, called)
}

// wantsOffer reports whether a phone has refused an INVITE because that has no offer.
// There are servers that say 480 to that. It mostly means that the user is not there,
// so that one who was alerted is not alerted again.
func (l *Leg) wantsOffer(err error) bool {
	return refusesOffer(err) || !l.rang && refusedBy(err, "INVITE") == 480
}

// cannotTalk says why two phones are not joined, of which there is something to say:
// to the client as a status line, and in the log.
func (c *Call) cannotTalk(calling *Leg, clash string) error {
	c.note(calling, "INVITE", "SIP/2.0 488 "+clash, time.Now())
	return fmt.Errorf("%w: nobody converts between them", &StatusError{"INVITE", 488, clash})
}

// offerKnown calls a phone that wants an offer with what the calling one is known by
// to us: what it answered when it was rung, or has offered since.
//
//	Calling               sipxrest               Called
//	    |                      | INVITE (no offer)   |
//	    |                      |-------------------->|
//	    |                      |                 488 |
//	    |                      |<--------------------|
//	    |                      | ACK, INVITE (A)     |
//	    |                      |-------------------->|
//	    |                      |   180, 200 (answer) |
//	    |                      |<--------------------|
//	    | INVITE (answer)      | ACK                 |
//	    |<---------------------|-------------------->|
//	    | 200, ACK             | INVITE (only if     |
//	    |<-------------------->|   A is another now) |
//	    |                      |-------------------->|
//
// What the calling phone answered may lack a codec that it has, for an answer says
// what both have. A called phone that refuses it gets a fresh offer.
func (c *Call) offerKnown(ctx, waiting context.Context, calling, called *Leg, refused error) (err error) {
	known := calling.forAnother()
	if known == nil {
		return c.offerFresh(ctx, waiting, calling, called, refused)
	}
	called.media.early = &earlyOffer{calling: calling}
	joined, err := c.ring(waiting, called, called.describe(known))
	if refusesOffer(err) {
		return c.offerFresh(ctx, waiting, calling, called, err)
	}
	if err != nil {
		return err
	}
	called.media.early = nil
	defer func() { c.hangUp(ctx, called, err) }()
	if len(joined.SDP) == 0 {
		return errors.Join(errNoSDP, joined.Ack(nil))
	}
	called.heard(joined.SDP)
	return c.joinLate(ctx, waiting, calling, called, joined, known)
}

// offerFresh asks the calling phone for an offer and calls the other one with that. A
// calling phone that takes no INVITE without an offer either leaves it at what the
// called one has refused.
func (c *Call) offerFresh(ctx, waiting context.Context, calling, called *Leg, refused error) error {
	asked, err := calling.reinvite(waiting, nil)
	switch {
	case refusesOffer(err):
		return refused
	case err != nil:
		return err
	case len(asked.SDP) == 0:
		return errors.Join(refused, asked.Ack(nil))
	}
	calling.heard(asked.SDP)
	joined, held, err := c.offerTarget(waiting, calling, called, asked)
	if refusesOffer(err) {
		if err := held(); err != nil {
			return err
		}
		return c.offerHeld(ctx, waiting, calling, called, err)
	}
	return c.joinOffered(ctx, waiting, calling, called, asked, joined, held, err)
}

// offerHeld calls a phone that takes no offer but one of its own kind, and makes none,
// with audio on hold, as flow I of RFC 3725 does. What it answers is offered to the
// calling phone, which may take what it would not offer.
func (c *Call) offerHeld(ctx, waiting context.Context, calling, called *Leg, refused error) (err error) {
	if sdp.SecurityOf(calling.saidLast()) == sdp.WebRTC {
		return c.cannotTalk(calling, sdp.OneSpeaksWebRTC)
	}
	joined, err := c.inviteHeld(waiting, calling, called)
	if err != nil {
		return err
	}
	defer func() { c.hangUp(ctx, called, err) }()
	if joined.SDP = called.forAnother(); joined.SDP == nil {
		return errors.Join(refused, joined.Ack(nil))
	}
	return c.joinLate(ctx, waiting, calling, called, joined, nil)
}

// inviteHeld rings a phone for another one with audio on hold.
func (c *Call) inviteHeld(ctx context.Context, other, l *Leg) (*Success, error) {
	l.joinedMedia().early = &earlyOffer{calling: other}
	joined, err := c.ring(ctx, l, l.own(sdp.Held(l.mediaHost()), 1))
	if err == nil {
		l.media.early = nil
		l.heard(joined.SDP)
	}
	return joined, err
}

// turnRound joins two phones of which the calling one cannot do what the called one
// offers: a phone that is asked to offer may offer its favourite only.
//
//	Calling               sipxrest               Called
//	    | INVITE (offer B)     |                     |
//	    |<---------------------|                     |
//	    | 488                  |                     |
//	    |--------------------->| ACK (B held)        |
//	    | ACK, INVITE          |-------------------->|
//	    |<---------------------|                     |
//	    | 200 (offer A)        | INVITE (offer A)    |
//	    |--------------------->|-------------------->|
//	    |                      |      200 (answer B) |
//	    |       ACK (answer B) |<--------------------|
//	    |<---------------------| ACK                 |
//	    |                      |-------------------->|
//	    |<================== media =================>|
//
// A calling phone that does not offer is offered to the called one as it is known. The
// called one, whose offer was refused, is on hold already.
func (c *Call) turnRound(ctx, waiting context.Context, calling, called *Leg, offered []byte, refused error) error {
	asked, err := calling.reinvite(waiting, nil)
	if err == nil && len(asked.SDP) == 0 {
		err = errors.Join(refused, asked.Ack(nil))
	}
	if refusesOffer(err) {
		known := calling.forAnother()
		if known == nil {
			return refused
		}
		if clash := sdp.Clash(offered, known); clash != "" {
			return c.cannotTalk(calling, clash)
		}
		joined, err := called.reinvite(waiting, called.describe(known))
		if err != nil {
			return err
		}
		called.heard(joined.SDP)
		return c.joinLate(ctx, waiting, calling, called, joined, known)
	}
	if err != nil {
		return err
	}
	calling.heard(asked.SDP)
	giveUp := func(err error) error { return errors.Join(err, asked.Ack(calling.refuse(asked.SDP))) }
	if clash := sdp.Clash(offered, asked.SDP); clash != "" {
		return giveUp(c.cannotTalk(calling, clash))
	}
	joined, err := called.reinvite(waiting, called.describe(asked.SDP))
	if err != nil {
		return giveUp(err)
	}
	called.heard(joined.SDP)
	if err := errors.Join(asked.Ack(calling.answerTo(asked.SDP, joined.SDP)), joined.Ack(nil)); err != nil {
		return err
	}
	return c.bridge(ctx, calling, called)
}

const (
	// quickAnswer is how long the phone's answer waits for the target's. A
	// conference answers at once; longer, the phone would be left with an answer
	// that nobody acknowledges, and repeat it.
	quickAnswer = 2 * time.Second
	// unackedTime is how long a phone that cannot be held waits for the ACK of its
	// 2xx: until it would give up (RFC 3261 §13.3.1.4).
	unackedTime = 60 * t1
)

// offerTarget calls the target with the phone's offer. held acknowledges the
// phone's answer on hold, once; it has been called when the target took its
// time. A phone that cannot be held waits, for as long as it may.
func (c *Call) offerTarget(waiting context.Context, phone, target *Leg, answer *Success) (joined *Success, held func() error, err error) {
	held = func() error {
		if answer.acked {
			return nil
		}
		answer.acked = true
		// Not refused: there are gateways that hang up when no stream is left.
		return answer.Ack(phone.onHold(answer.SDP))
	}
	limitTime := target.callee.ringTime()
	hold := func() { held() } //nolint:errcheck // its repeats ask again
	if answer.offers = true; answer.unheld() {
		limitTime, hold = min(limitTime, unackedTime), func() {}
	}
	waiting, limit := context.WithTimeoutCause(waiting, limitTime, ErrNoAnswer)
	defer limit()
	rings := target.onRinging
	target.onRinging = func() {
		if hold(); rings != nil {
			rings()
		}
	}
	target.joinedMedia().onLate = hold
	// When it is given up the phone must not wait for what it says to that.
	target.media.early = &earlyOffer{calling: phone}
	late := time.AfterFunc(quickAnswer, func() { target.inbox.put(event{late: true}, true) })
	defer late.Stop()
	joined, err = target.Invite(waiting, target.describe(answer.SDP))
	if !target.gone {
		target.onRinging, target.media.onLate, target.media.early = nil, nil, nil
	}
	return joined, held, err
}

// joinOffered joins a phone with the target that was called with its offer. refused is
// why there is none.
func (c *Call) joinOffered(ctx, waiting context.Context, phone, target *Leg, answer, joined *Success, held func() error,
	refused error) (err error) {
	if refused != nil {
		return errors.Join(c.blameTarget(ctx, refused), held())
	}
	defer func() { c.hangUp(ctx, target, err) }()
	if len(joined.SDP) == 0 {
		return errors.Join(c.blame(ctx, CalledParty, errNoSDP), joined.Ack(nil), held())
	}
	target.heard(joined.SDP)
	if answer.acked {
		return c.joinLate(ctx, waiting, phone, target, joined, answer.SDP)
	}
	if err := errors.Join(answer.Ack(phone.answerTo(answer.SDP, joined.SDP)), joined.Ack(nil)); err != nil {
		return err
	}
	return c.bridge(ctx, phone, target)
}

// joinLate joins the phone, which is on hold, with a target that has answered
// its offer meanwhile.
func (c *Call) joinLate(ctx, waiting context.Context, phone, target *Leg, joined *Success, offer []byte) error {
	if err := joined.Ack(nil); err != nil {
		return err
	}
	if err := c.tellAgain(ctx, waiting, phone, target, joined.SDP, offer); err != nil {
		return err
	}
	return c.bridge(ctx, phone, target)
}

// tellAgain invites a phone again with what a target has answered to its offer.
func (c *Call) tellAgain(ctx, waiting context.Context, phone, target *Leg, answer, offer []byte) error {
	again, err := phone.reinvite(waiting, phone.describe(answer))
	if err != nil {
		return c.blame(ctx, CallingParty, err)
	}
	return c.toldAgain(ctx, waiting, phone, target, again, answer, offer)
}

// toldAgain is the rest of tellAgain once the phone has accepted.
func (c *Call) toldAgain(ctx, waiting context.Context, phone, target *Leg, again *Success, answer, offer []byte) error {
	if err := again.Ack(nil); err != nil {
		return err
	}
	phone.heard(again.SDP)
	if now := sdp.Fit(again.SDP, answer); !sdp.SameMedia(now, offer) { // its answer differs from its offer
		last, err := target.reinvite(waiting, target.describe(now))
		if err != nil {
			if waiting.Err() == nil {
				return c.blame(ctx, CalledParty, err)
			}
			return c.blame(ctx, CallingParty, err)
		}
		if err := last.Ack(nil); err != nil {
			return err
		}
		target.heard(last.SDP)
	}
	return nil
}

// blameTarget is blame for the outcome of the target's part of the call. A call
// that was joined knows better.
func (c *Call) blameTarget(ctx context.Context, err error) error {
	switch {
	case c.wasUp:
	case errors.Is(err, ErrHungUp):
		c.blame(ctx, CallingParty, err) //nolint:errcheck // it is returned below
	default:
		c.blame(ctx, CalledParty, err) //nolint:errcheck
	}
	return err
}

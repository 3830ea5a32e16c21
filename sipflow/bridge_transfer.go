package sipflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sipxrest/sipflow/sdp"
)

// transferOrder is a client's wish to have the calling phone replaced.
type transferOrder struct {
	key    Key    // that the call has afterwards
	target string // user@host as it goes on the wire
}

// transfer is the phone that is to take another one's place.
type transfer struct {
	target *Leg
	old    *Leg      // whose place it takes; it may have hung up
	stays  *Leg      // whom it is joined with
	key    Key       // that the call has afterwards
	ready  bool      // the two are joined when stays has no INVITE pending
	until  time.Time // when it is given up

	// A client has us call it.
	attempt *attempt
	offer   []byte   // the description of who stays; nil: the target offers its own
	answer  *Success // acknowledged but for an offer in it

	// It has called us (RFC 3891).
	invite *serverTx
	asked  *Success // stays has made it an offer, and waits for the answer
}

// Transfer replaces the calling phone of a bridged call by another. It calls
// target (user@host as it goes on the wire) and, once that picks up, joins it
// with the called phone. Only then is the old one hung up. Transfer returns
// when the INVITE to the target is out; the call's dialogs show whether it
// picks up. to is the key that the call then has. trusted is Spec.Trusted of
// the client that asks for the transfer. It need not be the one that placed the
// call, and Limits' rates go by it.
//
// ErrNoCall means that no bridged call holds the key, ErrTransferring that a
// transfer is on its way. ErrForbidden means that the agent may not call the
// target, ErrUnreachable that it has no next hop.
func (sw *Switchboard) Transfer(ctx context.Context, key, to Key, target string, trusted bool) error {
	c := sw.Find(key)
	if c == nil || !c.isUp.Load() {
		return ErrNoCall
	}
	if err := sw.allowed(&c.Spec, target); err != nil {
		return fmt.Errorf("transfer %s: %w", key, err)
	}
	by := Spec{Key: c.Key, Trusted: trusted, Admitted: true} // it is of a call in progress
	if err := sw.limits.attempt(&by); err != nil {           // the target is called, as often as one likes
		return fmt.Errorf("transfer %s: %w", key, err)
	}
	t := &transferOrder{key: to, target: target}
	return c.command(ctx, func(ctx context.Context, b *bridge, reply chan<- error) { reply <- b.startTransfer(ctx, t) })
}

// HangUp ends the call that holds the key and returns once its phones are hung
// up, or ctx ends. ErrNoCall means that there is none.
func (sw *Switchboard) HangUp(ctx context.Context, key Key) error {
	c := sw.Find(key)
	if c == nil {
		return ErrNoCall
	}
	c.ending.Store(true)
	c.stop(ErrHungUpByUser)
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	return nil
}

// startTransfer calls the target with the called phone's description as offer. Where
// that is not known the target is called without one.
func (b *bridge) startTransfer(ctx context.Context, order *transferOrder) error {
	if b.transfer != nil {
		return ErrTransferring
	}
	c := b.call
	if b.calling == nil {
		return ErrNoCall
	}
	// sipXrest: without sipxbridge-moh, unlike the other two.
	l := c.newLeg("sip:"+order.target+";sipx-noroute=Voicemail;sipx-userforward=false", order.target)
	l.first = c.inviteHeader("", "", allowBridged)
	l.record = c.record.joining(RoleTarget, l.party)
	t := &transfer{target: l, old: b.calling, stays: b.called, key: order.key, offer: b.called.forAnother(), until: time.Now().Add(c.ringTime())}
	if err := t.call(ctx); err != nil {
		c.letGo(l)
		return err
	}
	b.transfer = t
	return nil
}

// call calls the target.
func (t *transfer) call(ctx context.Context) error {
	l := t.target
	r := &outgoing{method: "INVITE", header: l.first}
	if t.offer != nil {
		r.contentType, r.body = sdp.Type, l.describe(t.offer)
	}
	l.cseq++
	t.attempt = l.newAttempt(r)
	return t.send(ctx)
}

// send sends the INVITE, or its next attempt.
func (t *transfer) send(ctx context.Context) error {
	reach, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	_, err := t.attempt.send(reach)
	return err
}

// transferEvent takes what comes from the target's phone.
func (b *bridge) transferEvent(ctx context.Context, e event) error {
	t := b.transfer
	switch {
	case t.invite != nil:
		return b.newcomerEvent(ctx, t, e)
	case e.hungUp: // it picked up, and then hung up
		t.ackUnwanted()
		return b.transferFailed(t)
	case e.tx != t.attempt.tx || t.answer != nil:
		return nil
	case e.msg != nil && e.msg.Code() < 200:
		b.call.early(t.target, e.msg)
		t.target.record.responded(e.msg)
		t.target.acknowledge(t.attempt, e.msg, func(e *earlyDialog) []byte { // of a target that offers
			e.settled = heldEarly
			return t.target.onHold(e.heard)
		})
		return nil
	case t.attempt.again(e.msg, e.err):
		if t.send(ctx) != nil {
			return b.transferFailed(t)
		}
		return nil
	case t.offer != nil && e.msg != nil && e.msg.Code() >= 300 && refusesOffer(statusError("INVITE", e.msg)):
		// The called phone may do more than what it had in common with the old one.
		if t.offer = nil; t.call(ctx) != nil {
			return b.transferFailed(t)
		}
		return nil
	case e.err != nil || e.msg.Code() >= 300:
		return b.transferFailed(t)
	}
	answer, err := t.target.established(ctx, t.attempt, e.msg, nil)
	if err != nil {
		return b.transferFailed(t)
	}
	if t.offer != nil || answer.settled != unsettled || len(answer.SDP) == 0 {
		err = answer.Ack(nil)
	}
	switch {
	case err != nil:
	case len(answer.SDP) == 0:
		err = errNoSDP
	case refusesStreams(answer.SDP, t.offer):
		err = errRefusesStreams
	}
	if err != nil {
		b.call.dismiss(t.target, b.call.reasonFor(err))
		return b.transferFailed(t)
	}
	t.target.heard(answer.SDP)
	t.answer, t.ready, t.until = answer, true, time.Time{}
	return nil
}

// transferFailed leaves the call as it was.
func (b *bridge) transferFailed(t *transfer) error {
	b.transfer = nil
	if !t.target.gone {
		b.call.letGo(t.target)
	}
	if t.old.gone { // hung up in the hope of the transfer
		return ErrHungUp
	}
	return nil
}

// transferUndone is transferFailed after the phone that stays has taken an offer of the
// other one's, so that it and the old phone do not hear each other any more.
func (b *bridge) transferUndone(ctx context.Context, t *transfer) error {
	if err := b.transferFailed(t); err != nil {
		return err
	}
	return b.joinAgain(ctx, t)
}

// join puts the target, which has answered, in the calling phone's place:
//
//	Target                sipxrest               Called        Calling
//	    | 200 (answer T)       |                    |              |
//	    |--------------------->|                    |              |
//	    |                  ACK | INVITE (offer T)   |              |
//	    |<---------------------|------------------->|              |
//	    |                      |       200 (answer) |              |
//	    |                      |<-------------------|              |
//	    |                      | ACK                |              |
//	    |                      |------------------->|              |
//	    | INVITE (only if the  | BYE                |              |
//	    |   answer is another) |---------------------------------->|
//	    |<---------------------|                                   |
func (b *bridge) join(ctx context.Context, t *transfer) error {
	if t.invite != nil {
		return b.joinNewcomer(ctx, t)
	}
	l, c, answered := t.target, b.call, t.answer.SDP
	b.transfer = nil
	joined, err := t.stays.reinvite(ctx, t.stays.describe(answered))
	if err == nil {
		err = joined.Ack(nil)
	}
	if err != nil {
		t.ackUnwanted()
		c.dismiss(l, c.reasonFor(err))
		if ctx.Err() != nil || dialogOver(err) {
			return b.lost(t.stays, err) // with the called phone the call ends
		}
		if tookInVain(err) {
			return b.transferUndone(ctx, t)
		}
		return b.transferFailed(t)
	}
	if t.offers() {
		t.answer.Ack(l.answerTo(answered, joined.SDP)) //nolint:errcheck // repeated with the repeated 200
	} else if again := sdp.Fit(joined.SDP, answered); !sdp.SameMedia(again, t.offer) {
		// The called phone's answer differs from its offer.
		if last, err := l.reinvite(ctx, l.describe(again)); err == nil {
			last.Ack(nil) //nolint:errcheck // repeated with the repeated 200
			l.heard(last.SDP)
		} else if ctx.Err() != nil || errors.Is(err, ErrHungUp) {
			c.dismiss(l, "")
			return err
		} else if tookInVain(err) {
			c.dismiss(l, c.reasonFor(err))
			return b.transferUndone(ctx, t)
		} // after a refusal what it knew before holds
	}
	t.stays.heard(joined.SDP)
	b.takePlace(t)
	return nil
}

// dialogOver reports whether an INVITE failed because its phone's dialog is over (RFC
// 5057).
func dialogOver(err error) bool {
	var refused *StatusError
	return errors.Is(err, ErrHungUp) || errors.As(err, &refused) && (refused.Code == 408 || refused.Code == 481)
}

// takePlace puts the target in the place of the old phone, which is hung up.
func (b *bridge) takePlace(t *transfer) {
	c := b.call
	b.transfer = nil
	t.target.record.takesPlace(t.old.record, t.wantedBy())
	if !t.old.gone {
		b.drop(t.old)
		b.seat(t.old, nil)
		c.dismiss(t.old, "")
	}
	if b.calling == nil {
		b.calling = t.target
	} else {
		b.called = t.target
	}
	t.target.joinedMedia().joint = b
	t.target.peer.bridging(true)
	c.sw.moved(c, b, t.key, t.invite == nil)
}

// wantedBy is who asked for the transfer: the phone that leaves, where another one has
// called us to take its place.
func (t *transfer) wantedBy() Party {
	switch {
	case t.invite == nil:
		return ClientParty
	case t.old.record != nil && t.old.record.firstPhone():
		return CallingParty
	}
	return CalledParty
}

// offers reports whether the target's 2xx has an offer that is to be answered.
func (t *transfer) offers() bool { return t.offer == nil && t.answer.settled == unsettled }

// ackUnwanted acknowledges a target whose offer nobody answers.
func (t *transfer) ackUnwanted() {
	if t.answer != nil && t.offers() {
		t.answer.Ack(t.target.refuse(t.answer.SDP)) //nolint:errcheck // it is hung up next
	}
}

// giveUp cancels the transfer on the side: its response must not keep the
// others waiting.
func (t *transfer) giveUp(c *Call, why error) {
	if t.invite != nil {
		t.turnAway(c, why)
		return
	}
	if t.answer != nil {
		t.ackUnwanted()
		c.dismiss(t.target, c.reasonFor(why))
		return
	}
	c.sw.cancel(t.attempt.tx, c.reasonFor(why))
	c.aside(t.target, func() { t.target.giveUp(t.attempt, why) })
}

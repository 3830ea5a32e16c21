package sipflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// transferOrder is a client's wish to have a phone replaced.
type transferOrder struct {
	key    *Key   // that the call has afterwards, whoever holds it; nil: the present one with the target in it
	target string // user@host as it goes on the wire
	leaver Party
	n      int // its number, once it has begun
}

// transfer is the phone that is to take another one's place.
type transfer struct {
	target *Leg      // nil: who is to stay is put on hold before it is called
	old    *Leg      // whose place it takes; it may have hung up
	stays  *Leg      // whom it is joined with
	key    *Key      // as transferOrder's
	ready  bool      // the two are joined when stays has no INVITE pending
	until  time.Time // when it is given up
	report TransferReport

	// A client has us call it.
	attempt *attempt
	offer   []byte   // the description of who stays; nil: the target offers its own
	answer  *Success // acknowledged but for an offer in it

	// It has called us (RFC 3891).
	invite *serverTx
	asked  *Success // stays has made it an offer, and waits for the answer
	lifted holding  // what stays was before that

	// In an attended one the target is first joined with the leaver: stays is that one,
	// and old the phone that waits on hold. See bridge_attended.go.
	attended bool
	consults bool // the leaver talks to the target
	wasHeld  bool // the one on hold was so before
	ended    bool // its last state has been told
	leaves   bool // the leaver has hung up, which completes it
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
	if err := c.mayCall(target, trusted); err != nil {
		return fmt.Errorf("transfer %s: %w", key, err)
	}
	return c.transfer(ctx, &transferOrder{key: &to, target: target, leaver: CallingParty})
}

// mayCall asks whether a further target of the call may be called.
func (c *Call) mayCall(target string, trusted bool) error {
	if err := c.sw.allowed(&c.Spec, target); err != nil {
		return err
	}
	by := Spec{Key: c.Key, Trusted: trusted, Admitted: true} // it is of a call in progress
	return c.sw.limits.attempt(&by)                          // the target is called, as often as one likes
}

// transfer has the bridge begin a transfer, which then has a number.
func (c *Call) transfer(ctx context.Context, order *transferOrder) error {
	return c.command(ctx, func(here context.Context, b *bridge, reply chan<- error) error {
		reply <- b.startTransfer(here, order)
		return nil
	})
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

// startTransfer calls the target of a blind transfer.
func (b *bridge) startTransfer(ctx context.Context, order *transferOrder) error {
	if b.transfer != nil {
		return ErrTransferring
	}
	old := b.phone(order.leaver)
	if old == nil || b.other(old) == nil {
		return ErrNoCall
	}
	t := &transfer{old: old, stays: b.other(old), key: order.key}
	b.transfer = t
	return b.callTarget(ctx, t, order)
}

// callTarget calls the target of a transfer with the description of who is joined with
// it as offer. Where that is not known the target is called without one.
func (b *bridge) callTarget(ctx context.Context, t *transfer, order *transferOrder) error {
	c := b.call
	// sipXrest: without sipxbridge-moh, unlike the other two.
	l := c.newLeg("sip:"+order.target+";sipx-noroute=Voicemail;sipx-userforward=false", order.target)
	l.first = c.inviteHeader("", "", allowBridged)
	l.record = c.record.joining(t.role(), l.party)
	t.target, t.offer, t.until = l, t.stays.forAnother(), time.Now().Add(c.ringTime())
	if err := t.call(ctx); err != nil {
		b.transfer = nil
		c.letGo(l)
		return err
	}
	b.transferBegins(t, order.target, order.leaver, TransferBlind)
	order.n = t.report.N
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
		return b.transferFailed(ctx, t, hungUpFor(reasonsOf(e.msg)))
	case e.tx != t.attempt.tx || t.answer != nil:
		return nil
	case e.msg != nil && e.msg.Code() < 200:
		b.call.early(t.target, e.msg)
		t.target.record.responded(e.msg)
		b.targetRings(t, e.msg)
		t.target.acknowledge(t.attempt, e.msg, func(e *earlyDialog) []byte { // of a target that offers
			e.settled = heldEarly
			return t.target.onHold(e.heard)
		})
		return nil
	case t.attempt.again(e.msg, e.err):
		return b.orFailed(ctx, t, t.send(ctx))
	case t.offer != nil && e.msg != nil && e.msg.Code() >= 300 && refusesOffer(statusError("INVITE", e.msg)):
		// Who stays may do more than what it had in common with the old one.
		t.offer = nil
		return b.orFailed(ctx, t, t.call(ctx))
	case e.err != nil:
		return b.transferFailed(ctx, t, t.target.fault(noResponse(e.err)))
	case e.msg.Code() >= 300:
		return b.transferFailed(ctx, t, t.target.refusal("INVITE", e.msg))
	}
	answer, err := t.target.established(ctx, t.attempt, e.msg, nil)
	if err != nil {
		return b.transferFailed(ctx, t, err)
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
		b.call.dismissFor(t.target, err)
		return b.transferFailed(ctx, t, err)
	}
	t.target.heard(answer.SDP)
	t.answer, t.ready, t.until = answer, true, time.Time{}
	return nil
}

// noResponse is what it means that an INVITE's transaction has ended without a response.
func noResponse(err error) error {
	if errors.Is(err, errTimeout) {
		return &StatusError{"INVITE", 408, "Request Timeout"}
	}
	return err
}

// orFailed fails the transfer for an error.
func (b *bridge) orFailed(ctx context.Context, t *transfer, err error) error {
	if err == nil {
		return nil
	}
	return b.transferFailed(ctx, t, err)
}

// transferFailed leaves the call as it was.
func (b *bridge) transferFailed(ctx context.Context, t *transfer, why error) error {
	return b.transferEnds(ctx, t, TransferFailed, why)
}

// transferEnds leaves the call as it was before a transfer that has failed, or was
// cancelled. The target has been hung up, or was never reached.
func (b *bridge) transferEnds(ctx context.Context, t *transfer, state string, why error) error {
	b.transfer = nil
	if !t.target.gone {
		t.target.record.unwanted(why)
		b.call.letGo(t.target)
	}
	b.tellTransfer(t, state, why, nil)
	switch {
	case t.old.gone: // hung up in the hope of the transfer
		return ErrHungUp
	case t.attended:
		return b.back(ctx, t)
	}
	return nil
}

// transferUndone is transferFailed after the phone that stays has taken an offer of the
// other one's, so that it and the old phone do not hear each other any more.
func (b *bridge) transferUndone(ctx context.Context, t *transfer, why error) error {
	if err := b.transferFailed(ctx, t, why); err != nil || t.attended {
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
	was := t.stays.lift()
	joined, err := t.stays.reinvite(ctx, t.stays.describe(answered))
	if err == nil {
		err = joined.Ack(nil)
	}
	if err != nil {
		t.stays.media.holding = was
		if ctx.Err() == nil && t.attended && errors.Is(err, ErrHungUp) {
			return b.hungUp(t.stays, b.call.reasonFor(err))
		}
		t.ackUnwanted()
		c.dismissFor(l, err)
		if ctx.Err() != nil || dialogOver(err) {
			b.transfer = nil
			b.tellTransfer(t, t.stateFor(ctx), err, t.stays)
			return b.lost(t.stays, err) // with the phone that stays the call ends
		}
		if tookInVain(err) {
			return b.transferUndone(ctx, t, err)
		}
		return b.transferFailed(ctx, t, err)
	}
	if !l.peer.isUp() { // it has hung up meanwhile
		t.ackUnwanted()
		t.stays.media.holding = was
		return b.transferUndone(ctx, t, ErrHungUp)
	}
	if t.offers() {
		t.answer.Ack(l.answerTo(answered, joined.SDP)) //nolint:errcheck // repeated with the repeated 200
	} else if again := sdp.Fit(joined.SDP, answered); !sdp.SameMedia(again, t.offer) {
		// The answer of who stays differs from its offer.
		if last, err := l.reinvite(ctx, l.describe(again)); err == nil {
			last.Ack(nil) //nolint:errcheck // repeated with the repeated 200
			l.heard(last.SDP)
		} else if ctx.Err() != nil || errors.Is(err, ErrHungUp) || tookInVain(err) {
			c.dismissFor(l, err)
			if ctx.Err() != nil {
				b.transfer = nil
				b.tellTransfer(t, t.stateFor(ctx), err, nil)
				return err
			}
			t.stays.media.holding = was
			return b.transferUndone(ctx, t, err)
		} // after a refusal what it knew before holds
	}
	t.stays.heard(joined.SDP)
	if t.attended {
		b.consult(t)
		return nil
	}
	b.takePlace(t, was)
	return nil
}

// stateFor is how a transfer ends with its call: who asked for it has ended that, or not.
func (t *transfer) stateFor(ctx context.Context) string {
	if ctx.Err() != nil {
		return TransferCancelled
	}
	return TransferFailed
}

// dialogOver reports whether an INVITE failed because its phone's dialog is over (RFC
// 5057).
func dialogOver(err error) bool {
	var refused *StatusError
	return errors.Is(err, ErrHungUp) || errors.As(err, &refused) && (refused.Code == 408 || refused.Code == 481)
}

// takePlace puts the target in the place of the old phone, which is hung up. was is what
// the phone that stays was before it was taken off hold for that.
func (b *bridge) takePlace(t *transfer, was holding) {
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
	b.enters(t.target)
	if was&isHeld != 0 {
		b.tellHeld(t.stays, false, ClientParty)
	}
	b.moved(t)
}

// enters has a phone be one of the two that are joined.
func (b *bridge) enters(l *Leg) {
	l.joinedMedia().joint = b
	l.peer.bridging(true)
}

// moved tells that the transfer is complete, and gives the call its key.
func (b *bridge) moved(t *transfer) {
	t.report.Place = t.report.Leaver
	b.tellTransfer(t, TransferCompleted, nil, nil)
	defer b.call.keptMove(b.call.Holds())
	if t.key != nil {
		b.call.sw.moved(b.call, b, *t.key, true)
		return
	}
	b.call.sw.moved(b.call, b, b.keyWith(t.target, t.report.Leaver), false)
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

// awaits reports whether a phone is the target, which is not joined with anybody yet.
func (t *transfer) awaits(l *Leg) bool { return t != nil && l == t.target && !t.consults }

// joinsNow reports whether the time has come to join the target with who stays: none of
// those concerned has an INVITE pending.
func (b *bridge) joinsNow(t *transfer) bool {
	switch {
	case !t.ready || t.consults && !t.leaves:
		return false
	case t.consults:
		return b.parked.peer.idle() && t.target.peer.idle()
	case t.attended:
		return t.stays.peer.idle() && t.old.peer.idle()
	}
	return t.stays.peer.idle()
}

// giveUp cancels the transfer on the side: its response must not keep the
// others waiting.
func (t *transfer) giveUp(c *Call, why error) {
	switch {
	case t.target == nil || t.consults: // nobody has been called, or it is one of the two
	case t.invite != nil:
		t.turnAway(c, why)
	case t.answer != nil:
		t.ackUnwanted()
		c.dismissFor(t.target, why)
	default:
		t.target.record.unwanted(why)
		c.sw.cancel(t.attempt.tx, c.reasonFor(why))
		c.aside(t.target, func() { t.target.giveUp(t.attempt, why) })
	}
}

// transferBegins gives a transfer its number, and tells of it and of the target's leg.
func (b *bridge) transferBegins(t *transfer, to string, leaver Party, mode string) {
	b.transfers++
	t.report = TransferReport{N: b.transfers, Mode: mode, State: TransferDialling, Leaver: leaver, To: to}
	if t.attended {
		t.report.Mode = TransferAttended
	}
	if mode == TransferByPhone {
		t.report.RequestedBy = t.old.record.number()
	}
	t.report.Leg = t.target.record.number()
	b.tellTransfer(t, TransferDialling, nil, nil)
}

// role is what the target's leg is in the call.
func (t *transfer) role() Role {
	if t.attended {
		return RoleConsult
	}
	return RoleTarget
}

// targetRings tells once that the target rings.
func (b *bridge) targetRings(t *transfer, m *wire.Message) {
	if m.Code() > 100 && t.report.State == TransferDialling {
		b.tellTransfer(t, TransferRinging, nil, nil)
	}
}

// tellTransfer tells that a transfer has a new state, which of those that are final is
// the last. why is what it failed for, and fell on a leg, or on the target where that
// is nil.
func (b *bridge) tellTransfer(t *transfer, state string, why error, fell *Leg) {
	if t.report.N == 0 || t.ended {
		return
	}
	t.report.State = state
	switch state {
	case TransferCompleted, TransferFailed, TransferCancelled:
		t.ended = true
	}
	var of, target *legRecord
	if fell != nil {
		of = fell.record
	}
	if t.target != nil {
		target = t.target.record
	}
	b.call.record.transferred(&t.report, why, of, target)
}

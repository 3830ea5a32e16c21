package sipflow

import (
	"context"
	"errors"

	"sipxrest/sipflow/sdp"
)

// startAttended begins an attended transfer (RFC 5359 §2.5, with us in the place of the
// phone that transfers):
//
//	Leaver                sipxrest               Stays         Target
//	    |                      | INVITE (sendonly)   |            |
//	    | INVITE (inactive)    |-------------------->|            |
//	    |<---------------------|                     |            |
//	    |                      | INVITE (offer of Leaver)         |
//	    |                      |--------------------------------->|
//	    | INVITE (answer T)    |                     180, 200 (T) |
//	    |<---------------------|<---------------------------------|
//	    |<=================== they talk =========================>|
//	    |                      | INVITE (T)          |            |
//	    |                      |-------------------->|            |
//	    | BYE                  | INVITE (Stays)      |            |
//	    |<---------------------|--------------------------------->|
//	    |                      |                     |<== talk ==>|
//
// To complete it is a client's order, or the leaver's BYE. One that comes while the
// target still rings makes it a blind one. What fails, and CancelTransfer, joins the two
// first phones again. Where the phone on hold hangs up while the two talk they go on.
func (b *bridge) startAttended(ctx context.Context, order *transferOrder, wanted func() bool, reply chan<- error) {
	leaver := b.phone(order.leaver)
	switch {
	case b.transfer != nil:
		reply <- ErrTransferring
		return
	case leaver == nil || b.other(leaver) == nil:
		reply <- ErrNoCall
		return
	}
	waits := b.other(leaver)
	t := &transfer{old: waits, stays: leaver, attended: true, wasHeld: waits.joinedMedia().holding&isHeld != 0}
	b.transfer = t // nobody else may begin one
	b.hold(ctx, waits, true, func(ctx context.Context, err error) {
		if err == nil && !wanted() { // the client has been told that the phone did not respond
			err = ErrPhoneTimeout
		}
		if err == nil && b.transfer == t {
			if err = b.callTarget(ctx, t, order); err == nil {
				reply <- nil
				return
			}
		}
		if b.transfer == t {
			b.transfer = nil
		}
		if !errors.Is(err, ErrNoCall) && !t.wasHeld && b.joins(waits, leaver) {
			b.hold(ctx, waits, false, func(context.Context, error) { reply <- err })
			return
		}
		reply <- err
	})
}

// consult joins the leaver with the target, in the place of the phone on hold, which waits.
// Its requests are responded to by the readers, as those of any phone that is alone.
func (b *bridge) consult(t *transfer) {
	b.drop(t.old)
	b.parked, t.consults = t.old, true
	t.old.media.joint = nil
	b.seat(t.old, t.target)
	b.enters(t.target)
	b.call.sw.seated(b.call, b)
	b.tellTransfer(t, TransferConsulting, nil, nil)
}

// complete joins the phone on hold with the target, and hangs the leaver up. refused is
// why it does not; the leaver then goes on talking to the target. over ends the call.
func (b *bridge) complete(ctx context.Context, t *transfer) (refused, over error) {
	waits, target, leaver := b.parked, t.target, b.phone(t.report.Leaver)
	was := waits.lift()
	failed := b.pair(ctx, waits, target)
	if failed == nil {
		if leaver == nil {
			target.record.takesPlace(t.stays.record, ClientParty) // who has hung up
		} else {
			b.drop(leaver)
			target.record.takesPlace(leaver.record, ClientParty)
			b.call.dismiss(leaver, "")
		}
		if b.transfer, b.parked = nil, nil; t.report.Leaver == CallingParty {
			b.calling, b.called = target, waits
		} else {
			b.calling, b.called = waits, target
		}
		b.enters(waits)
		b.tellHeld(waits, false, ClientParty)
		b.moved(t)
		return nil, nil
	}
	err := failed.err
	switch {
	case ctx.Err() != nil:
		return err, context.Cause(ctx)
	case t.leaves: // nobody is left to go back to
		return err, b.lost(failed.leg, err)
	}
	waits.media.holding = was
	gone := dialogOver(err)
	if failed.leg == target && gone {
		return err, b.targetLeft(ctx, t, err)
	}
	if failed.told || failed.leg == target && tookInVain(err) {
		b.restore(ctx, target, leaver)
	}
	if failed.leg == waits && gone {
		return err, b.parkedLeft(t, err)
	}
	if failed.leg == target || tookInVain(err) {
		b.holdAgain(ctx, waits, leaver)
	}
	return err, nil
}

// holdAgain puts the phone on hold back where it was, after it was told of the target.
// What it refuses it will be told again when it is joined with somebody.
func (b *bridge) holdAgain(ctx context.Context, waits, leaver *Leg) {
	again, err := waits.reinvite(ctx, waits.describe(leaver.joinedMedia().remote))
	if err == nil {
		err = again.Ack(nil)
	}
	waits.mayBeOver(err)
}

// mayBeOver has the bridge see that a phone's dialog is over, where an INVITE came to that
// of which nothing else depends.
func (l *Leg) mayBeOver(err error) {
	switch {
	case errors.Is(err, ErrHungUp):
		l.inbox.put(event{hungUp: true}, true)
	case dialogOver(err):
		l.inbox.put(event{err: err}, true)
	}
}

// restore describes the leaver to the target again, which has been told of another phone.
func (b *bridge) restore(ctx context.Context, target, leaver *Leg) {
	_, err := target.tellAnew(ctx, leaver.joinedMedia().remote)
	target.mayBeOver(err)
}

// back joins the two first phones of an attended transfer again, which comes to nothing.
func (b *bridge) back(ctx context.Context, t *transfer) error {
	waits := t.old
	if t.consults {
		b.seat(t.target, waits)
		b.parked = nil
		b.enters(waits)
		b.call.sw.seated(b.call, b)
	}
	leaver := b.other(waits)
	if leaver == nil {
		return ErrHungUp
	}
	j, k := waits.joinedMedia(), leaver.joinedMedia()
	if j.holding, k.holding = 0, 0; t.wasHeld { // as it was
		j.holding, k.holding = isHeld, hasHeld
	}
	if failed := b.pair(ctx, waits, leaver); failed != nil { // they do not hear each other any more
		return b.lost(failed.leg, failed.err)
	}
	if !t.wasHeld {
		b.tellHeld(waits, false, ClientParty)
	}
	return nil
}

// transferOf is the transfer of that number while a client may decide about it.
func (b *bridge) transferOf(n int) *transfer {
	if t := b.transfer; t != nil && t.report.N == n && t.invite == nil {
		return t
	}
	return nil
}

// callOff hangs the target up, because a client does not want it any more.
func (b *bridge) callOff(ctx context.Context, t *transfer) error {
	if t.consults {
		b.drop(t.target)
		t.target.record.unwanted(ErrHungUpByUser)
		b.call.dismiss(t.target, "")
	} else {
		t.giveUp(b.call, ErrHungUpByUser)
	}
	return b.transferEnds(ctx, t, TransferCancelled, ErrHungUpByUser)
}

// targetLeft ends an attended transfer whose target leaves after it had talked to the
// leaver.
func (b *bridge) targetLeft(ctx context.Context, t *transfer, why error) error {
	b.leave(t.target, why)
	return b.transferFailed(ctx, t, why)
}

// parkedLeft ends an attended transfer whose phone on hold leaves. The two that talk go
// on, the target in its place.
func (b *bridge) parkedLeft(t *transfer, why error) error {
	waits := b.parked
	b.transfer, b.parked = nil, nil
	t.report.Place = CalledParty
	if t.report.Leaver == CalledParty {
		t.report.Place = CallingParty
	}
	b.tellTransfer(t, TransferFailed, why, waits)
	b.leave(waits, why)
	if t.leaves {
		return ErrHungUp
	}
	t.target.record.takesPlace(waits.record, UnknownParty)
	from := b.call.Holds()
	b.call.sw.moved(b.call, b, b.keyWith(t.target, t.report.Place), false)
	b.call.keptMove(from)
	return nil
}

// leave lets go of a phone that has hung up, or hangs it up for an error.
func (b *bridge) leave(l *Leg, why error) {
	if b.drop(l); l.peer.isUp() {
		b.call.dismissFor(l, why)
	} else {
		b.call.letGo(l)
	}
}

// unpaired is why two phones could not be joined.
type unpaired struct {
	leg  *Leg // that did not agree
	err  error
	told bool // the second phone has taken what it was told of the first
}

// pair describes two phones that are up to each other: x hears of what is known of y, and
// y of what x answers to that.
func (b *bridge) pair(ctx context.Context, x, y *Leg) *unpaired {
	known := y.forAnother()
	if known == nil {
		return b.pairAnew(ctx, x, y)
	}
	answer, err := x.tellAnew(ctx, known)
	if err != nil {
		return &unpaired{x, err, false}
	}
	again, err := y.tellAnew(ctx, answer)
	if err != nil {
		return &unpaired{y, err, false}
	}
	if !sdp.SameWay(again, known) {
		if _, err := x.tellAnew(ctx, again); err != nil && (ctx.Err() != nil || dialogOver(err) || tookInVain(err)) {
			return &unpaired{x, err, true}
		} // after another refusal what it knew before holds
	}
	return nil
}

// pairAnew is pair where nothing is known of y that x could be offered.
func (b *bridge) pairAnew(ctx context.Context, x, y *Leg) *unpaired {
	asked, err := y.reinvite(ctx, nil)
	if err == nil && len(asked.SDP) == 0 {
		err = errors.Join(errNoSDP, asked.Ack(nil))
	}
	if err != nil {
		return &unpaired{y, err, false}
	}
	y.peer.offer("INVITE", 1) // until its ACK
	answer, err := x.tellAnew(ctx, asked.SDP)
	y.peer.offer("INVITE", -1)
	if err != nil {
		return &unpaired{x, errors.Join(err, asked.Ack(y.refuse(asked.SDP))), true}
	}
	y.heard(y.unmuted(asked.SDP, nil))
	if err := asked.Ack(y.answerTo(asked.SDP, answer)); err != nil {
		return &unpaired{y, err, true}
	}
	return nil
}

// tellAnew invites a phone again with what another one has said, and returns what it says
// to that, as the other one is to have it.
func (l *Leg) tellAnew(ctx context.Context, said []byte) ([]byte, error) {
	again, err := l.reinvite(ctx, l.describe(said))
	if err == nil {
		err = again.Ack(nil)
	}
	if err != nil {
		return nil, err
	}
	answer := l.unmuted(again.SDP, said)
	l.heard(answer)
	return answer, nil
}

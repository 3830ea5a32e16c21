package sipflow

import (
	"context"
	"errors"
	"strings"
	"time"

	"sipxrest/resolve"
)

// ackWait is how long a newcomer may take to answer the offer of the phone that stays,
// which waits for the ACK meanwhile and gives up after 64*T1.
const ackWait = 32 * t1

// replacedBy takes the INVITE of a phone that is to have l's place in the bridge,
// as an attended transfer ends (RFC 3891 §3, RFC 5589 §7). With an offer in it:
//
//	Newcomer              sipxrest               Stays          Old
//	    | INVITE (offer N,     |                    |              |
//	    |   Replaces: Old)     | INVITE (offer N)   |              |
//	    |--------------------->|------------------->|              |
//	    |                      |       200 (answer) |              |
//	    |                      |<-------------------|              |
//	    |         200 (answer) | ACK                |              |
//	    |<---------------------|------------------->|              |
//	    | ACK                  | BYE                               |
//	    |--------------------->|---------------------------------->|
//
// Without one Stays is asked for an offer, which goes into our 200. The answer in
// the newcomer's ACK goes into the ACK to Stays.
//
// While another INVITE is under way with Stays the newcomer waits for its end. What
// fails leaves the call as it was.
func (b *bridge) replacedBy(l *Leg, invite *serverTx) {
	l.peer.takeNewcomer()
	c, target, stays := b.call, invite.leg, b.other(l)
	c.legs = append(c.legs, target)
	c.dialled(target, Calling)
	who := target.callee.(newcomer)
	switch {
	case b.transfer != nil || stays == nil:
		who.decline(errGlare)
	case who.mayReplace(l, stays):
		target.record = c.record.joining(RoleTarget, target.party)
		target.record.dialled(target.callID, resolve.Hop{})
		t := &transfer{target: target, old: l, stays: stays, ready: true, until: time.Now().Add(inviteTime), invite: invite}
		b.transfer = t
		b.transferBegins(t, target.party, b.party(l), TransferByPhone)
		return
	}
	c.letGo(target)
}

// keyWith is the call's key when a phone has taken the place of another. A part
// that names no user stays as it is.
func (b *bridge) keyWith(target *Leg, old Party) Key {
	key := b.call.Holds()
	part := &key.Called
	if old == CallingParty {
		part = &key.Calling
	}
	if strings.Contains(*part, "@") {
		*part = target.party
	}
	return key
}

// joinNewcomer describes the newcomer to the phone that it is joined with.
func (b *bridge) joinNewcomer(ctx context.Context, t *transfer) error {
	stays, target, who := t.stays, t.target, t.target.callee.(newcomer)
	offer := bodyOf(t.invite.req)
	was := stays.lift()
	joined, err := stays.reinvite(ctx, stays.describe(offer))
	if err == nil && offer == nil {
		t.lifted = was
		return b.offerNewcomer(ctx, t, joined)
	}
	if err == nil {
		err = joined.Ack(nil)
	}
	if err != nil {
		stays.media.holding = was
		who.decline(err)
		if tookInVain(err) && ctx.Err() == nil {
			return b.transferUndone(ctx, t, err)
		}
		failed := b.transferEnds(ctx, t, t.stateFor(ctx), err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case dialogOver(err):
			return b.lost(stays, err)
		}
		return failed
	}
	answer := stays.unmuted(joined.SDP, offer)
	target.heard(offer)
	if !who.accept(target.answerTo(offer, answer)) { // it has given up
		stays.media.holding = was
		return b.transferUndone(ctx, t, ErrCancelled)
	}
	stays.heard(answer)
	b.takePlace(t, was)
	return nil
}

// joinAgain describes the old phone to the other one, which was joined with a
// newcomer that is gone.
func (b *bridge) joinAgain(ctx context.Context, t *transfer) error {
	if !t.old.peer.isUp() { // its BYE is next
		return nil
	}
	again, err := t.stays.reinvite(ctx, t.stays.describe(t.old.joinedMedia().remote))
	if err == nil {
		err = again.Ack(nil)
	}
	if err != nil { // they do not hear each other any more
		return b.lost(t.stays, err)
	}
	b.retell(ctx, t.stays, again.SDP)
	return nil
}

// offerNewcomer hands the offer of the phone that stays to a newcomer that made
// none. Its ACK has the answer.
func (b *bridge) offerNewcomer(ctx context.Context, t *transfer, asked *Success) error {
	if len(asked.SDP) == 0 {
		t.stays.media.holding = t.lifted
		t.target.callee.(newcomer).decline(errNoSDP)
		return errors.Join(b.transferFailed(ctx, t, errNoSDP), asked.Ack(nil))
	}
	t.asked, t.ready, t.until = asked, false, time.Now().Add(ackWait)
	t.stays.peer.offer("INVITE", 1) // until its ACK
	if !t.target.callee.(newcomer).accept(t.target.describe(t.stays.unmuted(asked.SDP, nil))) {
		return b.newcomerFailed(ctx, t, ErrCancelled)
	}
	return nil
}

// newcomerEvent takes what comes from the newcomer before it has its place.
func (b *bridge) newcomerEvent(ctx context.Context, t *transfer, e event) error {
	switch {
	case e.in == t.invite && e.ack != nil && t.asked != nil:
		answer := bodyOf(e.ack)
		if answer == nil {
			return b.newcomerFailed(ctx, t, errNoSDP)
		}
		t.target.heard(answer)
		t.stays.heard(t.stays.unmuted(t.asked.SDP, nil))
		if err := t.settle(t.stays.answerTo(t.asked.SDP, answer)); err != nil {
			return err
		}
		b.takePlace(t, t.lifted)
	case e.in == t.invite && e.err != nil:
		return b.newcomerFailed(ctx, t, e.err)
	case e.in == t.invite && e.cancel:
		return b.newcomerFailed(ctx, t, ErrCancelled)
	case e.hungUp:
		return b.newcomerFailed(ctx, t, hungUpFor(reasonsOf(e.msg)))
	}
	return nil
}

// settle gives the phone that stays the answer that it waits for.
func (t *transfer) settle(answer []byte) error {
	asked := t.asked
	t.asked = nil
	t.stays.peer.offer("INVITE", -1)
	return asked.Ack(answer)
}

// newcomerFailed leaves the call as it was, after the newcomer has given up or has had
// to wait for too long. An offer that was made to it is answered by the old phone.
func (b *bridge) newcomerFailed(ctx context.Context, t *transfer, why error) error {
	t.target.callee.(newcomer).decline(errGlare)
	if asked := t.asked; asked != nil {
		t.stays.joinedMedia().holding = t.lifted
		answer := t.stays.refuse(asked.SDP)
		if !t.old.gone {
			answer = t.stays.answerTo(asked.SDP, t.old.joinedMedia().remote)
		}
		if err := t.settle(answer); err != nil {
			return err
		}
		if !t.old.gone {
			b.retell(ctx, t.stays, asked.SDP)
		}
	}
	t.target.record.unwanted(why)
	t.dismiss(b.call, "")
	return b.transferFailed(ctx, t, why)
}

// turnAway ends the INVITE of a newcomer whose place is gone.
func (t *transfer) turnAway(c *Call, why error) {
	t.target.callee.(newcomer).decline(why)
	if t.asked != nil {
		t.settle(t.stays.refuse(t.asked.SDP)) //nolint:errcheck // it is hung up next
	}
	t.target.record.unwanted(why)
	t.dismiss(c, c.reasonFor(why))
}

// dismiss hangs a newcomer up on the side, when it has acknowledged our 2xx (RFC 3261
// §15).
func (t *transfer) dismiss(c *Call, reason string) {
	l, invite := t.target, t.invite
	c.aside(l, func() {
		wait, stop := context.WithTimeout(context.Background(), tEnd)
		defer stop()
		for l.peer.unacknowledged(invite) {
			if _, err := l.event(wait); err != nil {
				break
			}
		}
		l.Bye(context.Background(), reason) //nolint:errcheck // there is nobody to tell
	})
}

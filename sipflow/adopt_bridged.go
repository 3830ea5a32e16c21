package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/sdp"
)

// goOn stays between the two phones of a call that the other node had joined. Each hears
// where its dialog goes on, and else nothing changes. What was under way between them is
// settled anew. A transfer is given up.
func (t *takeover) goOn(ctx context.Context) (err error) {
	c := t.call
	calling, called := t.seated(seatCalling), t.seated(seatCalled)
	if parked := t.seated(seatParked); parked != nil { // it waits for the end of a transfer
		if x := t.state.transfer; x != nil && x.report.Leaver == CalledParty {
			calling = parked
		} else {
			called = parked
		}
	}
	switch {
	case calling == nil || called == nil: // who is left has nobody to talk to
		t.over(t.hangUp(ctx, ErrHungUp))
		return nil
	case !calling.isUp() || !called.isUp():
		err := t.hangUp(ctx, ErrNodeLost)
		t.over(err)
		return err
	}
	t.giveUpOthers(ctx, calling, called)
	defer func() {
		c.hangUp(ctx, calling.Leg, err)
		c.hangUp(ctx, called.Leg, err)
	}()
	c.by = Self
	b := c.newBridge(calling.Leg, called.Leg)
	defer b.clock.Stop()
	b.taken, b.transfers = true, t.state.transfers
	talk, stop := t.whileTalking(ctx)
	defer stop()
	answers := map[*takenLeg][]byte{}
	if over, why := t.meet(talk, b, calling, called, answers); over != nil || why != nil {
		err = t.isOver(talk, b, over, why)
		for _, l := range [...]*takenLeg{calling, called} {
			l.refuseOpen()
			c.hangUp(ctx, l.Leg, err)
		}
		t.over(why)
		return err
	}
	t.told(TakenKept, nil)
	return c.stay(talk, b, func() {
		for _, l := range [...]*takenLeg{calling, called} { // a phone may have moved its media
			b.retell(talk, l.Leg, answers[l])
		}
	})
}

// whileTalking is the context of a call whose parties have been joined for a while.
func (t *takeover) whileTalking(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.state.maxTalk <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, max(t.state.talkLeft, time.Millisecond), ErrTimeLimit)
}

// meet has both phones hear where their dialogs go on, and notes what they answer to that.
// An error without a phone ends the call.
func (t *takeover) meet(ctx context.Context, b *bridge, calling, called *takenLeg, answers map[*takenLeg][]byte) (over *takenLeg, why error) {
	if err := t.acceptAgain(ctx); err != nil {
		return nil, err
	}
	if t.unsettled(calling, called) {
		return t.glue(ctx, b, calling, called)
	}
	return t.refresh(ctx, []*takenLeg{calling, called}, func(l *takenLeg, answer []byte) { answers[l] = answer })
}

// unsettled reports whether the phones have to be described to each other anew: an offer
// was under way, or a third phone had a part in it.
func (t *takeover) unsettled(calling, called *takenLeg) bool {
	s := t.state
	if s.changing || !calling.describes() || !called.describes() {
		return true
	}
	return s.transfer != nil && s.transfer.attended
}

// isOver ends the call because of one phone, which is told to the other: who does not know
// its dialog any more has hung up.
func (t *takeover) isOver(ctx context.Context, b *bridge, over *takenLeg, why error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case over == nil:
		return why
	}
	var hungUp *hungUpError
	reasons, refused := "", new(StatusError)
	if errors.As(why, &hungUp) {
		reasons = hungUp.reasons
	}
	switch {
	case errors.As(why, &refused) && refused.Code == 481: // nobody was there to hear its BYE
		over.record.byeCame("")
		over.peer.hangUp()
		fallthrough
	case errors.Is(why, ErrHungUp):
		b.hungUp(over.Leg, reasons) //nolint:errcheck // it is ErrHungUp
		return nil
	}
	if t.call.by = CalledParty; over.Leg == b.calling {
		t.call.by = CallingParty
	}
	return why
}

// glueVersions is how far the version of our descriptions rises where the other node may
// have told a phone something that it has not kept.
const glueVersions = 8

// glue describes the two phones to each other anew, as flow I of RFC 3725 does within
// their dialogs:
//
//	Calling               sipxrest               Called
//	    | INVITE (no offer)    |                     |
//	    |<---------------------|                     |
//	    | 200 (offer A)        | INVITE (offer A)    |
//	    |--------------------->|-------------------->|
//	    |                      |      200 (answer B) |
//	    |       ACK (answer B) |<--------------------|
//	    |<---------------------| ACK                 |
//	    |                      |-------------------->|
//
// A phone that makes no offer is offered as it was known. One whose own INVITE waits for
// the other node is asked again, first, until it gives that up.
func (t *takeover) glue(ctx context.Context, b *bridge, calling, called *takenLeg) (over *takenLeg, why error) {
	given := t.state.transfer
	lifts := given != nil && given.attended && !given.wasHeld // who has waited for its end
	for _, l := range [...]*takenLeg{calling, called} {
		l.peer.raiseVersion(glueVersions)
		if lifts {
			l.lift()
		}
	}
	x, y := called.Leg, calling.Leg
	failed := b.pairAnew(ctx, x, y)
	for end := time.Now().Add(tEnd); failed != nil && refusedBy(failed.err, "INVITE") == 491 && time.Now().Before(end); {
		if failed.leg == x {
			x, y = y, x
		}
		failed = b.pairAnew(ctx, x, y)
	}
	if failed != nil && refusesOffer(failed.err) {
		if known := y.forAnother(); sdp.Legible(known) {
			failed = b.pair(ctx, x, y)
		}
	}
	if failed == nil {
		for _, l := range [...]*takenLeg{calling, called} {
			if lifts && l.was.holding&isHeld != 0 {
				b.tellHeld(l.Leg, false, ClientParty)
			}
		}
		return nil, nil
	}
	if over = calling; failed.leg == called.Leg {
		over = called
	}
	return over, failed.err
}

// raiseVersion leaves a gap in the versions of our descriptions. What follows is a new one.
func (p *peer) raiseVersion(by uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version += by
	p.sent = 0
}

// giveUpOthers hangs up the phones that are none of the two: those of a transfer, which
// fails, and those that were being hung up.
func (t *takeover) giveUpOthers(ctx context.Context, calling, called *takenLeg) {
	for _, l := range t.legs {
		if l == calling || l == called {
			continue
		}
		l.record.unwanted(ErrNodeLost)
		t.aside(ctx, l)
	}
	t.transferFails()
}

// transferFails tells that a transfer of the other node's comes to nothing.
func (t *takeover) transferFails() {
	if x := t.state.transfer; x != nil {
		report := x.report
		report.State = TransferFailed
		t.call.record.transferred(&report, ErrNodeLost, nil, nil)
	}
}

// aside hangs a phone up without the call waiting for that.
func (t *takeover) aside(ctx context.Context, l *takenLeg) {
	waits := t.end(ctx, l, ErrNodeLost)
	t.call.aside(l.Leg, func() {
		for _, wait := range waits {
			wait() //nolint:errcheck // there is nobody to tell
		}
	})
}

package sipflow

import (
	"context"
	"errors"
	"time"
)

// converse goes on with a call whose media are here from now on: the phone hears where its
// dialog and its audio go.
//
//	sipxrest               Phone
//	    | INVITE (offer)     |
//	    |------------------->|
//	    |       200 (answer) |
//	    |<-------------------|
//	    | ACK                |
//	    |------------------->|
//	    |<===== media ======>|
func (t *takeover) converse(ctx context.Context) (err error) {
	c, l := t.call, t.seated(seatCalling)
	if l == nil || l.was.at != atUp {
		err := t.hangUp(ctx, ErrNodeLost)
		t.over(err)
		return err
	}
	t.giveUpOthers(ctx, l, nil)
	far := CalledParty
	if l.was.callee == withGateway || l.was.callee == withCaller {
		far = CallingParty
	}
	c.by = Self
	e := &endpoint{callee: l.callee, call: c, leg: l.Leg, end: c.Spec.Converse, far: far}
	e.listen()
	defer func() { e.close(); c.hangUp(ctx, l.Leg, err) }()
	talk, stop := t.whileTalking(ctx)
	defer stop()
	l.peer.raiseVersion(glueVersions)
	if err := e.takeOver(talk); err != nil {
		err = e.isOver(talk, err)
		e.close()
		c.hangUp(ctx, l.Leg, err)
		t.over(err)
		return err
	}
	t.told(TakenKept, nil)
	if !c.joined { // else the other node has told that
		e.joined()
	}
	return e.stay(talk)
}

// takeOver invites the phone with our media. One whose own INVITE waits for the other node
// is invited until it gives that up.
func (t *endpoint) takeOver(ctx context.Context) error {
	err := t.takeBack(ctx)
	for end := time.Now().Add(tEnd); refusedBy(err, "INVITE") == 491 && time.Now().Before(end); {
		err = t.takeBack(ctx)
	}
	return err
}

// isOver says what a failed takeOver makes of the call: a phone that does not know its
// dialog any more has hung up.
func (t *endpoint) isOver(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ErrHungUp):
	case refusedBy(err, "INVITE") == 481: // nobody was there to hear its BYE
		t.leg.peer.hangUp()
	default:
		t.call.by = t.far
		return err
	}
	t.hungUp()
	return nil
}

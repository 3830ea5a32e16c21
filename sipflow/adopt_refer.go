package sipflow

import (
	"context"
	"errors"
	"time"
)

// followRefer goes on with a call whose calling phone has accepted its REFER: it hears
// where its dialog goes on, so that it reports here what becomes of the other phone. One
// whose dialog is over has done what it was asked to.
func (t *takeover) followRefer(ctx context.Context) (err error) {
	c, calling := t.call, t.seated(seatCalling)
	if calling == nil || !calling.peer.subscribes() {
		err := t.hangUp(ctx, ErrNodeLost)
		t.over(err)
		return err
	}
	t.giveUpOthers(ctx, calling, nil)
	defer func() { c.hangUp(ctx, calling.Leg, err) }()
	over, why := t.refresh(ctx, []*takenLeg{calling}, nil)
	switch {
	case ctx.Err() != nil:
		t.told(TakenHungUp, context.Cause(ctx))
		return context.Cause(ctx)
	case over != nil:
		t.told(TakenHungUp, why)
		if errors.Is(why, ErrHungUp) {
			return calling.afterBye(ctx, why)
		}
		return errNoOutcome
	}
	t.told(TakenKept, nil)
	wait, stop := context.WithTimeoutCause(ctx, t.outcomeLeft(), errNoNotify)
	defer stop()
	n, err := calling.NextNotification(wait) // the first one may have gone to the other node
	err = calling.outcomeFrom(ctx, wait, c.sw.cfg.HangUpOn, n, err)
	if errors.Is(err, ErrHungUpByUser) {
		calling.unsubscribe()
	}
	return err
}

// outcomeLeft is how long the phone may still take to report. What it has sent to the other
// node it may send again.
func (t *takeover) outcomeLeft() time.Duration {
	return max(notifyWait+outcomeWait-t.state.referredAgo, t2)
}

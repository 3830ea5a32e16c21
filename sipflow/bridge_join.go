package sipflow

import (
	"context"
	"sync/atomic"
)

// A loan is a phone of one call that another call takes over, while the first one waits.
type loan struct {
	from   *bridge
	far    *Leg            // the phone
	leaver *Leg            // whom it is joined with
	life   context.Context // of the call that lends it
	taken  atomic.Bool     // by the other call, or back by who arranged it
	back   chan repaid     // what came of it; holds one
	free   chan struct{}   // closed when the phone is no longer the lender's
	done   chan struct{}   // closed when the other call has hung up on its leaver
}

// repaid is what comes of a loan.
type repaid struct {
	moved bool  // the phone is the other call's
	over  error // the phone's dialog is over, and with it the lender
}

// giveBack gives a phone back that the other call has not taken.
func (l *loan) giveBack() {
	if l.taken.CompareAndSwap(false, true) {
		l.back <- repaid{}
	}
}

// lend fills in the loan of the far phone. The bridge then waits for what comes of it.
func (b *bridge) lend(life context.Context, l *loan) error {
	leaver := b.phone(b.call.agents())
	far := b.other(leaver)
	switch {
	case b.transfer != nil:
		return ErrTransferring
	case leaver == nil || far == nil:
		return ErrNoCall
	case !leaver.peer.idle() || !far.peer.idle():
		return errGlare
	}
	l.from, l.far, l.leaver, l.life = b, far, leaver, life
	return nil
}

// repaid waits until the phone is back, or the other call's for good.
func (b *bridge) repaid(l *loan) error {
	switch p := <-l.back; {
	case p.over != nil:
		return b.lost(l.far, p.over)
	case !p.moved:
		return nil
	}
	b.drop(l.far)
	b.seat(l.far, nil)
	b.call.handOver(l.far)
	close(l.free)
	<-l.done
	b.call.stop(ErrMerged)
	return ErrMerged
}

// borrow joins the phone that another call has lent with the one that stays here. refused
// is why that came to nothing, over ends this call.
func (b *bridge) borrow(ctx context.Context, l *loan, order *TransferReport) (refused, over error) {
	var paid repaid
	handed := false
	defer func() {
		if !handed {
			l.back <- paid
		}
	}()
	leaver := b.phone(order.Leaver)
	stays, far := b.other(leaver), l.far
	switch {
	case b.transfer != nil:
		return ErrTransferring, nil
	case leaver == nil || stays == nil:
		return ErrNoCall, nil
	case !leaver.peer.idle() || !stays.peer.idle():
		return errGlare, nil
	}
	both, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(l.life, func() { stop(context.Cause(l.life)) })()
	t := &transfer{old: leaver, stays: stays}
	b.transfers++
	t.report = TransferReport{N: b.transfers, Mode: TransferAttended, Leaver: order.Leaver, To: far.party, WithCall: order.WithCall}
	order.N = t.report.N
	b.tellTransfer(t, TransferDialling, nil, nil)
	was, farWas := stays.lift(), far.lift()
	failed := b.pair(both, stays, far)
	if failed != nil {
		stays.media.holding, far.media.holding = was, farWas
		paid.over, over = b.unjoin(ctx, l, leaver, stays, failed)
		if failed.leg == stays {
			b.tellTransfer(t, t.stateFor(both), failed.err, stays)
		} else {
			b.tellTransfer(t, t.stateFor(both), failed.err, nil)
		}
		return failed.err, over
	}
	handed = true
	l.back <- repaid{moved: true}
	<-l.free
	defer close(l.done)
	far.movesTo(b.call)
	b.drop(leaver)
	b.seat(leaver, far)
	far.record.takesPlace(leaver.record, ClientParty)
	b.call.dismiss(leaver, "")
	b.enters(far)
	if was&isHeld != 0 {
		b.tellHeld(stays, false, ClientParty)
	}
	t.target, t.report.Leg = far, far.record.number()
	b.moved(t)
	return nil, nil
}

// unjoin has the far phones of two calls hear those again that they were joined with.
// lent is why the call that lent one is over, over why this one is.
func (b *bridge) unjoin(ctx context.Context, l *loan, leaver, stays *Leg, failed *unpaired) (lent, over error) {
	vain := tookInVain(failed.err)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !dialogOver(failed.err):
	case failed.leg == stays:
		over = b.lost(stays, failed.err)
	default:
		lent = failed.err
	}
	if over == nil && (failed.leg == l.far || vain) {
		_, err := stays.tellAnew(ctx, leaver.joinedMedia().remote)
		stays.mayBeOver(err)
	}
	if lent == nil && l.life.Err() == nil && (failed.told || failed.leg == l.far && vain) {
		_, err := l.far.tellAnew(ctx, l.leaver.joinedMedia().remote)
		l.far.mayBeOver(err)
	}
	return lent, over
}

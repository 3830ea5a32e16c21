package sipflow

import (
	"cmp"
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/wire"
)

// bridge stays between the two phones of a call. It belongs to the call's
// goroutine: one loop over what either phone sends, what the client orders,
// and the clock.
type bridge struct {
	call      *Call
	calling   *Leg // nil once it has hung up during a transfer
	called    *Leg
	relays    []*forward
	transfer  *transfer
	referrals []referral  // latest last
	clock     *time.Timer // for the session timers and the waits that have an end

	transferred bool // the calling leg is one that a transfer brought
}

// bridge joins the two phones until one of them hangs up, which is no error.
func (c *Call) bridge(ctx context.Context, calling, called *Leg) (err error) {
	b := &bridge{call: c, calling: calling, called: called, clock: time.NewTimer(time.Hour)}
	defer b.clock.Stop()
	if !c.sw.bridged(c, b) {
		return ErrStopped
	}
	defer func() { b.end(ctx, err) }()
	c.by, c.wasUp = Self, true
	c.observe(&Event{Kind: Joined, At: time.Now()})
	for _, l := range b.legs() {
		l.peer.forwarding(true)
	}
	for {
		if err = b.step(ctx); err != nil {
			if errors.Is(err, ErrHungUp) {
				return nil
			}
			return err
		}
	}
}

// step deals with one thing that happened.
func (b *bridge) step(ctx context.Context) error {
	if t := b.transfer; t != nil && t.answer != nil && b.called.peer.idle() {
		return b.join(ctx, t)
	}
	b.setClock()
	e, l, order, err := b.next(ctx)
	switch {
	case err != nil:
		return err
	case order != nil:
		order.do(ctx, b, order.reply)
		return nil
	case l == nil:
		return b.tick(ctx)
	case b.transfer != nil && l == b.transfer.target:
		return b.transferEvent(ctx, e)
	case e.hungUp:
		return b.hungUp(l, e.msg)
	}
	return b.event(ctx, l, e)
}

// next waits for an event of a leg, an order of the client, or the clock: then
// the leg is nil. A phone that never pauses holds up neither of them.
func (b *bridge) next(ctx context.Context) (event, *Leg, *order, error) {
	select {
	case order := <-b.call.orders:
		return event{}, nil, order, nil
	case <-b.clock.C:
		return event{}, nil, nil, nil
	case <-ctx.Done():
		return event{}, nil, nil, context.Cause(ctx)
	default:
	}
	for {
		for _, l := range b.legs() {
			if e, ok := l.nextEvent(); ok {
				return e, l, nil, nil
			}
		}
		select {
		case <-b.call.wake:
		case order := <-b.call.orders:
			return event{}, nil, order, nil
		case <-b.clock.C:
			return event{}, nil, nil, nil
		case <-ctx.Done():
			return event{}, nil, nil, context.Cause(ctx)
		}
	}
}

// legs are those at work.
func (b *bridge) legs() []*Leg {
	legs := make([]*Leg, 0, 3)
	if b.calling != nil {
		legs = append(legs, b.calling)
	}
	legs = append(legs, b.called)
	if b.transfer != nil {
		legs = append(legs, b.transfer.target)
	}
	return legs
}

// nextEvent is the oldest event of the leg: one that came while it was busy
// with something else, or the next in its inbox.
func (l *Leg) nextEvent() (event, bool) {
	if j := l.joinedMedia(); len(j.deferred) > 0 {
		e := j.deferred[0]
		if j.deferred = j.deferred[1:]; len(j.deferred) == 0 {
			j.deferred = nil
		}
		return e, true
	}
	return l.take()
}

// other is the phone at the other end.
func (b *bridge) other(l *Leg) *Leg {
	if l == b.called {
		return b.calling
	}
	return b.called
}

// hungUp ends the bridge: the other phone is told the reasons that this one
// gave. During a transfer the calling phone may go, its place is being taken.
func (b *bridge) hungUp(l *Leg, bye *wire.Message) error {
	if l == b.calling && b.transfer != nil {
		b.drop(l)
		b.calling = nil
		b.call.letGo(l)
		return nil
	}
	b.call.dialled(l, Terminated)
	if b.call.by = CalledParty; l == b.calling {
		b.call.by = CallingParty
	}
	if o := b.other(l); o != nil && bye != nil {
		o.joinedMedia().byeHeader += reasonsOf(bye)
	}
	return ErrHungUp
}

// event takes what came from a phone of the bridge.
func (b *bridge) event(ctx context.Context, l *Leg, e event) error {
	switch {
	case e.in != nil && e.err != nil: // no ACK for our 2xx (RFC 3261 §13.3.1.4)
		return e.err
	case e.in != nil && e.cancel:
		for _, r := range b.relays {
			if r.in == e.in {
				r.cancel(reasonsOf(e.msg))
			}
		}
	case e.in != nil && e.ack != nil:
		return b.acknowledged(e.in, e.ack)
	case e.in != nil:
		b.relay(ctx, l, e.in)
	case e.tx != nil:
		for _, r := range b.relays {
			if r.tx == e.tx {
				return b.answered(ctx, r, e)
			}
		}
	case e.progress != nil: // of a REFER before the bridge
		b.call.note(l, "NOTIFY", e.progress.Text, e.progress.At)
	}
	return nil
}

// end leaves nothing half-done: phones get the responses they wait for, and our
// own requests are given up.
func (b *bridge) end(ctx context.Context, why error) {
	b.call.sw.unbridged(b.call)
	for _, r := range b.relays {
		r.giveUp()
		r.replied(ErrNoCall)
	}
	if t := b.transfer; t != nil {
		b.transfer = nil
		t.giveUp(b.call, cmp.Or(why, ErrHungUp))
	}
	for _, l := range b.legs() {
		l.peer.forwarding(false)
		l.refuseOpen()
	}
	if b.transferred && b.calling != nil { // its calling leg is not the one that the flow hangs up
		b.call.hangUp(ctx, b.calling, why)
	}
}

// drop ends what is under way on a leg that leaves the bridge, while the other
// one stays.
func (b *bridge) drop(l *Leg) {
	l.peer.forwarding(false)
	for i := len(b.relays) - 1; i >= 0; i-- {
		r := b.relays[i]
		if r.from != l && r.to != l {
			continue
		}
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 487})
		}
		if r.attempt.method == "INVITE" && r.answer == nil {
			b.call.sw.cancel(r.tx, "")
		}
		r.giveUp()
		b.finish(r)
		r.replied(ErrNoCall)
	}
	l.refuseOpen()
}

// refuseOpen refuses the phone's open requests (RFC 3261 §15.1.2).
func (l *Leg) refuseOpen() {
	for _, in := range l.peer.waiting() {
		in.respond(wire.Reply{Code: 487})
	}
}

// forwarding sets whether the phone's requests go to the call's goroutine.
func (p *peer) forwarding(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forwards = on
}

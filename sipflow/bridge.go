package sipflow

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"sipxrest/sipflow/wire"
)

// bridge stays between the two phones of a call. It belongs to the call's
// goroutine: one loop over what either phone sends, what the client orders,
// and the clock.
type bridge struct {
	call      *Call
	calling   *Leg // nil once it has hung up during a transfer, as called
	called    *Leg
	placed    [2]*Leg // those that the flow has called, and hangs up
	relays    []*forward
	transfer  *transfer
	parked    *Leg        // waits on hold while its place is the target's of an attended transfer
	transfers int         // that there have been
	ender     *Leg        // the phone that has hung up, and so ended the call
	referrals []referral  // latest last
	clock     *time.Timer // for the waits that have an end
	taken     bool        // another node had joined the phones
}

// bridge joins the two phones until one of them hangs up, which is no error.
func (c *Call) bridge(ctx context.Context, calling, called *Leg) (err error) {
	talk, stop := c.whileTalking(ctx)
	defer stop()
	b := c.newBridge(calling, called)
	defer b.clock.Stop()
	return c.stay(talk, b, nil)
}

func (c *Call) newBridge(calling, called *Leg) *bridge {
	return &bridge{call: c, calling: calling, called: called, placed: [2]*Leg{calling, called}, clock: time.NewTimer(time.Hour)}
}

// stay is the rest of bridge. first, if set, is done before all that comes.
func (c *Call) stay(talk context.Context, b *bridge, first func()) (err error) {
	if !c.sw.bridged(c, b) {
		return ErrStopped
	}
	defer func() { b.end(talk, err) }()
	defer c.keptBridge(talk, b)()
	c.mayDivertNoMore(CalledParty)
	c.by, c.wasUp = Self, true
	if !b.taken {
		c.observe(&Event{Kind: Joined, At: time.Now()})
	}
	for _, l := range b.legs() {
		l.joinedMedia().joint = b
		l.peer.bridging(true)
	}
	c.keep(stepBridged)
	if first != nil {
		first()
	}
	for {
		if err = b.step(talk); err == nil {
			c.keepIfNew()
		} else {
			if errors.Is(err, ErrHungUp) {
				return nil
			}
			return err
		}
	}
}

// step deals with one thing that happened.
func (b *bridge) step(ctx context.Context) error {
	if t := b.transfer; t != nil && b.joinsNow(t) {
		if t.consults {
			_, over := b.complete(ctx, t)
			return over
		}
		return b.join(ctx, t)
	}
	b.setClock()
	e, l, order, err := b.next(ctx)
	switch {
	case err != nil:
		return err
	case order != nil:
		return order.do(ctx, b, order.reply)
	case l == nil:
		return b.tick(ctx)
	case e.ofLeg():
		if err := l.tend(ctx, e); err != nil {
			return b.isOver(ctx, l, err)
		}
		return nil
	case b.transfer.awaits(l):
		return b.transferEvent(ctx, e)
	case e.hungUp && b.consults(l):
		return b.isOver(ctx, l, hungUpFor(reasonsOf(e.msg)))
	case l == b.parked: // what it asks the readers respond to
		return nil
	case e.hungUp:
		return b.hungUp(l, reasonsOf(e.msg))
	}
	return b.event(ctx, l, e)
}

// isOver deals with a phone whose dialog has ended. That of a transfer's target, or of
// the phone on hold meanwhile, does not end the call.
func (b *bridge) isOver(ctx context.Context, l *Leg, why error) error {
	t := b.transfer
	switch {
	case l == b.parked:
		return b.parkedLeft(t, why)
	case b.consults(l):
		return b.targetLeft(ctx, t, why)
	case t.awaits(l):
		t.giveUp(b.call, why)
		return b.transferFailed(ctx, t, why)
	}
	return why
}

// consults reports whether a phone is the target of an attended transfer that talks to
// the leaver, or the phone that waits for the end of that.
func (b *bridge) consults(l *Leg) bool {
	t := b.transfer
	return t != nil && t.consults && (l == t.target || l == b.parked)
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
		b.call.sees()
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

// setClock sets the bridge's clock to what is due next.
func (b *bridge) setClock() {
	var due time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	if b.transfer != nil {
		sooner(b.transfer.until)
	}
	for _, r := range b.relays {
		sooner(r.until)
	}
	if due.IsZero() {
		b.clock.Stop()
		return
	}
	b.clock.Reset(time.Until(due))
}

// tick does what is due.
func (b *bridge) tick(ctx context.Context) error {
	now := time.Now()
	if t := b.transfer; t != nil && !t.until.IsZero() && !now.Before(t.until) {
		if t.invite != nil {
			return b.newcomerFailed(ctx, t, ErrNoAnswer)
		}
		t.giveUp(b.call, ErrNoAnswer)
		return b.transferFailed(ctx, t, ErrNoAnswer)
	}
	for i := len(b.relays) - 1; i >= 0; i-- {
		if r := b.relays[i]; !r.until.IsZero() && !now.Before(r.until) {
			b.overdue(ctx, r)
		}
	}
	return nil
}

// told implements joint: a phone is told what the other one said last.
func (b *bridge) told(l *Leg) []byte {
	other := b.other(l)
	if other == nil || len(other.joinedMedia().remote) == 0 {
		return nil
	}
	return l.describe(other.media.remote)
}

// retold implements joint. What changed the phone says by itself.
func (b *bridge) retold(*Leg, []byte) error { return nil }

// isObserved reports whether somebody is told what happens to the call.
func (b *bridge) isObserved() bool { return b.call.record != nil }

// tellHeld tells that a phone is on hold, or no longer.
func (b *bridge) tellHeld(l *Leg, on bool, by Party) { l.record.putOnHold(on, by) }

// tellMuted tells of a phone whose muting was another one before.
func (b *bridge) tellMuted(l *Leg, before Mute) {
	if now := l.media.muted; now == 0 || before == 0 {
		l.record.mutes(now != 0)
	}
}

// legs are those at work.
func (b *bridge) legs() []*Leg {
	legs := make([]*Leg, 0, 3)
	for _, l := range [...]*Leg{b.calling, b.called, b.parked} {
		if l != nil {
			legs = append(legs, l)
		}
	}
	if t := b.transfer; t != nil && t.target != nil && !t.consults {
		legs = append(legs, t.target)
	}
	return legs
}

// nextEvent is the oldest event of the leg: one that came while it was busy
// with something else, or the next in its inbox.
func (l *Leg) nextEvent() (event, bool) {
	if e, ok := l.joinedMedia().nextDeferred(); ok {
		return e, true
	}
	return l.take()
}

func (j *mediaState) nextDeferred() (event, bool) {
	if len(j.deferred) == 0 {
		return event{}, false
	}
	e := j.deferred[0]
	if j.deferred = j.deferred[1:]; len(j.deferred) == 0 {
		j.deferred = nil
	}
	return e, true
}

// other is the phone at the other end.
func (b *bridge) other(l *Leg) *Leg {
	if l == b.called {
		return b.calling
	}
	return b.called
}

// hungUp ends the bridge: the other phone is told the reasons that this one
// gave. During a transfer the phone may go whose place is being taken.
func (b *bridge) hungUp(l *Leg, reasons string) error {
	if b.goesOn(l) {
		b.drop(l)
		b.seat(l, nil)
		b.call.letGo(l)
		return nil
	}
	b.ender = l
	b.call.dialled(l, Terminated)
	b.call.record.fell(ErrHungUp)
	if b.call.by = CalledParty; l == b.calling {
		b.call.by = CallingParty
	}
	if o := b.other(l); o != nil {
		o.joinedMedia().byeHeader += reasons
	}
	return ErrHungUp
}

// goesOn reports whether a transfer goes on without a phone that hangs up.
func (b *bridge) goesOn(l *Leg) bool {
	t := b.transfer
	switch {
	case t == nil || t.target == nil:
		return false
	case !t.attended:
		return l == t.old
	case l != b.phone(t.report.Leaver):
		return false
	case t.consults: // he wants the other two joined
		t.leaves = true
	default: // as a blind one
		t.attended, t.old, t.stays = false, l, t.old
	}
	return true
}

// lost ends the bridge after an INVITE of ours to one of its phones has failed, which may
// have hung up meanwhile.
func (b *bridge) lost(l *Leg, err error) error {
	if !errors.Is(err, ErrHungUp) {
		return err
	}
	var why *hungUpError
	if errors.As(err, &why) {
		return b.hungUp(l, why.reasons)
	}
	return b.hungUp(l, "")
}

// event takes what came from a phone of the bridge.
func (b *bridge) event(ctx context.Context, l *Leg, e event) error {
	switch {
	case e.in != nil && e.err != nil: // no ACK for our 2xx (RFC 3261 §13.3.1.4)
		return l.fault(e.err)
	case e.in != nil && e.cancel:
		for _, r := range b.relays {
			if r.in == e.in {
				r.cancel(reasonsOf(e.msg))
			}
		}
	case e.in != nil && e.ack != nil:
		return b.acknowledged(e.in, e.ack)
	case e.in != nil && e.in.initial:
		b.replacedBy(l, e.in)
	case e.in != nil:
		b.relay(ctx, l, e.in)
	case e.tx != nil:
		for _, r := range b.relays {
			if r.attempt.tx == e.tx {
				return b.answered(ctx, r, e)
			}
		}
	case e.progress != nil: // of a REFER before the bridge
		b.call.note(l, "NOTIFY", e.progress.Text, e.progress.At)
		l.reported(e.progress)
	}
	return nil
}

// end leaves nothing half-done: phones get the responses they wait for, and our
// own requests are given up.
func (b *bridge) end(ctx context.Context, why error) {
	b.call.sw.unbridged(b.call)
	for _, r := range b.relays {
		r.giveUp()
		r.cameTo(ctx, nil, ErrNoCall)
	}
	if t := b.transfer; t != nil {
		b.transfer = nil
		why := cmp.Or(why, ErrHungUp)
		t.giveUp(b.call, why)
		b.tellTransfer(t, t.stateFor(ctx), why, b.ender)
	}
	for i := range b.referrals {
		b.unreported(&b.referrals[i])
	}
	for _, l := range b.legs() {
		l.peer.bridging(false)
		l.refuseOpen()
	}
	for _, l := range b.legs() {
		if !slices.Contains(b.placed[:], l) { // nobody else hangs it up
			b.call.hangUp(ctx, l, why)
		}
	}
}

// seat puts a phone in the place of another one, nil for nobody.
func (b *bridge) seat(old, l *Leg) {
	if old == b.calling {
		b.calling = l
	} else {
		b.called = l
	}
}

// drop ends what is under way on a leg that leaves the bridge, while the other
// one stays.
func (b *bridge) drop(l *Leg) {
	l.peer.bridging(false)
	for i := len(b.relays) - 1; i >= 0; i-- {
		r := b.relays[i]
		if r.from != l && r.to != l {
			continue
		}
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 487})
		}
		if r.attempt.method == "INVITE" && r.answer == nil {
			b.call.sw.cancel(r.attempt.tx, "")
		}
		r.giveUp()
		b.finish(r)
		r.cameTo(context.Background(), nil, ErrNoCall)
	}
	l.refuseOpen()
}

// refuseOpen refuses the phone's open requests (RFC 3261 §15.1.2), and whoever
// was to take its place.
func (l *Leg) refuseOpen() {
	for _, in := range l.peer.waiting() {
		in.respond(wire.Reply{Code: 487})
	}
	if in := l.peer.takeNewcomer(); in != nil {
		in.leg.callee.(newcomer).decline(ErrNoCall)
		l.call.retire(in.leg)
	}
}

// forwarding sets whether the phone's requests go to the call's goroutine.
func (p *peer) forwarding(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forwards = on
}

// bridging is forwarding for a phone that is joined with another, or no longer is.
func (p *peer) bridging(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forwards, p.bridged = on, on
}

// takeNewcomer returns the INVITE of who is to take the phone's place, once. nil:
// nobody is.
func (p *peer) takeNewcomer() *serverTx {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.newcomer
	p.newcomer = nil
	return in
}

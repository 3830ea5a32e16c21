package sipflow

import (
	"context"
	"fmt"
	"time"
)

// phoneTime is how long an action waits for a phone.
const phoneTime = 10 * time.Second

// Hold puts a phone of a bridged call on hold, or takes it back. The other one neither
// sends nor gets media meanwhile. It returns when both have agreed. A refusal is a
// *StatusError and leaves the call as it was. ErrNoCall means a call that is not
// bridged.
func (c *Call) Hold(ctx context.Context, who Party, on bool) error {
	ctx, stop := phoneWait(ctx)
	defer stop()
	return c.afterGlare(ctx, func(ctx context.Context, b *bridge, reply chan<- error) error {
		if t := b.transfer; t != nil && t.attended { // which holds by itself
			reply <- ErrTransferring
			return nil
		}
		b.hold(ctx, b.phone(who), on, func(_ context.Context, err error) { reply <- err })
		return nil
	})
}

// phoneWait bounds what a client waits for a phone.
func phoneWait(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, phoneTime, ErrPhoneTimeout)
}

// MuteParty is Mute for either party, and waits 10 s at most.
func (c *Call) MuteParty(ctx context.Context, who Party, m Mute) error {
	ctx, stop := phoneWait(ctx)
	defer stop()
	return c.mute(ctx, who, m)
}

// BlindTransfer replaces the leaver's phone of a bridged call by target (user@host as it
// goes on the wire). The parties talk until that picks up. It returns the transfer's
// number when the INVITE is out; what comes of it is told as TransferChanged. trusted is
// as in Switchboard.Transfer, as are the errors.
func (c *Call) BlindTransfer(ctx context.Context, leaver Party, target string, trusted bool) (n int, err error) {
	ctx, stop := phoneWait(ctx)
	defer stop()
	if err := c.mayCallNow(target, trusted); err != nil {
		return 0, err
	}
	order := &transferOrder{target: target, leaver: leaver}
	if err := c.transfer(ctx, order); err != nil {
		return 0, err
	}
	return order.n, nil
}

// mayCallNow is mayCall for a call that must be bridged.
func (c *Call) mayCallNow(target string, trusted bool) error {
	if !c.isUp.Load() {
		return ErrNoCall
	}
	if err := c.mayCall(target, trusted); err != nil {
		return fmt.Errorf("transfer %s: %w", c.Holds(), err)
	}
	return nil
}

// AttendedTransfer holds the phone that stays, calls target and joins it with the leaver
// once it picks up. It returns the transfer's number when the phone that stays is on
// hold and the INVITE is out. CompleteTransfer then joins target with who stays. The
// leaver's hang-up does the same. Errors are those of BlindTransfer and Hold.
func (c *Call) AttendedTransfer(ctx context.Context, leaver Party, target string, trusted bool) (n int, err error) {
	ctx, stop := phoneWait(ctx)
	defer stop()
	if err := c.mayCallNow(target, trusted); err != nil {
		return 0, err
	}
	order := &transferOrder{target: target, leaver: leaver}
	wanted := func() bool { return ctx.Err() == nil }
	err = c.afterGlare(ctx, func(here context.Context, b *bridge, reply chan<- error) error {
		b.startAttended(here, order, wanted, reply)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return order.n, nil
}

// CompleteTransfer joins the target of an attended transfer with who stays, and hangs the
// leaver up. It returns when both have agreed. A refusal is a *StatusError, and the
// leaver goes on talking to the target. ErrNotConsulting means that these do not talk.
func (c *Call) CompleteTransfer(ctx context.Context, n int) error {
	ctx, stop := phoneWait(ctx)
	defer stop()
	return c.afterGlare(ctx, func(here context.Context, b *bridge, reply chan<- error) error {
		t := b.transferOf(n)
		switch {
		case t == nil:
			reply <- ErrNoTransfer
		case !t.consults:
			reply <- ErrNotConsulting
		case !b.parked.peer.idle() || !t.target.peer.idle():
			reply <- errGlare
		default:
			refused, over := b.complete(here, t)
			reply <- refused
			return over
		}
		return nil
	})
}

// CancelTransfer hangs the target of a transfer up. After an attended one the two first
// phones are joined again. ErrNoTransfer means that the transfer is over.
func (c *Call) CancelTransfer(ctx context.Context, n int) error {
	ctx, stop := phoneWait(ctx)
	defer stop()
	return c.command(ctx, func(here context.Context, b *bridge, reply chan<- error) error {
		t := b.transferOf(n)
		if t == nil {
			reply <- ErrNoTransfer
			return nil
		}
		over := b.callOff(here, t)
		reply <- over
		return over
	})
}

// Redirect calls target (user@host as it goes on the wire) in place of a phone that has
// not answered, which is cancelled. It returns when that is done. ErrAnswered means that
// the phone has answered; ErrForbidden, ErrUnreachable and *LimitError are as for Transfer.
func (c *Call) Redirect(ctx context.Context, who Party, target string, trusted bool) error {
	ctx, stop := phoneWait(ctx)
	defer stop()
	switch {
	case who != CallingParty && who != CalledParty, c.Dial != nil, c.Spec.Converse != nil:
		return ErrNoCall
	case c.divertible[who-CallingParty].Load() == nil:
		return c.notRinging(who)
	}
	if err := c.mayCall(target, trusted); err != nil {
		return fmt.Errorf("redirect %s: %w", c.Holds(), err)
	}
	if _, err := c.namedHops(ctx, "sip:"+target); err != nil { // nobody is given up for whom nothing leads to
		return fmt.Errorf("redirect %s: %w: %w", c.Holds(), ErrUnreachable, err)
	}
	d := &diversion{target, make(chan error, 1)}
	if !c.divert(who, d) {
		return c.notRinging(who)
	}
	select {
	case err := <-d.reply:
		return err
	case <-c.done:
		return ErrNoCall
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// notRinging is why a phone cannot be given up for another: it has answered, or it is not
// ours to call.
func (c *Call) notRinging(who Party) error {
	select {
	case <-c.done:
		return ErrNoCall
	default:
	}
	if who == CallingParty && c.in == nil || c.isUp.Load() {
		return ErrAnswered
	}
	return ErrNoCall
}

// Join joins the far parties of two bridged calls of one agent, as an attended transfer
// with two calls ends (RFC 5359 §2.5):
//
//	Agent                 sipxrest              Far of a       Far of b
//	    |                      | INVITE (b)         |              |
//	    |                      |------------------->|              |
//	    |                      |       200 (answer) |              |
//	    |                      |<-------------------|              |
//	    |                      | INVITE (answer)                   |
//	    |                      |---------------------------------->|
//	    | BYE (of a), BYE (of b)                    |<=== talk ===>|
//	    |<---------------------|
//
// The leaver's phone of a is hung up, and the agent's of b; for Self the leaver is the
// agent, too. Call a goes on and b ends with ErrMerged. It returns the number of a's
// transfer when the far phones have agreed; after an error both calls are as they were.
func (sw *Switchboard) Join(ctx context.Context, a, b *Call, leaver Party) (n int, err error) {
	ctx, stop := phoneWait(ctx)
	defer stop()
	switch {
	case a == b, !a.isOfPhones(), !b.isOfPhones(), a.Key.Agent != b.Key.Agent:
		return 0, ErrCannotJoin
	case !a.isUp.Load() || !b.isUp.Load():
		return 0, ErrNoCall
	}
	if leaver == Self {
		leaver = a.agents()
	}
	order := &TransferReport{WithCall: b.ID(), Leaver: leaver}
	err = a.retried(ctx, func() error { return a.joinOnce(ctx, b, order) })
	if err != nil {
		return 0, err
	}
	return order.N, nil
}

// isOfPhones reports whether the call is one of two users' phones.
func (c *Call) isOfPhones() bool { return c.in == nil && c.Dial == nil && c.Spec.Converse == nil }

// joinOnce borrows the far phone of b, and joins it with that of c.
func (c *Call) joinOnce(ctx context.Context, b *Call, order *TransferReport) error {
	l := &loan{back: make(chan repaid, 1), free: make(chan struct{}), done: make(chan struct{})}
	defer l.giveBack()
	if !c.joining.CompareAndSwap(false, true) {
		return ErrTransferring
	}
	defer c.joining.Store(false)
	if !b.joining.CompareAndSwap(false, true) {
		return ErrTransferring
	}
	defer b.joining.Store(false)
	err := b.command(ctx, func(life context.Context, br *bridge, reply chan<- error) error {
		err := br.lend(life, l)
		reply <- err
		if err != nil {
			return nil
		}
		return br.repaid(l)
	})
	if err != nil {
		return err
	}
	return c.command(ctx, func(here context.Context, br *bridge, reply chan<- error) error {
		if !l.taken.CompareAndSwap(false, true) {
			reply <- ErrPhoneTimeout
			return nil
		}
		refused, over := br.borrow(here, l, order)
		reply <- refused
		return over
	})
}

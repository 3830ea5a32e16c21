package sipflow

import (
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/wire"
)

// transferOrder is a client's wish to have the calling phone replaced.
type transferOrder struct {
	key    Key    // that the call has afterwards
	target string // user@host as it goes on the wire
	reply  chan error
}

// transfer is the phone that is to take the calling phone's place, while it
// rings.
type transfer struct {
	order       *transferOrder
	target      *Leg
	attempt     *attempt
	tx          *clientTx
	provisional bool
	offer       []byte
	until       time.Time
}

// Transfer replaces the calling phone of a bridged call by another: target
// (user@host as it goes on the wire) is called and, once it answers, joined
// with the called phone; only then is the old one hung up. It returns when the
// INVITE to the target is out; whether it answers shows in the call's dialogs.
// to is the key that the call then has.
//
// ErrNoCall means that no bridged call holds the key, ErrTransferring that a
// transfer is on its way, ErrUnreachable that the target has no next hop.
func (sw *Switchboard) Transfer(ctx context.Context, key, to Key, target string) error {
	c := sw.Find(key)
	if c == nil || !c.isUp.Load() {
		return ErrNoCall
	}
	order := &transferOrder{key: to, target: target, reply: make(chan error, 1)}
	select {
	case c.orders <- order:
	case <-c.done:
		return ErrNoCall
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-order.reply:
		return err
	case <-c.done:
		return ErrNoCall
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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

// startTransfer calls the target with the called phone's description as offer.
func (b *bridge) startTransfer(ctx context.Context, order *transferOrder) error {
	if b.transfer != nil {
		return ErrTransferring
	}
	c := b.call
	offer := b.called.joined().remote
	if len(offer) == 0 || b.calling == nil {
		return ErrNoCall
	}
	// sipXrest: without sipxbridge-moh, unlike the other two.
	l := c.newLeg("sip:"+order.target+";sipx-noroute=Voicemail;sipx-userforward=false", order.target)
	l.first = c.inviteHeader("", "")
	t := &transfer{order: order, target: l, offer: offer, until: time.Now().Add(c.ringTime())}
	l.cseq++
	t.attempt = l.newAttempt(outgoing{method: "INVITE", header: l.first, contentType: sdpType, body: l.describe(offer)})
	reach, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	var err error
	if t.tx, err = t.attempt.send(reach); err != nil {
		c.dialled(l, Terminated)
		return err
	}
	b.transfer = t
	return nil
}

// transferEvent takes what the target's phone answers.
func (b *bridge) transferEvent(ctx context.Context, e event) error {
	t := b.transfer
	if e.tx != t.tx {
		return nil
	}
	if e.msg != nil && e.msg.Code() < 200 {
		t.provisional = true
		b.call.early(t.target, e.msg)
		return nil
	}
	if t.attempt.again(e.msg, e.err) {
		var err error
		if t.tx, err = t.attempt.send(ctx); err != nil {
			return b.transferFailed(t)
		}
		return nil
	}
	if e.err != nil || e.msg.Code() >= 300 {
		return b.transferFailed(t)
	}
	return b.transferAnswered(ctx, t, e.msg)
}

// transferFailed leaves the call as it was.
func (b *bridge) transferFailed(t *transfer) error {
	b.transfer = nil
	b.call.dialled(t.target, Terminated)
	if b.calling == nil { // hung up in the hope of the transfer
		return ErrHungUp
	}
	return nil
}

// transferAnswered puts the target in the calling phone's place:
//
//	Target                sipxrest               Called        Calling
//	    | 200 (answer T)       |                    |              |
//	    |--------------------->| INVITE (offer T)   |              |
//	    |                  ACK |------------------->|              |
//	    |<---------------------|       200 (answer) |              |
//	    |                      |<-------------------|              |
//	    |                      | ACK                |              |
//	    |                      |------------------->|              |
//	    | INVITE (only if the  | BYE                |              |
//	    |   answer is another) |---------------------------------->|
//	    |<---------------------|                                   |
func (b *bridge) transferAnswered(ctx context.Context, t *transfer, res *wire.Message) error {
	l, c := t.target, b.call
	b.transfer = nil
	answer, err := l.answer(ctx, t.tx, res, nil)
	if err != nil {
		return b.transferFailed(t)
	}
	err = answer.Ack(nil)
	if err == nil && len(answer.SDP) == 0 {
		err = errNoSDP
	}
	if err != nil {
		c.dismiss(l, c.reasonFor(err))
		return b.transferFailed(t)
	}
	l.heard(answer.SDP)
	joined, err := b.called.reinvite(ctx, b.called.describe(answer.SDP))
	if err != nil {
		c.dismiss(l, c.reasonFor(err))
		if errors.Is(err, ErrHungUp) || ctx.Err() != nil {
			return err
		}
		return b.transferFailed(t)
	}
	if err := joined.Ack(nil); err != nil {
		c.dismiss(l, "")
		return err
	}
	b.called.heard(joined.SDP)
	if again := fit(joined.SDP, answer.SDP); !sameMedia(again, t.offer) {
		// The called phone answered otherwise than it had offered.
		if last, err := l.reinvite(ctx, l.describe(again)); err == nil {
			last.Ack(nil) //nolint:errcheck // repeated with the repeated 200
			l.heard(last.SDP)
		} else if ctx.Err() != nil || errors.Is(err, ErrHungUp) {
			c.dismiss(l, "")
			return err
		}
	}
	if old := b.calling; old != nil {
		b.drop(old)
		c.dismiss(old, "")
	}
	b.calling, b.transferred = l, true
	l.peer.relay(true)
	c.sw.moved(c, b, t.order.key)
	return nil
}

// giveUp cancels the transfer of a bridge that has ended.
func (t *transfer) giveUp(why error) {
	ended, stop := context.WithCancelCause(context.Background())
	stop(why)
	t.target.awaitInvite(ended, t.tx) //nolint:errcheck // why is all that it can say
}

// dismiss hangs a leg up on the side, while the call goes on with others.
func (c *Call) dismiss(l *Leg, reason string) {
	c.aside(l, func() {
		l.Bye(context.Background(), reason) //nolint:errcheck // there is nobody to tell
	})
}

// aside hands a leg to a goroutine of its own, which ends it.
func (c *Call) aside(l *Leg, end func()) {
	c.dialled(l, Terminated)
	l.inbox.own()
	for i, o := range c.legs {
		if o == l {
			c.legs = append(c.legs[:i], c.legs[i+1:]...)
			break
		}
	}
	c.open.Add(1)
	c.sw.forks.Go(func() {
		end()
		c.releaseLeg(l)
		c.settle()
	})
}

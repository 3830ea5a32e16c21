package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sipxrest/sipflow/sdp"
)

// An order is something that a client wants of a bridged call. It is carried
// out by the call's goroutine, which may reply later.
type order struct {
	do    func(ctx context.Context, b *bridge, reply chan<- error) error // its error ends the call
	reply chan error                                                     // holds one
}

// command has the bridge do something and waits for the result.
func (c *Call) command(ctx context.Context, do func(ctx context.Context, b *bridge, reply chan<- error) error) error {
	if !c.isUp.Load() {
		return ErrNoCall
	}
	o := &order{do: do, reply: make(chan error, 1)}
	select {
	case c.orders <- o:
	case <-c.done:
		return ErrNoCall
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-o.reply:
		return err
	case <-c.done:
		return ErrNoCall
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// HangUp ends the call for a reason, which its Err then is; a *StatusError is
// told to the phones (RFC 3326). It returns at once and may be called at any
// time.
func (c *Call) HangUp(why error) {
	c.ending.Store(true)
	c.stop(why)
}

// SendDTMF sends one of 0123456789*#ABCD to the calling phone of a bridged call
// by INFO (RFC 6086) and returns when the phone has taken it. A refusal is a
// *StatusError, ErrNoCall a call that is not bridged.
func (c *Call) SendDTMF(ctx context.Context, digit byte, as DTMF) error {
	return c.SendDTMFTo(ctx, CallingParty, digit, as)
}

// SendDTMFTo is SendDTMF to either of the parties. Digits that are to arrive in
// their order are sent one after the other.
func (c *Call) SendDTMFTo(ctx context.Context, to Party, digit byte, as DTMF) error {
	if bytes.IndexByte([]byte("0123456789*#ABCD"), digit) < 0 {
		return fmt.Errorf("%q is no DTMF digit", digit)
	}
	out := outgoing{method: "INFO", contentType: string(as), body: []byte{digit}}
	if as != DTMFPlain {
		out.contentType = string(DTMFRelay)
		out.body = fmt.Appendf(nil, "Signal=%c\r\nDuration=160\r\n", digit)
	}
	return c.command(ctx, func(ctx context.Context, b *bridge, reply chan<- error) error {
		b.ask(ctx, &forward{to: b.phone(to), done: tell(reply)}, &out)
		return nil
	})
}

// errBusy means that too much is on its way already.
var errBusy = errors.New("too many requests of the call wait for their answers")

// errGlare asks to try again: another INVITE is under way (RFC 3261 §14.1).
var errGlare = &StatusError{"INVITE", 491, "Request Pending"}

// Mute sets which directions of the calling phone's audio are off (RFC 3264
// §8.4). It sends an INVITE within the dialog, and returns when the phone has
// responded. It lasts until the next Mute, whatever the phone or the other one
// change meanwhile. When another INVITE is under way it is tried again for some
// ten seconds. A refusal is a *StatusError, ErrNoCall a call that is not
// bridged.
func (c *Call) Mute(ctx context.Context, m Mute) error { return c.mute(ctx, CallingParty, m) }

func (c *Call) mute(ctx context.Context, who Party, m Mute) error {
	return c.afterGlare(ctx, func(ctx context.Context, b *bridge, reply chan<- error) error {
		b.mute(ctx, who, m, reply)
		return nil
	})
}

// afterGlare is command for what is tried again for some ten seconds, as long as another
// INVITE is under way (RFC 3261 §14.1).
func (c *Call) afterGlare(ctx context.Context, do func(ctx context.Context, b *bridge, reply chan<- error) error) error {
	return c.retried(ctx, func() error { return c.command(ctx, do) })
}

// retried does again what another INVITE of a phone has crossed, for some ten seconds.
func (c *Call) retried(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		var refused *StatusError
		if try == 3 || !errors.As(err, &refused) || refused.Code != 491 {
			return err
		}
		wait := time.NewTimer(2100*time.Millisecond + time.Duration(rand.Int64N(int64(1900*time.Millisecond))))
		select {
		case <-wait.C:
		case <-c.done:
			wait.Stop()
			return ErrNoCall
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		}
	}
}

// mute describes the other phone anew to one of the two.
func (b *bridge) mute(ctx context.Context, who Party, m Mute, reply chan<- error) {
	l := b.phone(who)
	other := b.other(l)
	if l == nil || other == nil || len(other.joinedMedia().remote) == 0 {
		reply <- ErrNoCall
		return
	}
	if !l.peer.idle() {
		reply <- errGlare
		return
	}
	j := l.joinedMedia()
	if j.muted == m {
		reply <- nil
		return
	}
	before := j.muted
	j.muted = m
	b.askAnew(ctx, l, func(ctx context.Context, answer []byte, err error) {
		if err != nil {
			j.muted = before
		} else {
			b.tellMuted(l, before)
		}
		reply <- err
		if err == nil {
			b.retell(ctx, l, answer)
		}
	})
}

// tell hands what a request came to to who waits for it.
func tell(reply chan<- error) outcome {
	return func(_ context.Context, _ []byte, err error) { reply <- err }
}

// phone is the phone of a party, nil when it has left.
func (b *bridge) phone(who Party) *Leg {
	if who == CalledParty {
		return b.called
	}
	return b.calling
}

// askAnew describes the other phone anew to one of the two.
func (b *bridge) askAnew(ctx context.Context, l *Leg, done outcome) {
	b.askWith(ctx, l, l.describe(b.other(l).media.remote), done)
}

// askWith invites a phone of the bridge again, with a description.
func (b *bridge) askWith(ctx context.Context, l *Leg, description []byte, done outcome) {
	b.ask(ctx, &forward{to: l, done: done}, &outgoing{method: "INVITE", contentType: sdp.Type, body: description,
		header: "Allow: " + allowBridged + "\r\n" + l.sessionHeader()})
}

// ask sends a request of ours to a phone of the bridge. r.done is told its end.
func (b *bridge) ask(ctx context.Context, r *forward, out *outgoing) {
	l := r.to
	if l == nil {
		r.cameTo(ctx, nil, ErrNoCall)
		return
	}
	if len(b.relays) >= maxRelays {
		r.cameTo(ctx, nil, errBusy)
		return
	}
	if r.method = out.method; r.method == "INVITE" {
		r.until = time.Now().Add(inviteTime)
		r.count(1)
	}
	l.cseq++
	r.attempt = l.newAttempt(out)
	b.send(ctx, r)
}

// cameTo tells once what came of a request of ours.
func (r *forward) cameTo(ctx context.Context, answer []byte, err error) {
	if done := r.done; done != nil {
		r.done = nil
		done(ctx, answer, err)
	}
}

// asked takes the final response to a request of ours.
func (b *bridge) asked(ctx context.Context, r *forward, e event) error {
	method := r.attempt.method
	switch {
	case e.err != nil:
		r.cameTo(ctx, nil, e.err)
		if method == "INVITE" { // RFC 3261 §12.2.1.2
			return r.to.fault(&StatusError{method, 408, "Request Timeout"})
		}
		return nil
	case e.msg.Code() >= 300:
		err := statusError(method, e.msg)
		r.cameTo(ctx, nil, err)
		if code := e.msg.Code(); code == 481 || code == 408 {
			return r.to.fault(err) // RFC 5057: its dialog is gone
		}
		return nil
	}
	if method != "INVITE" {
		r.cameTo(ctx, nil, nil)
		return nil
	}
	r.to.refreshTarget(e.msg, r.attempt.tx.path)
	r.to.startTimer(e.msg, &r.attempt.outgoing)
	err := (&Success{leg: r.to, tx: r.attempt.tx}).Ack(nil)
	r.cameTo(ctx, bodyOf(e.msg), err)
	return err
}

// retell describes a phone that accepted an INVITE of ours to the other one. It
// does so where the answer has something new: an address, a key, or a direction
// that was not known while it was muted.
func (b *bridge) retell(ctx context.Context, l *Leg, answer []byte) {
	other := b.other(l)
	if len(answer) == 0 || other == nil {
		return
	}
	now := l.unmuted(answer, other.joinedMedia().remote)
	b.parks(l, now, other.media.remote)
	if sdp.SameWay(now, l.joinedMedia().remote) || !other.peer.idle() {
		return
	}
	l.heard(now)
	b.askWith(ctx, other, other.describe(now), nil)
}

package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// An order is something that a client wants of a bridged call. It is carried
// out by the call's goroutine, which may reply later.
type order struct {
	do    func(ctx context.Context, b *bridge, reply chan<- error)
	reply chan error // holds one
}

// command has the bridge do something and waits for the result.
func (c *Call) command(ctx context.Context, do func(ctx context.Context, b *bridge, reply chan<- error)) error {
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

// DTMF is the media type of an INFO that carries a digit.
type DTMF string

// The two in use; neither is of any RFC.
const (
	DTMFRelay DTMF = "application/dtmf-relay" // with its length
	DTMFPlain DTMF = "application/dtmf"       // the digit alone
)

// digitOf is the digit of an INFO, 0 when it has none.
func digitOf(m *wire.Message) byte {
	var digit string
	kind, _, _ := strings.Cut(string(m.Get(wire.ContentType)), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case string(DTMFPlain):
		digit = string(m.Body())
	case string(DTMFRelay):
		for line := range strings.Lines(string(m.Body())) {
			name, value, _ := strings.Cut(line, "=")
			if strings.EqualFold(strings.TrimSpace(name), "Signal") {
				digit = value
			}
		}
	}
	switch digit = strings.ToUpper(strings.TrimSpace(digit)); digit {
	case "10": // as some write them (the event codes of RFC 4733)
		digit = "*"
	case "11":
		digit = "#"
	}
	if len(digit) != 1 || strings.IndexByte("0123456789*#ABCD", digit[0]) < 0 {
		return 0
	}
	return digit[0]
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
	return c.command(ctx, func(ctx context.Context, b *bridge, reply chan<- error) {
		l := b.calling
		if to == CalledParty {
			l = b.called
		}
		b.ask(ctx, &forward{to: l, reply: reply}, &out)
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
func (c *Call) Mute(ctx context.Context, m Mute) error {
	for try := 0; ; try++ {
		err := c.command(ctx, func(ctx context.Context, b *bridge, reply chan<- error) { b.mute(ctx, m, reply) })
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

// mute describes the other phone anew to the calling one.
func (b *bridge) mute(ctx context.Context, m Mute, reply chan<- error) {
	l, other := b.calling, b.called
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
	out := outgoing{method: "INVITE", contentType: sdp.Type, body: l.describe(other.media.remote),
		header: "Allow: " + allowBridged + "\r\n" + l.sessionHeader()}
	b.ask(ctx, &forward{to: l, reply: reply, undo: func() { j.muted = before }}, &out)
}

// ask sends a request of ours to a phone of the bridge. Its response goes to
// r.reply.
func (b *bridge) ask(ctx context.Context, r *forward, out *outgoing) {
	l := r.to
	if l == nil {
		r.replied(ErrNoCall)
		return
	}
	if len(b.relays) >= maxRelays {
		r.replied(errBusy)
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

// replied tells the requester the result, once.
func (r *forward) replied(err error) {
	if r.reply == nil {
		return
	}
	if err != nil && r.undo != nil {
		r.undo()
	}
	r.reply <- err
	r.reply = nil
}

// asked takes the final response to a request of a client's, or to what the other phone
// is told of it.
func (b *bridge) asked(ctx context.Context, r *forward, e event) error {
	method, ofClient := r.attempt.method, r.reply != nil
	switch {
	case e.err != nil:
		r.replied(e.err)
		if method == "INVITE" { // RFC 3261 §12.2.1.2
			return r.to.fault(&StatusError{method, 408, "Request Timeout"})
		}
		return nil
	case e.msg.Code() >= 300:
		err := statusError(method, e.msg)
		r.replied(err)
		if code := e.msg.Code(); code == 481 || code == 408 {
			return r.to.fault(err) // RFC 5057: its dialog is gone
		}
		return nil
	}
	if method != "INVITE" {
		r.replied(nil)
		return nil
	}
	r.to.refreshTarget(e.msg, r.attempt.tx.path)
	r.to.startTimer(e.msg, &r.attempt.outgoing)
	err := (&Success{leg: r.to, tx: r.attempt.tx}).Ack(nil)
	r.replied(err)
	if err == nil && ofClient {
		b.retell(ctx, r.to, bodyOf(e.msg))
	}
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
	if sdp.SameWay(now, l.joinedMedia().remote) || !other.peer.idle() {
		return
	}
	l.heard(now)
	out := outgoing{method: "INVITE", contentType: sdp.Type, body: other.describe(now),
		header: "Allow: " + allowBridged + "\r\n" + other.sessionHeader()}
	b.ask(ctx, &forward{to: other}, &out)
}

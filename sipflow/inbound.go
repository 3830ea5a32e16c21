package sipflow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

const (
	// maxDigits bounds the digits that wait for Incoming.Digit.
	maxDigits = 32
)

// errAnswered means that the caller has had its final response.
var errAnswered = errors.New("the caller has been answered already")

// run is the flow of an inbound call.
func (in *Incoming) run(ctx context.Context, c *Call) (err error) {
	left := make(chan struct{})
	stop := context.AfterFunc(in.ctx, func() {
		defer close(left)
		c.sw.faults.Try("the refusal of a caller", in.left)
	})
	c.dialled(in.leg, Calling)
	if after := in.expires(); after > 0 {
		expiry := time.AfterFunc(after, func() {
			c.sw.faults.Try("the refusal of a caller", func() {
				why := &StatusError{"INVITE", 487, "Request Expired"}
				if in.refuse(finalFor(why)) { // a final response in time keeps the call
					in.end(why)
				}
			})
		})
		defer expiry.Stop()
	}
	in.remind(time.Minute)
	defer in.reminder.Stop()
	defer func() {
		if p := recover(); p != nil {
			in.refuse(wire.Reply{Code: 500})
			in.hangUp(ctx, &StatusError{"INVITE", 500, ""})
			panic(p)
		}
	}()
	if err = c.keptFirst(in.ctx); err == nil {
		err = c.sw.cfg.Inbound.Take(in.ctx, in)
	} else {
		in.refuse(wire.Reply{Code: 503, Header: retryIn(retryCalls)}) // another node may take it
	}
	err = in.outcome(ctx, err)
	if !stop() {
		<-left
	}
	return err
}

// expires is how long the caller waits for its final response (RFC 3261
// §13.3.1); 0: as long as it takes.
func (in *Incoming) expires() time.Duration {
	n, err := strconv.ParseUint(string(in.req.Get(wire.Expires)), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, 1<<16)) * time.Second
}

// remind repeats the latest provisional response each minute, lest proxies on
// the way give the call up (RFC 3261 §13.3.1.1).
func (in *Incoming) remind(after time.Duration) {
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	in.reminder = time.AfterFunc(after, func() {
		p.mu.Lock()
		r, waits, reliable := in.tx.reply, !in.tx.done, in.rel.rseq != 0 // a reliable one is repeated by itself
		if waits {
			in.reminder.Reset(after)
		}
		p.mu.Unlock()
		if waits && r.Code > 100 && r.Code < 200 && !reliable {
			in.call.sw.faults.Try("a reminder", func() { in.call.sw.respond(in.req, in.path, r) })
		}
	})
}

// left responds to a caller whose call has ended meanwhile.
func (in *Incoming) left() {
	var refused *StatusError
	switch why := context.Cause(in.ctx); {
	case errors.Is(why, ErrDraining):
		in.refuse(wire.Reply{Code: 503, Header: retryIn(retryCalls)}) // RFC 3261 §21.5.4: another server may take it
	case errors.Is(why, ErrHungUp), errors.Is(why, ErrCancelled): // RFC 3261 §15.1.2
		in.refuse(wire.Reply{Code: 487})
	case errors.As(why, &refused):
		in.refuse(finalFor(why))
	default:
		in.refuse(wire.Reply{Code: 480})
	}
}

// outcome ends the call as Take returned, and says what it came to.
func (in *Incoming) outcome(ctx context.Context, err error) error {
	cause := context.Cause(in.ctx)
	switch {
	case in.bridged:
		in.hangUp(ctx, err)
		return err
	case in.answered():
		if in.ears != nil {
			in.leave()
			in.leg.refuseOpen()
		}
		if cause != nil {
			err = cause
		} else if refused := in.refusal(); err == nil && refused != nil {
			err = refused
		}
		in.blame(cause)
		in.hangUp(ctx, err)
		return err
	case cause != nil:
		in.left()
		in.blame(cause)
		return cause
	}
	if in.refuse(finalFor(err)) && err != nil {
		in.call.by = in.failed
	}
	refused := in.refusal()
	in.call.record.refusedCaller(err, refused)
	if refused != nil && (err == nil || errors.As(err, new(*StatusError))) {
		err = refused
	}
	return err
}

// blame notes who ended the call before it was connected.
func (in *Incoming) blame(cause error) {
	in.call.by = Self
	if errors.Is(cause, ErrCancelled) || errors.Is(cause, ErrHungUp) {
		in.call.by = CallingParty
	}
}

// hangUp ends the dialog with the caller, if there is one. A BYE of ours may
// not overtake the ACK of our 2xx (RFC 3261 §15).
func (in *Incoming) hangUp(ctx context.Context, why error) {
	l := in.leg
	if !in.answered() {
		return
	}
	if in.unacked() {
		wait, stop := context.WithTimeout(context.WithoutCancel(ctx), tEnd)
		in.await(wait, func(e event) bool { return e.ack != nil }) //nolint:errcheck // it is hung up either way
		stop()
	}
	in.call.hangUp(ctx, l, why)
}

// finalFor is what a caller is told of an error. What another server says of
// its own overload or wants of us says nothing of this one (RFC 3261 §16.7).
func finalFor(err error) wire.Reply {
	var refused *StatusError
	switch {
	case errors.As(err, &refused) && refused.Code >= 300 && refused.Code < 700:
		switch code := refused.Code; {
		case code < 400, code == 491:
			return wire.Reply{Code: 480}
		case code == 401, code == 407:
			return wire.Reply{Code: 403}
		case code == 420, code == 421, code == 422, code == 503:
			return wire.Reply{Code: 500}
		}
		r := wire.Reply{Code: refused.Code, Reason: wire.PlainPhrase(refused.Reason)}
		var caused *sentError
		if errors.As(err, &caused) {
			r.Header = caused.cause // RFC 6432
		}
		return r
	case errors.Is(err, ErrForbidden):
		return wire.Reply{Code: 403}
	}
	return wire.Reply{Code: 480}
}

func retryIn(d time.Duration) string {
	return "Retry-After: " + strconv.Itoa(int((d+time.Second-1)/time.Second)) + "\r\n"
}

// answered reports whether the caller has had a 2xx.
func (in *Incoming) answered() bool {
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	return in.tx.done && in.tx.reply.Code < 300
}

// unacked reports whether our 2xx waits for its ACK.
func (in *Incoming) unacked() bool {
	p := &in.leg.peer
	return p.unacknowledged(in.tx) && p.isUp()
}

// open returns why no response can go to the caller any more: nil while it
// waits for one.
func (in *Incoming) open() error {
	if err := context.Cause(in.ctx); err != nil {
		return err
	}
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.tx.done {
		return errAnswered
	}
	return nil
}

// Ring tells the caller that somebody is alerted (180), once. After AnswerHeld
// there is no way to.
func (in *Incoming) Ring() error {
	if in.held {
		return context.Cause(in.ctx)
	}
	if err := in.open(); err != nil || in.rang {
		return err
	}
	in.provisional(wire.Reply{Code: 180})
	return nil
}

// Refuse gives the caller its final response: 300 to 699, and the usual phrase
// when there is no reason. header are further lines, "Name: value". A caller
// that has its 200 is hung up, and told why (RFC 3326).
func (in *Incoming) Refuse(code int, reason string, header ...string) error {
	if code < 300 || code > 699 {
		return fmt.Errorf("refuse with %d: want 300 to 699", code)
	}
	if in.answered() {
		in.noteRefusal(code, wire.PlainPhrase(reason))
		in.hangUp(in.calls, in.refusal())
		return nil
	}
	return in.refuseWith(code, reason, headerLines(header))
}

func (in *Incoming) refuseWith(code int, reason, header string) error {
	if err := in.open(); err != nil {
		return err
	}
	if !in.refuse(wire.Reply{Code: code, Reason: wire.PlainPhrase(reason), Header: header}) {
		return in.open()
	}
	return nil
}

// Redirect has the caller try other URIs, in this order (302).
func (in *Incoming) Redirect(uris ...string) error {
	header := ""
	for _, target := range uris {
		if !uri.IsPlain(target) {
			return fmt.Errorf("redirect to %q: not a SIP or tel URI", target)
		}
		header += "Contact: <" + target + ">\r\n"
	}
	if header == "" {
		return errors.New("redirect: no URI")
	}
	return in.refuseWith(302, "", header)
}

// headerLines renders further header fields. What has no name is left out, and
// what is for the dialog, its transactions and the body to say.
func headerLines(header []string) string {
	var b []byte
	for _, line := range header {
		name, value, ok := strings.Cut(wire.OneLine(line), ":")
		if name = strings.TrimSpace(name); ok && wire.IsToken(name) && !reserved(name) {
			b = wire.AppendField(b, name, strings.TrimSpace(value))
		}
	}
	return string(b)
}

// reserved reports whether a header field is no one's to add.
func reserved(name string) bool {
	for h := wire.Via; h <= wire.ContentType; h++ {
		if strings.EqualFold(name, h.String()) {
			return true
		}
	}
	switch strings.ToLower(name) {
	case "allow", "supported", "require", "unsupported", "session-expires", "min-se", "rseq", "rack", "www-authenticate", "proxy-authenticate",
		"authorization", "proxy-authorization", "content-encoding", "content-disposition", "replaces", "proxy-require", strings.ToLower(loopField):
		return true
	}
	return len(name) == 1 // the compact forms
}

// refuse sends a final response other than 2xx. It is false when the caller
// has had another.
func (in *Incoming) refuse(r wire.Reply) bool {
	if !in.tx.respond(r) {
		return false
	}
	in.noteRefusal(r.Code, r.Reason)
	return true
}

func (in *Incoming) noteRefusal(code int, reason string) {
	if reason == "" {
		reason = wire.Phrase(code)
	}
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	in.final = &StatusError{"INVITE", code, reason}
}

// refusal is what the caller was refused with, nil when it was not. Another
// goroutine may end the call, and so refuse it.
func (in *Incoming) refusal() *StatusError {
	p := &in.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	return in.final
}

// accept sends our 2xx, which makes the dialog; it is repeated until its ACK
// comes (RFC 3261 §13.3.1.4). It is false when the caller has given up.
func (in *Incoming) accept(body []byte, header string) bool {
	if !in.sayAccepted(body, header) {
		return false
	}
	c := in.call
	c.sw.stats.answered[FlowInbound].observe(c.sw.stats.elapsed() - c.began)
	c.observe(&Event{Kind: Answered, At: time.Now(), CallID: in.leg.callID})
	in.leg.record.answered(in.leg.target, 200, "OK")
	in.established()
	return true
}

// sayAccepted sends our 2xx. It is false when the caller has given up.
func (in *Incoming) sayAccepted(body []byte, header string) bool {
	l := in.leg
	options := supportedBridged
	if l.callee.allow() != allowBridged {
		options = supported
	}
	r := wire.Reply{Code: 200, Body: body, Header: string(appendContact(nil, in.path.Link)) + "Allow: " + l.callee.allow() + "\r\n" +
		options + header + l.sessionAnswer(in.req, body)}
	if len(body) > 0 {
		r.ContentType = sdp.Type
	}
	if l.kept != nil {
		in.call.keptBeforeAnswer(l, &r)
	}
	return in.tx.respond(r)
}

// established notes what the caller's INVITE says of the dialog that our 2xx has made.
func (in *Incoming) established() {
	l := in.leg
	in.call.dialled(l, Confirmed)
	if !in.path.Link.Reliable() {
		l.findPath(in.path) //nolint:errcheck // responses then go where the request came from
	}
}

// AnswerHeld accepts the call without media: every stream is inactive until
// Connect. It returns when the caller has acknowledged that.
func (in *Incoming) AnswerHeld(ctx context.Context) error {
	if err := in.open(); err != nil {
		return err
	}
	l := in.leg
	ctx, stop := in.while(ctx)
	defer stop()
	if err := in.settle(ctx); err != nil {
		return err
	}
	var err error
	body, agreed := in.agreedEarly()
	switch {
	case agreed: // with a target that did not pick up; it is invited again once there is another
	case in.offer != nil:
		l.heard(in.offer)
		if body, err = l.answerHeld(in.offer); err != nil {
			return err
		}
	default:
		body = l.own(sdp.Held(l.mediaHost()), 1)
	}
	in.call.at(stepHeld)
	if !in.accept(body, "") {
		return context.Cause(in.ctx)
	}
	in.held = true
	ack, err := in.await(ctx, func(e event) bool { return e.ack != nil })
	if err == nil && in.offer == nil && !agreed {
		l.heard(bodyOf(ack.ack))
	}
	in.call.keepIfNew()
	return err
}

// await returns the next event of the caller's that is wanted. The rest is
// kept for the bridge. A 2xx that is not acknowledged ends it.
func (in *Incoming) await(ctx context.Context, wanted func(event) bool) (event, error) {
	for {
		e, err := in.leg.event(ctx)
		switch {
		case err != nil:
			return event{}, err
		case e.in == in.tx && e.err != nil:
			return event{}, e.err
		case wanted(e):
			return e, nil
		case e.in == in.tx: // its ACK
		default:
			in.leg.joinedMedia()
			if err := in.leg.meanwhile(e); err != nil {
				return event{}, err
			}
		}
	}
}

// while is ctx until the caller gives up or hangs up.
func (in *Incoming) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(in.ctx, func() { cancel(context.Cause(in.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Digit is the next digit that an answered caller sends by INFO
// (application/dtmf-relay or application/dtmf): one of 0123456789*#ABCD.
func (in *Incoming) Digit(ctx context.Context) (byte, error) {
	return waitFor(ctx, in, in.digits)
}

// Wait returns once done is closed, or with what ends the call or ctx. Whoever waits for
// something else than the caller does so here: an answered one is owed refreshes of its
// session meanwhile (RFC 4028).
func (in *Incoming) Wait(ctx context.Context, done <-chan struct{}) error {
	_, err := waitFor(ctx, in, done)
	return err
}

// waitFor waits for a value, and does what the call's legs owe meanwhile.
func waitFor[T any](ctx context.Context, in *Incoming, values <-chan T) (v T, err error) {
	ctx, stop := in.while(ctx)
	defer stop()
	for {
		select {
		case v = <-values:
			return v, nil
		default:
		}
		in.call.sees()
		err := tendAll(ctx, in.call.legs, nil)
		if err == nil {
			err = in.heed(ctx)
		}
		if err != nil {
			in.end(err)
			return v, err
		}
		select {
		case v = <-values:
			return v, nil
		case <-in.call.wake:
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// pressed takes a digit from an INFO. What is none is left.
func (in *Incoming) pressed(m *wire.Message) {
	digit := digitOf(m)
	if digit == 0 {
		return
	}
	select {
	case in.digits <- digit:
	default: // somebody who dials that fast means nothing
	}
}

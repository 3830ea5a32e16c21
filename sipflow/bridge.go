package sipflow

import (
	"cmp"
	"context"
	"errors"
	"time"

	"sipxrest/sipflow/wire"
)

// allowBridged is what a phone may send within a bridged call: everything
// that the other phone can take.
const allowBridged = "INVITE, ACK, OPTIONS, CANCEL, BYE, INFO, NOTIFY, UPDATE, MESSAGE, REFER, SUBSCRIBE"

// maxRelays bounds the requests that are on their way between two phones.
const maxRelays = 32

// bridge stays between the two phones of a call. It belongs to the call's
// goroutine: one loop over what either phone sends, what the client orders,
// and the clock.
type bridge struct {
	call     *Call
	calling  *Leg // nil once it has hung up during a transfer
	called   *Leg
	relays   []*relay
	transfer *transfer
	clock    *time.Timer // for the session timers and the transfer's ringing

	transferred bool // the calling leg is one that a transfer brought
}

// relay is one request on its way from a phone to the other.
type relay struct {
	in          *serverTx // nil for a session refresh of ours
	from, to    *Leg
	attempt     *attempt
	tx          *clientTx
	provisional bool
	cancelled   bool
	answer      *Answer // the far 2xx to an INVITE, until the near ACK comes
}

// bridge joins the two phones until one of them hangs up, which is no error.
func (c *Call) bridge(ctx context.Context, calling, called *Leg) (err error) {
	b := &bridge{call: c, calling: calling, called: called, clock: time.NewTimer(time.Hour)}
	defer b.clock.Stop()
	if !c.sw.bridged(c, b) {
		return ErrDraining
	}
	defer func() { b.end(ctx, err) }()
	for _, l := range []*Leg{calling, called} {
		l.peer.relay(true)
	}
	for {
		b.setClock()
		e, l, order, err := b.next(ctx)
		switch {
		case err != nil:
			return err
		case order != nil:
			order.reply <- b.startTransfer(ctx, order)
		case l == nil:
			err = b.tick(ctx)
		case b.transfer != nil && l == b.transfer.target:
			err = b.transferEvent(ctx, e)
		case e.hungUp:
			err = b.hungUp(l, e.msg)
		default:
			err = b.event(ctx, l, e)
		}
		if errors.Is(err, ErrHungUp) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// next waits for an event of a leg, an order of the client, or the clock: then
// the leg is nil.
func (b *bridge) next(ctx context.Context) (event, *Leg, *transferOrder, error) {
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
	if j := l.joined(); len(j.deferred) > 0 {
		e := j.deferred[0]
		j.deferred = j.deferred[1:]
		return e, true
	}
	return l.inbox.take()
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
		b.call.dialled(l, Terminated)
		return nil
	}
	b.call.dialled(l, Terminated)
	if o := b.other(l); o != nil && bye != nil {
		for v := range bye.All(wire.Reason) {
			j := o.joined()
			j.byeHeader = string(wire.AppendField([]byte(j.byeHeader), "Reason", string(v)))
		}
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
				r.cancel()
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

// relay sends a phone's request on to the other one.
func (b *bridge) relay(ctx context.Context, from *Leg, in *serverTx) {
	to := b.other(from)
	if to == nil || len(b.relays) >= maxRelays {
		in.respond(wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"})
		return
	}
	if in.method == "INVITE" && to.invitePending() {
		// RFC 3261 §14.1: only one at a time within a dialog.
		in.respond(wire.Reply{Code: 491})
		return
	}
	from.heed(in.req)
	r := &relay{in: in, from: from, to: to}
	out := outgoing{method: in.method, header: relayedHeader(in.req), body: in.req.Body()}
	if len(out.body) > 0 {
		out.contentType = string(in.req.Get(wire.ContentType))
		if offer := bodyOf(in.req); offer != nil {
			from.heard(offer)
			out.body = to.describe(offer)
		}
	}
	switch in.method {
	case "REFER":
		out.header += b.call.sw.referredHeader(in.req)
	case "INVITE":
		out.header += "Allow: " + allowBridged + "\r\nSupported: timer\r\n"
		to.peer.invites(1)
	}
	to.cseq++
	r.attempt = to.newAttempt(out)
	b.send(ctx, r)
}

// send starts the relayed request, or its next attempt.
func (b *bridge) send(ctx context.Context, r *relay) {
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	tx, err := r.attempt.send(ctx)
	if err != nil {
		b.call.sw.log.Debug("sip: not relayed", "call", b.call, "method", r.attempt.method, "err", err)
		b.finish(r)
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"})
		}
		return
	}
	if r.tx == nil {
		b.relays = append(b.relays, r)
	}
	r.tx = tx
}

// finish takes a relay off the list.
func (b *bridge) finish(r *relay) {
	for i, o := range b.relays {
		if o == r {
			b.relays = append(b.relays[:i], b.relays[i+1:]...)
		}
	}
	if r.attempt.method == "INVITE" && !r.over() {
		r.to.peer.invites(-1)
		r.attempt.method = ""
	}
}

func (r *relay) over() bool { return r.attempt.method == "" }

// answered takes the far phone's response to a relayed request.
func (b *bridge) answered(ctx context.Context, r *relay, e event) error {
	if e.msg != nil && e.msg.Code() < 200 {
		r.provisional = true
		if r.cancelled {
			b.call.sw.cancel(r.tx, "")
		}
		if e.msg.Code() > 100 && r.in != nil {
			r.in.respond(b.relayedReply(r, e.msg))
		}
		return nil
	}
	if r.attempt.again(e.msg, e.err) {
		b.send(ctx, r)
		return nil
	}
	method := r.attempt.method
	if r.in == nil {
		b.finish(r)
		return b.refreshed(ctx, r, method, e)
	}
	if e.err != nil {
		b.finish(r)
		r.in.respond(wire.Reply{Code: 408})
		if method == "INVITE" || method == "UPDATE" { // RFC 3261 §12.2.1.2
			return &StatusError{method, 408, "Request Timeout"}
		}
		return nil
	}
	code := e.msg.Code()
	if code < 300 {
		r.to.heed(e.msg)
	}
	if method == "INVITE" && code < 300 {
		r.answer = &Answer{leg: r.to, tx: r.tx, SDP: bodyOf(e.msg)}
		r.in.respond(b.relayedReply(r, e.msg))
		if len(r.in.req.Body()) > 0 { // no answer is to come with the near ACK
			b.finish(r)
			return r.answer.Ack(nil)
		}
		return nil
	}
	b.finish(r)
	r.in.respond(b.relayedReply(r, e.msg))
	if code == 481 && (method == "INVITE" || method == "UPDATE") { // RFC 5057: its dialog is gone
		return statusError(method, e.msg)
	}
	return nil
}

// relayedReply is the far phone's response as the near one gets it.
func (b *bridge) relayedReply(r *relay, m *wire.Message) wire.Reply {
	reply := wire.Reply{Code: m.Code(), Reason: string(m.Reason()), Header: relayedHeader(m), Body: m.Body()}
	if m.Code() < 300 {
		switch r.in.method {
		case "INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY":
			reply.Header += string(appendContact(nil, r.in.path.link))
		}
	}
	if len(reply.Body) > 0 {
		reply.ContentType = string(m.Get(wire.ContentType))
		if answer := bodyOf(m); answer != nil {
			r.to.heard(answer)
			if offer := bodyOf(r.in.req); offer != nil {
				answer = fit(answer, offer)
			}
			reply.Body = r.from.describe(answer)
		}
	}
	if m.Code() < 300 && m.Code() >= 200 && (r.in.method == "INVITE" || r.in.method == "UPDATE") {
		reply.Header += r.from.sessionAnswer(r.in.req)
	}
	return reply
}

// acknowledged sends the near phone's ACK on. One without a description has
// been sent already.
func (b *bridge) acknowledged(in *serverTx, ack *wire.Message) error {
	for _, r := range b.relays {
		if r.in != in || r.answer == nil {
			continue
		}
		b.finish(r)
		var body []byte
		if answer := bodyOf(ack); answer != nil {
			r.from.heard(answer)
			body = r.to.describe(fit(answer, r.answer.SDP))
		}
		return r.answer.Ack(body)
	}
	return nil
}

// cancel passes a phone's CANCEL of its INVITE on (RFC 3261 §9.1).
func (r *relay) cancel() {
	if r.cancelled || r.answer != nil {
		return
	}
	r.cancelled = true
	if r.provisional {
		r.to.call.sw.cancel(r.tx, "")
	}
}

// end leaves nothing half-done: what phones wait for is answered, what we
// asked them is given up.
func (b *bridge) end(ctx context.Context, why error) {
	b.call.sw.unbridged(b.call)
	for _, r := range b.relays {
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 487}) // RFC 3261 §15.1.2
		}
		if r.answer != nil {
			r.answer.Ack(r.to.refuse(r.answer.SDP)) //nolint:errcheck // hung up next
		} else if r.attempt.method == "INVITE" {
			b.call.sw.abandon(r.tx)
		}
	}
	if t := b.transfer; t != nil {
		b.transfer = nil
		t.giveUp(cmp.Or(why, ErrHungUp))
	}
	for _, l := range b.legs() {
		l.peer.relay(false)
	}
	if b.transferred { // its calling leg is not the one that the flow hangs up
		b.call.hangUp(ctx, b.calling, why)
	}
}

// drop answers for a leg that leaves the bridge.
func (b *bridge) drop(l *Leg) {
	l.peer.relay(false)
	for i := 0; i < len(b.relays); i++ {
		r := b.relays[i]
		if r.from != l && r.to != l {
			continue
		}
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 487})
		}
		if r.tx != nil && r.attempt.method == "INVITE" && r.answer == nil {
			b.call.sw.abandon(r.tx)
		}
		b.finish(r)
		i--
	}
}

// relay says whether the phone's requests go to the call's goroutine.
func (p *peer) relay(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relayed = on
}

// invitePending reports whether an INVITE of ours is pending in the dialog.
func (l *Leg) invitePending() bool {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	return l.peer.inviting > 0
}

// heed takes the remote target from a request or 2xx that refreshes it (RFC
// 3261 §12.2).
func (l *Leg) heed(m *wire.Message) {
	switch m.Method() {
	case "INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY":
	default:
		return
	}
	uri, _ := wire.NameAddr(m.Get(wire.Contact))
	if len(uri) == 0 || string(uri) == l.target {
		return
	}
	if l.next == l.target { // no route set: the next hop moves too
		l.next = string(uri)
		l.path = path{}
	}
	l.target = string(uri)
}

// placeTime bounds looking up and reaching a next hop while a call is up.
const placeTime = 5 * time.Second

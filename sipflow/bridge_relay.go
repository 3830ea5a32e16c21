package sipflow

import (
	"context"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// maxRelays bounds the requests that are on their way between two phones.
const maxRelays = 2 * maxOpen

// forward is one request on its way from a phone to the other.
type forward struct {
	in          *serverTx // nil for a request of a client's
	from, to    *Leg
	method      string
	attempt     *attempt
	until       time.Time // INVITE: when it is given up
	provisional bool      // its transaction has had a response
	cancelled   bool      // by the phone that sent it
	reasons     string    // why: Reason header lines
	answer      *Success  // the far 2xx to an INVITE, until the near ACK comes
	counted     bool      // among the far leg's pending offers
	done        outcome   // of a request of ours: told once what comes of it; nil: nobody asks
}

// outcome is told what a request of ours came to: the description in its 2xx, or why
// there is none. It may ask for more, but after ErrNoCall, when the phone has left.
type outcome func(ctx context.Context, answer []byte, err error)

// relay sends a phone's request on to the other one.
func (b *bridge) relay(ctx context.Context, from *Leg, in *serverTx) {
	if from.peer.settled(in) { // while the call was busy: see Leg.mayOffer
		return
	}
	if no := from.barredReply(in.req); no.Code != 0 {
		in.respond(no)
		return
	}
	if refreshes(in.method) {
		if no := unfitOffer(in.req); no.Code != 0 {
			in.respond(no)
			return
		}
	}
	if in.method == "UPDATE" && len(in.req.Body()) == 0 {
		// It only says that the phone is still there, and where: each leg has
		// a session timer of its own.
		from.refreshTarget(in.req, in.path)
		r := replyOf(200, in.path)
		r.Header = string(appendContact(nil, in.path.Link)) + "Allow: " + allowBridged + "\r\n" + from.sessionAnswer(in.req, nil)
		in.respond(r)
		return
	}
	referTo := ""
	if in.method == "REFER" {
		var no wire.Reply
		if referTo, no = b.mayRefer(in.req); no.Code != 0 {
			in.respond(no)
			return
		}
	}
	forwards, ok := forwardsLeft(in.req)
	if !ok {
		in.respond(wire.Reply{Code: 483})
		return
	}
	to := b.other(from)
	if to == nil || len(b.relays) >= maxRelays {
		in.respond(wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"})
		return
	}
	if offers(in.req) && !to.peer.mayOffer() { // one at a time there, too (RFC 3261 §14.1, RFC 3264 §4)
		in.respond(wire.Reply{Code: 491})
		return
	}
	if in.method == "INFO" {
		from.record.pressed(in.req, digitOf)
	}
	from.refreshTarget(in.req, in.path)
	r := &forward{in: in, from: from, to: to, method: in.method}
	out := outgoing{method: in.method, forwards: forwards, header: relayedHeader(in.req), body: in.req.Body()}
	if len(out.body) > 0 {
		out.contentType = string(in.req.Get(wire.ContentType))
		if offer := bodyOf(in.req); offer != nil && refreshes(in.method) {
			out.contentType, out.body = sdp.Type, to.describe(from.unmuted(offer, nil))
		}
	}
	switch in.method {
	case "REFER":
		out.header += referTo
	case "NOTIFY", "SUBSCRIBE":
		if in.method == "NOTIFY" {
			b.referReported(from, in.req)
		}
		out.header += b.eventHeader(from, in.req)
	case "INVITE":
		r.until = time.Now().Add(tLate) // its user may be asked
		r.count(1)
		out.header += "Allow: " + allowBridged + "\r\n" + to.sessionHeader()
	case "UPDATE":
		if offers(in.req) {
			r.count(1)
		}
		out.header += "Allow: " + allowBridged + "\r\n" + to.sessionHeader()
	}
	to.cseq++
	r.attempt = to.newAttempt(&out)
	b.send(ctx, r)
}

// forwardsLeft is the Max-Forwards of a request that is sent on (RFC 7332 §4),
// as outgoing has it. It is not ok when there is none left.
func forwardsLeft(m *wire.Message) (next uint16, ok bool) {
	v := m.Get(wire.MaxForwards)
	if v == nil {
		return 0, true
	}
	n, err := strconv.ParseUint(string(v), 10, 8) // the parser has looked
	return uint16(n), err == nil && n > 0
}

// send starts the relayed request, or its next attempt.
func (b *bridge) send(ctx context.Context, r *forward) {
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	first := r.attempt.tx == nil
	if r.counted && first {
		b.call.keptChanging(r)
	}
	if _, err := r.attempt.send(ctx); err != nil {
		b.call.sw.log.Debug("sip: not relayed", "call", b.call, "method", r.attempt.method, "error", err)
		b.finish(r)
		if r.in != nil {
			r.in.respond(wire.Reply{Code: 500, Header: "Retry-After: 1\r\n"})
		}
		r.cameTo(ctx, nil, err)
		return
	}
	if first {
		b.relays = append(b.relays, r)
	}
	r.provisional = false
	b.referred(r)
}

// finish takes a relay off the list.
func (b *bridge) finish(r *forward) {
	for i, o := range b.relays {
		if o == r {
			b.relays = append(b.relays[:i], b.relays[i+1:]...)
			break
		}
	}
	r.count(-1)
}

// count enters a request among the pending ones of its leg that offer something, or
// takes it out.
func (r *forward) count(n int16) {
	if r.counted != (n > 0) {
		r.counted = n > 0
		r.to.peer.offer(r.method, n)
	}
}

// answered takes the far phone's response to a relayed request.
func (b *bridge) answered(ctx context.Context, r *forward, e event) error {
	if e.msg != nil && e.msg.Code() < 200 {
		if r.cancelled && !r.provisional {
			b.call.sw.cancel(r.attempt.tx, r.reasons)
		}
		r.provisional = true
		r.to.acknowledge(r.attempt, e.msg, r.answerEarly)
		if e.msg.Code() > 100 && r.in != nil {
			r.in.respond(b.relayedReply(r, e.msg))
		}
		return nil
	}
	if !r.cancelled && r.attempt.again(e.msg, e.err) {
		b.send(ctx, r)
		return nil
	}
	method := r.attempt.method
	if r.in == nil {
		b.finish(r)
		return b.asked(ctx, r, e)
	}
	if e.err != nil {
		b.finish(r)
		if r.cancelled {
			r.in.respond(wire.Reply{Code: 487})
		} else {
			r.in.respond(wire.Reply{Code: 408})
		}
		if refreshes(method) { // RFC 3261 §12.2.1.2
			return r.to.fault(&StatusError{method, 408, "Request Timeout"})
		}
		return nil
	}
	code := e.msg.Code()
	if code < 300 {
		r.to.refreshTarget(e.msg, r.attempt.tx.path)
		if method == "REFER" {
			b.referAccepted(r)
		}
		if refreshes(method) {
			r.to.startTimer(e.msg, &r.attempt.outgoing)
			offer := r.from.unmuted(bodyOf(r.in.req), nil)
			b.parks(r.from, offer, nil)
			r.from.heard(offer) // one that was refused changes nothing
		}
	}
	if method == "INVITE" && code < 300 {
		r.answer, r.until = &Success{leg: r.to, tx: r.attempt.tx}, time.Time{}
		r.answer.SDP, r.answer.settled = r.attempt.early.with(e.msg).description(e.msg)
		r.in.respond(b.relayedReply(r, e.msg))
		if bodyOf(r.in.req) != nil { // no answer is to come with the near ACK
			b.finish(r)
			return r.answer.Ack(nil)
		}
		return nil
	}
	b.finish(r)
	if r.cancelled && (code == 401 || code == 407 || code == 421 || code == 422) {
		r.in.respond(wire.Reply{Code: 487}) // would have been sent again
	} else {
		r.in.respond(b.relayedReply(r, e.msg))
	}
	if code == 481 && refreshes(method) { // RFC 5057: its dialog is gone
		return r.to.refusal(method, e.msg)
	}
	return nil
}

// answerEarly answers the offer in a reliable provisional response of the far phone to
// an INVITE without one: with what the near phone does now, which has not been asked.
func (r *forward) answerEarly(e *earlyDialog) []byte {
	e.settled = joinedEarly
	return r.to.answerTo(e.heard, r.from.joinedMedia().remote)
}

// relayedReply is the far phone's response as the near one gets it.
func (b *bridge) relayedReply(r *forward, m *wire.Message) wire.Reply {
	code, method := m.Code(), r.in.method
	reply := wire.Reply{Code: code, Reason: string(m.Reason()), Header: relayedHeader(m), Body: m.Body()}
	if code < 300 {
		switch method {
		case "INVITE", "UPDATE":
			reply.Header += "Allow: " + allowBridged + "\r\n"
			fallthrough
		case "SUBSCRIBE", "REFER", "NOTIFY":
			reply.Header += string(appendContact(nil, r.in.path.Link))
		}
	}
	answer := bodyOf(m)
	if len(reply.Body) > 0 {
		reply.ContentType = string(m.Get(wire.ContentType))
	} else if r.answer != nil { // it said so before it accepted
		answer = r.answer.SDP
	}
	if answer != nil && code < 300 && refreshes(method) {
		offer := bodyOf(r.in.req)
		answer = r.to.unmuted(answer, offer)
		reply.ContentType = sdp.Type
		if offer != nil {
			reply.Body = r.from.answerTo(offer, answer)
		} else {
			reply.Body = r.from.describe(answer)
		}
		if code >= 200 {
			b.parks(r.to, answer, offer)
			r.to.heard(answer)
		}
	}
	if code < 300 && code >= 200 && refreshes(method) {
		reply.Header += r.from.sessionAnswer(r.in.req, reply.Body)
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
		answer := bodyOf(ack)
		if answer == nil || r.answer.SDP == nil || r.answer.settled != unsettled {
			return r.answer.Ack(nil)
		}
		answer = r.from.unmuted(answer, r.answer.SDP)
		b.parks(r.from, answer, r.answer.SDP)
		r.from.heard(answer)
		return r.answer.Ack(r.to.answerTo(r.answer.SDP, answer))
	}
	return nil
}

// cancel passes a phone's CANCEL of its INVITE on (RFC 3261 §9.1), with the
// reasons that it gives.
func (r *forward) cancel(reasons string) {
	if r.cancelled || r.answer != nil {
		return
	}
	r.cancelled, r.reasons = true, reasons
	if r.provisional {
		r.to.call.sw.cancel(r.attempt.tx, reasons)
	}
}

// giveUp leaves the far phone with nothing that waits for us.
func (r *forward) giveUp() {
	switch {
	case r.answer != nil && r.answer.settled != unsettled:
		r.answer.Ack(nil) //nolint:errcheck // likewise
	case r.answer != nil:
		r.answer.Ack(r.to.refuse(r.answer.SDP)) //nolint:errcheck // hung up, or described anew, next
	case r.attempt.method == "INVITE":
		r.to.call.sw.abandon(r.attempt.tx)
	}
}

// overdue gives an INVITE up that a phone does not decide about.
func (b *bridge) overdue(ctx context.Context, r *forward) {
	b.call.sw.cancel(r.attempt.tx, "")
	r.giveUp()
	b.finish(r)
	if r.in != nil {
		r.in.respond(wire.Reply{Code: 408})
	}
	r.cameTo(ctx, nil, &StatusError{r.attempt.method, 408, "Request Timeout"})
}

// mayRefer reports whether the phones of a bridge may be sent where a REFER
// wants them; if not, no is the response. It looks at what the other phone will
// call, headers and all.
// header is the Refer-To line that was checked. Made again it could differ, for
// a call that its Replaces names may end meanwhile.
//
//go:noinline
func (b *bridge) mayRefer(m *wire.Message) (header string, no wire.Reply) {
	sw := b.call.sw
	v := m.Get(wire.ReferTo)
	header, ok := b.referredHeader(m)
	switch {
	case !ok:
		return header, wire.Reply{Code: 400, Reason: "Replaces Names This Call"}
	case sw.cfg.Allow == nil, v == nil:
		return header, wire.Reply{}
	}
	target := strings.TrimSuffix(strings.TrimPrefix(header, "Refer-To: "), "\r\n")
	values := 0
	wire.Split(v, func([]byte) bool { values++; return true })
	if uri, _ := wire.NameAddr([]byte(target)); values == 1 && len(uri) > 0 && strings.Contains(target, "<") {
		target = string(uri)
	} // else the whole value: some phones take for the URI's what is the field's
	if err := sw.allowed(&b.call.Spec, target); err != nil {
		sw.log.Debug("sip: REFER not relayed", "call", b.call, "error", err)
		return header, notAllowed
	}
	return header, wire.Reply{}
}

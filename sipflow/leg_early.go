package sipflow

import (
	"bytes"
	"context"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// description returns what a phone has said of the session by its 2xx, and how that was
// answered already. A phone may leave an answer out that it gave in a reliable
// provisional response (RFC 6337 §3.1.1). It should repeat what it said in another one,
// and gateways forget to. Where the two answers differ, that of the 2xx counts: those
// who break RFC 3261 §13.2.1 by that mean the later one. But an offer is made once.
func (e *earlyDialog) description(res *wire.Message) ([]byte, settlement) {
	switch body := bodyOf(res); {
	case e == nil || body != nil && e.settled == unsettled:
		return body, unsettled
	default:
		return e.heard, e.settled
	}
}

// earlyOf returns the early dialog of a provisional response, made when it is
// the first that matters: one that is to be acknowledged or describes the session.
func (a *attempt) earlyOf(m *wire.Message) *earlyDialog {
	if e := a.early.with(m); e != nil {
		return e
	}
	if len(a.early) == maxEarly {
		return nil
	}
	l := a.leg
	e := &earlyDialog{tag: string(m.ToTag()), ours: a.tx.inside}
	if !e.ours {
		e.dialogState = l.dialogState
		e.dialogState.held, e.cseq = nil, a.seq
		l.within(e, func() {
			l.adopt(m, a.tx) //nolint:errcheck // then it goes the INVITE's way
			if l.path.Link == nil {
				l.findPath(a.tx.path) //nolint:errcheck // likewise
			}
		})
	}
	a.early = append(a.early, e)
	return e
}

// offers reports whether the request has an offer.
func (a *attempt) offers() bool { return len(a.body) > 0 || a.placeholder }

// acknowledge takes a provisional response to an INVITE: what it says of the session,
// and its PRACK if it is a reliable one and no repeat (RFC 3262 §4). answer returns our
// answer to the offer in it; nil: nobody has one.
func (l *Leg) acknowledge(a *attempt, m *wire.Message, answer func(*earlyDialog) []byte) {
	description := bodyOf(m)
	rseq, reliable := reliableSeq(m)
	if m.Code() <= 100 || !reliable && (description == nil || !a.offers()) {
		return // an offer that is not reliable is none
	}
	e := a.earlyOf(m)
	if e == nil {
		l.call.sw.stats.limited[LimitPracks].Add(1)
		return
	}
	if reliable && rseq <= e.rseq {
		return // again, or overtaken
	}
	first := description != nil && e.heard == nil
	if first {
		e.heard = bytes.Clone(description)
	}
	if !reliable {
		return
	}
	e.rseq = rseq
	var body []byte
	if first && !a.offers() && answer != nil {
		body = answer(e)
	}
	if l.prack(a.tx, e, m, body); len(body) > 0 {
		l.peer.agreed(e.tag)
	}
}

// maxPracks bounds the reliable provisional responses to one INVITE that are
// acknowledged: each PRACK is repeated until its response.
const maxPracks = 64

// prack acknowledges a reliable provisional response in its early dialog. body answers
// the offer in it.
func (l *Leg) prack(invite *clientTx, e *earlyDialog, m *wire.Message, body []byte) {
	if l.pracks >= maxPracks {
		l.call.sw.stats.limited[LimitPracks].Add(1)
		return
	}
	l.pracks++
	l.call.sw.pracked(invite)
	r := outgoing{method: "PRACK", body: body,
		header: "RAck: " + string(m.Get(wire.RSeq)) + " " + string(m.Get(wire.CSeq)) + "\r\n"}
	if len(body) > 0 {
		r.contentType = sdp.Type
	}
	ctx, stop := context.WithTimeout(context.Background(), placeTime)
	defer stop()
	l.errand(ctx, &r, e, nil) //nolint:errcheck // as good as lost: the phone repeats its response
}

// answer answers the offer in the first reliable provisional response of an early
// dialog, for the calling phone or in its place.
func (o *earlyOffer) answer(ctx context.Context, called *Leg, e *earlyDialog, m *wire.Message) []byte {
	e.settled = heldEarly
	if o.calling == nil || o.joined {
		return called.onHold(e.heard)
	}
	var answer []byte
	if in := o.calling.callee.caller(); in != nil && !in.held {
		offered, ok, err := in.offerEarly(ctx, m, e.heard)
		switch {
		case err != nil:
			o.fail(err)
			return called.refuse(e.heard)
		case !ok: // until the caller has answered our offer
			return called.onHold(e.heard)
		}
		answer = offered
	} else {
		again, err := o.calling.reinvite(ctx, o.calling.describe(e.heard))
		if refusesOffer(err) { // another may be taken, and this one turned round: see connectTo
			e.settled, o.refused = refusedEarly, err
			return called.onHold(e.heard)
		}
		if err != nil {
			o.fail(err)
			return called.refuse(e.heard)
		}
		again.Ack(nil) //nolint:errcheck // repeated with the repeated 200
		answer = again.SDP
	}
	o.calling.heard(answer)
	e.settled, o.joined = joinedEarly, true
	return called.answerTo(e.heard, answer)
}

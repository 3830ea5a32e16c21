package sipflow

import (
	"bytes"
	"context"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// earlyDialogs are the dialogs of an INVITE without a final response yet: one
// for each phone that it rings, told apart by the To tag (RFC 3261 §12.1.2,
// §13.2.2.4).
type earlyDialogs []earlyDialog

type earlyDialog struct {
	tag  string
	rseq string // of the last provisional response that was acknowledged
}

// wantsPrack reports whether a provisional response is one that is to be
// acknowledged, and no repeat of the one before it (RFC 3262 §4). It is taken to be
// acknowledged from then on.
func (d *earlyDialogs) wantsPrack(m *wire.Message) bool {
	rseq := string(m.Get(wire.RSeq))
	if rseq == "" || !wire.Requires(m, "100rel") {
		return false
	}
	tag := string(m.ToTag())
	for i := range *d {
		if e := &(*d)[i]; e.tag == tag {
			again := e.rseq == rseq
			e.rseq = rseq
			return !again
		}
	}
	if len(*d) == maxPracks {
		*d = (*d)[:maxPracks-1] // whoever has so many phones ring gets no further PRACKs
	}
	*d = append(*d, earlyDialog{tag, rseq})
	return true
}

// earlyOffer joins the media before the called phone answers, when it insists
// on reliable provisional responses (RFC 3262 §5: the first of them carries
// the offer, and its PRACK our answer).
type earlyOffer struct {
	calling  *Leg // nil: it is held until there is one
	offered  bool // our INVITE carries an offer: what comes is its answer
	answered bool
	onHold   bool                    // with our own answer
	fail     context.CancelCauseFunc // ends the call: the calling phone cannot do what is offered
}

// answerEarly answers the offer in a reliable provisional response, if it has
// one that is new.
func (j *mediaState) answerEarly(ctx context.Context, called *Leg, m *wire.Message) []byte {
	e, offer := j.early, bodyOf(m)
	if offer != nil && (e == nil || e.offered) { // it answers the offer in our INVITE
		j.inEarly = bytes.Clone(offer)
		return nil
	}
	if e == nil || offer == nil || e.answered {
		return nil
	}
	e.answered = true
	called.heard(offer)
	if e.calling == nil {
		return called.onHold(offer)
	}
	if in := e.calling.callee.caller(); in != nil && !in.held {
		answer, ok, err := in.offerEarly(ctx, m, offer)
		switch {
		case err != nil:
			e.fail(err)
			return called.refuse(offer)
		case !ok: // until the caller has answered our offer
			e.onHold = true
			return called.onHold(offer)
		}
		e.calling.heard(answer)
		return called.answerTo(offer, answer)
	}
	answer, err := e.calling.reinvite(ctx, e.calling.describe(offer))
	if err != nil {
		e.fail(err)
		return called.refuse(offer)
	}
	answer.Ack(nil) //nolint:errcheck // repeated with the repeated 200
	e.calling.heard(answer.SDP)
	return called.answerTo(offer, answer.SDP)
}

// maxPracks bounds the reliable provisional responses of one phone that are
// acknowledged: each PRACK is repeated until its response.
const maxPracks = 64

// prack acknowledges a reliable provisional response (RFC 3262 §4). sdp
// answers an offer in it.
func (l *Leg) prack(m *wire.Message, invite *clientTx, body []byte) {
	if l.pracks >= maxPracks {
		l.call.sw.stats.limited[LimitPracks].Add(1)
		return
	}
	l.pracks++
	d := dialogOf(m)
	d.callID, d.local = l.callID, l.local
	if invite.inside {
		d = l.dialog
	} else if d.target == "" {
		d.target, d.routes = l.target, routeTo(invite.path)
	}
	l.cseq++
	r := outgoing{method: "PRACK", body: body,
		header: "RAck: " + string(m.Get(wire.RSeq)) + " " + string(m.Get(wire.CSeq)) + "\r\n"}
	if len(body) > 0 {
		r.contentType = sdp.Type
	}
	// Nobody waits for its response: it is repeated until there is one.
	tx := &clientTx{id: idIn(l.id), method: "PRACK", path: invite.path, seq: l.cseq}
	msg := d.request(invite.path.Link, &r, l.cseq, tx.id, "")
	if len(msg) > maxDatagram {
		tx.path, msg = l.toStream(context.Background(), tx.path, msg)
	}
	l.call.sw.start(tx, msg) //nolint:errcheck
}

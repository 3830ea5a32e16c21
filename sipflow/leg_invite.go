package sipflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// A Success is a 2xx to our INVITE that still needs its ACK.
type Success struct {
	leg     *Leg
	tx      *clientTx
	settled settlement // of the offer in SDP, which may have come before the 2xx
	SDP     []byte     // the phone's session description, empty if it sent none

	offers  bool // SDP is the phone's offer
	acked   bool // on hold, while the other party takes its time
	keepAck bool // the ACK cannot be made anew from the 2xx
}

// Invite rings the phone with an offer and returns its 2xx. When ctx ends
// first the INVITE is cancelled and the error is the context's cause; a 2xx
// that crosses the CANCEL is acknowledged and hung up (RFC 3261 §9.1). A
// refusal is a *StatusError.
func (l *Leg) Invite(ctx context.Context, offer []byte) (*Success, error) {
	return l.invite(ctx, &outgoing{body: offer})
}

// invite is Invite for an INVITE with a body.
func (l *Leg) invite(ctx context.Context, r *outgoing) (*Success, error) {
	r.method, r.header = "INVITE", l.first
	if len(r.body) > 0 {
		r.contentType = sdp.Type
	}
	if l.media != nil {
		r.forwards = l.media.forwards
	}
	l.cseq++
	a := l.newAttempt(r)
	for {
		if _, err := a.send(ctx); err != nil {
			return nil, l.failed("INVITE", err)
		}
		res, err := l.awaitInvite(ctx, a)
		if l.gone {
			return nil, err
		}
		unsettled := res != nil && l.unsettled(res.Code())
		if !a.again(res, err) {
			if unsettled {
				l.noteResponse(res)
			}
			return l.established(ctx, a, res, err)
		}
	}
}

// established is what the end of an INVITE transaction means for the call.
func (l *Leg) established(ctx context.Context, a *attempt, res *wire.Message, err error) (*Success, error) {
	tx := a.tx
	if errors.Is(err, errTimeout) {
		l.its().note(l, "INVITE", "SIP/2.0 408 Request Timeout", time.Now())
		return nil, l.fault(&StatusError{"INVITE", 408, "Request Timeout"})
	}
	if err != nil {
		return nil, l.failed("INVITE", err)
	}
	if res.Code() >= 300 {
		if !tx.inside {
			l.noteDenied("INVITE", res.Code())
		}
		return nil, l.refusal("INVITE", res)
	}
	if tx.inside {
		l.refreshTarget(res, tx.path)
	} else {
		l.confirmed(a.early.with(res))
		if err := l.establish(res, tx); err != nil {
			return nil, errors.Join(l.fault(err), l.Bye(context.WithoutCancel(ctx), ""))
		}
	}
	l.startTimer(res, &a.outgoing)
	answer := &Success{leg: l, tx: tx}
	answer.SDP, answer.settled = a.early.with(res).description(res)
	if !tx.inside {
		l.callee.pickedUp(res)
		l.record.answered(l.target, res.Code(), string(res.Reason()))
		l.kept.answered(a, answer)
	}
	return answer, nil
}

// inviteWait is the wait for the final response of one INVITE. First it is wanted;
// once it is not, it is given up and why is set.
type inviteWait struct {
	*attempt        // the INVITE
	ringing   bool  // there has been a provisional response: CANCEL may follow (RFC 3261 §9.1)
	cancelled bool  // our CANCEL is out
	why       error // what gave it up; nil before
}

// awaitInvite waits for the final response of an INVITE, and cancels it when
// ctx ends.
func (l *Leg) awaitInvite(ctx context.Context, a *attempt) (*wire.Message, error) {
	tx := a.tx
	w := inviteWait{attempt: a, ringing: l.call.sw.ringing(tx)}
	wait := ctx
	for {
		e, err := l.event(wait)
		switch {
		case e.divert != nil && err == nil:
			if w.why == nil && !tx.inside {
				w.giveWay(e.divert)
				return nil, e.divert
			}
			e.divert.reply <- ErrAnswered
		case err != nil && w.why != nil: // tEnd has passed: it never ends
			w.late(ctx)
			return nil, w.why
		case err != nil && (tx.inside || l.keepsOtherWaiting()):
			if !tx.inside {
				l.record.unwanted(err)
			}
			w.leave(err)
			return nil, err
		case err != nil:
			l.record.unwanted(err)
			w.giveUp(err)
			var stop context.CancelFunc
			wait, stop = context.WithTimeout(context.WithoutCancel(ctx), tEnd)
			defer stop()
		case e.tx == tx && e.err != nil:
			return nil, w.failed(e.err)
		case e.tx != tx || e.msg == nil:
			if err := l.meanwhile(e); err != nil {
				l.call.sw.abandon(tx)
				return nil, err
			}
		case e.msg.Code() < 200:
			w.note(e.msg)
			w.provisional(ctx, e.msg)
		case w.why == nil:
			w.note(e.msg)
			return e.msg, nil
		default:
			w.note(e.msg)
			if e.msg.Code() < 300 { // the phone was quicker than our CANCEL
				l.hangUpAnswer(wait, a, e.msg, w.why)
			}
			return nil, w.why
		}
	}
}

// keepsOtherWaiting reports whether the other phone waits for what this one says
// to an offer before it picks up.
func (l *Leg) keepsOtherWaiting() bool {
	return l.media != nil && l.media.early != nil && l.media.early.calling != nil
}

// note reports a response, unless the request is sent again for it.
func (w *inviteWait) note(m *wire.Message) {
	if !w.tx.inside && (w.why != nil || !w.leg.unsettled(m.Code())) {
		w.leg.noteResponse(m)
	}
}

// provisional takes a 1xx.
func (w *inviteWait) provisional(ctx context.Context, m *wire.Message) {
	l := w.leg
	w.ringing = true
	if w.why != nil && !w.cancelled {
		w.cancel()
	}
	var answer func(*earlyDialog) []byte
	if w.why == nil && l.media != nil && l.media.early != nil {
		answer = func(d *earlyDialog) []byte { return l.media.early.answer(ctx, l, d, m) }
	}
	l.acknowledge(w.attempt, m, answer)
	if !w.tx.inside && saysWebSocket(m) {
		l.overWebSocket = true
	}
	if w.why == nil && !w.tx.inside {
		l.callee.ringing(l, m)
	}
}

// saysWebSocket reports whether a phone's Contact is one of a WebSocket (RFC 7118 §5).
func saysWebSocket(m *wire.Message) bool {
	uri := wire.ContactURI(m.Get(wire.Contact))
	params := bytes.IndexByte(uri, ';')
	if params < 0 {
		return false
	}
	by, _ := wire.Param(uri[params:], "transport")
	return bytes.EqualFold(by, []byte("ws")) || bytes.EqualFold(by, []byte("wss"))
}

// giveUp cancels the INVITE, at once or with the first provisional response:
// without one it runs into its own timeout.
func (w *inviteWait) giveUp(why error) {
	if w.why = why; w.ringing {
		w.cancel()
	}
}

func (w *inviteWait) cancel() {
	w.cancelled = true
	w.leg.call.sw.cancel(w.tx, w.leg.call.reasonFor(w.why))
}

// leave gives the INVITE up and does not wait for its end: within a dialog the BYE
// is to follow at once, else the other phone must not wait.
//
//go:noinline
func (w *inviteWait) leave(why error) {
	l, a, tx := w.leg, w.attempt, w.tx
	if l.keepsOtherWaiting() {
		l.call.sw.cancel(tx, l.call.reasonFor(why))
		l.call.aside(l, func() { l.giveUp(a, why) })
		return
	}
	l.leaveInvite(tx)
}

// leaveInvite gives an INVITE within the dialog up.
func (l *Leg) leaveInvite(tx *clientTx) {
	l.call.sw.cancel(tx, "") // it goes out if there has been a provisional response
	l.call.sw.abandon(tx)
}

// giveWay gives the INVITE up for another target. Its end is not waited for.
//
//go:noinline
func (w *inviteWait) giveWay(d *diversion) {
	l, a := w.leg, w.attempt
	l.record.redirected(l.target, "sip:"+d.target, 0, "")
	l.record.failed(d)
	l.call.sw.cancel(w.tx, "")
	l.call.aside(l, func() { l.giveUp(a, d) })
}

// late leaves an INVITE to itself that has no end in time. From now on 2xx are
// hung up on the side; one may have come in the last moment.
//
//go:noinline
func (w *inviteWait) late(ctx context.Context) {
	l := w.leg
	l.call.sw.abandon(w.tx)
	for e, ok := l.inbox.take(); ok; e, ok = l.inbox.take() {
		if e.tx == w.tx && e.msg != nil && e.msg.Code()/100 == 2 {
			l.noteResponse(e.msg)
			l.hangUpAnswer(context.WithoutCancel(ctx), w.attempt, e.msg, w.why)
		}
	}
}

// failed returns what it means that the transaction has ended without a response.
func (w *inviteWait) failed(err error) error {
	if w.why == nil {
		return err
	}
	if errors.Is(err, errTimeout) {
		w.leg.call.note(w.leg, "INVITE", "SIP/2.0 408 Request Timeout", time.Now())
	}
	return w.why
}

// giveUp cancels an INVITE that has been sent. why is what ends it.
func (l *Leg) giveUp(a *attempt, why error) {
	ended, stop := context.WithCancelCause(context.Background())
	stop(why)
	if res, err := l.awaitInvite(ended, a); err == nil && res.Code() < 300 {
		l.hangUpAnswer(context.Background(), a, res, why) // it was in the inbox already
	}
}

// hangUpAnswer acknowledges and hangs up a 2xx that nobody wants any more.
func (l *Leg) hangUpAnswer(ctx context.Context, a *attempt, res *wire.Message, why error) {
	tx := a.tx
	if tx.inside { // the BYE is its owner's
		(&Success{leg: l, tx: tx}).Ack(nil) //nolint:errcheck // see there
		return
	}
	l.confirmed(a.early.with(res))
	if err := l.establish(res, tx); err == nil {
		(&Success{leg: l, tx: tx}).Ack(nil) //nolint:errcheck // the BYE follows either way
	}
	l.Bye(ctx, l.call.reasonFor(why)) //nolint:errcheck // the cause is why
}

// cancel sends the CANCEL of an INVITE that has had a provisional response,
// once.
func (sw *Switchboard) cancel(invite *clientTx, reason string) {
	s := sw.shard(invite.id)
	s.mu.Lock()
	late := invite.state != proceeding || invite.cancelled // a final response has crossed it, or it is out
	p, of := invite.path, invite.of
	if !late {
		invite.cancelled = true
	}
	s.mu.Unlock()
	if late {
		return
	}
	tx := &clientTx{id: invite.id, method: "CANCEL", path: p, seq: invite.seq}
	sw.start(tx, invite.cancelRequest(of, reason)) //nolint:errcheck // without it the INVITE runs into its timeout
}

// establish makes the dialog from the 2xx (RFC 3261 §12.1.2).
func (l *Leg) establish(res *wire.Message, tx *clientTx) error {
	missing := l.adopt(res, tx)
	if missing == nil && !l.secure && isSIPS(l.target) {
		l.peer.onlySecure()
	}
	l.accepted = tx
	if l.call.sw.cfg.Fallback {
		l.userAgent = agentOf(res)
	}
	l.call.dialled(l, Confirmed)
	if missing != nil {
		(&Success{leg: l, tx: tx, keepAck: true}).Ack(nil) //nolint:errcheck // the BYE follows either way
		return missing
	}
	return nil
}

// adopt makes the leg's dialog that of a response to its first INVITE. An error says
// what is missing to it: then requests go the way that the INVITE went.
func (l *Leg) adopt(res *wire.Message, tx *clientTx) (missing error) {
	d := dialogOf(res)
	l.secure = transport.Encrypted(transport.Of(tx.path.Link))
	if !tx.path.Link.Reliable() {
		l.source = tx.path.To.Addr()
	}
	if d.target == "" {
		// Nothing tells where the phone is: hang up the way the INVITE went.
		d.target, d.next, d.routes = l.target, l.target, routeTo(tx.path)
		missing = errors.New("the 200 to the INVITE has no Contact")
		l.path = tx.path
	}
	if isSIPS(d.target) && !l.secure {
		if err := l.goSecure(&d); err != nil {
			d.target, d.next, d.routes = l.target, l.target, routeTo(tx.path)
			missing, l.path = err, tx.path
		}
	}
	// Our own parts stay as we wrote them, whatever came back; callID is read
	// by the sockets' readers.
	l.remote, l.target, l.routes, l.next, l.strict = d.remote, d.target, d.routes, d.next, d.strict
	return missing
}

// findPath settles where requests in the dialog go, the INVITE's connection
// where it leads there (RFC 5923).
// An error says that the phone names where we do not go; there is a path even
// then, to hang it up.
func (l *Leg) findPath(was transport.Path) error {
	l.path = was
	if l.hidden(l.next, was.To.Addr()) {
		return nil
	}
	// The ACK waits for this.
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	hops, err := l.hops(ctx)
	if errors.Is(err, errInsecure) && isSIPS(l.target) && !transport.Encrypted(transport.Of(was.Link)) {
		l.path = transport.Path{}
	}
	if errors.Is(err, transport.ErrOwn) || errors.Is(err, errLocal) || errors.Is(err, errCrowd) {
		l.target, l.next, l.routes, l.strict = "sip:"+l.party, "sip:"+l.party, routeTo(was), false
		return err
	}
	if err != nil {
		return nil // phones may give a Contact that only their proxy can resolve
	}
	network := transport.Of(was.Link)
	for _, h := range hops {
		if h.Addr == was.To && h.Transport == network {
			return nil
		}
	}
	for _, h := range hops {
		if p, err := l.call.sw.transport.Path(ctx, h); err == nil {
			l.path = p
			l.hold(p.Link)
			return nil
		}
	}
	return nil
}

// Ack acknowledges the 2xx, and again whenever the phone repeats it. It
// carries the INVITE's credentials (RFC 3261 §22.1).
func (a *Success) Ack(body []byte) error {
	l := a.leg
	if l.kept != nil {
		if err := l.its().keptBeforeAck(a); err != nil {
			return err
		}
	}
	var barred error
	if l.path.Link == nil { // new, or the phone has moved
		barred = l.findPath(a.tx.path)
		if l.path.Link == nil {
			return fmt.Errorf("ACK %s: %w", l.target, errInsecure)
		}
	}
	r := outgoing{method: "ACK", body: body}
	if len(body) > 0 {
		r.contentType = sdp.Type
	}
	ack := l.request(l.path.Link, &r, a.tx.seq, l.call.sw.idIn(l.id), a.tx.auth)
	p, small := l.path, ack
	if len(ack) > maxDatagram {
		p, ack = l.toStream(context.Background(), p, ack)
	}
	err := p.Send(ack)
	if err != nil {
		p, ack, err = l.ackElsewhere(p, ack, small, err)
	}
	if len(body) == 0 && a.tx.auth == "" && !a.keepAck && barred == nil {
		ack = nil
	}
	l.tell(body)
	l.kept.ackSent(a.tx)
	l.call.sw.acknowledged(a.tx, p, ack)
	if err = cmp.Or(barred, err); err != nil {
		return fmt.Errorf("ACK %s: %w", l.target, err)
	}
	return nil
}

// ackElsewhere sends an ACK again that could not go over p: as a datagram that is too
// long for one, or over a new connection in place of the one that the 2xx came over. It
// is apart, for stacks of calls must not grow for what is rare.
//
//go:noinline
func (l *Leg) ackElsewhere(p transport.Path, ack, small []byte, err error) (transport.Path, []byte, error) {
	switch {
	case p != l.path:
		l.call.sw.datagrams.remember(p.To)
		p, ack = l.path, small
		err = p.Send(ack)
	case p.Link.Reliable():
		ctx, stop := context.WithTimeout(context.Background(), placeTime)
		defer stop()
		if again, dialled := l.call.sw.transport.Renew(ctx, p); dialled == nil {
			l.path, p = again, again
			err = p.Send(ack)
		}
	}
	return p, ack, err
}

// AckHeld acknowledges the 2xx of a phone that has nobody to talk to yet. An offer of
// its own is answered on hold.
func (a *Success) AckHeld() error {
	if a.offers && len(a.SDP) > 0 {
		return a.Ack(a.leg.onHold(a.SDP))
	}
	return a.Ack(nil)
}

// unheld reports whether the 2xx has an offer of the phone's that no answer of ours can
// hold. It is better not refused: a browser whose streams were refused has none to send
// any more.
func (a *Success) unheld() bool {
	if !a.offers {
		return false
	}
	_, _, err := sdp.Hold(a.SDP, "", a.leg.mediaKey)
	return err != nil
}

// reinvite sends an INVITE within the dialog and returns its 2xx, which needs
// its ACK. When the phone's own crosses it (491) it is sent again a little
// later (RFC 3261 §14.1: 2.1 to 4 s for the owner of the Call-ID). A 2xx that says
// nothing of an offer, or refuses all of its streams, is acknowledged and an error: see
// tookInVain.
func (l *Leg) reinvite(ctx context.Context, offer []byte) (*Success, error) {
	if err := l.mayOffer(ctx); err != nil {
		return nil, err
	}
	l.peer.offer("INVITE", 1)
	defer l.peer.offer("INVITE", -1)
	l.first = "Allow: " + l.callee.allow() + "\r\n" + l.sessionHeader()
	for try := 0; ; try++ {
		answer, err := func() (*Success, error) {
			ctx, stop := context.WithTimeoutCause(ctx, inviteTime, &StatusError{"INVITE", 408, "Request Timeout"})
			defer stop()
			return l.Invite(ctx, offer)
		}()
		if err == nil && len(offer) > 0 && len(answer.SDP) == 0 {
			return nil, errors.Join(l.fault(errNoSDP), answer.Ack(nil))
		}
		if err == nil && refusesStreams(answer.SDP, offer) {
			return nil, errors.Join(l.fault(errRefusesStreams), answer.Ack(nil))
		}
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Code != 491 || try == 3 {
			return answer, err
		}
		wait := 2100*time.Millisecond + time.Duration(rand.Int64N(int64(1900*time.Millisecond)))
		if err := l.pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

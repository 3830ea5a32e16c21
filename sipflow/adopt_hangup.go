package sipflow

import (
	"context"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// hangUp ends all that the other node had begun:
//
//	sipxrest              Phone
//	    |                   | rings: the INVITE was the other node's
//	    | CANCEL (its Via)  |
//	    |------------------>|
//	    | BYE (early)       | where the phone's tag is known: its 200 may be on its way
//	    |------------------>|
//
//	    |                   | has picked up, and nobody has acknowledged that
//	    | ACK (refused)     |
//	    |------------------>|
//	    | BYE               |
//	    |------------------>|
//
// All phones are hung up at once. It returns why, and leaves the responses to over.
func (t *takeover) hangUp(ctx context.Context, why error) error {
	c := t.call
	ctx = context.WithoutCancel(ctx) // who stops the call wants the same
	c.by = Self
	if t.state.step == stepEnding && t.state.referredAgo > 0 && !t.state.joined {
		why = nil // the phones are on their own, as they were meant to be
	}
	t.transferFails()
	for _, l := range t.legs {
		c.byes = append(c.byes, t.end(ctx, l, why)...)
		c.dialled(l.Leg, Terminated)
	}
	c.record.fell(why)
	return why
}

// end hangs one phone up, as far as it is. What it returns waits for the responses.
func (t *takeover) end(ctx context.Context, l *takenLeg, why error) (waits []func() error) {
	switch l.was.at {
	case atInviting:
		if waits = append(waits, t.cancel(ctx, l, why)); !l.isEarly() {
			return waits
		}
	case atAnswered:
		t.acknowledge(ctx, l)
	case atCaller:
		return append(waits, t.refuse(ctx, l, why))
	} // a BYE that has been sent before gets 481
	return append(waits, l.startBye(ctx, t.call.reasonFor(why)))
}

// cancel sends the CANCEL of an INVITE of the other node's, and returns what waits for
// the response. It says by its Via that it is that node's (RFC 3261 §9.1); whether the
// phone has said anything is not known, so that it goes out at once.
func (t *takeover) cancel(ctx context.Context, l *takenLeg, why error) (wait func() error) {
	c, invite := t.call, l.was.invite
	over := func() error { return nil }
	if invite == nil || invite.hop.Transport == "" { // nothing was sent
		return over
	}
	c.note(l.Leg, "INVITE", "SIP/2.0 487 Request Terminated", time.Now()) // the phone's own is for the other node
	p, err := t.path(ctx, invite.hop)
	if err != nil {
		return func() error { return l.failed("CANCEL", err) }
	}
	of := &dialog{callID: l.callID, local: l.local, remote: invite.to, target: invite.uri, routes: invite.routes}
	as := &clientTx{id: invite.branch, leg: l.Leg, callID: l.callID, localTag: l.id, method: "INVITE", path: pathAs(p, invite.via), seq: invite.seq, invite: true,
		of: of, state: proceeding, abandoned: true, cancelled: true}
	t.sw.expect(as)
	came := make(chan error, 1)
	tx := &clientTx{id: invite.branch, method: "CANCEL", path: p, seq: invite.seq, onEvent: func(e event) { came <- e.err }}
	if err := t.sw.start(tx, as.cancelRequest(of, c.reasonFor(why))); err != nil {
		return func() error { return l.failed("CANCEL", err) }
	}
	return func() error { return <-came }
}

// expect takes what still comes of an INVITE of the other node, where that comes here: a
// refusal is acknowledged, and who picks up is hung up.
func (sw *Switchboard) expect(invite *clientTx) {
	s := sw.shard(invite.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.clients[invite.key()] = invite
		invite.timer.set(s, tEnd, invite)
	}
}

// isEarly reports whether the phone has an early dialog that can be ended (RFC 3261 §15).
// Its BYE goes the way of the INVITE, for where the phone itself is was not kept.
func (l *takenLeg) isEarly() bool {
	invite := l.was.invite
	if invite == nil || l.earlyTag == "" || wire.HasControl(l.earlyTag) {
		return false
	}
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	l.dialog.remote, l.target, l.routes = invite.to+";tag="+l.earlyTag, invite.uri, invite.routes
	l.next, l.taken.hop = hopURI(invite.hop), invite.hop
	p.confirm(l.earlyTag, transport.Encrypted(invite.hop.Transport))
	return true
}

// hopURI is the URI of a hop.
func hopURI(h resolve.Hop) string { return "sip:" + h.Addr.String() + ";transport=" + h.Transport }

// acknowledge acknowledges the 2xx of a phone that has picked up: an offer in it is
// answered, with all its streams refused. The phone may have had the other node's ACK,
// and does nothing for a second one.
func (t *takeover) acknowledge(ctx context.Context, l *takenLeg) {
	invite := l.was.invite
	if invite == nil {
		return
	}
	p, err := t.way(ctx, l)
	if err != nil {
		return // neither can the BYE go there
	}
	var refused []byte
	if len(invite.offered) > 0 {
		refused = l.refuse(invite.offered)
	}
	tx := &clientTx{id: invite.branch, path: p, seq: invite.seq, state: terminated}
	(&Success{leg: l.Leg, tx: tx}).Ack(refused) //nolint:errcheck // the BYE follows either way
}

// way is the path of the next request in the dialog: where it leads by itself, else where
// the other node's requests went.
func (t *takeover) way(ctx context.Context, l *takenLeg) (transport.Path, error) {
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	hops, err := l.hops(ctx)
	if err != nil || len(hops) == 0 {
		return t.path(ctx, l.taken.hop)
	}
	for _, h := range hops {
		p, dialled := t.path(ctx, h)
		if dialled == nil {
			return p, nil
		}
		err = dialled
	}
	return transport.Path{}, err
}

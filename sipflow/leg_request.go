package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// attempt is one request on its way: over several hops until one of them
// responds (RFC 3263 §4.3), and again with credentials when it is challenged.
type attempt struct {
	outgoing
	leg       *Leg
	auth      auth
	hops      []resolve.Hop                        // still to be tried
	hop       resolve.Hop                          // of the transaction at work; unset on the dialog's own path
	routed    bool                                 // hops has been filled
	failed    error                                // why the hops before could not be used
	redirects *redirection                         // nil until the first 3xx
	insisted  bool                                 // an extension that the phone insists on has been added
	moved     bool                                 // sent again over another connection
	lost      bool                                 // the dialog's connection is gone
	held      bool                                 // its first transaction was to wait
	large     transport.Path                       // of the transaction at work, where its size put it on a stream; else unset
	small     netip.AddrPort                       // where that was in vain: what goes there goes by UDP
	seq       uint32                               // its CSeq number
	tx        *clientTx                            // the transaction at work
	early     earlyDialogs                         // of an INVITE: what its 1xx have made
	in        *earlyDialog                         // of an errand: where it belongs; nil: to the leg's dialog
	done      func(*attempt, *wire.Message, error) // of an errand: told its end
}

// Functions on the way to a wait build in place and leave what is rare to
// others: a waiting call's stack is 4 KiB or, past that, 8.
//
//go:noinline
func (l *Leg) newAttempt(r *outgoing) *attempt {
	a := new(attempt)
	a.outgoing, a.leg, a.seq = *r, l, l.cseq
	a.auth.cred, a.auth.realm, a.auth.anyRealm = l.callee.secret()
	if r.method == "INVITE" {
		l.pracks = 0
	}
	return a
}

// send starts a transaction at the next hop that can be reached. Within a
// dialog that has a path it goes there.
func (a *attempt) send(ctx context.Context) (*clientTx, error) {
	l, sw := a.leg, a.leg.call.sw
	if l.path.Link != nil {
		tx, err := a.start(ctx, l.path)
		if err == nil || !l.path.Link.Reliable() {
			return tx, err
		}
		l.path, a.lost = transport.Path{}, true // the connection is gone: open another
	}
	if !a.routed {
		if err := a.route(ctx); err != nil {
			return nil, unreachable(err)
		}
	}
	for len(a.hops) > 0 {
		a.hop, a.hops = a.hops[0], a.hops[1:]
		p, err := sw.transport.Path(ctx, a.hop)
		if err == nil {
			var tx *clientTx
			if tx, err = a.start(ctx, p); err == nil {
				return tx, nil
			}
		}
		switch {
		case notKept(err): // whatever time is left
			return nil, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		a.passOver(err)
	}
	return nil, unreachable(a.failed)
}

// passOver notes that the hop cannot be used.
//
//go:noinline
func (a *attempt) passOver(err error) {
	a.leg.call.sw.failed(a.hop, nil)
	a.tried(err)
	a.failed = errors.Join(a.failed, fmt.Errorf("%s: %w", a.hop, err))
}

// tried notes for observers that a hop did not take an INVITE.
func (a *attempt) tried(why error) {
	if a.beginsLeg() {
		a.leg.record.tried(a.hop, why)
	}
}

// beginsLeg reports whether it is an INVITE outside of a dialog.
func (a *attempt) beginsLeg() bool { return a.method == "INVITE" && a.leg.next == "" }

//go:noinline
func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

// start sends the request on one path.
func (a *attempt) start(ctx context.Context, p transport.Path) (*clientTx, error) {
	l := a.leg
	of := &l.dialog
	if l.next == "" || a.method == "INVITE" {
		of = l.dialog.copy()
	}
	if l.next == "" { // not in a dialog yet: name the hop as a loose route
		of.routes = routeTo(p)
	}
	tx := new(clientTx)
	tx.id, tx.leg, tx.callID, tx.localTag = l.call.sw.idIn(l.id), l, l.callID, l.id
	tx.method, tx.path, tx.seq, tx.auth, tx.inside = a.method, p, a.seq, a.auth.lines(), l.next != ""
	if a.method == "INVITE" {
		tx.of, tx.offers, a.early = of, a.offers(), nil
	}
	msg := of.request(p.Link, &a.outgoing, a.seq, tx.id, tx.auth)
	if len(msg) > maxDatagram || a.large.Link != nil {
		msg = a.toStream(ctx, tx, msg)
	}
	if l.kept != nil {
		if err := l.its().keptBefore(ctx, a, p, tx, of); err != nil {
			return nil, err
		}
	}
	if a.lead > 0 && !a.held {
		a.held = true // what a challenge asks for again comes at once
		if err := l.call.sw.startLater(tx, msg, a.lead); err != nil {
			return nil, err
		}
	} else if err := l.call.sw.start(tx, msg); err != nil {
		if a.large.Link != nil && ctx.Err() == nil {
			a.backToUDP()
			return a.start(ctx, p)
		}
		return nil, err
	}
	if a.tx = tx; a.in == nil {
		l.hold(p.Link)
	}
	if a.beginsLeg() {
		l.record.dialled(l.callID, a.hop)
	}
	l.call.placed(nil)
	return tx, nil
}

// again reports whether the request is to be sent once more: to the next hop
// after a timeout or a 503, or with credentials.
func (a *attempt) again(res *wire.Message, err error) bool {
	unsent := errors.Is(err, errUnsent)
	a.held = a.held && !unsent                          // it waits once more
	if a.large.Link != nil && errors.Is(err, errLost) { // RFC 3261 §18.1.1: by UDP after all
		a.backToUDP()
		if a.hop.Transport != "" {
			a.hops = append([]resolve.Hop{a.hop}, a.hops...)
		}
		return true
	}
	unusable := errors.Is(err, errTimeout) || errors.Is(err, errLost) || (err == nil && res.Code() == 503)
	if a.hop.Transport != "" {
		if unusable {
			a.leg.call.sw.failed(a.hop, res)
			if len(a.hops) > 0 {
				if err == nil {
					err = statusError(a.method, res)
				}
				a.tried(err)
				a.failed = errors.Join(a.failed, fmt.Errorf("%s: %w", a.hop, err))
				if a.seq != a.leg.cseq { // others have followed it
					a.renumber()
				}
				return true
			}
		} else if err == nil {
			a.leg.call.sw.worked(a.hop)
		}
	}
	if errors.Is(err, errLost) && a.leg.next != "" && !a.moved && (unsent || harmlessTwice(a.method)) {
		a.moved, a.lost = true, true
		a.leg.path = transport.Path{}
		if !unsent || a.seq != a.leg.cseq { // RFC 3261 §12.2.1.1: the numbers of what is sent have no gap
			a.renumber()
		}
		return true
	}
	if err != nil {
		return false
	}
	switch res.Code() {
	case 401, 407:
		to := a.hop.Addr
		if a.leg.path.Link != nil {
			to = a.leg.path.To
		}
		stats := &a.leg.call.sw.stats
		if !a.leg.servedBy(to.Addr()) {
			stats.challenges[ChallengeForeign].Add(1)
			a.leg.logDenied(a.auth.cred, a.method, "it asks from "+to.Addr().String()+
				", which is neither an outbound proxy nor a server of the agent's domain")
			return false
		}
		if !a.auth.answer(res, a.method, a.leg.target) {
			stats.challenges[ChallengeDenied].Add(1)
			a.leg.logDenied(a.auth.cred, a.method, a.auth.why)
			return false
		}
		stats.challenges[ChallengeAnswered].Add(1)
	case 500: // RFC 3261 §12.2.2: a later request of ours has overtaken it
		if a.seq == a.leg.cseq || a.method == "INVITE" || !harmlessTwice(a.method) {
			return false
		}
	case 421: // RFC 3262 §3: the phone insists on reliable provisional responses
		if a.insisted || a.method != "INVITE" || !bytes.EqualFold(bytes.TrimSpace(res.Get(wire.Require)), []byte("100rel")) {
			return false
		}
		a.insisted = true
		a.header += "Supported: 100rel\r\n"
	case 422: // RFC 4028 §6: its session interval is longer
		floor, ok := minSE(res)
		if a.insisted || !ok {
			return false
		}
		a.insisted = true
		a.header = withSession(a.header, floor)
	default:
		return a.redirected(res)
	}
	if a.hop.Transport != "" { // the hop that challenged, and no other, gets the credentials
		a.hops = append([]resolve.Hop{a.hop}, a.hops...)
	}
	a.renumber() // RFC 3261 §22.2
	return true
}

// renumber gives the request the next number of its dialog.
func (a *attempt) renumber() {
	a.leg.cseq++
	a.seq = a.leg.cseq
}

// harmlessTwice reports whether a request may be sent over another connection
// though the phone may have had it: a second REFER could have it call twice.
func harmlessTwice(method string) bool {
	switch method {
	case "BYE", "INVITE", "UPDATE", "PRACK", "SUBSCRIBE":
		return true
	}
	return false
}

// finish waits for the response to what was sent, and sends it again as long as
// that makes sense.
func (a *attempt) finish(ctx context.Context, tx *clientTx, err error) (*wire.Message, error) {
	for {
		if err != nil {
			return nil, a.leg.failed(a.method, err)
		}
		var res *wire.Message
		res, err = a.leg.await(ctx, tx)
		switch {
		case a.again(res, err):
			tx, err = a.send(ctx)
		case err != nil && a.held:
			a.leg.call.sw.retract(tx) // and the loop ends
		case err == nil && res.Code() >= 300:
			return nil, a.leg.refusal(a.method, res)
		case err == nil:
			return res, nil
		}
	}
}

// placeTime bounds looking up and reaching a next hop while a call is up.
const placeTime = 5 * time.Second

// notKept reports whether a request did not go because of who keeps the call. Other
// hops are no help then.
func notKept(err error) bool {
	return errors.Is(err, ErrInProgress) || errors.Is(err, ErrNotOwner) || errors.Is(err, ErrForgotten)
}

package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/wire"
)

// A Leg is our side (UAC) of one dialog with one phone. Its methods are called
// from the goroutine of its Call; what a socket's reader touches is in inbox and peer.
type Leg struct {
	call *Call
	id   uint64 // local tag
	dialog
	path     path // where requests in the dialog go; unset until it is known
	cseq     uint32
	first    string         // header lines of the first INVITE only
	pending  []Notification // NOTIFYs that came while something else was awaited
	noted    string         // last provisional status line reported
	accepted *clientTx      // the INVITE that made the dialog
	joint    *joint         // of a leg that is joined with another
	state    DialogState    // as it was reported last
	party    string         // user@host that is called
	// userAgent is what the phone calls itself in its answer.
	userAgent string
	earlyTag  string // the phone's tag before it answered
	pracks    uint8  // PRACKs sent
	gone      bool   // handed to another goroutine, or released

	inbox inbox
	peer  peer
}

// newLeg prepares a call to a phone; nothing is sent. uri is the Request-URI,
// to its address for the To field.
func (c *Call) newLeg(uri, to string) *Leg {
	l := &Leg{call: c, id: idIn(c.id)}
	l.inbox.wake = c.wake
	b := make([]byte, 0, 128)
	b = appendNameAddr(b, c.AgentName, c.Key.Agent)
	b = append(b, ";tag="...)
	b = appendID(b, l.id)
	local := len(b)
	b = appendID(b, newID())
	b = appendID(b, newID())
	b = append(b, '@')
	b = append(b, c.sw.host...)
	s := string(b)
	l.dialog = dialog{local: s[:local], callID: s[local:], remote: "<sip:" + to + ">", target: uri}
	shard := c.sw.shard(l.id)
	shard.mu.Lock()
	if !shard.closed {
		shard.legs[l.id] = l
	}
	shard.mu.Unlock()
	l.party = to
	c.legs = append(c.legs, l)
	c.dialled(l, Calling)
	return l
}

// appendNameAddr appends "Name" <sip:aor>, the name escaped (RFC 3261 §25.1).
func appendNameAddr(b []byte, name, aor string) []byte {
	if name != "" {
		b = append(b, '"')
		for i := 0; i < len(name); i++ {
			switch c := name[i]; {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f: // dropped: it would end the line
			default:
				b = append(b, c)
			}
		}
		b = append(b, `" `...)
	}
	b = append(b, "<sip:"...)
	b = append(b, aor...)
	return append(b, '>')
}

// attempt is one request on its way: over several hops until one of them
// answers (RFC 3263 §4.3), and again with credentials when it is challenged.
type attempt struct {
	outgoing
	leg    *Leg
	auth   auth
	hops   []resolve.Hop // still to be tried
	hop    resolve.Hop   // of the transaction at work; unset on the dialog's own path
	routed bool          // hops has been filled
	failed error         // why the hops before could not be used
	// insisted: an extension that the phone insists on has been added, or a
	// BYE sent over another connection
	insisted bool
}

// Functions on the way to a wait build in place and leave what is rare to
// others: a waiting call's stack is 4 KiB or, past that, 8.
//
//go:noinline
func (l *Leg) newAttempt(r *outgoing) *attempt {
	a := new(attempt)
	a.outgoing, a.leg = *r, l
	a.auth.cred, a.auth.realm = &l.call.Credentials, l.call.sw.cfg.Realm
	return a
}

// send starts a transaction at the next hop that can be reached. Within a
// dialog that has a path it goes there.
func (a *attempt) send(ctx context.Context) (*clientTx, error) {
	l, sw := a.leg, a.leg.call.sw
	if l.path.link != nil {
		tx, err := a.start(l.path)
		if err == nil || !l.path.link.reliable() {
			return tx, err
		}
		l.path = path{} // the connection is gone: open another
	}
	if !a.routed {
		hops, err := l.hops(ctx)
		if err != nil {
			return nil, unreachable(err)
		}
		a.hops, a.routed = hops, true
	}
	for len(a.hops) > 0 {
		a.hop, a.hops = a.hops[0], a.hops[1:]
		p, err := sw.transport.path(ctx, a.hop.Transport, a.hop.Addr)
		if err == nil {
			var tx *clientTx
			if tx, err = a.start(p); err == nil {
				return tx, nil
			}
		}
		if ctx.Err() != nil {
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
	a.leg.call.sw.failed(a.hop)
	a.failed = errors.Join(a.failed, fmt.Errorf("%s: %w", a.hop, err))
}

//go:noinline
func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

// start sends the request on one path.
func (a *attempt) start(p path) (*clientTx, error) {
	l := a.leg
	of := &l.dialog
	if l.next == "" || a.method == "INVITE" {
		of = l.dialog.copy()
	}
	if l.next == "" { // not in a dialog yet: name the hop as a loose route
		of.routes = routeTo(p)
	}
	tx := new(clientTx)
	tx.id, tx.leg, tx.callID, tx.localTag = idIn(l.id), l, l.callID, l.id
	tx.method, tx.path, tx.seq, tx.auth, tx.inside = a.method, p, l.cseq, a.auth.lines(), l.next != ""
	if a.method == "INVITE" {
		tx.of = of
	}
	if err := l.call.sw.start(tx, of.request(p.link, &a.outgoing, l.cseq, tx.id, tx.auth)); err != nil {
		return nil, err
	}
	l.call.placed(nil)
	return tx, nil
}

// again reports whether the request is to be sent once more: to the next hop
// after a timeout or a 503, or with credentials.
func (a *attempt) again(res *wire.Message, err error) bool {
	unusable := errors.Is(err, errTimeout) || errors.Is(err, errLost) || (err == nil && res.Code() == 503)
	if a.hop.Transport != "" {
		if unusable {
			a.leg.call.sw.failed(a.hop)
			if len(a.hops) > 0 {
				if err == nil {
					err = statusError(a.method, res)
				}
				a.failed = errors.Join(a.failed, fmt.Errorf("%s: %w", a.hop, err))
				return true
			}
		} else if err == nil {
			a.leg.call.sw.worked(a.hop)
		}
	}
	if errors.Is(err, errLost) && a.leg.next != "" && !a.insisted {
		switch a.method {
		case "BYE", "INVITE", "UPDATE": // asked for twice they do no harm
			a.insisted = true
			a.leg.path = path{} // over another connection
			a.leg.cseq++
			return true
		}
	}
	if err != nil {
		return false
	}
	switch res.Code() {
	case 401, 407:
		to := a.hop.Addr
		if a.leg.path.link != nil {
			to = a.leg.path.to
		}
		if !a.leg.call.servedBy(to.Addr()) {
			return false
		}
		if !a.auth.answer(res, a.method, a.leg.target) {
			a.leg.call.sw.logDenied(a.leg.call, a.method, a.auth.why)
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
		return false
	}
	if a.hop.Transport != "" { // the hop that challenged, and no other, gets the answer
		a.hops = append([]resolve.Hop{a.hop}, a.hops...)
	}
	a.leg.cseq++ // RFC 3261 §22.2
	return true
}

// servedBy reports whether an address is that of a server which may have the
// agent's credentials: an outbound proxy, or one of his own domain. A phone may
// name the realm as well, and its Contact is the URI that a response in the
// dialog is computed for: it could have calls of its own choice paid by him.
func (c *Call) servedBy(addr netip.Addr) bool {
	ctx, stop := context.WithTimeout(context.Background(), t1) // the cache knows
	defer stop()
	hops, err := c.sw.nextHops(ctx, "sip:"+c.Key.Agent)
	return err == nil && slices.ContainsFunc(hops, func(h resolve.Hop) bool { return h.Addr.Addr() == addr })
}

// hops says where the next request of the leg may go, in the order to try.
func (l *Leg) hops(ctx context.Context) ([]resolve.Hop, error) {
	sw := l.call.sw
	if l.next != "" {
		return sw.hopsOf(ctx, l.next)
	}
	if first := l.call.hops; first != nil {
		l.call.hops = nil // Place has looked them up
		return first, nil
	}
	return sw.nextHops(ctx, l.target)
}

// routeTo preloads the route set with the next hop. sipXrest: it is numeric,
// so that the proxy need not look itself up.
func routeTo(p path) string {
	b := append(make([]byte, 0, 64), "Route: <sip:"...)
	b = p.to.AppendTo(b)
	if p.link.reliable() {
		b = append(b, ";transport=tcp"...)
	}
	return string(append(b, ";lr>\r\n"...))
}

// await returns the final response of a transaction. What else comes meanwhile
// is kept or reported; a BYE ends the wait with ErrHungUp.
func (l *Leg) await(ctx context.Context, tx *clientTx) (*wire.Message, error) {
	for {
		e, err := l.inbox.next(ctx)
		if err != nil {
			return nil, err
		}
		if e.tx == tx && e.err != nil {
			return nil, e.err
		}
		if e.tx == tx && e.msg.Code() >= 200 {
			return e.msg, nil
		}
		if err := l.meanwhile(e); err != nil {
			return nil, err
		}
	}
}

// meanwhile takes an event that is not the one waited for.
func (l *Leg) meanwhile(e event) error {
	switch {
	case e.hungUp:
		return ErrHungUp
	case e.progress != nil:
		l.call.note(l, "NOTIFY", e.progress.Text, e.progress.At)
		if len(l.pending) == maxInbox { // of a flood the last one counts: it may be the outcome
			l.pending = l.pending[:maxInbox-1]
		}
		l.pending = append(l.pending, *e.progress)
	case e.tx != nil && e.tx.invite && !e.tx.inside && e.msg != nil:
		l.noteResponse(e.msg)
	case l.joint != nil: // the bridge's, which is busy with this leg or the other
		l.joint.deferred = append(l.joint.deferred, e)
	}
	return nil
}

// noteResponse reports a response to the INVITE; a provisional one that
// repeats the one before says nothing new.
func (l *Leg) noteResponse(m *wire.Message) {
	line := m.StatusLine()
	if m.Code() < 200 && line == l.noted {
		return
	}
	l.noted = line
	l.call.note(l, "INVITE", line, time.Now())
	l.call.early(l, m)
}

// do sends a request in the dialog, answers digest challenges, and returns its
// 2xx. Any other final response is a *StatusError.
func (l *Leg) do(ctx context.Context, r *outgoing) (*wire.Message, error) {
	l.cseq++
	a := l.newAttempt(r)
	tx, err := a.send(ctx)
	return a.finish(ctx, tx, err)
}

// finish waits for the answer to what was sent, and sends it again as long as
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
		case err == nil && res.Code() >= 300:
			return nil, statusError(a.method, res)
		case err == nil:
			return res, nil
		}
	}
}

// requires reports whether a message requires an option tag.
func requires(m *wire.Message, option string) bool { return lists(m, wire.Require, option) }

// lists reports whether a header field of option tags has one of them.
func lists(m *wire.Message, h wire.Header, option string) (found bool) {
	for v := range m.All(h) {
		wire.Split(v, func(tag []byte) bool {
			found = found || string(bytes.ToLower(tag)) == option
			return !found
		})
	}
	return found
}

// failed says what a request to the phone came to.
//
//go:noinline
func (l *Leg) failed(method string, err error) error {
	return fmt.Errorf("%s %s: %w", method, l.target, err)
}

func statusError(method string, res *wire.Message) *StatusError {
	return &StatusError{method, res.Code(), string(res.Reason())}
}

// An Answer is a 2xx to our INVITE that still needs its ACK.
type Answer struct {
	leg *Leg
	tx  *clientTx
	SDP []byte // the phone's session description, empty if it sent none

	keepAck bool // the ACK cannot be made anew from the answer
}

// Invite rings the phone with an offer and returns its answer. When ctx ends
// first the INVITE is cancelled and the error is the context's cause; an
// answer that crosses the CANCEL is acknowledged and hung up (RFC 3261 §9.1).
// A refusal is a *StatusError.
func (l *Leg) Invite(ctx context.Context, offer []byte) (*Answer, error) {
	r := outgoing{method: "INVITE", header: l.first, body: offer}
	if len(offer) > 0 {
		r.contentType = sdpType
	}
	l.cseq++
	a := l.newAttempt(&r)
	for {
		tx, err := a.send(ctx)
		if err != nil {
			return nil, l.failed("INVITE", err)
		}
		res, err := l.awaitInvite(ctx, tx)
		if l.gone {
			return nil, err
		}
		if !a.again(res, err) {
			return l.answer(ctx, tx, res, err)
		}
	}
}

// answer is what the end of an INVITE transaction means for the call.
func (l *Leg) answer(ctx context.Context, tx *clientTx, res *wire.Message, err error) (*Answer, error) {
	if errors.Is(err, errTimeout) {
		l.call.note(l, "INVITE", "SIP/2.0 408 Request Timeout", time.Now())
		return nil, &StatusError{"INVITE", 408, "Request Timeout"}
	}
	if err != nil {
		return nil, l.failed("INVITE", err)
	}
	if res.Code() >= 300 {
		return nil, statusError("INVITE", res)
	}
	if tx.inside {
		l.heed(res)
	} else if err := l.learn(res, tx); err != nil {
		return nil, errors.Join(err, l.Bye(context.WithoutCancel(ctx), ""))
	}
	l.startTimer(res)
	answer := &Answer{leg: l, tx: tx, SDP: bodyOf(res)}
	if answer.SDP == nil && l.joint != nil {
		answer.SDP = l.joint.inEarly
	}
	return answer, nil
}

// awaitInvite waits for the final response of an INVITE, and cancels it when
// ctx ends.
func (l *Leg) awaitInvite(ctx context.Context, tx *clientTx) (*wire.Message, error) {
	provisional, cancelled := l.call.sw.ringing(tx), false
	var reliable string // RSeq of the last one that was acknowledged
	wait := ctx
	var why error
	cancel := func() {
		cancelled = true
		l.call.sw.cancel(tx, l.call.reasonFor(why))
	}
	for {
		e, err := l.inbox.next(wait)
		switch {
		case err != nil && why == nil && l.joint != nil && l.joint.early != nil:
			// The other phone must not wait for what this one says to that.
			l.call.sw.cancel(tx, l.call.reasonFor(err))
			l.call.aside(l, func() { l.giveUp(tx, err) })
			return nil, err
		case err != nil && why == nil && tx.inside:
			// The BYE is to follow at once.
			if provisional {
				l.call.sw.cancel(tx, "")
			}
			l.call.sw.abandon(tx)
			return nil, err
		case err != nil && why == nil:
			// Give up. CANCEL may only follow a provisional response (RFC 3261
			// §9.1); without one the INVITE runs into its own timeout.
			why = err
			var stop context.CancelFunc
			wait, stop = context.WithTimeout(context.WithoutCancel(ctx), tEnd)
			defer stop()
			if provisional {
				cancel()
			}
			continue
		case err != nil:
			l.call.sw.abandon(tx)
			// From now on answers are hung up on the side; one may have come
			// in the last moment.
			for e, ok := l.inbox.take(); ok; e, ok = l.inbox.take() {
				if e.tx == tx && e.msg != nil && e.msg.Code()/100 == 2 {
					l.noteResponse(e.msg)
					l.hangUpAnswer(context.WithoutCancel(ctx), tx, e.msg, why)
				}
			}
			return nil, why
		case e.tx == tx && e.err != nil:
			if why != nil {
				if errors.Is(e.err, errTimeout) {
					l.call.note(l, "INVITE", "SIP/2.0 408 Request Timeout", time.Now())
				}
				return nil, why
			}
			return nil, e.err
		case e.tx != tx || e.msg == nil:
			if err := l.meanwhile(e); err != nil {
				l.call.sw.abandon(tx)
				return nil, err
			}
			continue
		}
		if !tx.inside {
			l.noteResponse(e.msg)
		}
		code := e.msg.Code()
		switch {
		case code < 200:
			provisional = true
			if why != nil && !cancelled {
				cancel()
			}
			if rseq := string(e.msg.Get(wire.RSeq)); rseq != "" && rseq != reliable && requires(e.msg, "100rel") {
				reliable = rseq
				var answer []byte
				if why == nil && l.joint != nil {
					answer = l.joint.answerEarly(ctx, l, e.msg)
				}
				l.prack(e.msg, tx, answer)
			}
		case why == nil:
			return e.msg, nil
		case code < 300: // the phone was quicker than our CANCEL
			l.hangUpAnswer(wait, tx, e.msg, why)
			return nil, why
		default:
			return nil, why
		}
	}
}

// giveUp cancels an INVITE that has been sent. why is what ends it.
func (l *Leg) giveUp(tx *clientTx, why error) {
	ended, stop := context.WithCancelCause(context.Background())
	stop(why)
	if res, err := l.awaitInvite(ended, tx); err == nil && res.Code() < 300 {
		l.hangUpAnswer(context.Background(), tx, res, why) // it was in the inbox already
	}
}

// hangUpAnswer acknowledges and hangs up an answer that nobody wants any more.
func (l *Leg) hangUpAnswer(ctx context.Context, tx *clientTx, res *wire.Message, why error) {
	if tx.inside { // the BYE is its owner's
		(&Answer{leg: l, tx: tx}).Ack(nil) //nolint:errcheck // see there
		return
	}
	if err := l.learn(res, tx); err == nil {
		(&Answer{leg: l, tx: tx}).Ack(nil) //nolint:errcheck // the BYE follows either way
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

// learn makes the dialog from the 2xx (RFC 3261 §12.1.2).
func (l *Leg) learn(res *wire.Message, tx *clientTx) error {
	d := dialogOf(res)
	var missing error
	if d.target == "" {
		// Nothing tells where the phone is: hang up the way the INVITE went.
		d.target, d.next, d.routes = l.target, l.target, routeTo(tx.path)
		missing = errors.New("the 200 to the INVITE has no Contact")
		l.path = tx.path
	}
	// Our own parts stay as we wrote them, whatever came back; callID is read
	// by the sockets' readers.
	l.remote, l.target, l.routes, l.next, l.strict = d.remote, d.target, d.routes, d.next, d.strict
	l.accepted = tx
	if l.call.sw.cfg.Fallback {
		l.userAgent = agentOf(res)
	}
	l.call.dialled(l, Confirmed)
	if missing != nil {
		(&Answer{leg: l, tx: tx, keepAck: true}).Ack(nil) //nolint:errcheck // the BYE follows either way
		return missing
	}
	return nil
}

// findPath settles where requests in the dialog go, the INVITE's connection
// where it leads there (RFC 5923).
func (l *Leg) findPath(tx *clientTx) {
	l.path = tx.path
	// The ACK waits for this.
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	hops, err := l.hops(ctx)
	if err != nil {
		return // phones may give a Contact that only their proxy can resolve
	}
	network := "udp"
	if tx.path.link.reliable() {
		network = "tcp"
	}
	for _, h := range hops {
		if h.Addr == tx.path.to && h.Transport == network {
			return
		}
	}
	for _, h := range hops {
		if p, err := l.call.sw.transport.path(ctx, h.Transport, h.Addr); err == nil {
			l.path = p
			return
		}
	}
}

// Ack acknowledges the answer, and again whenever the phone repeats it. It
// carries the INVITE's credentials (RFC 3261 §22.1).
func (a *Answer) Ack(sdp []byte) error {
	l := a.leg
	if l.path.link == nil { // new, or the phone has moved
		l.findPath(a.tx)
	}
	r := outgoing{method: "ACK", body: sdp}
	if len(sdp) > 0 {
		r.contentType = sdpType
	}
	ack := l.request(l.path.link, &r, a.tx.seq, idIn(l.id), a.tx.auth)
	err := l.path.send(ack)
	if err != nil && l.path.link.reliable() { // the answer came over another connection
		ctx, stop := context.WithTimeout(context.Background(), placeTime)
		defer stop()
		if p, dialled := l.call.sw.transport.path(ctx, "tcp", l.path.to); dialled == nil {
			l.path = p
			err = p.send(ack)
		}
	}
	if len(sdp) == 0 && a.tx.auth == "" && !a.keepAck {
		l.call.sw.acknowledged(a.tx, l.path, nil)
	} else {
		l.call.sw.acknowledged(a.tx, l.path, ack)
	}
	if err != nil {
		return fmt.Errorf("ACK %s: %w", l.target, err)
	}
	return nil
}

// Bye ends the dialog; reason is a Reason header line or empty. It does
// nothing on a leg that was not answered or has been hung up already. It waits
// at most 65*T1 (32.5 s) for the phone's answer, a challenge included.
func (l *Leg) Bye(ctx context.Context, reason string) error {
	return l.startBye(ctx, reason)()
}

// startBye sends the BYE. What it returns waits for the phone's answer: two
// phones are hung up at once, the one that is gone does not keep the other.
func (l *Leg) startBye(ctx context.Context, reason string) (wait func() error) {
	if !l.peer.hangUp() {
		return func() error { return nil }
	}
	if l.joint != nil {
		reason += l.joint.byeHeader
	}
	// The transaction's own timeout comes first.
	ctx, stop := context.WithTimeout(ctx, tEnd+t1)
	l.cseq++
	a := l.newAttempt(&outgoing{method: "BYE", header: reason})
	tx, err := a.send(ctx)
	return func() error {
		defer stop()
		if _, err := a.finish(ctx, tx, err); !errors.Is(err, ErrHungUp) {
			return err
		}
		return nil // both hung up at once
	}
}

// While returns a context that ends when the phone hangs up, with cause
// ErrHungUp, or with ctx.
func (l *Leg) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.peer.whenHungUp(func() { cancel(ErrHungUp) })
	return ctx, func() { cancel(nil) }
}

// hangUpFork acknowledges and hangs up an answer that no leg took.
func (sw *Switchboard) hangUpFork(tx *clientTx, m *wire.Message, spec Spec, auth string) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if sw.forksOver {
		return
	}
	sw.forks.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), tEnd)
		defer stop()
		l := &Leg{call: &Call{Spec: spec, sw: sw}, id: tx.localTag, cseq: tx.seq}
		l.inbox.wake = make(chan struct{}, 1)
		l.dialog = dialogOf(m)
		l.peer.confirm("")
		if err := l.learn(m, tx); err == nil {
			fork := &clientTx{id: tx.id, path: tx.path, seq: tx.seq, auth: auth, state: terminated}
			(&Answer{leg: l, tx: fork}).Ack(nil) //nolint:errcheck // asked for again with the repeated 200
		}
		l.Bye(ctx, "") //nolint:errcheck // there is nobody to tell
	})
}

package sipflow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// restoreCaller makes the inbound call of what the other node has kept of its INVITE.
func (t *takeover) restoreCaller(l *takenLeg) error {
	c, was := t.call, l.was.caller
	if was == nil {
		return fmt.Errorf("%w: its caller", errBadState)
	}
	invite := was.invite
	if len(invite) == 0 { // it has had all its responses
		invite = l.pastInvite()
	}
	m, err := wire.Parse(invite)
	if err != nil || m.Method() != "INVITE" || !m.IsRequest() {
		return fmt.Errorf("%w: the INVITE of its caller", errBadState)
	}
	in := t.sw.newIncoming(m, transport.Path{To: was.source})
	in.Transport, in.trunk, in.mostCalls = was.network, was.trunk, was.most
	in.call, in.leg = c, l.Leg
	in.digits = make(chan byte, maxDigits)
	in.tx = &serverTx{leg: l.Leg, req: m, method: "INVITE", seq: m.Seq(), path: in.path, initial: true}
	in.entry = &inboundTx{}
	in.entry.key, in.entry.branch = t.sw.inviteKey(m)
	p := &l.peer
	p.confirmed, p.seq = true, max(p.seq, m.Seq())
	if p.tag == "" {
		p.tag = string(m.FromTag())
	}
	switch l.was.at {
	case atCaller:
		in.tx.reply = wire.Reply{Code: 100, ToTag: string(appendID(nil, l.id))}
		p.open = append(p.open, in.tx)
	default:
		p.up, in.tx.done, in.tx.reply = true, true, wire.Reply{Code: 200}
	}
	in.held, in.bridged = l.was.at != atCaller, t.state.joined
	if phone, ok := l.callee.(*takenPhone); ok {
		phone.in = in
	}
	in.end = func(error) {} // of one that is to take another one's place
	if t.state.flow == FlowInbound && l.was.seat == seatCalling && c.in == nil {
		p.hungUp = func(why error) { in.end(why) }
		c.in = in
	}
	return nil
}

// pastInvite stands for the INVITE of a caller that has acknowledged our 200.
func (l *takenLeg) pastInvite() []byte {
	local, _, _ := strings.Cut(l.local, ";tag=")
	b := append(make([]byte, 0, 256), "INVITE sip:callcontroller SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n"...)
	b = wire.AppendField(b, "From", l.remote)
	b = wire.AppendField(b, "To", local)
	b = wire.AppendField(b, "Call-ID", l.callID)
	return append(b, "CSeq: 1 INVITE\r\n\r\n"...)
}

// life gives the call its context, and that of its caller, which ends with the caller's
// BYE.
func (t *takeover) life(ctx context.Context) {
	if in := t.call.in; in != nil {
		in.calls = ctx
		in.ctx, in.end = context.WithCancelCause(ctx)
	}
}

// callerPath is the way of our responses to the caller's INVITE: from where it came, over
// a connection of our own where there was one (RFC 3261 §18.2.2).
func (t *takeover) callerPath(ctx context.Context, in *Incoming) (transport.Path, error) {
	hop := resolve.Hop{Transport: in.Transport, Addr: in.Source}
	if hop.Transport != "udp" {
		via, ok := in.req.TopVia()
		if !ok {
			return transport.Path{}, errUnsent
		}
		host, port := via.HostPort()
		switch {
		case port == 0 && transport.Encrypted(hop.Transport):
			port = 5061
		case port == 0:
			port = 5060
		}
		hop.Addr, hop.Name = netip.AddrPortFrom(in.Source.Addr(), port), string(host)
	}
	return t.path(ctx, hop)
}

// refuse gives a caller its final response: nobody is left to decide who is to take its
// call. A proxy may know another server.
func (t *takeover) refuse(ctx context.Context, l *takenLeg, why error) (wait func() error) {
	c, in := t.call, l.callee.caller()
	p, err := t.callerPath(ctx, in)
	if err != nil {
		return func() error { return l.failed("INVITE", err) }
	}
	l.peer.mu.Lock()
	in.path, in.tx.path = p, p
	l.peer.mu.Unlock()
	in.refuse(wire.Reply{Code: 503, Header: retryIn(retryCalls)})
	if in == c.in {
		c.record.refusedCaller(why, in.refusal())
	}
	return func() error { return nil }
}

// againWait is how long the ACK of a 200 is waited for that the caller may have had before,
// from the other node. Its ACK may have gone there.
const againWait = 2 * time.Second

// acceptAgain gives a caller its 200 once more, where the other node has not seen the ACK.
func (t *takeover) acceptAgain(ctx context.Context) error {
	c, in := t.call, t.call.in
	if in == nil || in.leg == nil {
		return nil
	}
	l := t.seated(seatCalling)
	if l == nil || l.Leg != in.leg || l.was.at != atAccepted {
		return nil
	}
	p, err := t.callerPath(ctx, in)
	if err != nil {
		return nil //nolint:nilerr // its dialog may be reached all the same
	}
	peer := &l.peer
	peer.mu.Lock()
	in.path, in.tx.path, in.tx.done = p, p, false
	peer.open = append(peer.open, in.tx)
	peer.mu.Unlock()
	if !in.sayAccepted(l.was.caller.body, l.was.caller.header) {
		return context.Cause(ctx)
	}
	wait, stop := context.WithTimeoutCause(ctx, againWait, errPaused)
	defer stop()
	if _, err = in.await(wait, func(e event) bool { return e.ack != nil }); !errors.Is(err, errPaused) {
		return err
	}
	s := c.sw.shard(l.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	peer.mu.Lock()
	defer peer.mu.Unlock()
	in.tx.timer.stop()
	peer.forget(in.tx)
	peer.remember(in.tx.req, 200)
	return nil
}

package sipflow

import (
	"slices"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// state is the call as it is now. It runs in the call's goroutine.
func (c *Call) state() *callState {
	k := c.keeping()
	s := &callState{class: classOther, id: c.Spec.ID, key: c.Holds(), flow: c.kind(), step: k.step, method: c.Method}
	if b := k.bridge; b != nil {
		s.step, s.transfers, s.changing = stepBridged, b.transfers, b.changes(k.sending)
		if t := b.transfer; t != nil && t.target != nil {
			s.step, s.transfer = stepTransferring, t.state()
		}
		s.class = classBridged
	}
	s.legs = make([]keptLeg, 0, len(c.legs))
	for _, l := range c.legs {
		if kept, ok := l.keptAs(c.seatOf(l)); ok {
			s.legs = append(s.legs, kept)
			if kept.at == atCaller && kept.seat == seatCalling {
				s.class = classCaller
			}
		}
	}
	c.more(s, k)
	return s
}

// more fills in the second part.
func (c *Call) more(s *callState, k *keptCall) {
	p := c.kept()
	s.at = time.Now()
	s.agentName, s.callingUser, s.calledUser = c.AgentName, c.CallingUser, c.CalledUser
	if s.step == stepFirst || s.step == stepCaller {
		s.subject = c.Subject
	}
	s.policy, s.user, s.peer = c.Policy, c.Credentials.Username, c.Peer
	s.noFallback, s.forwarding, s.trusted, s.logsEnd = c.NoFallback, c.ForwardingAllowed, c.Trusted, c.LogsEnd
	s.timeout, s.maxTalk = c.Timeout, c.MaxTalk
	if !k.talkUntil.IsZero() {
		s.talkLeft = time.Until(k.talkUntil)
	}
	s.lasted = c.sw.stats.elapsed() - c.began
	if d := c.Dial; d != nil {
		s.dial = &dialState{gateway: d.Gateway, gatewayDomain: d.GatewayDomain, realm: d.Realm, user: d.Credentials.Username, number: d.Number,
			caller: d.Caller, target: d.Target, anonymous: d.Anonymous, chosen: d.Chosen, last: d.Last, targetTime: d.TargetTime}
	}
	s.converse = c.Spec.Converse != nil
	s.joined, s.wasUp, s.by = c.joined, c.wasUp, c.by
	s.callIDs, s.users = p.callIDs, p.users
	if !p.referredAt.IsZero() {
		s.referredAgo = time.Since(p.referredAt)
	}
	s.notified = k.notified
	s.record = c.record.state()
	if kept := c.Spec.Kept; kept != nil {
		if s.door = kept.Door; kept.Record != nil {
			s.kept = kept.Record(nil)
		}
	}
	if owed := c.sw.cfg.Owed; owed != nil {
		s.events = owed(c.Spec.ID, nil)
	}
}

// seatOf is what a leg is in the call.
func (c *Call) seatOf(l *Leg) legSeat {
	if b := c.keeping().bridge; b != nil {
		switch t := b.transfer; {
		case l == b.calling:
			return seatCalling
		case l == b.called:
			return seatCalled
		case l == b.parked:
			return seatParked
		case t != nil && l == t.target:
			return seatTarget
		}
		return seatAside // a newcomer that nobody has looked at
	}
	if l == c.legs[0] {
		return seatCalling
	}
	return seatCalled
}

// changes reports whether an offer is under way between the two phones, or is about to be.
func (b *bridge) changes(sending *forward) bool {
	offers := func(r *forward) bool { return r.counted || r.answer != nil || r.in != nil && offers(r.in.req) }
	return sending != nil && offers(sending) || slices.ContainsFunc(b.relays, offers)
}

func (t *transfer) state() *transferState {
	s := &transferState{report: t.report, key: t.key, attended: t.attended, consults: t.consults, wasHeld: t.wasHeld, byPhone: t.invite != nil}
	s.report.Cause = nil
	return s
}

// state is what the observers have been told; nil where there are none.
func (r *record) state() *recordState {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &recordState{stage: r.stage, linked: r.linked, joined: r.joined, count: r.count, legs: make([]legRecordState, len(r.legs))}
	for i, l := range r.legs {
		o := &l.report
		s.legs[i] = legRecordState{state: l.state, joining: l.joining, report: LegReport{N: o.N, Role: o.Role, Address: o.Address,
			CallID: o.CallID, Hop: o.Hop, Contact: o.Contact, Via: o.Via, EarlyMedia: o.EarlyMedia}}
	}
	return s
}

// keptAs is the leg as another node needs it. It is false where there is nothing to be
// done about it.
func (l *Leg) keptAs(seat legSeat) (k keptLeg, ok bool) {
	if l.kept == nil {
		return k, false
	}
	k = keptLeg{seat: seat, id: l.id, dialog: l.dialog, cseq: l.cseq, secure: l.secure, source: l.source, invite: l.kept.invite}
	l.kept.cseq = l.cseq
	if l.path.Link != nil {
		k.to = hopOf(l.path)
	} else if k.invite != nil {
		k.to = k.invite.hop
	}
	k.callee, k.media = kindOf(l.callee)
	k.right = l.right()
	k.right.cred = Credentials{Username: k.right.cred.Username}
	in := l.callee.caller()
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	p := &l.peer
	switch {
	case p.byed:
		return k, false // it has hung up by itself
	case in != nil && in.leg == l:
		if !l.keptCaller(in, &k) {
			return k, false
		}
		if k.at == atUp && in != l.its().in { // it has taken another one's place
			k.callee, k.caller = withUser, nil
		}
	case l.next == "" && k.invite == nil:
		return k, false // nothing is out
	case l.next == "":
		k.at = atInviting
	case !p.up && p.confirmed:
		k.at = atOver
	case l.kept.acked:
		k.at, k.invite = atUp, nil
	default:
		k.at = atAnswered
	}
	k.party, k.tag, k.userAgent, k.early, k.state = l.party, p.tag, l.userAgent, l.earlyTag, l.state
	if l.record != nil {
		k.record = l.record.report.N // which never changes
	}
	k.remoteSeq, k.updates, k.lines, k.version, k.told = p.seq, p.updates, p.media, p.version, l.kept.told
	if m := l.media; m != nil {
		k.lines = max(k.lines, m.lines)
		k.remote, k.reached, k.muted, k.holding, k.parks = m.remote, m.reached, m.muted, m.holding, m.parks
	}
	if p.said != nil {
		k.remote = p.said
	}
	if t := p.session; t != nil {
		k.session = &sessionState{interval: t.interval, ours: t.ours}
		if now := l.shard().now(); t.due != 0 {
			k.session.due, k.session.end = t.due-now, t.end-now
		}
	}
	k.refer = referState(p.referral)
	return k, true
}

// keptCaller fills in what there is of a phone that called us. p.mu is held.
func (l *Leg) keptCaller(in *Incoming, k *keptLeg) bool {
	p := &l.peer
	c := &callerState{network: in.Transport, source: in.Source, trunk: in.trunk, most: in.mostCalls}
	switch done, code := in.tx.done, in.tx.reply.Code; {
	case done && code >= 300:
		return false
	case !done && !l.kept.accepting:
		k.at = atCaller
	case !done || p.opened(in.tx.seq) == in.tx:
		k.at, c.header, c.body = atAccepted, l.kept.header, l.kept.body
	default:
		k.at = atUp
	}
	if k.at != atUp {
		if l.kept.request == nil {
			l.kept.request = minimal(in.req)
		}
		c.invite = l.kept.request
	}
	if in.tx.done && !p.up {
		k.at = atOver
	}
	k.caller = c
	return true
}

// kindOf is whom a leg is with, and whether its media end here.
func kindOf(with callee) (kind calleeKind, media bool) {
	if t, ok := with.(*endpoint); ok {
		kind, _ = kindOf(t.callee)
		return kind, true
	}
	switch with := with.(type) {
	case *takenPhone:
		return with.kind, false
	case gatewayPhone:
		return withGateway, false
	case dialTarget:
		return withTarget, false
	case *calledTarget:
		return withDest, false
	case *callerPhone, *replacer:
		return withCaller, false
	}
	return withUser, false
}

// hopOf is where a path leads.
func hopOf(p transport.Path) resolve.Hop {
	h := resolve.Hop{Transport: transport.Of(p.Link), Addr: p.To}
	if s, ok := p.Link.(*transport.Stream); ok && s.Ours {
		h.Name = s.Hop.Name
	}
	return h
}

// minimal is what of an INVITE its responses are made of.
func minimal(m *wire.Message) []byte {
	b := append(make([]byte, 0, 512), "INVITE "...)
	b = append(b, m.URI()...)
	b = append(b, " SIP/2.0\r\n"...)
	m.Fields(func(id wire.Header, name, value []byte) bool {
		switch id {
		case wire.Via, wire.From, wire.To, wire.CallID, wire.CSeq, wire.Contact, wire.MaxForwards, wire.RecordRoute, wire.Allow, wire.Supported,
			wire.Require, wire.SessionExpires, wire.MinSE:
			b = wire.AppendField(b, id.String(), string(value))
		}
		return true
	})
	return wire.AppendBodyAnd(b, nil, "")
}

package sipflow

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

// restore makes the call and its legs of what the other node has kept. Nothing of it is
// in any table yet.
func (t *takeover) restore() error {
	sw, s := t.sw, t.state
	c := &Call{sw: sw, id: sw.idIn(newID()), wake: make(chan struct{}, 1), done: make(chan struct{}), began: sw.stats.elapsed() - s.lasted,
		joined: s.joined, wasUp: s.wasUp, by: s.by}
	c.Spec = Spec{Key: s.key, ID: s.id, Method: s.method, AgentName: s.agentName, CallingUser: s.callingUser, CalledUser: s.calledUser, Subject: s.subject,
		Policy: s.policy, Peer: s.peer, NoFallback: s.noFallback, ForwardingAllowed: s.forwarding, Trusted: s.trusted, LogsEnd: s.logsEnd,
		Timeout: s.timeout, MaxTalk: s.maxTalk, Admitted: true}
	c.Spec.Credentials = sw.secretOf(s.user, "")
	if d := s.dial; d != nil {
		c.Dial = &Dialling{Gateway: d.gateway, GatewayDomain: d.gatewayDomain, Realm: d.realm, Credentials: sw.secretOf(d.user, d.gateway), Number: d.number,
			Caller: d.caller, Target: d.target, Anonymous: d.anonymous, Chosen: d.chosen, Last: d.last, TargetTime: d.targetTime}
	}
	if s.converse || s.flow == FlowTalk {
		c.Spec.Converse = new(Conversation) // its media have ended with the other node
	}
	if s.door != "" {
		c.Spec.Kept = &Kept{Door: s.door}
	}
	if resume := sw.cfg.Resume; resume != nil && s.known {
		t.keep = resume(&c.Spec, s.kept, s.joined) && t.keep
	}
	if c.Observe == nil {
		c.LogsEnd = false // nobody would
	}
	c.open.Store(1)
	p := c.kept()
	p.callIDs, p.users = s.callIDs, s.users
	if s.referredAgo > 0 {
		p.referredAt = time.Now().Add(-s.referredAgo)
	}
	t.call = c
	if c.keeps(s.step); c.keeping() != nil { // who takes it over has committed it
		k := c.keeping()
		k.claimed, k.last, k.notified = true, s, s.notified
	}
	if c.restoreRecord(s.record); s.step == stepReferred {
		c.record.restoreReferred()
	}
	for i := range s.legs {
		if err := t.restoreLeg(&s.legs[i]); err != nil {
			return err
		}
	}
	if s.flow == FlowInbound && c.in == nil { // another phone has the caller's place
		l := &Leg{call: c}
		c.in = &Incoming{call: c, leg: l, tx: &serverTx{leg: l, done: true, reply: wire.Reply{Code: 200}}, held: true, bridged: true}
	}
	return nil
}

// secretOf is the secret of a user, or of a gateway, which no state has in it.
func (sw *Switchboard) secretOf(user, gateway string) Credentials {
	if account := sw.cfg.Account; account != nil && (user != "" || gateway != "") {
		if cred, ok := account(user, gateway); ok {
			return cred
		}
	}
	return Credentials{Username: user}
}

// restoreLeg makes a leg of what the other node has kept of it.
func (t *takeover) restoreLeg(s *keptLeg) error {
	c := t.call
	if s.id == 0 || s.dialog.callID == "" || s.dialog.local == "" {
		return fmt.Errorf("%w: a leg has no dialog", errBadState)
	}
	l := &Leg{call: c, id: s.id, party: s.party, userAgent: s.userAgent, earlyTag: s.early, state: cmp.Or(s.state, Calling)}
	l.inbox.wake = c.wake
	l.dialogState = dialogState{dialog: s.dialog, source: s.source, secure: s.secure, cseq: t.later(s.cseq)}
	l.taken = &wasElsewhere{hop: s.to}
	by := s.right
	by.cred = t.sw.secretOf(by.cred.Username, by.gateway())
	if s.callee == withCaller {
		by = right{} // nobody asks us for a password in a call that he has placed
	}
	l.callee = &takenPhone{userPhone: (*userPhone)(c), by: by, kind: s.callee}
	p := &l.peer
	p.tag = cmp.Or(s.tag, string(wire.Tag([]byte(s.dialog.remote))))
	p.seq, p.updates, p.version, p.media, p.secure = s.remoteSeq, s.updates, s.version, s.lines, s.secure
	p.referral = subscription{open: s.refer.open, refer: s.refer.refer, first: s.refer.first, left: s.refer.left, before: s.refer.before}
	if s.at == atUp || s.at == atAnswered || s.at == atOver {
		p.up, p.confirmed = true, true
	}
	if rest, _, ok := sdp.Split(s.told); ok {
		p.sent = maphash.Bytes(t.sw.seed, rest)
		l.taken.origin = originHost(s.told)
	}
	if s.remote != nil {
		l.media = &mediaState{lines: s.lines, remote: s.remote, reached: s.reached, muted: s.muted, holding: s.holding, parks: s.parks}
	}
	if c.keeping() != nil {
		l.kept = &legKeeping{invite: s.invite, cseq: l.cseq, written: true, acked: s.at == atUp, accepting: s.at == atAccepted, told: s.told}
		if was := s.caller; was != nil {
			l.kept.request, l.kept.header, l.kept.body = was.invite, was.header, was.body
		}
	}
	if l.record = c.record.numbered(s.record); l.record != nil && l.record.state == legPending {
		l.record.state, l.record.report.CallID = legDialling, l.callID // its INVITE may be out
		c.record.linked = c.record.linked || !l.record.firstPhone()
	}
	taken := &takenLeg{l, s}
	if s.at == atCaller || s.at == atAccepted || s.callee == withCaller {
		if err := t.restoreCaller(taken); err != nil {
			return err
		}
	}
	t.legs = append(t.legs, taken)
	c.legs = append(c.legs, l)
	return nil
}

// later is a number of the other node's requests, raised above all that it may have used.
func (t *takeover) later(cseq uint32) uint32 {
	return min(cseq, math.MaxInt32-t.jump) + t.jump
}

// gateway is the URI of the gateway that a right is for; empty for others.
func (by *right) gateway() string {
	if by.servers.kind == ofGateway {
		return by.servers.name
	}
	return ""
}

// enter puts the legs where readers find them. sw.mu is held.
func (t *takeover) enter() error {
	for i, l := range t.legs {
		if !t.enterLeg(l) {
			for _, entered := range t.legs[:i] {
				entered.forget()
			}
			return fmt.Errorf("%w: a dialog of it is here already", errBadState)
		}
	}
	return nil
}

func (t *takeover) enterLeg(l *takenLeg) bool {
	s := l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch other := s.legs[l.id]; {
	case s.closed, other != nil && other.call != t.call, s.husks[l.id] != nil:
		return false
	case other != nil: // of the same INVITE: it is found by that one's tag, and this is hung up
		return true
	}
	s.legs[l.id] = l.Leg
	if t.keep && l.was.at == atUp && (t.state.step == stepBridged || t.state.step == stepTransferring || t.hasMedia()) {
		l.joinedMedia()
		l.peer.forwarding(true) // what the phone asks waits until it is joined
	}
	if session := l.was.session; session != nil && session.interval > 0 {
		l.peer.mu.Lock()
		defer l.peer.mu.Unlock()
		l.resumeSession(s, session)
	}
	return true
}

func (l *takenLeg) forget() {
	s := l.shard()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.legs[l.id] == l.Leg {
		delete(s.legs, l.id)
	}
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	l.peer.endSession()
}

// forget takes back what restore has begun.
func (t *takeover) forget() {
	for _, l := range t.legs {
		l.forget()
	}
}

// resumeSession goes on with the other node's session timer: what is due is due when it
// would have been there, or after half an interval, whichever is sooner. The shard's lock
// and peer.mu are held.
func (l *takenLeg) resumeSession(s *shard, was *sessionState) {
	l.peer.session = &sessionTimer{leg: l.Leg, interval: was.interval, ours: was.ours, told: l.was.told}
	session := l.peer.session
	session.end = s.now() + max(was.end, 0)
	session.wait(s, s.now()+min(max(was.due, t1), was.interval/2))
}

package sipflow

import (
	"errors"
	"hash/maphash"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// replacing takes an INVITE whose Replaces names a leg of ours (RFC 3891 §3). Only
// who knows the ids of that dialog gets further than 481. The rest is for the call's
// goroutine to decide, see bridge.replacedBy.
func (sw *Switchboard) replacing(m *wire.Message, from transport.Path) wire.Reply {
	in := sw.newIncoming(m, from)
	r := sw.unfit(in)
	if dialog, ok := replacesOf(m); !ok || len(in.Header("Join")) > 0 { // which wants something else of the dialog
		r = wire.Reply{Code: 400, Reason: "Malformed Replaces"}
	} else if r.Code == 0 {
		r = sw.enterInPlace(in, dialog)
	}
	if r.Code != 0 {
		sw.stats.inbound[InboundUnfit].Add(1)
	}
	return r
}

// enterInPlace hands an INVITE to the call that it concerns.
func (sw *Switchboard) enterInPlace(in *Incoming, dialog *replacedDialog) wire.Reply {
	l, r := sw.legToReplace(dialog)
	if l != nil {
		r = l.mayBeReplaced(dialog, in)
	}
	if l == nil || r.Code != 0 {
		return r
	}
	if r, over := l.another(in); over {
		return r
	}
	key, branch := sw.inviteKey(in.req)
	in.call = l.its()
	in.entry = &inboundTx{key: key, branch: branch, secure: transport.Encrypted(in.Transport)}
	in.leg = in.call.callerLeg(in, sw.idIn(key))
	in.leg.callee = &replacer{callerPhone{(*userPhone)(in.call), in}}
	in.end = func(error) { in.leg.inbox.put(event{in: in.tx, cancel: true}, true) }
	trying := in.tx.reply
	if entered, r := sw.shard(key).admitInPlace(in, l, dialog); !entered {
		return r
	}
	sw.respond(in.req, in.path, trying)
	l.inbox.put(event{in: in.tx}, true)
	return wire.Reply{}
}

// legToReplace finds the leg of a dialog by our tag. Without one it returns the
// response.
func (sw *Switchboard) legToReplace(dialog *replacedDialog) (*Leg, wire.Reply) {
	none := wire.Reply{Code: 481}
	id, ok := parseID([]byte(dialog.toTag))
	if !ok {
		return nil, none
	}
	s := sw.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.legs[id]; l != nil {
		return l, wire.Reply{}
	}
	if h := s.husks[id]; h != nil && h.callID == dialog.callID && dialog.is(h.tag) {
		return nil, wire.Reply{Code: 603}
	}
	if d, ok := s.ended.dialogs[id]; ok && d.callID == maphash.String(s.ended.seed, dialog.callID) {
		return nil, wire.Reply{Code: 603}
	}
	return nil, none
}

// mayBeReplaced returns the response to an INVITE that is to replace the leg's dialog
// where that is not possible (RFC 3891 §3). A dialog that goes on, but has nobody to
// be joined with another, is declined as one that is over.
func (l *Leg) mayBeReplaced(dialog *replacedDialog, in *Incoming) wire.Reply {
	p := &l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case l.callID != dialog.callID || !p.confirmed || !dialog.is(p.tag) || l.refusedCaller():
		return wire.Reply{Code: 481}
	case p.secure && !transport.Encrypted(in.Transport):
		return insecure
	case p.up && !p.byed && dialog.earlyOnly:
		return wire.Reply{Code: 486}
	case !p.up || p.byed || !p.bridged:
		return wire.Reply{Code: 603}
	case p.newcomer != nil:
		return wire.Reply{Code: 491}
	}
	for _, tx := range p.open {
		if tx.initial { // a BYE may not overtake the ACK of our 2xx (RFC 3261 §15)
			return wire.Reply{Code: 491}
		}
	}
	return wire.Reply{}
}

// another counts an INVITE among the requests in the dialog that it is to replace.
func (l *Leg) another(in *Incoming) (r wire.Reply, over bool) {
	l.peer.mu.Lock()
	defer l.peer.mu.Unlock()
	return l.tooOften(l.call.sw.shard(l.id), "INVITE", in.Source.Addr())
}

// admitInPlace enters an INVITE and keeps it for the leg that it replaces, which may
// have ended, or have another one, by now. The Code is 0 when another socket's reader
// was quicker.
func (s *shard) admitInPlace(in *Incoming, l *Leg, dialog *replacedDialog) (entered bool, r wire.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.inbound[in.entry.key] != nil {
		return false, wire.Reply{}
	}
	if r := l.mayBeReplaced(dialog, in); r.Code != 0 {
		return false, r
	}
	if !l.peer.keepNewcomer(in.tx) {
		return false, wire.Reply{Code: 491}
	}
	s.inbound[in.entry.key] = in.entry
	s.legs[in.leg.id] = in.leg
	s.stats.opened++
	return true, wire.Reply{}
}

// keepNewcomer keeps the INVITE of who is to take the phone's place. It is false
// when the phone is not joined with another any more, or there is one already.
func (p *peer) keepNewcomer(invite *serverTx) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.bridged || p.newcomer != nil {
		return false
	}
	p.newcomer = invite
	return true
}

// replacer is a phone that has called us to take the place of another one.
type replacer struct{ callerPhone }

func (p *replacer) passwordKey() string { return p.userPhone.passwordKey() }

// mayReplace asks whether it is one of the call's own servers or phones. Anybody else
// proves who he is, as callers do (RFC 3891 §3). Policy and limits hold as for a
// client's transfer.
func (p *replacer) mayReplace(old, stays *Leg) bool {
	in, sw, c := p.in, p.sw, (*Call)(p.userPhone)
	var r wire.Reply
	from := in.Source.Addr()
	ours := old.comesFrom(from) || stays.comesFrom(from) || len(sw.proxies) > 0 && in.leg.servedBy(from)
	if !ours {
		if r = sw.admission(in, 403); r.Code != 0 {
			in.refuse(r)
			return false
		}
	}
	if sw.allowed(&c.Spec, in.leg.party) != nil {
		r = wire.Reply{Code: 403}
	} else if err := sw.turnOf(in, &Spec{Key: c.Key, CallingUser: in.leg.party, Trusted: c.Trusted}); err != nil {
		r = overloaded(err)
	} else {
		return true
	}
	sw.stats.inbound[InboundUnfit].Add(1)
	in.refuse(r)
	return false
}

func (p *replacer) accept(body []byte) bool {
	if !p.in.sayAccepted(body, "") {
		return false
	}
	p.sw.stats.inbound[InboundReplaced].Add(1)
	p.in.leg.record.answered(p.in.leg.target, 200, "OK")
	p.in.established()
	return true
}

func (p *replacer) decline(why error) {
	r := finalFor(why)
	switch {
	case errors.Is(why, errGlare):
		r = wire.Reply{Code: 491}
	case errors.Is(why, errNoSDP):
		r = wire.Reply{Code: 488}
	case errors.Is(why, ErrHungUp), errors.Is(why, ErrNoCall): // the dialog is over
		r = wire.Reply{Code: 603}
	}
	if p.in.refuse(r) {
		p.sw.stats.inbound[InboundUnfit].Add(1)
	}
}

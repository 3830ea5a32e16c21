package sipflow

import (
	"cmp"
	"errors"
	"hash/maphash"
	"strconv"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// inboundTx finds the server transaction of an INVITE that began a call. Its
// repeats, its CANCEL and the ACK of a refusal may all come when the call is
// over. A shard holds it by a hash of what tells requests apart (RFC 3261
// §8.2.2.2); an id that belongs to the same shard is our tag.
type inboundTx struct {
	key    uint64
	branch uint64 // hash of the branch, see inviteKey
	secure bool   // it came over TLS or WSS, as must what concerns it

	// Guarded by the shard's lock.
	tx    *serverTx // nil when its leg is gone; then:
	timer timer
	path  transport.Path
	msg   []byte // the refusal, until its ACK comes
	repetition
}

// inviteKey hashes the transaction of an INVITE, its CANCEL or, but for the
// branch, its ACK. The branch of RFC 3261 is unique by itself: what the Via says
// of the address may change within the call, when a NAT or the phone gets
// another one. An older one tells transactions of the same address apart only.
func (sw *Switchboard) inviteKey(m *wire.Message) (key, branch uint64) {
	var h maphash.Hash
	h.SetSeed(sw.seed)
	h.Write(m.Get(wire.CallID))
	h.WriteByte(0)
	h.Write(m.FromTag())
	h.WriteByte(0)
	h.WriteString(strconv.FormatUint(uint64(m.Seq()), 10))
	key = h.Sum64()
	h.Reset()
	if unique := uniqueBranch(m); unique != nil {
		h.Write(unique)
		return key, h.Sum64()
	}
	via, _ := m.TopVia()
	h.Write(via.Branch)
	h.WriteByte(0)
	h.Write(via.SentBy)
	return key, h.Sum64()
}

// admit enters a call. It is false when there is one of the same INVITE, or
// nothing is taken any more.
func (s *shard) admit(in *Incoming) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.inbound[in.entry.key] != nil {
		return false
	}
	s.inbound[in.entry.key] = in.entry
	s.legs[in.leg.id] = in.leg
	s.stats.opened++
	return true
}

// forget takes back what admit did.
func (s *shard) forget(in *Incoming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inbound, in.entry.key)
	delete(s.legs, in.leg.id)
}

// invitedAgain responds to an INVITE that has come before, or its CANCEL. known
// is false for others.
func (sw *Switchboard) invitedAgain(m *wire.Message, from transport.Path) (known bool) {
	key, branch := sw.inviteKey(m)
	invite := m.Method() == "INVITE"
	s := sw.shard(key)
	s.mu.Lock()
	e := s.inbound[key]
	same := e != nil && e.branch == branch && (!e.secure || transport.Encrypted(transport.Of(from.Link)))
	if e == nil || !same && !invite {
		s.mu.Unlock()
		return false
	}
	if !same { // RFC 3261 §8.2.2.2: it came by several ways
		s.mu.Unlock()
		sw.stats.inbound[InboundMerged].Add(1)
		sw.respond(m, from, wire.Reply{Code: 482})
		return true
	}
	s.stats.repeats++
	tx, msg, p := e.tx, e.msg, e.path
	s.mu.Unlock()
	if tx == nil {
		switch {
		case !invite: // RFC 3261 §9.2: too late to have any effect
			sw.respond(m, from, wire.Reply{Code: 200})
		case msg != nil:
			p.RespondAside(msg)
		}
		return true
	}
	peer := &tx.leg.peer
	peer.mu.Lock()
	reply, done, open, caller := tx.reply, tx.done, peer.opened(tx.seq) == tx, tx.leg.callee.caller()
	peer.mu.Unlock()
	if invite {
		if open {
			sw.respond(m, from, reply)
		}
		return true
	}
	sw.respond(m, from, wire.Reply{Code: 200, ToTag: reply.ToTag})
	if !done && tx.respond(wire.Reply{Code: 487}) {
		caller.end(&cancelledError{reasonsOf(m)})
	}
	return true
}

// cancelledError is ErrCancelled with what the CANCEL gave as reason.
type cancelledError struct{ reasons string }

func (e *cancelledError) Error() string        { return ErrCancelled.Error() }
func (e *cancelledError) Is(target error) bool { return target == ErrCancelled }

// cancelReasons are the reasons of the CANCEL that an error is about.
//
//go:noinline
func cancelReasons(err error) string {
	var cancelled *cancelledError
	if errors.As(err, &cancelled) {
		return cancelled.reasons
	}
	return ""
}

// outlive keeps what the transaction of an INVITE needs when its leg goes: a
// refusal is repeated until its ACK comes (timers G and H), and repeats of the
// INVITE make no new call. The shard's lock and the leg's peer.mu are held.
func (s *shard) outlive(sw *Switchboard, in *Incoming) {
	e, tx := in.entry, in.tx
	if e.tx == nil || s.closed {
		return
	}
	wait := tEnd
	e.tx = nil
	if tx.done && tx.reply.Code >= 300 && !tx.path.Link.Reliable() && in.leg.peer.opened(tx.seq) == tx {
		e.path, e.msg = sw.render(tx.req, tx.path, tx.reply)
		e.repetition, wait = tx.repetition, cmp.Or(tx.interval, t1)
	}
	e.timer.set(s, wait, e)
}

// refusalAcked takes the ACK of a refusal whose leg is gone. The shard's lock
// is held.
func (s *shard) refusalAcked(sw *Switchboard, m *wire.Message) {
	key, _ := sw.inviteKey(m)
	if e := s.inbound[key]; e != nil && e.msg != nil {
		e.msg = nil
		e.timer.set(s, tEnd, e)
	}
}

// expire implements expirer.
func (e *inboundTx) expire(s *shard) func() {
	now := s.now()
	if e.msg == nil || e.over(now) {
		return e.abort(s)
	}
	repeat, wait := e.next(now, t2)
	e.timer.set(s, wait, e)
	if !repeat {
		return nil
	}
	s.stats.repeated++
	p, msg := e.path, e.msg
	return func() { p.RespondAside(msg) }
}

// abort implements expirer.
func (e *inboundTx) abort(s *shard) func() {
	if s.inbound[e.key] == e {
		delete(s.inbound, e.key)
	}
	return nil
}

package sipflow

import (
	"errors"
	"sync"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// errNoAck ends a dialog whose phone never acknowledged our 2xx.
var errNoAck = errors.New("the phone did not acknowledge our answer")

// maxOpen bounds the requests of one phone that wait for a response.
const maxOpen = 16

// serverTx is a server transaction (RFC 3261 §17.2, RFC 6026): a request of
// the phone's that is relayed, so that its response is not known at once. Its
// leg's peer holds it by CSeq until its repeats cannot come any more.
type serverTx struct {
	leg    *Leg
	req    *wire.Message
	method string
	seq    uint32
	path   transport.Path // where it came from
	// initial is the INVITE of an inbound call: its responses make the dialog.
	initial bool
	// alone: the reader has responded to it; the call's goroutine follows what it says
	// of the dialog, and nobody there waits for its ACK.
	alone bool

	// Guarded by the leg's peer.mu; the timer by the shard's lock.
	timer timer
	reply wire.Reply // the latest, for repeats of the request; Code 0: none yet
	repetition
	done      bool // has its final response
	cancelled bool // the call's goroutine has been told
}

// requests are those of one dialog that its phone has sent, and those of ours with
// an offer that cross them. Its mu guards what else a leg knows of the phone (see
// peer); it is taken within the shard's lock.
type requests struct {
	mu       sync.Mutex
	seq      uint32      // highest CSeq of the phone
	inviting int16       // our INVITEs that are pending in the dialog
	updating int16       // our UPDATEs with an offer, likewise
	past     [4]answered // requests that had their response at once
	next     uint8       // where the next of those goes
	open     []*serverTx // those that are relayed or carry an offer, by age
}

// open takes a request to be relayed. It runs in the reader, with the shard's
// lock and p.mu held. The reply is what is to be said at once.
func (l *Leg) open(s *shard, m *wire.Message, from transport.Path) wire.Reply {
	if !l.room() {
		return replyOf(500, from)
	}
	p := &l.peer
	if code := p.glare(m); code != 0 {
		return replyOf(code, from)
	}
	tx := &serverTx{leg: l, req: m, method: m.Method(), seq: m.Seq(), path: from}
	if tx.method == "INVITE" {
		tx.reply = wire.Reply{Code: 100}
	}
	p.open = append(p.open, tx)
	s.stats.opened++
	now := tx.reply
	if now.Code != 0 && !from.Link.Reliable() { // before the call's goroutine can respond
		l.call.sw.respond(m, from, now)
		now = wire.Reply{}
	}
	l.inbox.put(event{in: tx}, true)
	return now
}

// room makes room for one more transaction. It is false when the phone sends more
// than is kept of it. p.mu is held.
func (l *Leg) room() bool {
	p, stats := &l.peer, &l.call.sw.stats
	waiting, oldest := 0, (*serverTx)(nil)
	for _, o := range p.open {
		if !o.done {
			waiting++
		} else if oldest == nil && o.method != "INVITE" {
			oldest = o
		}
	}
	if l.inbox.full() {
		stats.inboxFull.Add(1)
		return false
	}
	if len(p.open) < 2*maxOpen && waiting < maxOpen {
		return true
	}
	// Somebody dials fast: of those with a response the latest are kept. Refused
	// INVITEs wait for their ACK.
	if waiting >= maxOpen || oldest == nil {
		stats.limited[LimitRequests].Add(1)
		return false
	}
	oldest.timer.stop()
	p.forget(oldest)
	p.remember(oldest.req, oldest.reply.Code)
	return true
}

// opened finds the transaction of a request that is a repeat, an ACK or a
// CANCEL. p.mu is held.
func (p *requests) opened(seq uint32) *serverTx {
	for _, tx := range p.open {
		if tx.seq == seq {
			return tx
		}
	}
	return nil
}

// again responds to what concerns a transaction that is open already: repeats
// of its request, CANCEL and ACK. Anything else has its CSeq number by mistake.
func (tx *serverTx) again(s *shard, m *wire.Message) (r wire.Reply, concerned bool) {
	p := &tx.leg.peer
	switch m.Method() {
	case tx.method:
		if transactionOf(m) != transactionOf(tx.req) {
			return wire.Reply{}, false
		}
		s.stats.repeats++
		return tx.reply, true
	case "CANCEL":
		if tx.initial { // its CANCEL has no To tag
			return wire.Reply{Code: 481}, true
		}
		if !tx.done && !tx.cancelled && tx.method == "INVITE" {
			tx.cancelled = true
			tx.leg.inbox.put(event{in: tx, cancel: true, msg: m}, true)
		}
		return wire.Reply{Code: 200}, true
	case "ACK":
		if tx.done && tx.method == "INVITE" {
			tx.timer.stop()
			p.forget(tx)
			p.remember(tx.req, tx.reply.Code)
			if tx.reply.Code < 300 {
				tx.leg.inbox.put(event{in: tx, ack: m}, true) // somebody may wait for it to offer something himself
			}
		}
		return wire.Reply{}, true
	}
	return wire.Reply{}, false
}

// waiting are the transactions that have no final response yet.
func (p *requests) waiting() (all []*serverTx) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tx := range p.open {
		if !tx.done {
			all = append(all, tx)
		}
	}
	return all
}

// offers reports whether a request is part of an exchange of offer and answer: an
// INVITE always is, for without an offer it asks for one (RFC 3264 §4).
func offers(m *wire.Message) bool {
	switch m.Method() {
	case "INVITE":
		return true
	case "UPDATE":
		return bodyOf(m) != nil
	}
	return false
}

// theirs are the exchanges that the phone has begun: one that has no final response
// yet, and an INVITE whose 2xx is not acknowledged. p.mu is held.
func (p *requests) theirs() (open, unacked *serverTx) {
	for _, tx := range p.open {
		switch {
		case !offers(tx.req):
		case !tx.done:
			open = tx
		case tx.method == "INVITE" && tx.reply.Code < 300:
			unacked = tx
		}
	}
	return open, unacked
}

// weOffered reports whether our offer is in the 2xx, so that its answer comes in the
// ACK.
func (tx *serverTx) weOffered() bool { return bodyOf(tx.req) == nil }

// glare is the code that refuses a request of the phone's for what is under way in the
// dialog; 0 when nothing speaks against it. 491 says that something of ours is, 500
// that something of its own is (RFC 3261 §14.2, RFC 3311 §5.2, RFC 6337 §4). What has
// no offer, and is no INVITE, is never refused for that. p.mu is held.
func (p *requests) glare(m *wire.Message) int {
	if !offers(m) {
		return 0
	}
	switch open, unacked := p.theirs(); {
	case p.offering():
		return 491
	case open != nil:
		return 500
	case unacked == nil:
	case unacked.initial && m.Method() == "INVITE": // RFC 5407 §3.1.4
		return 491
	case m.Method() == "INVITE":
		return 500
	case unacked.weOffered():
		return 491
	}
	return 0
}

// mayOffer reports whether no offer is without its answer in the dialog, ours or the
// phone's (RFC 3264 §4), so that we may make one.
func (p *requests) mayOffer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	open, unacked := p.theirs()
	return !p.offering() && open == nil && (unacked == nil || !unacked.weOffered())
}

// offering reports whether a request of ours with an offer is pending. p.mu is held.
func (p *requests) offering() bool { return p.inviting+p.updating > 0 }

// crossing is an offer of the phone's that the call is to deal with, and has not; nil for
// none.
func (p *requests) crossing() *serverTx {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open, _ := p.theirs(); open != nil && !open.initial && !open.alone {
		return open
	}
	return nil
}

// settled reports whether a request has had its final response.
func (p *requests) settled(tx *serverTx) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return tx.done
}

// idle reports whether we may offer something, and no INVITE waits for its ACK.
func (p *requests) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isIdle()
}

// isIdle is idle with p.mu held.
func (p *requests) isIdle() bool {
	open, unacked := p.theirs()
	return !p.offering() && open == nil && unacked == nil
}

// unacknowledged reports whether our 2xx to an INVITE waits for its ACK.
func (p *requests) unacknowledged(invite *serverTx) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened(invite.seq) == invite && invite.done && invite.reply.Code < 300
}

// forget drops a transaction. p.mu is held.
func (p *requests) forget(tx *serverTx) {
	for i, o := range p.open {
		if o == tx {
			p.open = append(p.open[:i], p.open[i+1:]...)
			return
		}
	}
}

// respond sends a response to the request. A provisional response may be
// followed by others; after the final one nothing is sent but its repeats. It
// is false when there has been one.
func (tx *serverTx) respond(r wire.Reply) bool {
	l := tx.leg
	if l.call.forgotten() {
		return false
	}
	if tx.initial {
		r.ToTag = string(appendID(nil, l.id))
	}
	first := tx.replied(l.call.sw.shard(l.id), r)
	if first {
		l.call.sw.respond(tx.req, tx.path, r)
	}
	return first
}

// replied notes the response that is about to be sent. It is false when the final
// one has been.
func (tx *serverTx) replied(s *shard, r wire.Reply) bool {
	p := &tx.leg.peer
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if tx.done || s.closed {
		return false
	}
	tx.reply = r
	if r.Code >= 200 {
		// A response of a non-INVITE is kept for its repeats (timer J). One of
		// an INVITE is repeated until its ACK comes: a 2xx over every transport
		// (RFC 3261 §13.3.1.4), the others by timer G, which streams do without.
		tx.done = true
		p.up = p.up || tx.initial && r.Code < 300 && !p.byed
		tx.timer.set(s, tx.begin(s.now(), tx.method == "INVITE" && (r.Code < 300 || !tx.path.Link.Reliable())), tx)
	}
	return true
}

// expire implements expirer.
func (tx *serverTx) expire(s *shard) func() {
	p := &tx.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	now := s.now()
	if tx.method != "INVITE" || tx.over(now) {
		p.forget(tx)
		p.remember(tx.req, tx.reply.Code)
		if tx.method == "INVITE" && tx.reply.Code < 300 {
			s.stats.unacked++
			tx.leg.inbox.put(event{in: tx, err: errNoAck}, true)
		}
		return nil
	}
	repeat, wait := tx.next(now, t2)
	tx.timer.set(s, wait, tx)
	if !repeat {
		return nil
	}
	s.stats.repeated++
	r := tx.reply
	return func() {
		if to, b := tx.leg.call.sw.render(tx.req, tx.path, r); b != nil {
			to.RespondAside(b)
		}
	}
}

// abort implements expirer.
func (tx *serverTx) abort(*shard) func() {
	p := &tx.leg.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(tx)
	if tx.method != "INVITE" {
		return nil
	}
	return func() { tx.leg.inbox.put(event{in: tx, err: transport.ErrFault}, true) }
}

// answered is the memory of an in-dialog request that got its response at once.
// A server transaction needs no more for the repeats (RFC 3261 §17.2.2), since
// the response follows from the repeated request.
type answered struct {
	seq  uint32
	code int16
	of   uint16 // hash of the transaction, see transactionOf
}

// remember keeps the response to a request. p.mu is held.
func (p *requests) remember(m *wire.Message, code int) {
	p.past[p.next] = answered{m.Seq(), int16(code), transactionOf(m)}
	p.next = (p.next + 1) % uint8(len(p.past))
}

// latest is the response to the phone's latest request, zero if it is not
// known. p.mu is held.
func (p *requests) latest() answered {
	for _, a := range p.past {
		if a.code != 0 && a.seq == p.seq {
			return a
		}
	}
	return answered{}
}

// offer counts our requests with an offer, or that ask for one, that are pending in
// the dialog: see glare.
func (p *requests) offer(method string, n int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if method == "UPDATE" {
		p.updating += n
	} else {
		p.inviting += n
	}
}

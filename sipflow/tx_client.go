package sipflow

import (
	"errors"
	"fmt"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// errLost ends a transaction whose connection has ended before any response
// (RFC 3261 §17.1.4).
var errLost = errors.New("the connection was closed before an answer came")

// errUnsent ends a transaction of which the peer cannot have heard: its connection
// ended while the request waited to be sent, or did not take it.
var errUnsent = errors.New("the request was not sent")

// errTimeout ends a transaction that got no final response (timers B and F).
var errTimeout = errors.New("no answer within 32 s")

// maxForks bounds the 2xx of one INVITE that are hung up one by one.
const maxForks = 50

type txState uint8

const (
	calling    txState = iota // nothing received yet ("trying" for non-INVITE)
	proceeding                // provisional response received
	completed                 // INVITE: refused and acknowledged
	accepted                  // INVITE: 2xx received (RFC 6026 §8.4)
	terminated                // not in the table any more
)

// clientTx is a client transaction (RFC 3261 §17.1, RFC 6026). Its leg's shard
// holds it by the id in its branch; all but the first block is guarded by the
// shard's lock.
//
// A non-INVITE transaction leaves the table with its final response: a repeat
// of that response is then a stray, which is dropped (§18.1.2), as timer K
// would have done.
type clientTx struct {
	id       uint64 // in the branch
	callID   string // of the leg; "" when there is none
	localTag uint64 // likewise
	method   string
	path     transport.Path
	seq      uint32
	auth     string // the credentials it carried, for the ACK (RFC 3261 §22.1)
	invite   bool
	inside   bool        // sent within an established dialog
	offers   bool        // it has an offer
	onEvent  func(event) // instead of the leg's inbox

	timer     timer
	leg       *Leg    // gets the responses; nil when it has ended
	of        *dialog // as an INVITE was rendered from it; immutable, nil once it is refused
	state     txState
	held      bool // it is not sent yet, see leads
	abandoned bool // nobody waits for it: a 2xx is to be hung up
	cancelled bool // the CANCEL is out
	acked     bool // the 2xx has been acknowledged
	pracked   bool // there have been requests in its early dialogs
	forks     uint8
	msg       []byte // the request, until it needs no repeat
	ack       []byte // INVITE: our ACK if it cannot be made anew from the response
	tag       string // INVITE: remote tag of the dialog that was answered first
	repetition
}

// key tells CANCEL from the INVITE whose branch it shares (RFC 3261 §9.1).
func (tx *clientTx) key() uint64 {
	if tx.method == "CANCEL" {
		return ^tx.id
	}
	return tx.id
}

// start sends the request and repeats it until there is a response.
func (sw *Switchboard) start(tx *clientTx, msg []byte) error {
	if err := sw.mayStart(tx); err != nil {
		return err
	}
	s := sw.shard(tx.id)
	tx.invite = tx.method == "INVITE"
	tx.msg = msg
	if c, ok := tx.path.Link.(*transport.Stream); ok {
		c.Used.Store(true)
	}
	if !s.enter(tx) {
		return ErrStopped
	}
	err := tx.path.Send(msg)
	if err != nil {
		s.drop(tx)
	}
	return err
}

// enter takes in a transaction. It is false after the end of all calls.
func (s *shard) enter(tx *clientTx) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.clients[tx.key()] = tx
	if !tx.held {
		tx.begins(s)
	}
	return true
}

// drop takes out a transaction that could not be sent.
func (s *shard) drop(tx *clientTx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx.remove(s)
}

// begins counts the request, which is about to be sent, and waits for its
// response.
func (tx *clientTx) begins(s *shard) {
	s.stats.started[methodOf(tx.method)]++
	tx.timer.set(s, tx.begin(s.now(), !tx.path.Link.Reliable()), tx)
}

// lost fails the transactions that had no response over a connection that has
// ended. Where there was one, the rest may come over another connection
// (RFC 3261 §18.2.2).
func (sw *Switchboard) lost(l transport.Link) {
	for i := range sw.shards {
		failed, waiting := sw.shards[i].lost(l)
		for _, tx := range failed {
			tx.tell(event{err: whyLost(l)}, true)
		}
		for _, tx := range waiting {
			tx.tell(event{err: unsent(l)}, true)
		}
	}
}

// lost takes out the transactions that had no response over a connection, and
// those that were waiting to be sent.
func (s *shard) lost(l transport.Link) (failed, waiting []*clientTx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tx := range s.clients {
		switch {
		case tx.state != calling || tx.path.Link != l:
			continue
		case tx.held:
			waiting = append(waiting, tx)
		default:
			failed = append(failed, tx)
		}
		tx.remove(s)
	}
	return failed, waiting
}

func (tx *clientTx) remove(s *shard) {
	tx.timer.stop()
	if s.clients[tx.key()] == tx {
		delete(s.clients, tx.key())
	}
	tx.state, tx.held, tx.msg, tx.ack = terminated, false, nil, nil
}

// tell hands an event to whoever waits for the transaction.
func (tx *clientTx) tell(e event, own bool) bool {
	e.tx = tx
	if tx.onEvent != nil {
		tx.onEvent(e)
		return true
	}
	return tx.leg == nil || tx.leg.inbox.put(e, own)
}

// expire implements expirer: it repeats the request, gives up, or forgets.
func (tx *clientTx) expire(s *shard) func() {
	if tx.state > calling && tx.invite {
		if tx.state == proceeding && !tx.abandoned {
			return nil // the ring time is the call's to watch
		}
		tx.remove(s)
		return nil
	}
	now := s.now()
	if tx.over(now) {
		tx.remove(s)
		s.stats.timeouts++
		return func() { tx.tell(event{err: errTimeout}, true) }
	}
	// Timer A doubles, timer E up to T2, which it is at once after a provisional
	// response (RFC 3261 §17.1.2.2).
	longest := tEnd
	if !tx.invite {
		longest = t2
		if tx.state == proceeding && tx.interval > 0 {
			tx.interval = t2
		}
	}
	repeat, wait := tx.next(now, longest)
	tx.timer.set(s, wait, tx)
	if !repeat {
		return nil
	}
	s.stats.repeated++
	msg, p := tx.msg, tx.path
	return func() { p.Send(msg) } //nolint:errcheck // as good as lost: the next repeat or the timeout follows
}

// abort implements expirer.
func (tx *clientTx) abort(s *shard) func() {
	tx.remove(s)
	return func() { tx.tell(event{err: transport.ErrFault}, true) }
}

// onResponse matches a response to its transaction (RFC 3261 §17.1.3) and
// moves that on.
func (sw *Switchboard) onResponse(m *wire.Message, from transport.Path) {
	sw.stats.read.responses[classOf(m.Code())].Add(1)
	via, ok := m.TopVia()
	if !ok || len(via.Branch) != len(branchCookie)+16 {
		sw.stats.read.strays[StrayResponse].Add(1)
		return
	}
	id, ok := parseID(via.Branch[len(branchCookie):])
	if !ok {
		sw.stats.read.strays[StrayResponse].Add(1)
		return
	}
	s := sw.shard(id)
	key := id
	if m.Method() == "CANCEL" {
		key = ^id
	}
	if then := func() (then func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		tx := s.clients[key]
		defer func() {
			if r := recover(); r != nil && tx != nil {
				then = s.abort("a response", tx, r)
			} else if r != nil {
				sw.faults.Note("a response", r)
			}
		}()
		if tx == nil {
			late := s.ended.onLate(sw, id, m, from)
			if late == nil {
				sw.stats.read.strays[StrayResponse].Add(1)
			} else {
				s.stats.repeats++
			}
			return late
		}
		if tx.state != accepted && tx.path.Link.Reliable() != from.Link.Reliable() ||
			transport.Encrypted(transport.Of(tx.path.Link)) && !transport.Encrypted(transport.Of(from.Link)) {
			sw.stats.read.strays[StrayResponse].Add(1)
			return nil // RFC 3261 §18.2.2: it comes as the request went
		}
		if tx.method != m.Method() || tx.seq != m.Seq() || !tx.owns(m) {
			sw.stats.read.strays[StrayResponse].Add(1)
			return nil
		}
		if tx.invite {
			return tx.inviteResponse(sw, s, m)
		}
		return tx.response(sw, s, m)
	}(); then != nil {
		then()
	}
}

// owns reports whether a response is to a request of the transaction's dialog.
// It is where there is no leg: CANCEL and OPTIONS leave nothing to mistake.
func (tx *clientTx) owns(m *wire.Message) bool {
	if tx.callID == "" {
		return true
	}
	id, ok := parseID(m.FromTag())
	return ok && id == tx.localTag && string(m.Get(wire.CallID)) == tx.callID
}

// response is the non-INVITE state machine (RFC 3261 §17.1.2).
func (tx *clientTx) response(sw *Switchboard, s *shard, m *wire.Message) func() {
	if m.Code() < 200 {
		tx.state = proceeding
		return nil
	}
	// A full inbox: leave everything as if the response had been lost.
	if tx.tell(event{msg: m}, false) {
		tx.remove(s)
	} else {
		sw.stats.inboxFull.Add(1)
	}
	return nil
}

// inviteResponse is the INVITE state machine (RFC 3261 §17.1.1 with RFC 6026).
func (tx *clientTx) inviteResponse(sw *Switchboard, s *shard, m *wire.Message) func() {
	code := m.Code()
	switch tx.state {
	case calling, proceeding:
		switch {
		case code < 200:
			if tx.state == calling {
				tx.state, tx.msg = proceeding, nil // no repeats any more
				tx.timer.stop()
				if tx.abandoned {
					tx.timer.set(s, tLate, tx)
				}
			}
			tx.noted(s, m)
			if !tx.abandoned && !tx.tell(event{msg: m}, false) {
				sw.stats.inboxFull.Add(1)
			}
			return nil
		case code < 300:
			if !tx.abandoned && tx.leg.inbox.full() {
				sw.stats.inboxFull.Add(1)
				return nil
			}
			tx.state, tx.msg = accepted, nil
			tx.timer.set(s, tEnd, tx)
			if tx.abandoned {
				return tx.fork(sw, m)
			}
			tx.tag = string(m.ToTag())
			tx.noted(s, m) // before the call can hang up
			tx.tell(event{msg: m}, true)
			if tx.inside {
				tx.leg = nil // repeats ask for the ACK, whatever has become of the call
			}
			return nil
		}
		if !tx.abandoned && tx.leg.inbox.full() {
			sw.stats.inboxFull.Add(1)
			return nil
		}
		tx.noted(s, m)
		ack := tx.refusalAck(m)
		tx.state, tx.msg, tx.of = completed, nil, nil
		if tx.path.Link.Reliable() {
			tx.remove(s)
		} else {
			tx.ack = ack
			tx.timer.set(s, tEnd, tx) // timer D
		}
		leg := tx.leg
		tx.leg = nil
		if tx.abandoned {
			leg = nil
		}
		return func() {
			tx.path.Send(ack) //nolint:errcheck // the repeat of the response asks again
			if leg != nil {   // after the ACK: what the call sends next must not overtake it
				leg.inbox.put(event{tx: tx, msg: m}, true)
			}
		}
	case completed:
		s.stats.repeats++
		if ack := tx.ack; code >= 300 {
			s.stats.repeated++
			return func() { tx.path.Send(ack) } //nolint:errcheck
		}
	case accepted:
		if code < 200 || code >= 300 {
			return nil
		}
		if tx.tag != string(m.ToTag()) || tx.abandoned {
			return tx.fork(sw, m)
		}
		s.stats.repeats++
		if !tx.acked {
			return nil // the flow has not sent its ACK yet; it will
		}
		return func() { sw.repeatAck(tx, m) }
	}
	return nil
}

// noted tells the leg of a response to its first INVITE, which may have made a dialog.
func (tx *clientTx) noted(s *shard, m *wire.Message) {
	if !tx.inside && tx.leg != nil {
		tx.leg.peer.responded(m, tx, s.now())
	}
}

// fork hangs up a 2xx that came from a further branch of the INVITE, or
// too late (RFC 3261 §13.2.2.4). One to an INVITE within a dialog is only
// acknowledged: the dialog has an owner, or has ended.
func (tx *clientTx) fork(sw *Switchboard, m *wire.Message) func() {
	if tx.inside {
		return func() { sw.repeatAck(tx, m) }
	}
	if tx.forks >= maxForks {
		sw.stats.limited[LimitForks].Add(1)
		return nil
	}
	tx.forks++
	var with callee
	if tx.leg != nil { // the call is not over: its agent's credentials are known
		with = tx.leg.callee
	}
	was := &clientTx{id: tx.id, leg: tx.leg, localTag: tx.localTag, seq: tx.seq, auth: tx.auth, path: tx.path, pracked: tx.pracked}
	return func() { sw.hangUpFork(was, ownPath(was.path), m, with, right{}) }
}

// ringing reports whether an INVITE has had a provisional response.
func (sw *Switchboard) ringing(tx *clientTx) bool {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return tx.state == proceeding
}

// pracked notes that a request goes out in an early dialog of an INVITE.
func (sw *Switchboard) pracked(tx *clientTx) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	tx.pracked = true
}

// abandon leaves an INVITE to itself: should a 2xx still come, it is
// acknowledged and hung up.
func (sw *Switchboard) abandon(tx *clientTx) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	tx.abandoned = true
	if tx.state == proceeding {
		tx.timer.set(s, tLate, tx)
	}
	if tx.inside {
		tx.leg = nil // which hangs its dialog up itself
	}
}

// acknowledged notes that the ACK of a 2xx went out on p, so that repeats of
// the 2xx get it again. keep is the ACK, or nil when the repeated response
// suffices to make it.
func (sw *Switchboard) acknowledged(tx *clientTx, p transport.Path, keep []byte) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if tx.state == accepted {
		tx.acked, tx.ack, tx.path = true, keep, p
	}
}

// repeatAck sends the ACK of a repeated 2xx again.
func (sw *Switchboard) repeatAck(tx *clientTx, m *wire.Message) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	ack, p := tx.ack, tx.path
	s.stats.repeated++
	s.mu.Unlock()
	if ack == nil {
		d := dialogOf(m)
		if d.target == "" { // no Contact: the way that the INVITE went
			uri, _ := wire.NameAddr(m.Get(wire.To))
			d.target, d.routes = string(uri), routeTo(p)
		}
		ack = d.request(p.Link, &outgoing{method: "ACK"}, tx.seq, newID(), "")
	}
	p.Repeat(ack) // the next repeat of the response asks again
}

// whyLost is errLost with what is known about the end of the connection: a
// server that refuses our certificate says so only there.
func whyLost(l transport.Link) error {
	if s, ok := l.(*transport.Stream); ok {
		if refused := s.Refused(); refused != nil {
			return fmt.Errorf("%w: %w", errLost, refused)
		}
	}
	return errLost
}

// unsent is whyLost for a request that was not sent.
//
//go:noinline
func unsent(l transport.Link) error { return fmt.Errorf("%w: %w", errUnsent, whyLost(l)) }

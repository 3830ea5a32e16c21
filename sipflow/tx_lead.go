package sipflow

import (
	"slices"
	"sync"
	"time"

	"sipxrest/sipflow/transport"
)

// leadTick are the moments at which requests that had to wait go out: those that
// are due within one wake the process once.
const leadTick = 5 * time.Millisecond

// leads are requests that are sent a while after they were made. Their calls' own
// goroutines are not woken for that: they wait for the responses all the while.
type leads struct {
	mu     sync.Mutex
	first  time.Time // when the queue was begun; ticks are counted from it
	queue  []lead    // the first to go out first
	alarm  *time.Timer
	armed  bool
	closed bool
}

type lead struct {
	at time.Time
	tx *clientTx
}

// startLater is start after a while. What cannot be sent then ends with errUnsent.
func (sw *Switchboard) startLater(tx *clientTx, msg []byte, wait time.Duration) error {
	s := sw.shard(tx.id)
	tx.msg, tx.held = msg, true
	if c, ok := tx.path.Link.(*transport.Stream); ok {
		c.Used.Store(true)
	}
	if !s.enter(tx) {
		return ErrStopped
	}
	sw.leads.add(lead{time.Now().Add(wait), tx}, sw.sendDue)
	return nil
}

// retract takes back a request that has not been sent yet.
func (sw *Switchboard) retract(tx *clientTx) {
	sw.shard(tx.id).unhold(tx)
}

// unhold takes out a request that has not been sent yet. It is false for others.
func (s *shard) unhold(tx *clientTx) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !tx.held {
		return false
	}
	tx.remove(s)
	return true
}

func (q *leads) add(l lead, due func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if q.alarm == nil {
		q.first = time.Now()
		q.alarm = time.AfterFunc(time.Hour, due)
		q.alarm.Stop()
	}
	i := len(q.queue) // nearly all wait equally long
	for i > 0 && q.queue[i-1].at.After(l.at) {
		i--
	}
	q.queue = slices.Insert(q.queue, i, l)
	if !q.armed || i == 0 {
		q.arm()
	}
}

// arm waits for the tick at which the first is due. q.mu is held.
func (q *leads) arm() {
	q.armed = true
	due := q.queue[0].at.Sub(q.first)
	due += (leadTick - due%leadTick) % leadTick
	q.alarm.Reset(due - time.Since(q.first))
}

// take takes what is due out of the queue.
func (q *leads) take() (due []lead) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = false
	n, now := 0, time.Now()
	for n < len(q.queue) && !now.Before(q.queue[n].at) {
		n++
	}
	due, q.queue = q.queue[:n:n], q.queue[n:]
	if len(q.queue) == 0 {
		q.queue = nil
	} else if !q.closed {
		q.arm()
	}
	return due
}

func (q *leads) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.queue = true, nil
	if q.alarm != nil {
		q.alarm.Stop()
	}
}

// sendDue sends what has waited long enough. It runs in a goroutine of the runtime,
// which all calls share: a connection whose peer reads slowly is waited for in
// another one.
func (sw *Switchboard) sendDue() {
	for _, l := range sw.leads.take() {
		sw.sendLate(l.tx, func() {
			if l.tx.path.Link.Reliable() {
				sw.aside(func() { sw.sendLate(l.tx, func() { sw.release(l.tx) }) })
			} else {
				sw.release(l.tx)
			}
		})
	}
}

// sendLate sends a request that had to wait by send. A fault ends it.
func (sw *Switchboard) sendLate(tx *clientTx, send func()) {
	if !sw.faults.Try("sending a request that had to wait", send) {
		sw.shard(tx.id).drop(tx)
		tx.tell(event{err: transport.ErrFault}, true)
	}
}

// aside runs do in a goroutine of its own. After the end of all calls nobody
// needs it any more.
func (sw *Switchboard) aside(do func()) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if !sw.forksOver {
		sw.forks.Go(do)
	}
}

// release sends a request that had to wait, if it still is to be sent.
func (sw *Switchboard) release(tx *clientTx) {
	s := sw.shard(tx.id)
	if err := sw.mayStart(tx); err != nil {
		if s.unhold(tx) {
			tx.tell(event{err: err}, true)
		}
		return
	}
	msg, p, due := tx.begun(s)
	if !due || p.Send(msg) == nil {
		return
	}
	s.drop(tx)
	tx.tell(event{err: unsent(p.Link)}, true)
}

// begun makes a request that had to wait one that is being sent, if it still is
// to be.
func (tx *clientTx) begun(s *shard) (msg []byte, p transport.Path, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !tx.held || s.closed {
		return nil, transport.Path{}, false
	}
	tx.held = false
	if tx.leg != nil {
		tx.leg.sending(tx)
	}
	tx.begins(s)
	return tx.msg, tx.path, true
}

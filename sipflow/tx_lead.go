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

// startLater is start after a while. What cannot be sent then ends as if its
// connection had.
func (sw *Switchboard) startLater(tx *clientTx, msg []byte, wait time.Duration) error {
	s := sw.shard(tx.id)
	tx.msg, tx.held = msg, true
	if c, ok := tx.path.Link.(*transport.Stream); ok {
		c.Used.Store(true)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrDraining
	}
	s.clients[tx.key()] = tx
	s.mu.Unlock()
	sw.leads.add(lead{time.Now().Add(wait), tx}, sw.sendDue)
	return nil
}

// retract takes back a request that has not been sent yet.
func (sw *Switchboard) retract(tx *clientTx) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if tx.held {
		tx.remove(s)
	}
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

// sendDue sends what has waited long enough. It runs in a goroutine of the runtime.
func (sw *Switchboard) sendDue() {
	for _, l := range sw.leads.take() {
		sw.faults.Try("sending a request that had to wait", func() { sw.release(l.tx) })
	}
}

// release sends a request that had to wait, if it still is to be sent.
func (sw *Switchboard) release(tx *clientTx) {
	s := sw.shard(tx.id)
	s.mu.Lock()
	if !tx.held || s.closed {
		s.mu.Unlock()
		return
	}
	tx.held = false
	tx.begins(s)
	msg, p := tx.msg, tx.path
	s.mu.Unlock()
	if p.Send(msg) == nil {
		return
	}
	s.mu.Lock()
	tx.remove(s)
	s.mu.Unlock()
	tx.tell(event{err: whyLost(p.Link)}, true)
}

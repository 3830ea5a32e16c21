package talk

import (
	"slices"
	"sync"
	"time"
)

const (
	// maxQueued bounds what waits to be sent on one connection.
	maxQueued = 4096
	// maxMessage is the longest message that a signaling server reads.
	maxMessage = 64 << 10
)

// item is a message that waits to be sent.
type item struct {
	data []byte
	// callID is of the call whose status this is, "" for other messages. It
	// means the same to any session; all else dies with the session that it was
	// for.
	callID   string
	terminal bool
	then     func() // called once it was written, nil for nothing
	// adds or removes is the phone session that this adds or removes, if any.
	adds, removes *added
	// accepts is the request that this accepts, if any.
	accepts *acceptance
	// bye is the last message of its connection.
	bye bool
}

// acceptance follows the acceptance of a request until it is sent. Its fields
// are guarded by outbox.mu.
type acceptance struct {
	refusal []byte     // what is sent instead once it is too late
	result  chan error // has room for one; gets exactly one
	late    bool
}

// outbox holds the messages that wait to be sent, in order, across connections.
type outbox struct {
	mu     sync.Mutex
	queue  []*item
	flying bool // the first is being written
	closed bool
	wake   chan struct{} // has room for one
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put queues it. It never waits.
func (o *outbox) put(it *item) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrClosed
	case len(it.data) > maxMessage:
		return ErrTooLong
	case len(o.queue) >= maxQueued:
		return ErrBacklog
	}
	o.queue = append(o.queue, it)
	o.poke()
	return nil
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next is the message to write now, nil if there is none; done is told how that
// went.
func (o *outbox) next() *item {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil
	}
	o.flying = true
	return o.queue[0]
}

// done takes the first message off if it was written, and keeps it for the next
// connection if not.
func (o *outbox) done(written bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flying = false
	it := o.queue[0]
	a := it.accepts
	switch {
	case written:
		o.queue[0] = nil
		o.queue = o.queue[1:]
		if a != nil {
			a.result <- nil
		}
	case a != nil && a.late:
		it.refuse()
	}
}

// refuse turns an acceptance into the refusal. The caller holds outbox.mu.
func (it *item) refuse() {
	it.data = it.accepts.refusal
	it.accepts.result <- ErrLate
	it.accepts = nil
}

// expire refuses a request whose acceptance has not been sent. One that is just
// being written may still arrive.
func (o *outbox) expire(a *acceptance) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, it := range o.queue {
		if it.accepts != a {
			continue
		}
		if i == 0 && o.flying {
			a.late = true
		} else {
			it.refuse()
		}
	}
}

// resume puts again what may have been lost with the connection before all
// else. What a newer status of the same call follows is left out, and what waits
// anyway.
func (o *outbox) resume(again []*item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.prepend(again)
}

func (o *outbox) prepend(again []*item) {
	again = slices.DeleteFunc(again, func(a *item) bool {
		return slices.ContainsFunc(o.queue, func(it *item) bool { return it == a || a.callID != "" && it.callID == a.callID })
	})
	o.queue = append(again, o.queue...)
}

// renew drops what was for a session that is gone: all but the statuses after
// which nothing else is said of a call.
func (o *outbox) renew(again []*item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = slices.DeleteFunc(o.queue, func(it *item) bool {
		if it.accepts != nil {
			it.accepts.result <- ErrGone
		}
		return !it.terminal
	})
	o.prepend(again)
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) == 0
}

// close drops everything and takes nothing more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.queue {
		if it.accepts != nil {
			it.accepts.result <- ErrClosed
		}
	}
	o.queue, o.closed = nil, true
}

// said are the statuses that were written of late: what TCP has taken may still
// be lost with the connection. Guarded by Session.mu.
type said map[string]saying

type saying struct {
	*item
	at time.Time
}

// note remembers a status that was written.
func (s said) note(it *item, now time.Time) {
	if len(s) > 128 {
		for id, old := range s {
			if now.Sub(old.at) > silenceTime+doubtTime {
				delete(s, id)
			}
		}
	}
	s[it.callID] = saying{it, now}
}

// since are the last statuses of each call that were written after t, in order.
func (s said) since(t time.Time) []*item {
	var sayings []saying
	for _, v := range s {
		if v.at.After(t) {
			sayings = append(sayings, v)
		}
	}
	slices.SortStableFunc(sayings, func(a, b saying) int { return a.at.Compare(b.at) })
	items := make([]*item, len(sayings))
	for i, v := range sayings {
		items[i] = v.item
	}
	return items
}

package sipflow

import (
	"context"
	"slices"
	"sync"

	"sipxrest/sipflow/wire"
)

// maxInbox bounds what peers can put into an inbox before the call's goroutine
// has taken it out. A call that keeps up has one or two events waiting.
const maxInbox = 64

// An event is what a leg's goroutine waits for.
type event struct {
	tx       *clientTx     // the transaction that msg or err belongs to; nil for a request of the phone's
	msg      *wire.Message // a response, or a request that had its response already
	err      error         // why the transaction failed
	hungUp   bool          // the phone sent BYE
	progress *Notification // a NOTIFY of a REFER subscription
	in       *serverTx     // a request that waits for a response, or what became of it:
	cancel   bool          // the phone cancelled it
	ack      *wire.Message // the phone acknowledged our 2xx
	late     bool          // it takes its time to respond
	prack    bool          // msg is a PRACK, which has had its response
	divert   *diversion    // a client wants another phone called
	due      bool          // the session is to be refreshed, or has ended
}

// An inbox keeps the events of one leg in wire order. Its reader is the call's
// goroutine; its writers never wait.
type inbox struct {
	mu    sync.Mutex
	queue []event
	wake  chan struct{} // holds one token while queue may not be empty; shared by a call's legs
}

// put adds an event. A peer's event (own is false) is refused when the inbox
// is full, as if its packet had been lost.
func (b *inbox) put(e event, own bool) bool {
	b.mu.Lock()
	if !own && len(b.queue) >= maxInbox {
		b.mu.Unlock()
		return false
	}
	b.queue = append(b.queue, e)
	wake := b.wake
	b.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
	return true
}

// own gives the inbox a wake-up of its own: its leg leaves the call's goroutine.
func (b *inbox) own() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wake = make(chan struct{}, 1)
	if len(b.queue) > 0 {
		b.wake <- struct{}{}
	}
}

// wakes has the inbox wake somebody else.
func (b *inbox) wakes(wake chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wake = wake; len(b.queue) > 0 {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// full reports whether peers have put in as much as they may.
func (b *inbox) full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) >= maxInbox
}

// wait returns when there may be an event, or with the cause of ctx's end.
func (b *inbox) wait(ctx context.Context) error {
	select {
	case <-b.wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pick takes the oldest event that is wanted, out of its turn.
func (b *inbox) pick(wanted func(*event) bool) (event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.queue {
		if e := b.queue[i]; wanted(&e) {
			b.queue = slices.Delete(b.queue, i, i+1)
			return e, true
		}
	}
	return event{}, false
}

func (b *inbox) take() (event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return event{}, false
	}
	e := b.queue[0]
	if len(b.queue) == 1 {
		b.queue = nil // a leg that waits keeps no array
	} else {
		b.queue[0] = event{}
		b.queue = b.queue[1:]
	}
	return e, true
}

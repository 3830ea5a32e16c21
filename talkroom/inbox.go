package talkroom

import (
	"sync"

	"sipxrest/talk"
)

// maxWaiting is how much of what the media server says may wait. At the beginning
// of a large conversation that is a thousand messages: some for each participant.
const maxWaiting = 4096

// inbox is what waits for a conversation's goroutine. What others may send
// without end is bounded; the rest is bounded by the connections and phones that
// there are.
type inbox struct {
	wake chan struct{}

	mu      sync.Mutex
	list    []waiting
	closed  bool
	pending [talk.PeopleChanged + 1]bool // kinds that are in list
	said    int                          // of the media server, in list
	lost    bool
}

type waiting struct {
	f    func()
	kind talk.RoomEventKind // 0: none
	said bool
}

// put adds what is to be done. Of a kind that waits already nothing is added: the
// first one finds everything as it is by then.
func (b *inbox) put(kind talk.RoomEventKind, f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || kind < 0 || int(kind) >= len(b.pending) || kind > 0 && b.pending[kind] {
		return
	}
	b.pending[kind] = true
	b.add(waiting{f: f, kind: kind})
}

// putIfRoom adds what the media server says, and reports whether there was room
// for it.
func (b *inbox) putIfRoom(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.said >= maxWaiting {
		return false
	}
	if !b.closed {
		b.said++
		b.add(waiting{f: f, said: true})
	}
	return true
}

// firstLoss reports whether nothing was lost before.
func (b *inbox) firstLoss() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !b.lost
	b.lost = true
	return first
}

// add appends w. The caller holds b.mu.
func (b *inbox) add(w waiting) {
	b.list = append(b.list, w)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be done next, nil if there is nothing.
func (b *inbox) take() func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) == 0 {
		b.list = nil // not what it was grown to
		return nil
	}
	w := b.list[0]
	b.list[0] = waiting{}
	b.list = b.list[1:]
	b.pending[w.kind] = false
	if w.said {
		b.said--
	}
	return w.f
}

// close has nothing be added any more.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.list = true, nil
}

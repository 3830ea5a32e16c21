package sipflow

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// referredFor is how long a call by REFER is not placed again once its phone
	// has accepted the REFER. It is calling the other phone then: whoever asks
	// again, by a double click, would have it ring in the middle of that.
	referredFor = 3 * time.Second
	maxReferred = 100_000 // that are remembered; the oldest go first
)

// referred remembers which calling phones have just accepted a REFER, also when
// their calls are over for us. It keeps hashes of the calls' keys: thousands
// come each second, and the garbage collector need not look at them.
type referred struct {
	seed maphash.Seed

	mu     sync.Mutex
	at     map[uint64]time.Time
	oldest []referredCall // in the order of their entry; some are not in at any more
}

type referredCall struct {
	key uint64
	at  time.Time
}

// add notes that the calling phone of the call accepted a REFER at that time.
func (r *referred) add(key Key, at time.Time) {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = map[uint64]time.Time{}
	}
	r.sweep(at)
	if len(r.oldest) == maxReferred {
		r.drop()
	}
	r.at[h] = at
	r.oldest = append(r.oldest, referredCall{h, at})
}

// lately reports whether the calling phone accepted a REFER a moment before now,
// and has not reported since that nothing came of it.
func (r *referred) lately(key Key, now time.Time) bool {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	_, ok := r.at[h]
	return ok
}

// forget lets the call be placed again at once: it came to nothing, its client
// gave it up, or another has its key.
func (r *referred) forget(key Key) {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, h)
}

// sweep drops what is too old. r.mu is held.
func (r *referred) sweep(now time.Time) {
	for len(r.oldest) > 0 && now.Sub(r.oldest[0].at) >= referredFor {
		r.drop()
	}
	if len(r.oldest) == 0 {
		r.oldest = nil
	}
}

// drop forgets the oldest. r.mu is held.
func (r *referred) drop() {
	o := r.oldest[0]
	if r.at[o.key].Equal(o.at) { // else it was entered again
		delete(r.at, o.key)
	}
	r.oldest = r.oldest[1:]
}

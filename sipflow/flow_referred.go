package sipflow

import (
	"hash/maphash"
	"sync"
	"time"
)

// referredFor is how long a call by REFER is not placed again once its phone has
// accepted the REFER. It is calling the other phone then: whoever asks again, by a
// double click, would have it ring in the middle of that.
const referredFor = 3 * time.Second

// maxReferred bounds the calls that are remembered: beyond it, the older half goes.
const maxReferred = 100_000

// referred remembers which calling phones have just accepted a REFER, also when
// their calls are over for us. It keeps hashes of the calls' keys in two halves, of
// which the older is given up as a whole: thousands come each second.
type referred struct {
	seed maphash.Seed

	mu         sync.Mutex
	now, older map[uint64]time.Time // by the time of the REFER
	since      time.Time            // when now was begun
}

// add notes that the calling phone of the call accepted a REFER at that time.
func (r *referred) add(key Key, at time.Time) {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil || at.Sub(r.since) >= referredFor || len(r.now) >= maxReferred/2 {
		r.now, r.older, r.since = make(map[uint64]time.Time, len(r.now)), r.now, at
	}
	r.now[h] = at
}

// lately reports whether the calling phone accepted a REFER a moment before now,
// and has not reported since that nothing came of it.
func (r *referred) lately(key Key, now time.Time) bool {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.now[h]
	if !ok {
		at, ok = r.older[h]
	}
	return ok && now.Sub(at) < referredFor
}

// forget lets the call be placed again at once, for another has its key.
func (r *referred) forget(key Key) {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, h)
	delete(r.older, h)
}

// failed lets the call be placed again at once whose phone accepted the REFER at
// that time: it came to nothing, or its client gave it up. What a later call of the
// same parties has noted stays.
func (r *referred) failed(key Key, at time.Time) {
	h := maphash.Comparable(r.seed, key)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, half := range [...]map[uint64]time.Time{r.now, r.older} {
		if half[h].Equal(at) {
			delete(half, h)
		}
	}
}

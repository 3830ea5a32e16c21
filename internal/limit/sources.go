package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	numSets = 256
	numWays = 8
)

// Sources counts the requests of each address, IPv6 by /64. It has room for
// 2,048 addresses, takes the same time for each request and allocates nothing:
// where there is no room, the address of eight that has asked least gives way,
// so that one beyond its limit cannot be made to be forgotten.
type Sources struct {
	every, burst time.Duration
	seed         maphash.Seed
	sets         [numSets]sources
}

type sources struct {
	mu   sync.Mutex
	ways [numWays]source
}

// source is one address. Its zero value is nobody.
type source struct {
	key  uint64        // hash of the address
	full time.Duration // when its bucket is full again
	over uint32        // refused since it was last within the limit
}

// NewSources lets each address ask rate times per second, and burst times at
// once.
func NewSources(rate, burst int) *Sources {
	every := time.Second / time.Duration(max(rate, 1))
	return &Sources{every: every, burst: every * time.Duration(max(burst, 1)), seed: maphash.MakeSeed()}
}

// A Verdict is what becomes of a request.
type Verdict struct {
	OK    bool   // within the limit
	Spare bool   // and far from it: less than half of the burst is used
	Over  uint32 // how many in a row were refused, this one included
}

// Ask takes one request at the time now, counted from any zero that stays the
// same.
func (t *Sources) Ask(addr netip.Addr, now time.Duration) Verdict {
	a := Network(addr).As16()
	key := maphash.Bytes(t.seed, a[:])
	set := &t.sets[key%numSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	s := &set.ways[0]
	for i := range set.ways {
		w := &set.ways[i]
		if w.key == key {
			s = w
			break
		}
		if w.full < s.full {
			s = w
		}
	}
	if s.key != key {
		*s = source{key: key, full: now}
	}
	next := max(s.full, now) + t.every
	if next-now > t.burst {
		s.over++
		return Verdict{Over: s.over}
	}
	s.full, s.over = next, 0
	return Verdict{OK: true, Spare: next-now <= t.burst/2}
}

package limit

import (
	"sync/atomic"
	"time"
)

// A Bucket lets events pass at a rate, and some at once. Its methods may be
// called from any goroutine.
type Bucket struct {
	every time.Duration // between two events
	burst time.Duration // what may be ahead of it
	// full is the time, from the caller's zero, at which the bucket is full again.
	full atomic.Int64
}

// NewBucket lets rate events pass per second, and burst at once, each at least
// one.
func NewBucket(rate, burst int) *Bucket {
	b := &Bucket{every: time.Second / time.Duration(max(rate, 1))}
	b.burst = b.every * time.Duration(max(burst, 1))
	return b
}

// Allow takes one event at the time now, counted from any zero that stays the
// same.
func (b *Bucket) Allow(now time.Duration) bool {
	for {
		was := b.full.Load()
		next := max(time.Duration(was), now) + b.every
		if next-now > b.burst {
			return false
		}
		if b.full.CompareAndSwap(was, int64(next)) {
			return true
		}
	}
}

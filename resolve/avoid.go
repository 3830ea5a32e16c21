package resolve

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// place is what a failure is remembered for: two domains may share a server.
type place struct {
	transport string
	addr      netip.AddrPort
}

// avoided remembers the hops that failed lately.
type avoided struct {
	keep  time.Duration // immutable
	count atomic.Int64  // len(until), to read without the lock

	mu    sync.Mutex
	until map[place]time.Time // guarded by mu
}

// Failed puts hop behind the others of its target for Config.AvoidFor: call it
// when the hop refused the connection, timed out or responded 503 (RFC 3263
// §4.3).
func (r *Resolver) Failed(hop Hop) { r.FailedFor(hop, r.avoided.keep) }

// FailedFor is Failed for a hop that said how long it will not serve.
func (r *Resolver) FailedFor(hop Hop, keep time.Duration) {
	a, now := &r.avoided, r.now()
	p := place{hop.Transport, hop.Addr}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil {
		a.until = map[place]time.Time{}
	}
	if _, known := a.until[p]; !known && len(a.until) >= maxAvoided {
		a.makeRoom(now)
	}
	a.until[p] = now.Add(keep)
	a.count.Store(int64(len(a.until)))
}

// Succeeded takes back what Failed said.
func (r *Resolver) Succeeded(hop Hop) {
	a := &r.avoided
	if a.count.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.until, place{hop.Transport, hop.Addr})
	a.count.Store(int64(len(a.until)))
}

// Last moves the hops that failed lately to the end, in place, as Hops does for
// one target: it is for the hops of several.
func (r *Resolver) Last(hops []Hop) []Hop { return r.avoided.last(hops, r.now()) }

// Avoided is how many hops are behind the others at present.
func (r *Resolver) Avoided() int {
	a, now := &r.avoided, r.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, until := range a.until {
		if now.Before(until) {
			n++
		}
	}
	return n
}

// makeRoom drops what is over, or else what is over first.
func (a *avoided) makeRoom(now time.Time) {
	var first place
	var at time.Time
	for p, until := range a.until {
		if !now.Before(until) {
			delete(a.until, p)
		} else if at.IsZero() || until.Before(at) {
			first, at = p, until
		}
	}
	if len(a.until) >= maxAvoided {
		delete(a.until, first)
	}
}

// last moves the hops that failed lately to the end, in place, keeping the
// order otherwise.
func (a *avoided) last(hops []Hop, now time.Time) []Hop {
	if a.count.Load() == 0 || len(hops) < 2 {
		return hops
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var bad []Hop
	good := hops[:0]
	for _, h := range hops {
		p := place{h.Transport, h.Addr}
		until, known := a.until[p]
		if known && now.Before(until) {
			bad = append(bad, h)
			continue
		}
		if known {
			delete(a.until, p)
		}
		good = append(good, h)
	}
	a.count.Store(int64(len(a.until)))
	return append(good, bad...)
}

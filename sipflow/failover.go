package sipflow

import (
	"slices"
	"sync"
	"time"

	"sipxrest/resolve"
)

const (
	avoidFor   = 30 * time.Second // as the resolver does within one target
	maxAvoided = 64
)

// avoided remembers which hops failed lately. The resolver does so for the
// hops of one target; several outbound proxies are several targets.
type avoided struct {
	mu    sync.Mutex
	until map[resolve.Hop]time.Time // at most maxAvoided
}

// failed puts a hop behind the others for a while (RFC 3263 §4.3).
func (sw *Switchboard) failed(hop resolve.Hop) {
	sw.resolver.Failed(hop)
	a, now := &sw.avoided, time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil {
		a.until = map[resolve.Hop]time.Time{}
	}
	for h, until := range a.until {
		if len(a.until) >= maxAvoided || now.After(until) {
			delete(a.until, h)
		}
	}
	a.until[hop] = now.Add(avoidFor)
}

// worked takes back what failed said.
func (sw *Switchboard) worked(hop resolve.Hop) {
	sw.resolver.Succeeded(hop)
	sw.avoided.mu.Lock()
	defer sw.avoided.mu.Unlock()
	delete(sw.avoided.until, hop)
}

// last moves the hops that failed lately to the end, in place, and keeps the
// order otherwise.
func (a *avoided) last(hops []resolve.Hop) []resolve.Hop {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.until) == 0 {
		return hops
	}
	now := time.Now()
	rank := func(h resolve.Hop) int {
		if now.Before(a.until[h]) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(hops, func(x, y resolve.Hop) int { return rank(x) - rank(y) })
	return hops
}

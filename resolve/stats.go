package resolve

import "sync/atomic"

// Stats is what a resolver has done since it was made, and holds now.
type Stats struct {
	Lookups  uint64 // names asked of the name servers
	Failures uint64 // of these, those that no server answered; that a name does not exist is an answer
	Cached   int    // record sets kept
}

// lookupStats are the counters of Stats.
type lookupStats struct{ lookups, failures atomic.Uint64 }

// Stats reads the counters.
func (r *Resolver) Stats() Stats {
	s := Stats{Lookups: r.stats.lookups.Load(), Failures: r.stats.failures.Load()}
	r.cache.mu.RLock()
	s.Cached = len(r.cache.answers)
	r.cache.mu.RUnlock()
	return s
}

package callcontroller

import (
	"sync"
	"time"

	"github.com/patrickmn/go-cache"

	"sipxrest/sipflow"
)

// records finds the record of a key. A record of a running call never
// expires.
type records struct {
	max   int
	cache *cache.Cache

	// mu makes one step of comparing and setting: the end of a replaced call
	// must not take away the record of the call that replaced it.
	mu   sync.Mutex
	full uint64 // finished records that were given up because of max, since the last sweep; under mu

	givenUp uint64 // the same since the start; under mu
}

func newRecords(max int) *records {
	// Interval 0: the cache starts no goroutine of its own.
	return &records{max: max, cache: cache.New(cache.NoExpiration, 0)}
}

// find answers the record of key, or nil.
func (rs *records) find(key sipflow.Key) *record {
	if v, ok := rs.cache.Get(key.String()); ok {
		return v.(*record)
	}
	return nil
}

// take gives key to r, in place of the record that had it.
func (rs *records) take(key sipflow.Key, r *record) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.cache.Set(key.String(), r, cache.NoExpiration)
}

// release lets r, whose call is over, expire after its time, unless another
// record has taken key since.
func (rs *records) release(key sipflow.Key, r *record) {
	text := key.String()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if v, ok := rs.cache.Get(text); !ok || v.(*record) != r {
		return
	}
	keep := r.keep
	if keep > 0 && rs.cache.ItemCount() > rs.max {
		keep = 0
		rs.full++
		rs.givenUp++
	}
	if keep <= 0 {
		rs.cache.Delete(text)
		return
	}
	rs.cache.Set(text, r, keep)
}

// sweep removes what has expired and answers how many finished records were
// given up since the last sweep.
func (rs *records) sweep() uint64 {
	rs.cache.DeleteExpired()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	full := rs.full
	rs.full = 0
	return full
}

// sweepEvery is short against the least time that is worth keeping a record.
const sweepEvery = 5 * time.Second

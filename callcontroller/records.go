package callcontroller

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patrickmn/go-cache"

	"sipxrest/sipflow"
)

// records finds the record of a key. A record of a running call never
// expires.
type records struct {
	max      int
	maxBytes int64
	cache    *cache.Cache
	bytes    atomic.Int64 // of the lines of all records that have a key

	// mu makes one step of comparing and setting: the end of a replaced call
	// must not take away the record of the call that replaced it.
	mu   sync.Mutex
	full uint64 // finished records that were given up because of max, since the last sweep; under mu

	givenUp uint64 // the same since the start; under mu

	// over are the calls that have ended within the last few seconds and whose
	// dialogs are still listed, the first to end first; under mu.
	over []ending
}

// ending is a call that has ended, and when its dialogs are forgotten: a result
// is kept for as long as a client likes, what nobody may read is not.
type ending struct {
	r     *record
	until time.Time
}

func newRecords(max int, maxBytes int64) *records {
	// Interval 0: the cache starts no goroutine of its own.
	rs := &records{max: max, maxBytes: maxBytes, cache: cache.New(cache.NoExpiration, 0)}
	rs.cache.OnEvicted(func(_ string, v any) { rs.unname(v.(*record)) })
	return rs
}

// poor reports whether the records take more memory than they may.
func (rs *records) poor() bool { return rs.bytes.Load() > rs.maxBytes }

// name and unname count the keys that lead to r. Only what can be read counts
// among the bytes, and grows. mu is held.
func (rs *records) name(r *record) {
	if r.names++; r.names == 1 {
		r.lose(false)
	}
}

func (rs *records) unname(r *record) {
	if r.names--; r.names == 0 {
		r.lose(true)
	}
}

// lose notes that no key leads to r, or that one does again.
func (r *record) lose(lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost == lost {
		return
	}
	r.lost = lost
	size := int64(r.begun) + int64(r.late) + int64((len(r.lines)+int(r.count))*lineBytes)
	if lost {
		size = -size
	}
	r.c.records.bytes.Add(size)
}

// find returns the record of key, or nil.
func (rs *records) find(key sipflow.Key) *record {
	if v, ok := rs.cache.Get(key.String()); ok {
		return v.(*record)
	}
	return nil
}

// take gives key to r, in place of the record that had it.
func (rs *records) take(key sipflow.Key, r *record) {
	text := key.String()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	v, found := rs.cache.Get(text)
	switch {
	case found && v.(*record) == r: // it may have been released meanwhile
		rs.cache.Set(text, r, cache.NoExpiration)
		return
	case !found:
		rs.cache.Delete(text) // one that has expired and is still there
	}
	rs.name(r)
	rs.cache.Set(text, r, cache.NoExpiration) // nobody finds nothing in between
	if found {
		rs.unname(v.(*record))
	}
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
	if keep > 0 && (rs.cache.ItemCount() > rs.max || rs.poor()) {
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

// sweep removes what has expired and returns how many finished records were
// given up since the last sweep.
func (rs *records) sweep() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.cache.DeleteExpired() // which calls unname
	rs.forgetDialogs(time.Now())
	full := rs.full
	rs.full = 0
	return full
}

// listed notes that r has ended and still has dialogs.
func (rs *records) listed(r *record) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.over = append(rs.over, ending{r, time.Now().Add(listTerminated)})
}

// forgetDialogs gives up the dialogs of calls that ended some time ago. mu is held.
func (rs *records) forgetDialogs(now time.Time) {
	n := 0
	for n < len(rs.over) && !now.Before(rs.over[n].until) {
		rs.over[n].r.forgetDialogs()
		n++
	}
	rs.over = slices.Delete(rs.over, 0, n)
	if len(rs.over) == 0 {
		rs.over = nil // of a busy hour
	}
}

// sweepEvery is short against the least time that is worth keeping a record.
const sweepEvery = 5 * time.Second

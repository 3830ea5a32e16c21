package limit

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	failureSets = 1 << 12
	failureWays = 8
)

// Failures counts the wrong attempts of suspects, each for a window from his
// first failure on, and says when he has to wait. It has room for 32,768
// suspects, 0.8 MiB from the first failure on. Where there is no room, the
// suspect of eight with the fewest failures gives way. So a crowd of names or
// addresses cannot displace one with too many failures. Its methods may be
// called from any goroutine.
type Failures struct {
	window time.Duration
	seed   maphash.Seed
	tell   func([]byte) // of other nodes, see Share; nil: there are none

	mu   sync.Mutex
	zero time.Time                          // of failure.since
	sets *[failureSets][failureWays]failure // nil before the first failure
}

// failure is one suspect's. Its zero value is nobody's.
type failure struct {
	key   uint64        // hash of the suspect
	since time.Duration // the window began, from Failures.zero
	count uint32
}

// A Suspect is somebody whose failures are counted: an address, a name or both
// together, and how many failures he may have within the window. IPv6 addresses
// count by /64.
type Suspect struct {
	Addr netip.Addr
	Name string
	Most int
}

// NewFailures counts failures for a window each.
func NewFailures(window time.Duration) *Failures {
	return &Failures{window: window, seed: maphash.MakeSeed()}
}

// Wait returns how long the suspects have to wait before they may try again, 0
// when they may: the longest time of any of them.
func (f *Failures) Wait(now time.Time, who ...Suspect) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wait(now, who)
}

// Settle counts an attempt that Wait has let through and that was looked at since:
// a failure of every suspect if it was not right. It returns how long they have to
// wait when too many others have failed meanwhile. Then nobody may be told whether
// this one was right, or many at once would be so many guesses.
func (f *Failures) Settle(now time.Time, right bool, who ...Suspect) time.Duration {
	wait := f.settle(now, right, who)
	if wait == 0 && !right {
		f.told(false, who)
	}
	return wait
}

func (f *Failures) settle(now time.Time, right bool, who []Suspect) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wait := f.wait(now, who); wait > 0 {
		return wait
	}
	if !right {
		f.fail(now, who)
	}
	return 0
}

// Take counts an attempt as a failure before it is looked at, and reports whether
// it may be: as with Settle, many at once are no more than one after another.
// Forgive takes it back.
func (f *Failures) Take(now time.Time, who ...Suspect) bool {
	defer f.told(false, who) // without the lock
	f.mu.Lock()
	defer f.mu.Unlock()
	free := f.wait(now, who) == 0
	f.fail(now, who)
	return free
}

// Forgive takes off one failure of each suspect.
func (f *Failures) Forgive(now time.Time, who ...Suspect) {
	defer f.told(true, who) // without the lock
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgive(now, who)
}

// forgive is Forgive with f.mu held.
func (f *Failures) forgive(now time.Time, who []Suspect) {
	for i := range who {
		if e, _ := f.find(&who[i], now); e != nil && e.count > 0 {
			e.count--
		}
	}
}

// wait is Wait with f.mu held.
func (f *Failures) wait(now time.Time, who []Suspect) (longest time.Duration) {
	for i := range who {
		if e, at := f.find(&who[i], now); e != nil && int(e.count) >= who[i].Most {
			longest = max(longest, e.since+f.window-at)
		}
	}
	return longest
}

// fail counts a failure of each. f.mu is held.
func (f *Failures) fail(now time.Time, who []Suspect) {
	if f.sets == nil {
		f.zero, f.sets = now, new([failureSets][failureWays]failure)
	}
	for i := range who {
		e, at := f.find(&who[i], now)
		if e == nil {
			key := f.hash(&who[i])
			set := &f.sets[key%failureSets]
			e = &set[0]
			for j := range set {
				if f.counts(&set[j], at) < f.counts(e, at) {
					e = &set[j]
				}
			}
			*e = failure{key: key, since: at}
		}
		if e.count < 1<<31 {
			e.count++
		}
	}
}

// find returns what is counted of a suspect, nil for nothing, and the time as
// entries have it.
func (f *Failures) find(s *Suspect, now time.Time) (*failure, time.Duration) {
	if f.sets == nil {
		return nil, 0
	}
	at, key := now.Sub(f.zero), f.hash(s)
	set := &f.sets[key%failureSets]
	for i := range set {
		if e := &set[i]; e.key == key && f.counts(e, at) > 0 {
			return e, at
		}
	}
	return nil, at
}

// counts returns the failures of an entry that still count. A clock that was set
// back must not lock anybody out for long.
func (f *Failures) counts(e *failure, at time.Duration) uint32 {
	if at < e.since || at-e.since >= f.window {
		return 0
	}
	return e.count
}

func (f *Failures) hash(s *Suspect) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	network := Network(s.Addr)
	a := network.As16()
	h.Write(a[:])
	h.WriteByte(byte(network.BitLen())) // 0 for no address
	h.WriteString(s.Name)
	return h.Sum64()
}

// Suspects returns how many have failures that count at the time now.
func (f *Failures) Suspects(now time.Time) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sets == nil {
		return 0
	}
	for i := range f.sets {
		for j := range f.sets[i] {
			if f.counts(&f.sets[i][j], now.Sub(f.zero)) > 0 {
				n++
			}
		}
	}
	return n
}

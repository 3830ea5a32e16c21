package restauth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// guessWindow is the time over which failures are counted.
	guessWindow = time.Minute
	// maxUserFailures is how many failures an address may have for one user
	// within guessWindow, maxAddrFailures for all users together.
	maxUserFailures = 10
	maxAddrFailures = 100
	// maxGuessers bounds each of the two generations of counters.
	maxGuessers = 1 << 16
)

// Guesses counts failed attempts, 10 a minute of an address for one user and 100
// for all. Its methods may be called from any goroutine. Counters are kept in two
// generations: the older is dropped as a whole after a window, or when the younger
// is full.
type Guesses struct {
	seed maphash.Seed

	mu       sync.Mutex
	now, old map[guesser]failures
	turned   time.Time // when old was now
	max      int       // maxGuessers
}

// guesser is who failed: an address, alone (user 0) or with a user.
type guesser struct {
	addr netip.Addr
	user uint64 // hash of the user's name
}

type failures struct {
	count int
	since time.Time
}

// NewGuesses answers a Guesses that has seen none.
func NewGuesses() *Guesses {
	return &Guesses{seed: maphash.MakeSeed(), now: make(map[guesser]failures), max: maxGuessers}
}

// network is the address as it is counted: of IPv6 the first 64 bits, all of
// which one host may have.
func network(addr netip.Addr) netip.Addr {
	if addr.Is6() && !addr.Is4In6() {
		prefix, err := addr.WithZone("").Prefix(64)
		if err == nil {
			return prefix.Addr()
		}
	}
	return addr.Unmap()
}

// Wait is how long addr has to wait before it may try again as user; 0 when
// it may.
func (t *Guesses) Wait(addr netip.Addr, user string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wait(network(addr), user, now)
}

// wait is Wait with t.mu held.
func (t *Guesses) wait(addr netip.Addr, user string, now time.Time) time.Duration {
	return max(
		t.left(guesser{addr: addr}, maxAddrFailures, now),
		t.left(guesser{addr, t.hash(user)}, maxUserFailures, now),
	)
}

func (t *Guesses) left(g guesser, limit int, now time.Time) time.Duration {
	f := t.get(g, now)
	if f.count < limit {
		return 0
	}
	return f.since.Add(guessWindow).Sub(now)
}

// Settle counts an attempt of addr as user that Wait has let through and that was
// looked at since: a failure if it was not right. It answers how long addr has to
// wait when too many others have failed meanwhile; then nobody may be told whether
// this one was right, or many at once would be so many guesses.
func (t *Guesses) Settle(addr netip.Addr, user string, right bool, now time.Time) time.Duration {
	addr = network(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := t.wait(addr, user, now); wait > 0 {
		return wait
	}
	if !right {
		t.fail(addr, user, now)
	}
	return 0
}

// fail counts a failure. t.mu is held.
func (t *Guesses) fail(addr netip.Addr, user string, now time.Time) {
	if now.Sub(t.turned) > guessWindow || len(t.now)+2 > t.max {
		t.old, t.now, t.turned = t.now, make(map[guesser]failures), now
	}
	for _, g := range [...]guesser{{addr: addr}, {addr, t.hash(user)}} {
		f := t.get(g, now)
		f.count++
		t.now[g] = f
	}
}

// get is the counter of g; a new one when the window of the last is over.
func (t *Guesses) get(g guesser, now time.Time) failures {
	f, ok := t.now[g]
	if !ok {
		f, ok = t.old[g]
	}
	// A clock that was set back must not lock anybody out for long.
	if !ok || now.Sub(f.since) >= guessWindow || now.Before(f.since) {
		return failures{since: now}
	}
	return f
}

func (t *Guesses) hash(user string) uint64 { return maphash.String(t.seed, user) | 1 }

// Package overload decides how much new work is taken when there is more than can
// be done. It goes by how late the work in progress is, in the spirit of RFC 7339
// (overload control of SIP), CoDel (RFC 8289) and PIE (RFC 8033): a rate that fits
// one machine at one hour does not fit another.
package overload

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/limit"
)

const (
	// window is how often the share of refusals is changed.
	window = 10 * time.Millisecond
	// patience is how long the delay may stay above the target before anything is
	// refused: a burst, or a pause of the collector, is no overload.
	patience = 50 * time.Millisecond
	// pull and push change the share of refusals with each window: by how far the
	// delay is from the target, and by how much it has grown, both in targets. The
	// second is what keeps the first from going too far (a PI controller).
	pull, push = 0.01, 0.06
	// farthest bounds the first, in targets: a delay of seconds says no more than
	// one of a few targets.
	farthest = 4
	// ease is what a window below the target takes back: all is open within a second.
	ease = float64(window) / float64(time.Second)
	// most lets a trickle through: without any, nobody would see that all is well.
	most = 0.98
	// Few are never refused, so many per second and so many at once: messages may be
	// late because of what else the machine does, and refusing would not help.
	few, fewAtOnce = 100, 200
	// silence is how long there must be no message until none can be late. Before,
	// whoever reads them may not have had his turn.
	silence = 500 * time.Millisecond
)

// A Gate lets new work in while messages are handled in time. It looks at the clock
// when it is asked, and costs nothing while nobody asks. Its methods may be
// called from any goroutine, and return at once.
type Gate struct {
	target time.Duration
	begin  time.Time            // from which times are counted
	others func() time.Duration // see New

	sum, n  atomic.Int64  // of the delays in this window, in ns
	next    atomic.Int64  // when the window ends
	share   atomic.Uint64 // of refusals, in 2^-32
	refused atomic.Uint64
	last    atomic.Int64 // when there was a refusal; 0: never
	floor   *limit.Bucket

	mu    sync.Mutex    // of the end of a window
	delay time.Duration // in the last one
	heard time.Duration // when there was a message last
	late  time.Duration // since when the delay has been above the target; 0: it is not
	p     float64       // share of refusals
	// counted is how far the delay was above the target, in targets, when that was
	// last added to p.
	counted float64
}

// New returns a gate that is open for as long as messages wait less than target.
// others, unless it is nil, tells how late those messages have been that Waited is
// not told of, since it was asked last; see Goroutines.
func New(target time.Duration, others func() time.Duration) *Gate {
	if others == nil {
		others = func() time.Duration { return 0 }
	}
	return &Gate{target: target, begin: time.Now(), others: others, floor: limit.NewBucket(few, fewAtOnce)}
}

// Target is how long messages may wait.
func (g *Gate) Target() time.Duration { return g.target }

// now is never 0.
func (g *Gate) now() time.Duration { return time.Since(g.begin) + 1 }

// Waited tells how long a message has waited until it was handled.
func (g *Gate) Waited(d time.Duration) { g.waited(d, g.now()) }

func (g *Gate) waited(d, now time.Duration) {
	g.sum.Add(int64(d))
	g.n.Add(1)
	g.look(now)
}

// Admit reports whether one piece of new work is to be done. Otherwise it is to be
// refused at once.
func (g *Gate) Admit() bool { return g.admit(g.now(), rand.Uint32()) }

func (g *Gate) admit(now time.Duration, dice uint32) bool {
	g.look(now)
	inFew := g.floor.Allow(now)
	if inFew || uint64(dice) >= g.share.Load() {
		return true
	}
	g.refused.Add(1)
	g.last.Store(int64(now))
	return false
}

// A State is what a gate does at a moment.
type State struct {
	Delay   time.Duration // of messages
	Share   float64       // of new work that is refused, beyond a few calls, 0 to 1
	Refused uint64        // since the beginning
	Closing bool          // something was refused within the last second
}

// State returns what the gate does now.
func (g *Gate) State() State {
	now := g.now()
	g.look(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	last := time.Duration(g.last.Load())
	return State{g.delay, g.p, g.refused.Load(), last > 0 && now-last < time.Second}
}

// look ends the window when it is over.
func (g *Gate) look(now time.Duration) {
	if int64(now) < g.next.Load() || !g.mu.TryLock() {
		return
	}
	defer g.mu.Unlock()
	ended := time.Duration(g.next.Load())
	if now < ended {
		return
	}
	windows := 1.0
	if ended != 0 { // there may have been nothing to look for since
		windows += float64(now-ended) / float64(window)
	}
	g.next.Store(int64(now + window))
	delay := g.delay
	if n := g.n.Swap(0); n > 0 {
		delay, g.heard = time.Duration(g.sum.Swap(0)/n), now
	} else if now-g.heard > silence {
		delay = 0
	}
	g.adjust(now, max(delay, g.others()), windows)
	g.share.Store(uint64(g.p * (1 << 32)))
}

// adjust changes the share of refusals at the end of a window, or of several about
// which there is no news. g.mu is held.
func (g *Gate) adjust(now, delay time.Duration, windows float64) {
	g.delay = delay
	above := max(0, float64(delay-g.target)/float64(g.target))
	switch {
	case above == 0:
		g.late = 0
	case g.late == 0:
		g.late = now
	}
	if g.p == 0 && (above == 0 || now-g.late < patience) {
		return
	}
	// What a rise has added its fall takes back: after a pause of the collector the
	// share is what it was before.
	g.p += push * (above - g.counted)
	g.counted = above
	if above > 0 {
		g.p += pull * min(above, farthest)
	} else {
		g.p -= ease * windows
	}
	if g.p = min(most, g.p); g.p <= 0 {
		g.p, g.counted = 0, 0
	}
}

package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxNames = 1 << 14
	// idleNames is how long a name is remembered at least, while there is room.
	idleNames = time.Minute
)

// Names bounds the rate at which each of many names does something. The names
// are kept in two generations: the older is dropped as a whole after a while,
// or when the younger is full, so that there are never more than 32,768. A name
// that is dropped after a minute of silence has its burst back, as it would
// have anyway.
type Names struct {
	rate  rate.Limit
	burst int

	mu       sync.Mutex
	now, old map[string]*rate.Limiter
	turned   time.Time // when old was now
	idle     time.Duration
	spent    map[string]int // turns that were taken and not told yet; nil: nobody has asked
}

// NewNames lets each name act perSecond times per second, and burst times at
// once.
func NewNames(perSecond, burst int) *Names {
	return &Names{rate: rate.Limit(perSecond), burst: burst, now: map[string]*rate.Limiter{},
		idle: max(idleNames, time.Duration(burst)*time.Second/time.Duration(max(perSecond, 1)))}
}

// Wait is how long a name has to wait before it may act; 0 when it has taken
// its turn.
func (n *Names) Wait(name string, now time.Time) time.Duration {
	n.mu.Lock()
	l := n.limiter(name, now)
	shared := n.spent != nil
	n.mu.Unlock()
	wait := Wait(l, now)
	if shared && wait == 0 {
		n.mu.Lock()
		if len(n.spent) < maxNames {
			n.spent[name]++
		}
		n.mu.Unlock()
	}
	return wait
}

// limiter is that of a name. n.mu is held.
func (n *Names) limiter(name string, now time.Time) *rate.Limiter {
	l := n.now[name]
	if l == nil {
		if now.Sub(n.turned) > n.idle || len(n.now) >= maxNames {
			n.old, n.now, n.turned = n.now, map[string]*rate.Limiter{}, now
		}
		if l = n.old[name]; l == nil {
			l = rate.NewLimiter(n.rate, n.burst)
		}
		n.now[name] = l
	}
	return l
}

// Spent returns how many turns each name has taken since it was asked last, for other nodes.
// Before the first time nothing is counted.
func (n *Names) Spent() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	spent := n.spent
	if spent != nil && len(spent) == 0 {
		return nil // the map goes on being written
	}
	n.spent = map[string]int{}
	return spent
}

// Spend takes turns off a name that it has taken at other nodes, as many as there are.
func (n *Names) Spend(name string, turns int, now time.Time) {
	n.mu.Lock()
	l := n.limiter(name, now)
	n.mu.Unlock()
	Spend(l, turns, now)
}

// Spend takes turns off l, as many as there are.
func Spend(l *rate.Limiter, turns int, now time.Time) {
	l.AllowN(now, max(0, min(turns, int(l.TokensAt(now)))))
}

// Wait takes one turn of l, or says how long it has to wait.
func Wait(l *rate.Limiter, now time.Time) time.Duration {
	if l.AllowN(now, 1) {
		return 0
	}
	r := l.ReserveN(now, 1)
	defer r.CancelAt(now)
	return max(r.DelayFrom(now), time.Millisecond)
}

// Left is how often a name may act at once now.
func (n *Names) Left(name string, now time.Time) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.now[name]
	if l == nil {
		l = n.old[name]
	}
	if l == nil {
		return n.burst
	}
	return max(0, int(l.TokensAt(now)))
}

package resolve

import (
	"sync"
	"time"
)

// cache keeps answers, at most max.
type cache struct {
	max int // immutable

	mu      sync.RWMutex
	answers map[key]*answer // guarded by mu
}

// get returns what is known about k, fresh or not, nil if nothing is.
func (c *cache) get(k key, now time.Time) *answer {
	c.mu.RLock()
	a := c.answers[k]
	c.mu.RUnlock()
	if a != nil {
		a.used.Store(now.UnixNano())
	}
	return a
}

func (c *cache) put(k key, a *answer, now time.Time) {
	a.used.Store(now.UnixNano())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[key]*answer{}
	}
	if _, known := c.answers[k]; !known && len(c.answers) >= c.max {
		c.makeRoom(now)
	}
	c.answers[k] = a
}

// makeRoom drops one of a few random answers: one that is over, or the one not
// used for longest. So names that strangers made up go before our own domain.
func (c *cache) makeRoom(now time.Time) {
	var victim key
	oldest, seen := int64(0), 0
	for k, a := range c.answers {
		used := a.used.Load()
		if !now.Before(a.stale) {
			used = 0
		}
		if seen == 0 || used < oldest {
			victim, oldest = k, used
		}
		if seen++; seen == 16 {
			break
		}
	}
	delete(c.answers, victim)
}

package event

import (
	"sync"
	"sync/atomic"
	"time"
)

// counters are what a Bus counts.
type counters struct {
	late, untold, refused, unstored, ahead, commits, failed atomic.Int64

	mu    sync.Mutex // guards types
	types map[Type]int64
}

func (c *counters) told(events []*Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.types == nil {
		c.types = map[Type]int64{}
	}
	for _, e := range events {
		c.types[e.Type]++
	}
}

// Stats is what a Bus has done, and how it is.
type Stats struct {
	Store       string // path of the database, or "memory"
	StoreError  error  // why it cannot be written, or why memory is used instead
	Events      map[Type]int64
	QueueBytes  int64         // what waits for its order, or for the log
	Lag         time.Duration // age of the oldest event that is not kept
	Ahead       int64         // events that streams had before the log
	Unstored    int64         // events that the log will never have
	Late        int64         // told of calls that had ended, or were unknown
	Refused     int64         // that the fold refused: a bug of who told them
	Commits     int64
	Failed      int64 // commits that failed, and were tried again
	Subscribers int
	Calls       int // that have not ended
}

// Stats returns what was counted so far.
func (b *Bus) Stats() Stats {
	s := Stats{Store: b.cfg.Store, StoreError: b.why, Events: map[Type]int64{}, Ahead: b.stats.ahead.Load(), Unstored: b.stats.unstored.Load(),
		Late: b.stats.late.Load(), Refused: b.stats.refused.Load(), Commits: b.stats.commits.Load(), Failed: b.stats.failed.Load()}
	s.Unstored += b.stats.untold.Load()
	if b.shared != nil {
		if err := b.shared.fails(); err != nil {
			s.StoreError = err
		}
	}
	if b.memory {
		s.Store = "memory"
	} else if err := b.failing.Load(); err != nil {
		s.StoreError = err
	}
	b.stats.mu.Lock()
	for t, n := range b.stats.types {
		s.Events[t] = n
	}
	b.stats.mu.Unlock()
	b.mu.RLock()
	s.QueueBytes, s.Lag, s.Subscribers = b.queued.Load()+b.backlog.Load(), b.pending.age(time.Now()), b.topics.subscribers
	b.mu.RUnlock()
	if b.shared != nil {
		s.Lag = max(s.Lag, b.shared.age(time.Now()))
	}
	for i := range b.shards {
		b.shards[i].mu.Lock()
		for _, l := range b.shards[i].calls {
			if l.far == nil || l.far.mine { // others count the others
				s.Calls++
			}
		}
		b.shards[i].mu.Unlock()
	}
	return s
}

package talkroom

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lateTime is how late a clock is that has too much to do.
	lateTime = 100 * time.Millisecond
	// Of the last lateWindow seconds that many, in which one was, mean overload.
	lateWindow  = 10
	lateSeconds = 5
	// reliefTime is how long fewer participants are decoded then.
	reliefTime = time.Minute
	// leastSpeakers are decoded in any case.
	leastSpeakers = 2
)

// load bounds how many participants of a conversation are decoded, by how late the
// clocks of all mixers are.
type load struct {
	most    int
	changed chan struct{} // there are fewer now
	now     atomic.Int32  // how many
	times   histogram     // how late

	mu     sync.Mutex
	begun  time.Time
	lately [lateWindow]int64 // seconds since begun in which a clock was late, by second; from 1
}

func newLoad(most int) *load {
	l := &load{most: most, changed: make(chan struct{}, 1), begun: time.Now()}
	l.now.Store(int32(most))
	return l
}

// speakers is how many participants of a conversation are decoded at a time.
func (l *load) speakers() int { return int(l.now.Load()) }

// late is told by a clock how late a tick is.
func (l *load) late(d time.Duration, now time.Time) {
	l.times.observe(d)
	if d <= lateTime {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	second := int64(now.Sub(l.begun)/time.Second) + 1
	l.lately[second%lateWindow] = second
	n := 0
	for _, s := range l.lately {
		if s > 0 && second-s < lateWindow {
			n++
		}
	}
	if n < lateSeconds {
		return
	}
	clear(l.lately[:])
	l.now.Store(max(int32(min(leastSpeakers, l.most)), l.now.Load()/2))
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// relieve has as many be decoded as before.
func (l *load) relieve() { l.now.Store(int32(l.most)) }

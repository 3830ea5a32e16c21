package sipflow

import (
	"time"
)

// RFC 3261 §17.1.1.1, table 4.
const (
	t1 = 500 * time.Millisecond // round-trip estimate
	t2 = 4 * time.Second        // longest interval between repeats of a non-INVITE request
	// tEnd is 64*T1: how long a transaction is repeated (timers B, F, H), and
	// how long what is late is still expected (D, J, L, M).
	tEnd = 64 * t1
	// tLate is how long the answer to an abandoned INVITE is waited for: as
	// long as a proxy lets a phone ring (timer C).
	tLate = 3 * time.Minute
)

// delays are the waiting times in use. Each has a list of its own, in which
// what is added last expires last: adding and removing cost the same however
// many wait, and the runtime sees one timer per list.
var delays = [...]time.Duration{t1, 2 * t1, 4 * t1, 8 * t1, 16 * t1, 32 * t1, tEnd, tLate}

// expirer is what waits in a list.
type expirer interface {
	// expire runs under the shard's lock. What it returns runs after it.
	expire(s *shard) func()
}

// timer is one wait. It lives inside its owner.
type timer struct {
	prev, next *timer
	list       *timerList
	at         time.Duration // since the shard's start
	owner      expirer
}

// timerList holds timers of one delay, oldest first.
type timerList struct {
	shard      *shard
	delay      time.Duration
	head, tail *timer
	alarm      *time.Timer
	armed      bool
}

// set starts or restarts a timer. d must be one of delays; the shard's lock is held.
func (t *timer) set(s *shard, d time.Duration, owner expirer) {
	t.stop()
	if s.closed {
		return
	}
	for i := range s.lists {
		if l := &s.lists[i]; l.delay == d {
			t.list, t.at, t.owner = l, s.now()+d, owner
			l.push(t)
			return
		}
	}
	panic("sipflow: no timer list for " + d.String())
}

// stop takes the timer out of its list. The shard's lock is held.
func (t *timer) stop() {
	l := t.list
	if l == nil {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.tail = t.prev
	}
	t.prev, t.next, t.list, t.owner = nil, nil, nil, nil
}

func (l *timerList) push(t *timer) {
	if t.prev = l.tail; t.prev != nil {
		t.prev.next = t
	} else {
		l.head = t
	}
	l.tail = t
	if !l.armed {
		l.arm(l.delay)
	}
}

func (l *timerList) arm(d time.Duration) {
	l.armed = true
	if l.alarm == nil {
		l.alarm = time.AfterFunc(d, l.fire)
	} else {
		l.alarm.Reset(d)
	}
}

// fire expires what is due and waits for the next.
func (l *timerList) fire() {
	s := l.shard
	var then []func()
	s.mu.Lock()
	l.armed = false
	now := s.now()
	for t := l.head; t != nil && t.at <= now; t = l.head {
		owner := t.owner
		t.stop()
		if f := owner.expire(s); f != nil {
			then = append(then, f)
		}
	}
	if l.head != nil && !s.closed {
		l.arm(l.head.at - now)
	}
	s.mu.Unlock()
	for _, f := range then {
		f()
	}
}

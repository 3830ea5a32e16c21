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
	// tLate is how long we wait for the response to an abandoned INVITE: as
	// long as a proxy lets a phone ring (timer C).
	tLate = 3 * time.Minute
)

// delays are the waiting times in use, in ascending order. Each has a list of
// its own, in which what is added last expires last: adding and removing cost
// the same however many wait, and the runtime sees one timer per list.
var delays = [...]time.Duration{t1, 2 * t1, 4 * t1, 8 * t1, 16 * t1, 32 * t1, tEnd, tLate}

// A repetition says when a message is sent again: timers A, E and G of RFC
// 3261, and that of RFC 3262 §3. It ends by its age: timers that fire late make
// the repeats fewer, never more, and each sends one.
type repetition struct {
	began    time.Duration // when the message was sent first, since the shard's start
	interval time.Duration // before the next repeat; 0: there is none
}

// begin notes that the message has been sent first. It returns how long to wait.
func (r *repetition) begin(now time.Duration, repeats bool) time.Duration {
	r.began, r.interval = now, 0
	if !repeats {
		return tEnd
	}
	r.interval = t1
	return t1
}

// over reports whether 64*T1 have passed: what the message waits for does not
// come any more (timers B, F and H).
func (r *repetition) over(now time.Duration) bool { return now-r.began >= tEnd }

// next reports whether the message is to be sent again now, and how long to
// wait then. Intervals double up to longest. No repeat is left to come when the
// next would be after the end.
func (r *repetition) next(now, longest time.Duration) (repeat bool, wait time.Duration) {
	left := r.began + tEnd - now
	if r.interval == 0 {
		return false, left
	}
	r.interval = min(2*r.interval, longest)
	if r.interval > left {
		r.interval = 0
		return true, left
	}
	return true, r.interval
}

// expirer is what waits in a list.
type expirer interface {
	// expire runs under the shard's lock. What it returns runs after it.
	expire(s *shard) func()
	// abort runs likewise, after a fault: it ends what cannot go on.
	abort(s *shard) func()
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

// set starts or restarts a timer. It waits as long as the longest of delays
// that is not beyond d, and at least T1. The shard's lock is held.
func (t *timer) set(s *shard, d time.Duration, owner expirer) {
	t.stop()
	if s.closed {
		return
	}
	i := len(s.lists) - 1
	for i > 0 && s.lists[i].delay > d {
		i--
	}
	l := &s.lists[i]
	t.list, t.at, t.owner = l, s.now()+l.delay, owner
	l.push(t)
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
	for _, f := range l.due() {
		l.shard.faults.Try("after a timer", f)
	}
}

// due expires what is due. What it returns is still to be done.
func (l *timerList) due() (then []func()) {
	s := l.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	l.armed = false
	now := s.now()
	for t := l.head; t != nil && t.at <= now; t = l.head {
		owner := t.owner
		t.stop()
		if f := s.expire(owner); f != nil {
			then = append(then, f)
		}
	}
	if l.head != nil && !s.closed {
		l.arm(l.head.at - now)
	}
	return then
}

// expire is owner's expire. A fault ends the owner, and the others go on. The
// shard's lock is held.
func (s *shard) expire(owner expirer) (then func()) {
	defer func() {
		if r := recover(); r != nil {
			then = s.abort("a timer", owner, r)
		}
	}()
	return owner.expire(s)
}

// abort ends what a panic has left in a state that should not be possible. The
// shard's lock is held. What it returns is to be done after it.
func (s *shard) abort(doing string, owner expirer, panicked any) (then func()) {
	s.faults.Note(doing, panicked)
	s.faults.Try(doing, func() { then = owner.abort(s) })
	return then
}

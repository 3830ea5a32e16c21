package siptest

import (
	"container/heap"
	"sync"
	"time"
)

// timers runs functions at their time, one at a time and in a fixed order: by
// time, then by key, then in the order in which they were added. A
// time.AfterFunc each would run those of one instant in any order, and no
// ladder would be the same twice.
type timers struct {
	gap time.Duration // between two functions; lets a bubble come to rest

	mu     sync.Mutex
	heap   eventHeap
	seq    uint64
	next   time.Time // not before this, for gap
	timer  *time.Timer
	closed bool

	running sync.Mutex // held while a function runs
}

// event is one function to run. It is owned by its timers.
type event struct {
	when  time.Time
	key   string
	seq   uint64
	run   func()
	index int // in the heap, -1 when it is no longer there
}

// after arranges for run to be called in d.
func (q *timers) after(d time.Duration, key string, run func()) *event {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seq++
	e := &event{when: time.Now().Add(d), key: key, seq: q.seq, run: run, index: -1}
	if !q.closed {
		heap.Push(&q.heap, e)
		q.arm()
	}
	return e
}

// stop takes e back; nil is allowed. The function may be about to run already.
func (q *timers) stop(e *event) {
	if e == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.index >= 0 {
		heap.Remove(&q.heap, e.index)
	}
}

// close drops everything that has not run and returns when nothing runs.
func (q *timers) close() {
	q.mu.Lock()
	q.closed = true
	q.heap = nil
	if q.timer != nil {
		q.timer.Stop()
	}
	q.mu.Unlock()
	q.running.Lock()
	defer q.running.Unlock()
}

// arm sets the timer to the first event. The caller holds mu.
func (q *timers) arm() {
	if len(q.heap) == 0 {
		return
	}
	at := q.heap[0].when
	if at.Before(q.next) {
		at = q.next
	}
	if d := time.Until(at); q.timer == nil {
		q.timer = time.AfterFunc(d, q.fire)
	} else {
		q.timer.Reset(d)
	}
}

func (q *timers) fire() {
	q.running.Lock()
	defer q.running.Unlock()
	for {
		q.mu.Lock()
		now := time.Now()
		if q.closed || len(q.heap) == 0 || q.heap[0].when.After(now) || q.next.After(now) {
			if !q.closed {
				q.arm()
			}
			q.mu.Unlock()
			return
		}
		e := heap.Pop(&q.heap).(*event)
		if q.gap > 0 {
			q.next = now.Add(q.gap)
		}
		q.mu.Unlock()
		e.run()
	}
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if !a.when.Equal(b.when) {
		return a.when.Before(b.when)
	}
	if a.key != b.key {
		return a.key < b.key
	}
	return a.seq < b.seq
}

func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

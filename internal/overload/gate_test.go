package overload

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	target   = 10 * time.Millisecond
	callCost = time.Millisecond // of the processor, for each call
	// What a call's parts cost: a request for it, that it begins, and that it ends.
	asked, begun, ended = callCost * 3 / 10, callCost * 3 / 10, callCost * 4 / 10
	refusal             = callCost * 8 / 100
)

// A machine has one processor, which does one thing after the other.
type machine struct {
	gate    *Gate
	dice    *rand.Rand
	load    float64       // calls that are asked for, in those that it can do
	between time.Duration // the beginning of a call and its end
	now     time.Duration
	queue   work

	// every so often the machine pauses, as for a garbage collection; 0: never
	every, pause time.Duration
	next         time.Duration

	completed int
	refusals  []time.Duration // how long the refused have waited
	admitted  []time.Duration // how long the admitted have
}

// A piece of work waits for the processor from at on.
type piece struct {
	at   time.Duration
	kind int // 0: asked, 1: begun, 2: ended
}

type work []piece

func (w work) Len() int           { return len(w) }
func (w work) Less(a, b int) bool { return w[a].at < w[b].at }
func (w work) Swap(a, b int)      { w[a], w[b] = w[b], w[a] }
func (w *work) Push(x any)        { *w = append(*w, x.(piece)) }
func (w *work) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}

// newMachine is asked for calls at random moments.
func newMachine(between time.Duration) *machine {
	m := &machine{gate: New(target, nil), dice: rand.New(rand.NewPCG(1, 2)), between: between}
	heap.Push(&m.queue, piece{})
	return m
}

// run works until a time, at a load.
func (m *machine) run(load float64, until time.Duration) {
	m.load, m.completed, m.refusals, m.admitted = load, 0, nil, nil
	for m.now < until {
		p := heap.Pop(&m.queue).(piece)
		m.now = max(m.now, p.at)
		if m.every > 0 && m.now >= m.next {
			m.now += m.pause
			m.next = m.now + m.every
		}
		waited := m.now - p.at
		switch p.kind {
		case 0:
			gap := -math.Log(1-m.dice.Float64()) / m.load * float64(callCost)
			heap.Push(&m.queue, piece{at: p.at + time.Duration(gap)})
			if !m.gate.admit(m.now+1, m.dice.Uint32()) {
				m.refusals = append(m.refusals, waited)
				m.now += refusal
				continue
			}
			m.admitted = append(m.admitted, waited)
			m.now += asked
			heap.Push(&m.queue, piece{m.now, 1})
		case 1:
			m.gate.waited(waited, m.now+1)
			m.now += begun
			heap.Push(&m.queue, piece{m.now + m.between, 2})
		case 2:
			m.gate.waited(waited, m.now+1)
			m.now += ended
			m.completed++
		}
	}
}

// percentile sorts.
func percentile(of []time.Duration, p int) time.Duration {
	slices.Sort(of)
	if len(of) == 0 {
		return 0
	}
	return of[len(of)*p/100]
}

// TestOverloadIsRefusedAndTheRestIsDoneInTime: whatever is asked for, the machine
// does what it can besides refusing, what it has admitted waits for no more than a few
// targets, and a load that fits is let in again within two seconds.
func TestOverloadIsRefusedAndTheRestIsDoneInTime(t *testing.T) {
	for _, between := range []time.Duration{0, 100 * time.Millisecond, time.Second, 5 * time.Second} {
		for _, load := range []float64{1.1, 1.3, 2, 4} {
			m := newMachine(between)
			m.run(load, 2*between+5*time.Second)
			begin := m.now
			m.run(load, begin+20*time.Second)
			// With a share x refused: load·((1-x)·1 + x·refusal) = 1.
			cost := float64(refusal) / float64(callCost)
			possible := (1 - load*cost) / (1 - cost)
			if done := float64(m.completed) / 20 * callCost.Seconds(); done < 0.9*possible {
				t.Errorf("%v between, load %v: %.2f of the capacity is used, %.2f could be", between, load, done, possible)
			}
			if p99 := percentile(m.admitted, 99); p99 > 5*target {
				t.Errorf("%v between, load %v: what was admitted has waited for %v", between, load, p99)
			}
			m.run(0.5, m.now+2*time.Second)
			refused := m.gate.State().Refused
			m.run(0.5, m.now+10*time.Second)
			if more := m.gate.refused.Load() - refused; more > 0 {
				t.Errorf("%v between, load %v: %d were refused two seconds after", between, load, more)
			}
		}
	}
}

// TestWhatFitsIsNeverRefused: nothing is refused at eight tenths of what can be done.
func TestWhatFitsIsNeverRefused(t *testing.T) {
	m := newMachine(100 * time.Millisecond)
	m.run(0.8, time.Minute)
	if n := len(m.refusals); n > 0 {
		t.Errorf("%d of %d were refused", n, n+len(m.admitted))
	}
}

// TestOnePauseIsNoOverload: nothing is refused for a moment in which nobody works.
func TestOnePauseIsNoOverload(t *testing.T) {
	g := New(target, nil)
	now := time.Second
	for range 200 {
		now += time.Millisecond
		g.waited(time.Millisecond, now)
	}
	now += 40 * time.Millisecond
	for late := 40 * time.Millisecond; late > 0; late -= time.Millisecond { // what has come meanwhile
		now += 100 * time.Microsecond
		g.waited(late, now)
	}
	for range 1000 {
		now += time.Millisecond
		g.waited(0, now)
		if g.p != 0 {
			t.Fatalf("a share of %v is refused after a pause", g.p)
		}
	}
}

// TestWhatNobodyTellsOfCountsToo: there are no datagrams at all.
func TestWhatNobodyTellsOfCountsToo(t *testing.T) {
	g := New(target, nil)
	late := 50 * time.Millisecond
	g.others = func() time.Duration { return late }
	now := time.Second
	for range 200 {
		now += window
		g.admit(now, math.MaxUint32)
	}
	if s := g.p; s != most {
		t.Errorf("share %v, want %v", s, most)
	}
	late = 0
	for range 200 {
		now += window
		g.admit(now, math.MaxUint32)
	}
	if g.p != 0 || g.delay != 0 {
		t.Errorf("share %v, delay %v once nothing is late", g.p, g.delay)
	}
}

// TestGoroutinesThatWaitForAProcessor are late by about as long as they wait.
func TestGoroutinesThatWaitForAProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	delay := Goroutines()
	var all sync.WaitGroup
	for range 200 { // each is in the others' way
		all.Go(func() {
			for range 3 {
				for began := time.Now(); time.Since(began) < 100*time.Microsecond; {
				}
				runtime.Gosched()
			}
		})
	}
	all.Wait()
	if d := delay(); d < time.Millisecond || d > time.Minute {
		t.Errorf("200 goroutines of 100 µs have waited for %v", d)
	}
}

// TestNobodyReadsMessages: no news is no good news while there has been late news.
func TestNobodyReadsMessages(t *testing.T) {
	g := New(target, nil)
	now := time.Second
	for range 100 {
		now += time.Millisecond
		g.waited(40*time.Millisecond, now)
	}
	for range fewAtOnce {
		g.admit(now, 0)
	}
	if g.admit(now, 0) {
		t.Fatal("admitted though messages are late")
	}
	for range 40 {
		now += window
		g.admit(now, 0) // one of a few
		if g.admit(now, 0) {
			t.Fatal("admitted though nobody has read a message since")
		}
	}
	now += silence + time.Second
	g.admit(now, 0)
	now += time.Second
	for range 2 * fewAtOnce {
		if !g.admit(now, 0) {
			t.Fatal("refused though there was no message for seconds")
		}
	}
}

// TestFewAreNeverRefused, however late messages are.
func TestFewAreNeverRefused(t *testing.T) {
	g := New(target, nil)
	now := time.Second
	for range 500 {
		now += time.Second / few
		g.waited(time.Second, now)
		if !g.admit(now, 0) {
			t.Fatal("refused one of a few")
		}
	}
}

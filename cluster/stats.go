package cluster

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats is what metrics show. Counts begin with the process.
type Stats struct {
	Holds   bool
	Lease   time.Duration  // what is left of it
	Nodes   map[string]int // by state: live, draining, silent, fenced
	Calls   int            // of this node
	Dirty   int            // calls whose newest state is not committed
	Differs int            // live nodes whose files have differed from ours for more than a minute

	Ticks        Histogram         // seconds from the first write of a tick to its answer
	Writes       uint64            // states, emptied ones too
	WriteBytes   uint64            // of those
	TickFailures map[string]uint64 // by why: gap, error, fence, lost
	TooLarge     uint64            // states that were not kept, for they are larger than MaxState
	Claims       map[string]uint64 // by result: ok, held, refused, error
	Fences       map[string]uint64 // by whom this node has seen fenced: watcher, start, operator, other
	Forgotten    uint64            // how often this node has found itself fenced
	Takeovers    map[TakeoverKey]uint64
	Takeover     Histogram         // seconds from a fence until nothing is left of the fenced incarnation
	Handovers    map[string]uint64 // of this node's calls, by result: moved, refused, unsure; and taken
	Asks         map[AskKey]uint64 // questions of this node
	AskTime      Histogram         // seconds
	Again        uint64            // how often all calls were put again, for the store had lost data
}

// AskKey is what questions are counted by.
type AskKey struct {
	Op     string
	Result string // ok, nobody, busy, error
}

// TakeoverKey is what calls of other nodes are counted by that this one has taken over.
type TakeoverKey struct {
	Flow, State string // as Config.Kind says
	Result      string // kept, hung_up, lost
}

// A Histogram has counts by upper bound in seconds, each with those of lower ones.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

var bounds = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}

// A histogram is counted by several goroutines.
type histogram struct {
	count atomic.Uint64
	sum   atomic.Int64 // ns
	in    [len(bounds)]atomic.Uint64
}

func (h *histogram) add(d time.Duration) {
	h.count.Add(1)
	h.sum.Add(int64(d))
	for i, b := range bounds {
		if d.Seconds() <= b {
			h.in[i].Add(1)
			return
		}
	}
}

func (h *histogram) show() Histogram {
	out := Histogram{Sum: time.Duration(h.sum.Load()).Seconds(), Buckets: make(map[float64]uint64, len(bounds))}
	sum := uint64(0)
	for i, b := range bounds {
		sum += h.in[i].Load()
		out.Buckets[b] = sum
	}
	out.Count = max(h.count.Load(), sum)
	return out
}

// A tally counts by what happened.
type tally[K comparable] struct {
	mu sync.Mutex
	by map[K]uint64
}

func (t *tally[K]) add(k K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[K]uint64{}
	}
	t.by[k]++
}

func (t *tally[K]) show() map[K]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[K]uint64, len(t.by))
	for k, v := range t.by {
		out[k] = v
	}
	return out
}

// counters are what Stats is made of, but for what others count already.
type counters struct {
	ticks, takeover, ask histogram
	writes, writeBytes   atomic.Uint64
	tooLarge, forgotten  atomic.Uint64
	early                atomic.Uint64 // results that are kept for a minute only
	again                atomic.Uint64
	tickFailures         tally[string]
	claims               tally[string]
	fences               tally[string]
	takeovers            tally[TakeoverKey]
	handovers            tally[string]
	asks                 tally[AskKey]
}

// Stats returns what metrics show.
func (n *Node) Stats() Stats {
	c := &n.count
	s := Stats{Holds: n.lease.holds(), Lease: n.lease.left(), Nodes: map[string]int{"live": 0, "draining": 0, "silent": 0, "fenced": 0},
		Ticks: c.ticks.show(), Writes: c.writes.Load(), WriteBytes: c.writeBytes.Load(), TickFailures: c.tickFailures.show(),
		TooLarge: c.tooLarge.Load(), Claims: c.claims.show(), Fences: c.fences.show(), Forgotten: c.forgotten.Load(),
		Takeovers: c.takeovers.show(), Takeover: c.takeover.show(), Handovers: c.handovers.show(), Asks: c.asks.show(), AskTime: c.ask.show(),
		Again: c.again.Load()}
	s.Calls, s.Dirty = n.calls.counts()
	for _, m := range n.Members() {
		s.Nodes[m.State]++
	}
	for _, m := range n.members.all() {
		if !m.differs.IsZero() && time.Since(m.differs) > time.Minute {
			s.Differs++
		}
	}
	return s
}

package talkroom

import (
	"sync/atomic"
	"time"
)

// Bounds of the histograms.
var (
	connectBounds = [...]time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
		2 * time.Second, 5 * time.Second, 10 * time.Second}
	lateBounds = [...]time.Duration{time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, time.Second}
)

// histogram counts times, by connectBounds or lateBounds. The last bucket is for
// those beyond all.
type histogram struct {
	buckets [len(connectBounds) + 1]atomic.Uint64
	sum     atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) { h.put(lateBounds[:], d) }

func (h *histogram) put(bounds []time.Duration, d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Histogram is how long something took: how many times were not beyond each bound,
// but beyond the one before; the last number is of those beyond all.
type Histogram struct {
	Bounds  []time.Duration // not to be changed
	Buckets []uint64
	Sum     time.Duration
}

func (h *histogram) read(bounds []time.Duration) Histogram {
	r := Histogram{Bounds: bounds, Buckets: make([]uint64, len(h.buckets)), Sum: time.Duration(h.sum.Load())}
	for i := range h.buckets {
		r.Buckets[i] = h.buckets[i].Load()
	}
	return r
}

// counters are what has happened since the start.
type counters struct {
	connected  atomic.Uint64 // publications
	failed     atomic.Uint64 // given up after failTime
	reconnects atomic.Uint64
	attempts   atomic.Uint64 // that came to nothing
	publish    histogram
	subscribe  histogram
	lost       atomic.Uint64 // packets, both ways
	faults     atomic.Uint64 // packets that could not be decoded
}

func (c *counters) published(took time.Duration) {
	c.connected.Add(1)
	c.publish.put(connectBounds[:], took)
}

func (c *counters) subscribed(took time.Duration) { c.subscribe.put(connectBounds[:], took) }

// Stats is what the Rooms have done since they were made, and do now.
type Stats struct {
	Rooms, Phones int
	Speakers      int            // that are decoded at most, of each conversation
	Sources       map[string]int // participants, by how far their audio is: asked, connecting, heard, waiting
	Connected     uint64         // connections in which phones are heard that were made
	Failed        uint64         // times that phones could not be heard for a minute
	Attempts      uint64         // attempts at a connection that came to nothing
	Reconnects    uint64         // connections that were lost
	Publish       Histogram      // from the offer until phones are heard
	Subscribe     Histogram      // from a participant's offer until he is heard
	Late          Histogram      // of each tick of a mixer's clock
	Lost          uint64         // RTP packets between here and media servers
	Faults        uint64         // of those that came, not to be decoded
}

// Stats reads the counters.
func (rs *Rooms) Stats() Stats {
	n := &rs.count
	st := Stats{Speakers: rs.load.speakers(), Sources: map[string]int{}, Connected: n.connected.Load(), Failed: n.failed.Load(), Attempts: n.attempts.Load(),
		Reconnects: n.reconnects.Load(), Publish: n.publish.read(connectBounds[:]), Subscribe: n.subscribe.read(connectBounds[:]),
		Late: rs.load.times.read(lateBounds[:]), Lost: n.lost.Load(), Faults: n.faults.Load()}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for s := sourceNone + 1; int(s) < numStates; s++ {
		st.Sources[s.String()] = 0
	}
	for c := range rs.live {
		if phones := c.phones(); phones > 0 {
			st.Rooms++
			st.Phones += phones
		}
		for s := sourceNone + 1; int(s) < numStates; s++ {
			st.Sources[s.String()] += int(c.states[s].Load())
		}
	}
	return st
}

// measure adds to the counters what connections have counted since.
func (c *conversation) measure() {
	c.measurePublisher()
	for _, h := range c.hearings {
		c.measureSource(h)
	}
}

func (c *conversation) measurePublisher() {
	p := &c.pub
	if p.conn == nil {
		return
	}
	now := p.conn.Stats()
	c.rooms.count.lost.Add(more(now.Lost, p.stats.Lost))
	p.stats = now
}

func (c *conversation) measureSource(h *hearing) {
	if h.conn == nil {
		return
	}
	now := h.conn.Stats()
	c.rooms.count.lost.Add(more(now.Lost, h.stats.Lost))
	c.rooms.count.faults.Add(more(now.Faults, h.stats.Faults))
	h.stats = now
}

// more is how much a counter has grown; a peer's may go back.
func more(now, before uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}

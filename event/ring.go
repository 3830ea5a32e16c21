package event

import (
	"sort"
	"time"
)

// ring has the latest events, whose numbers have no gaps.
type ring struct {
	events []*Event // those before head are gone
	head   int
	bytes  int64
}

// first is the number of its oldest event, 0 for none.
func (r *ring) first() int64 {
	if r.head == len(r.events) {
		return 0
	}
	return r.events[r.head].Seq
}

// push adds an event.
func (r *ring) push(e *Event) {
	r.events = append(r.events, e)
	r.bytes += int64(e.size)
}

// trim lets go of events that are older than a time or beyond a number of bytes, but
// not of those after a number: they are not kept elsewhere yet.
func (r *ring) trim(before time.Time, bytes, keep int64) {
	for r.head < len(r.events) {
		e := r.events[r.head]
		if e.Seq > keep || r.bytes <= bytes && !e.Timestamp.Before(before) {
			break
		}
		r.bytes -= int64(e.size)
		r.events[r.head] = nil
		r.head++
	}
	if r.head > 1024 && r.head > len(r.events)/2 {
		n := copy(r.events, r.events[r.head:])
		clear(r.events[n:])
		r.events, r.head = r.events[:n], 0
	}
}

// between returns the events after one number, up to another.
func (r *ring) between(from, to int64) []*Event {
	first := r.first()
	if first == 0 || to < first || to <= from {
		return nil
	}
	all := r.events[r.head:]
	if all[len(all)-1].Seq-first != int64(len(all)-1) { // a stream that was made anew leaves numbers out
		all = after(all, from)
		return all[:sort.Search(len(all), func(i int) bool { return all[i].Seq > to })]
	}
	return all[min(max(from+1-first, 0), int64(len(all))):min(to+1-first, int64(len(all)))]
}

// after returns those of a list that come after a number.
func after(list []*Event, seq int64) []*Event {
	return list[sort.Search(len(list), func(i int) bool { return list[i].Seq > seq }):]
}

// pending is what waits for the log.
type pending struct {
	chunks []chunk
	keys   []*KeyUse
	forget []forgotten
	run    *Run // of a cluster's stream, that has begun
}

// chunk is what got its numbers at one time.
type chunk struct {
	events []*Event
	at     time.Time
	ahead  bool // readers have it
}

// push adds events that have just got their numbers, and returns what they take.
func (p *pending) push(events []*Event, at time.Time) (bytes int64) {
	p.chunks = append(p.chunks, chunk{events: events, at: at})
	return sizeOfAll(events)
}

func sizeOfAll(events []*Event) (bytes int64) {
	for _, e := range events {
		bytes += int64(e.size)
	}
	return bytes
}

// age is how long the oldest one has waited.
func (p *pending) age(now time.Time) time.Duration {
	if len(p.chunks) == 0 {
		return 0
	}
	return now.Sub(p.chunks[0].at)
}

// batch is what comes next, about most events. It stays until drop.
func (p *pending) batch(most int) (b Batch, chunks int) {
	for _, c := range p.chunks {
		if len(b.Events) > 0 && len(b.Events)+len(c.events) > most {
			break
		}
		b.Events = append(b.Events, c.events...)
		chunks++
	}
	b.Keys, b.Run = p.keys, p.run
	for _, f := range p.forget {
		b.Forget = append(b.Forget, f.call)
	}
	return b, chunks
}

// drop removes a batch that is kept, and returns which keys are free now.
func (p *pending) drop(b *Batch, chunks int) []forgotten {
	clear(p.chunks[:chunks])
	p.chunks = p.chunks[chunks:]
	if len(p.chunks) == 0 {
		p.chunks = nil
	}
	gone := p.forget[:len(b.Forget):len(b.Forget)]
	p.forget, p.keys = p.forget[len(b.Forget):], p.keys[len(b.Keys):]
	if p.run == b.Run {
		p.run = nil
	}
	return gone
}

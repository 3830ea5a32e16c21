package event

import (
	"context"
	"strconv"
	"time"
)

const (
	// Where more than gatherFrom events were told in gatherSpan, the sequencer lets events
	// gather for gatherTime: to be woken for each costs more than the event itself.
	gatherFrom = 64
	gatherSpan = 100 * time.Millisecond
	gatherTime = 5 * time.Millisecond
)

// aheadAfter is how long readers wait for the log. Then they go on without it.
const aheadAfter = 250 * time.Millisecond

// sequencer is what gives events their order: all of it belongs to its goroutine.
type sequencer struct {
	prefix []byte   // of ids in this run
	out    []*Event // that have got their numbers in this round
	last   int64
	pace   pace
	gap    struct {
		from  int64 // number of the last event before the first one that was lost
		count int64
	}
}

// pace is how fast events are told.
type pace struct {
	since time.Time // when the present span began
	taken int       // what was told in it
	busy  bool      // more than gatherFrom in the one before
}

// took counts what was told, and reports whether the next are to gather.
func (p *pace) took(n int, now time.Time) bool {
	if p.taken += n; now.Sub(p.since) >= gatherSpan {
		p.busy = p.taken > gatherFrom && now.Sub(p.since) < 2*gatherSpan
		p.since, p.taken = now, 0
	}
	return p.busy
}

// sequence takes what the shards have been told until ctx ends.
func (b *Bus) sequence(ctx context.Context) {
	timer, gather := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer timer.Stop()
	defer gather.Stop()
	for {
		select {
		case <-b.wake:
			if b.seq.pace.took(b.drain(), time.Now()) {
				gather.Reset(gatherTime)
				select {
				case <-gather.C:
				case <-ctx.Done():
				}
			}
		case <-timer.C:
		case <-ctx.Done():
			b.drain()
			b.endGap(true)
			b.publish()
			return
		}
		timer.Reset(b.goAhead())
	}
}

// drain takes the shards' queues, and returns how much was in them.
func (b *Bus) drain() (taken int) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		queue := s.queue
		s.queue, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		for j := range queue {
			b.one(&queue[j])
			if len(b.seq.out) >= maxBatch {
				b.publish()
			}
		}
		taken += len(queue)
		clear(queue)
		if cap(queue) > 1<<14 {
			queue = nil // of a burst
		}
		s.mu.Lock()
		s.spare = queue
		s.mu.Unlock()
	}
	b.endGap(false)
	b.publish()
	b.queued.Add(-toldSize * int64(taken)) // not before: whoever sees none has all in order
	return taken
}

// one makes events of one thing that was told.
func (b *Bus) one(t *told) {
	switch l := t.l; {
	case t.what == toldSystem:
		b.number(&Event{Type: t.typ, Timestamp: At(t.at), Data: Data{Change: t.change}})
	case t.what >= toldResumed:
		b.ofShared(l, t)
	case l.cur != nil && l.cur.State == Ended:
		if t.what == toldChange {
			b.stats.late.Add(1)
		}
	case t.what == toldBegin:
		b.create(l, t.at, nil)
	case t.what == toldSIP:
		b.fromSIP(l, t)
	case t.typ == CallEnded:
		b.finish(l, t.at, *t.change)
	default:
		b.fromDoor(l, t)
	}
}

// emit makes an event of a call: the call is changed, and the event gets its number
// unless the log is too far behind to keep it.
func (b *Bus) emit(l *live, at time.Time, typ Type, leg string, ch *Change) bool {
	e := &Event{Type: typ, Timestamp: At(at), CallSeq: 1, Final: typ == CallEnded, Data: Data{CallID: &l.id, Leg: leg, Change: ch}, live: l}
	if l.cur != nil {
		e.CallSeq = l.cur.Version + 1
	}
	if e.Timestamp.Before(l.at.Time) {
		e.Timestamp = l.at // of another goroutine, a moment before
	}
	next, err := Apply(l.cur, e)
	if err != nil {
		b.stats.refused.Add(1)
		if b.cfg.Strict {
			panic(err)
		}
		b.log.Error("an event does not fit its call and is dropped", "error", err)
		return false
	}
	l.cur, l.at, e.Data.Call = next, e.Timestamp, next
	if typ == CallCreated && l.req != nil {
		e.key = l.req.Key
	}
	e.size = sizeOf(e)
	if !b.keeps(l, e) {
		b.lose(l, e)
		return true
	}
	e.base = l.hole
	l.hole, l.inLog = false, true
	b.number(e)
	return true
}

// sizeOf is what an event takes in memory, about.
func sizeOf(e *Event) int {
	n := 600
	if c := e.Data.Call; c != nil {
		n += 350*len(c.Legs) + 200*len(c.Transfers) + len(c.Metadata) + 40*len(c.Tags)
	}
	return n
}

// number gives an event its place in the stream.
func (b *Bus) number(e *Event) {
	q := &b.seq
	if b.shared == nil { // else the stream numbers it
		q.last++
		e.Seq = q.last
		e.ID = string(strconv.AppendInt(q.prefix[:len(q.prefix):len(q.prefix)], e.Seq, 10))
	}
	if e.size == 0 {
		e.size = sizeOf(e)
	}
	q.out = append(q.out, e)
}

// publish gives what has got its numbers to the committer, or, where nothing is kept,
// to the readers.
func (b *Bus) publish() {
	events := b.seq.out
	if len(events) == 0 {
		return
	}
	b.seq.out = nil
	if b.shared != nil {
		b.shared.push(b, events)
		return
	}
	b.stats.told(events)
	if b.memory {
		b.commitMemory(events)
		return
	}
	now := time.Now()
	b.mu.Lock()
	b.fill(events)
	b.backlog.Add(b.pending.push(events, now))
	b.mu.Unlock()
	poke(b.work)
}

// fill puts events into the ring. Bus.mu is held.
func (b *Bus) fill(events []*Event) {
	for _, e := range events {
		b.ring.push(e)
	}
	b.sequenced.Store(events[len(events)-1].Seq)
	b.ring.trim(b.cfg.Now().Add(-b.cfg.Recent), b.cfg.RecentBytes, min(b.stored.Load(), b.visible.Load()))
}

// show lets readers see all up to a number. Bus.mu is held.
func (b *Bus) show(to int64) {
	list := b.ring.between(b.visible.Load(), to)
	for _, e := range list { // first: who is woken looks at the call at once
		if l := e.live; l != nil {
			l.show(e.Data.Call)
		}
	}
	for _, e := range list {
		b.topics.note(e, b.ring.first())
	}
	if to > b.visible.Load() {
		b.visible.Store(to)
	}
}

// show gives readers a later version of the call.
func (l *live) show(c *Call) {
	for {
		old := l.pub.Load()
		if old != nil && old.Version >= c.Version || l.pub.CompareAndSwap(old, c) {
			return
		}
	}
}

// goAhead shows what has waited too long for the log, and returns when to look again.
func (b *Bus) goAhead() time.Duration {
	if b.shared != nil {
		return time.Hour // what is in the stream is shown at once, and nothing before
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for i := range b.pending.chunks {
		c := &b.pending.chunks[i]
		if wait := aheadAfter - now.Sub(c.at); wait > 0 {
			return wait
		}
		if !c.ahead {
			c.ahead = true
			b.stats.ahead.Add(int64(len(c.events)))
			b.show(c.events[len(c.events)-1].Seq)
		}
	}
	return time.Hour
}

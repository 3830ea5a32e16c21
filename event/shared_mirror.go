package event

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/boundary"
)

const (
	mirrorLook  = 2 * time.Second // how often is looked whether anything is missing
	mirrorPause = 200 * time.Millisecond
	mirrorMost  = 2 * time.Second // from one attempt to the next
)

// mirror reads the stream until ctx ends.
func (b *Bus) mirror(ctx context.Context) {
	pause := mirrorPause
	for ctx.Err() == nil {
		before := b.sequenced.Load()
		err := b.follow(ctx)
		if b.sequenced.Load() != before {
			pause = mirrorPause
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			b.streamFailed(&b.shared.unread, err)
		}
		t := time.NewTimer(pause)
		pause = min(2*pause, mirrorMost)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// follow reads the stream until it fails, or is another one.
func (b *Bus) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	state, err := b.attach(ctx)
	if err != nil {
		return err
	}
	if err := b.attached(state); err != nil {
		return err
	}
	b.streamWorks(&b.shared.unread)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() { b.watchStream(ctx, cancel, state.Run.N) })
	err = b.shared.stream.Follow(ctx, b.sequenced.Load(), func(seq int64, r StreamRecord) {
		b.takeIn(seq, r)
		b.waitForRoom(ctx)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (b *Bus) attach(ctx context.Context) (StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	return b.shared.stream.Attach(ctx, b.sequenced.Load())
}

// watchStream ends following where the stream has more and nothing comes, as it may be
// after an election, or where the stream was made anew.
func (b *Bus) watchStream(ctx context.Context, cancel context.CancelCauseFunc, run int64) {
	tick := time.NewTicker(mirrorLook)
	defer tick.Stop()
	for {
		had := b.sequenced.Load()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		state, err := b.attach(ctx)
		switch now := b.sequenced.Load(); {
		case ctx.Err() != nil:
			return
		case err != nil:
			b.streamFailed(&b.shared.unread, err)
		case state.Run.N != run:
			cancel(ErrNoStream)
		case state.Last > now && now == had && b.shared.index.Load() <= b.cfg.QueueBytes/2:
			cancel(fmt.Errorf("%d events of the stream do not come", state.Last-now))
		default:
			b.streamWorks(&b.shared.unread)
		}
	}
}

// attached takes up a stream as it is.
func (b *Bus) attached(state StreamState) error {
	s := b.shared
	runs := *b.runs.Load()
	last := b.sequenced.Load()
	known := slices.ContainsFunc(runs, func(r Run) bool { return r.N == state.Run.N })
	switch newest := runs[len(runs)-1]; {
	case known && newest.N != state.Run.N, !known && (state.Run.N < newest.N || state.Run.First <= last):
		return fmt.Errorf("the stream of events is of run %d and begins with %d, but this node has run %d up to %d", state.Run.N, state.Run.First, newest.N, last)
	case known && state.Last >= state.First && state.Last < last:
		return fmt.Errorf("the stream of events ends with %d, but this node has events up to %d: some were lost", state.Last, last)
	case !known:
		b.newRun(state.Run)
	}
	if next := b.sequenced.Load() + 1; state.First > next {
		// They were kept for as long as they are kept, and this node was away.
		b.log.Warn("events were gone before this node got them", "from", b.cursor(next).String(), "to", b.cursor(state.First-1).String())
		s.floor.Store(state.First)
		b.skipTo(state.First - 1)
	}
	return nil
}

// newRun notes that the stream was made anew. What had come into the one before and not
// back is sent again.
func (b *Bus) newRun(run Run) {
	s := b.shared
	runs := *b.runs.Load()
	s.mu.Lock()
	s.ends[runs[len(runs)-1].N] = b.sequenced.Load()
	for _, o := range s.out[s.head:] {
		if o != nil {
			o.acked, o.hold = false, time.Time{}
		}
	}
	s.mu.Unlock()
	next := append(slices.Clone(runs), run)
	b.runs.Store(&next)
	b.skipTo(run.First - 1)
	b.mu.Lock()
	b.pending.run = &run
	b.mu.Unlock()
	poke(b.work)
	poke(s.work)
}

// skipTo has readers be behind a number, up to which there is nothing more.
func (b *Bus) skipTo(seq int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sequenced.Store(seq)
	b.visible.Store(seq)
	if len(b.pending.chunks) == 0 {
		b.stored.Store(seq)
	}
}

// takeIn takes one event of the stream: it is committed, so readers may see it.
func (b *Bus) takeIn(seq int64, r StreamRecord) {
	if seq <= b.sequenced.Load() {
		return // it came twice
	}
	e, own := b.shared.landed(b, r)
	if !own {
		// All nodes read what is in the stream, again after each start: none dies of it.
		boundary.Try(b.log, "an event of another node", func() { e = b.fromAfar(r) })
		if e == nil {
			b.skipTo(seq)
			return
		}
	}
	e.Seq = seq
	e.ID = b.cursor(seq).String()
	if own {
		b.stats.told([]*Event{e})
		if e.live != nil {
			b.ownLanded(e)
		}
	}
	if b.memory {
		b.commitMemory([]*Event{e})
		return
	}
	b.mu.Lock()
	b.fill([]*Event{e})
	b.shared.index.Add(b.pending.push([]*Event{e}, time.Now()))
	b.show(seq)
	b.mu.Unlock()
	poke(b.work)
}

// landed returns the event of ours that a record is, if it is one.
func (s *shared) landed(b *Bus, r StreamRecord) (*Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.names[r.Name]
	if o == nil || !bytes.Equal(o.data, r.Data) {
		return nil, false
	}
	s.finish(b, o)
	poke(s.came)
	return o.e, true
}

// ownLanded notes that an event of a call of ours is in the stream.
func (b *Bus) ownLanded(e *Event) {
	far := e.live.far
	far.seen = e.Data.Call
	far.writer.Store(&b.shared.writer)
	far.landed.Store(true)
	if e.Type == CallCreated {
		e.live.kept()
	}
}

// fromAfar makes an event of what another node has told, or this one in a former life.
// It is nil where nothing can be made of it.
func (b *Bus) fromAfar(r StreamRecord) *Event {
	m, e, err := decodeEvent(r.Data)
	if err != nil {
		b.stats.refused.Add(1)
		b.log.Error("an event of the cluster cannot be read", "name", r.Name, "error", err)
		return nil
	}
	if e.Data.CallID == nil {
		e.size = sizeOf(e)
		return e
	}
	s := b.shard(m.Call)
	s.mu.Lock()
	l := s.calls[m.Call]
	if l == nil {
		l = b.farLive(s, m.Call)
	}
	mine := l.far.mine && l.begun
	s.mu.Unlock()
	if !b.foldFar(l, e) {
		s.mu.Lock()
		if s.calls[m.Call] == l && l.far.seen == nil && !l.far.mine {
			delete(s.calls, m.Call)
		}
		s.mu.Unlock()
		return nil
	}
	e.live, e.size = l, sizeOf(e)
	l.far.writer.Store(&m.Writer)
	l.kept()
	for { // the highest one
		was := l.far.epoch.Load()
		if m.Epoch <= was || l.far.epoch.CompareAndSwap(was, m.Epoch) {
			break
		}
	}
	if mine {
		s.mu.Lock()
		l.far.news = append(l.far.news, foreign{e, m.Epoch})
		b.enqueue(s, told{l: l, what: toldForeign})
		s.mu.Unlock()
	}
	return e
}

// foldFar gives an event its call. It reports false for a call of which this node has
// not got the beginning.
func (b *Bus) foldFar(l *live, e *Event) bool {
	before := l.far.seen
	switch {
	case e.Data.Call != nil:
		e.base = e.Type != CallCreated && (before == nil || before.Version+1 != e.CallSeq)
	default:
		next, err := Apply(before, e)
		if err != nil {
			b.stats.refused.Add(1)
			if before == nil || e.CallSeq != before.Version+1 || before.State == Ended {
				b.log.Warn("an event of the cluster does not fit its call and is left out", "error", err)
				return false
			}
			// Of a node of another version: its number counts.
			c := *before
			c.Version, c.updated = e.CallSeq, e.Timestamp
			next, e.base = &c, true
		}
		e.Data.Call = next
	}
	l.far.seen = e.Data.Call
	return true
}

// waitForRoom waits while the log of this node has too much to do: the stream keeps what
// follows.
func (b *Bus) waitForRoom(ctx context.Context) {
	for b.shared.index.Load() > b.cfg.QueueBytes/2 {
		select {
		case <-b.shared.room:
		case <-ctx.Done():
			return
		}
	}
}

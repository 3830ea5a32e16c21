package event

import (
	"errors"
	"time"
)

const (
	maxBatch   = 1000                 // events of one transaction, about
	commitPace = 5 * time.Millisecond // from one transaction to the next
	maxRetry   = time.Second          // from one try to the next
	lastTry    = 5 * time.Second      // how long Run waits at the end for a log that fails
)

// commitAll brings what waits into the log, until stop is closed and all is there.
func (b *Bus) commitAll(stop <-chan struct{}) {
	var retry time.Duration
	var giveUp time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := time.Now()
		more, err := b.commit()
		wait := commitPace - time.Since(began)
		if more && b.backlog.Load() > maxBatch*sizeOfOne {
			wait = 0
		}
		if err != nil {
			retry = min(max(2*retry, 20*time.Millisecond), maxRetry)
			wait = retry
		} else {
			retry = 0
		}
		stopped := false
		timer.Reset(max(wait, 0))
		select {
		case <-timer.C:
		case <-stop:
			stopped = true
		}
		if stopped || isClosed(stop) {
			if giveUp.IsZero() {
				giveUp = time.Now().Add(lastTry)
			}
			if b.idle() || time.Now().After(giveUp) {
				return
			}
			if err != nil {
				timer.Reset(retry)
				<-timer.C
			}
			continue
		}
		if err != nil || more {
			continue
		}
		select {
		case <-b.work:
		case <-stop:
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// idle reports whether nothing waits for the log.
func (b *Bus) idle() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p := &b.pending
	return len(p.chunks)+len(p.keys)+len(p.forget) == 0 && p.run == nil
}

// sizeOfOne is what an event takes in memory, about.
const sizeOfOne = 1300

// commit brings one batch into the log, and reports whether more waits.
func (b *Bus) commit() (more bool, err error) {
	b.mu.Lock()
	batch, chunks := b.pending.batch(maxBatch)
	b.mu.Unlock()
	if len(batch.Events)+len(batch.Keys)+len(batch.Forget) == 0 && batch.Run == nil {
		return false, nil
	}
	batch.Node = b.cfg.Node
	if err := b.store.Append(&batch); err != nil {
		b.stats.failed.Add(1)
		if b.failing.Swap(&StoreError{Store: b.cfg.Store, Err: err}) == nil {
			b.log.Warn("events cannot be kept", "store", b.cfg.Store, "error", err)
		}
		return false, err
	}
	b.stats.commits.Add(1)
	if b.failing.Swap(nil) != nil {
		b.log.Info("events are kept again", "store", b.cfg.Store)
	}
	b.mu.Lock()
	gone := b.pending.drop(&batch, chunks)
	if b.shared != nil {
		b.shared.indexed(sizeOfAll(batch.Events))
	} else {
		b.backlog.Add(-sizeOfAll(batch.Events))
	}
	b.kept(batch.Events)
	more = len(b.pending.chunks) > 0
	b.mu.Unlock()
	b.settle(&batch, gone)
	return more, nil
}

// commitMemory is commit where nothing outlives the process. The sequencer calls it.
func (b *Bus) commitMemory(events []*Event) {
	b.mu.Lock()
	b.pending.push(events, time.Time{})
	batch, chunks := b.pending.batch(len(events))
	batch.Node = b.cfg.Node
	b.store.Append(&batch) //nolint:errcheck // memory does not fail
	gone := b.pending.drop(&batch, chunks)
	b.fill(events)
	b.kept(events)
	b.mu.Unlock()
	b.settle(&batch, gone)
}

// kept lets readers see events that are in the log. Bus.mu is held.
func (b *Bus) kept(events []*Event) {
	if len(events) == 0 {
		return
	}
	last := events[len(events)-1].Seq
	b.stored.Store(last)
	b.show(last)
	for s := range b.topics.stored {
		poke(s.wake)
	}
}

// settle tells those who wait for a batch, and lets go of calls that are over.
func (b *Bus) settle(batch *Batch, gone []forgotten) {
	uses := batch.Keys
	for _, e := range batch.Events {
		l := e.live
		if l == nil {
			continue
		}
		if e.key != nil {
			uses = append(uses, &KeyUse{IdempotencyKey: *e.key, CallID: l.id})
		}
		if e.Type == CallCreated {
			l.kept()
		}
		if e.Final {
			b.forgetLive(l)
		}
	}
	b.keptKeys(uses, gone)
}

// forgetLive lets go of a call that is over.
func (b *Bus) forgetLive(l *live) {
	l.shard.mu.Lock()
	defer l.shard.mu.Unlock()
	if l.shard.calls[l.id] == l {
		delete(l.shard.calls, l.id)
	}
}

// level says how much of what happens is kept: 0 all; 1 little but the beginnings, ends
// and transfers of calls that v1 did not place; 2 ends only; 3 those of calls that the
// log knows; 4 nothing.
func (b *Bus) level() int {
	if b.memory && b.shared == nil {
		return 0
	}
	switch used, all := b.backlog.Load(), b.cfg.QueueBytes; {
	case used < all/4:
		return 0
	case used < all/2:
		return 1
	case used < all/8*5:
		return 2
	case used < all:
		return 3
	}
	return 4
}

// keeps reports whether the log is to have an event.
func (b *Bus) keeps(l *live, e *Event) bool {
	switch b.level() {
	case 0:
		return true
	case 1:
		return e.Data.Call.Source == FromAPI || e.Type == CallCreated || e.Type == CallEnded || MatchType("transfer.*", e.Type)
	case 2:
		return e.Type == CallEnded
	case 3:
		return e.Type == CallEnded && l.inLog
	}
	return false
}

// errBehind says why nothing is kept.
var errBehind = errors.New("too many events wait to be written")

// lose notes an event that nobody will have. Its call goes on.
func (b *Bus) lose(l *live, e *Event) {
	b.stats.unstored.Add(1)
	if b.seq.gap.count == 0 {
		b.seq.gap.from = b.lastNumber()
	}
	b.seq.gap.count++
	l.hole = true
	l.show(e.Data.Call)
	if e.Type == CallCreated {
		l.err = &StoreError{Store: b.cfg.Store, Err: errBehind}
		l.kept()
	}
	if e.Final {
		b.forgetLive(l)
	}
}

// endGap tells of events that were lost, once no more are, or at the end.
func (b *Bus) endGap(force bool) {
	g := &b.seq.gap
	if g.count == 0 || !force && b.level() > 0 {
		return
	}
	b.number(&Event{Type: StreamGap, Timestamp: At(b.cfg.Now()), Data: Data{Change: &Change{
		From: b.cursor(g.from).String(), To: b.cursor(b.lastNumber()).String(), Count: g.count,
	}}})
	g.count = 0
}

// lastNumber is that of the last event that has one.
func (b *Bus) lastNumber() int64 {
	if b.shared != nil {
		return b.sequenced.Load()
	}
	return b.seq.last
}

// behind is why a call of the API may not begin: a *StoreError.
func (b *Bus) behind() error {
	if b.shared != nil {
		return b.sharedBehind()
	}
	if b.memory {
		return nil
	}
	if err := b.failing.Load(); err != nil {
		return err
	}
	b.mu.RLock()
	age := b.pending.age(time.Now())
	b.mu.RUnlock()
	if age > commitWait || b.level() > 0 {
		return &StoreError{Store: b.cfg.Store, Behind: age}
	}
	return nil
}

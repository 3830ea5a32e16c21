package event

import (
	"cmp"
	"time"
)

// runEpoch is where runs begin to count: a backup that comes back does not give a number
// again that the lost part of the log has had.
var runEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// begin begins a run: calls that the last one left open are ended in it.
func (b *Bus) begin() error {
	b.name = b.store.Name()
	last := b.store.Last()
	runs := b.store.Runs()
	if b.shared != nil {
		return b.beginShared(runs, last)
	}
	n := int64(1)
	if len(runs) > 0 {
		n = max(runs[len(runs)-1].N+1, int64(time.Since(runEpoch)/time.Minute))
	}
	run := Run{N: n, First: last + 1}
	runs = append(runs[:len(runs):len(runs)], run)
	b.runs.Store(&runs)
	b.seq.last = last
	b.seq.prefix = Cursor{Store: b.name, Run: n}.append(nil)
	b.seq.prefix = b.seq.prefix[:len(b.seq.prefix)-1]
	b.visible.Store(last)
	b.stored.Store(last)
	b.sequenced.Store(last)
	ended, err := b.endLeftOpen(&run)
	if err != nil {
		return err
	}
	b.number(&Event{Type: SystemStarted, Timestamp: At(b.cfg.Now()), Data: Data{Change: &Change{Run: n, Calls: &ended}}})
	return b.commitNow(&run)
}

// endLeftOpen ends the calls that a crash left open. Nobody knows what their phones do.
func (b *Bus) endLeftOpen(run *Run) (ended int64, err error) {
	open, err := b.store.Open()
	if err != nil {
		return 0, err
	}
	now := b.cfg.Now()
	for _, id := range open {
		c, err := b.fold(id, 1<<62)
		if err != nil {
			return ended, err
		}
		if c == nil || c.State == Ended {
			continue
		}
		c.updated.Time = cmp.Or(c.updated.Time, c.CreatedAt.Time)
		l := b.newLive(id, b.shard(id))
		l.cur, l.at, l.inLog = c, c.updated, true
		l.shard.calls[id] = l
		b.finish(l, now, Change{
			End:       &End{Reason: "service_restarted", Dialled: "unknown"},
			Knowledge: &Knowledge{Level: "lost", Until: c.updated, Text: "The service was restarted; what the phones did since is not known."},
		})
		ended++
		if len(b.seq.out) >= maxBatch {
			if err := b.commitNow(run); err != nil {
				return ended, err
			}
		}
	}
	return ended, nil
}

// commitNow keeps what has got its numbers, before there is a committer.
func (b *Bus) commitNow(run *Run) error {
	events := b.seq.out
	b.seq.out = nil
	batch := Batch{Events: events, Node: b.cfg.Node, Run: run}
	if err := b.store.Append(&batch); err != nil {
		return err
	}
	b.stats.told(events)
	b.mu.Lock()
	b.fill(events)
	b.kept(events)
	b.mu.Unlock()
	b.settle(&batch, nil)
	return nil
}

package event

import (
	"context"
	"errors"
	"time"
)

const (
	publishTime = 5 * time.Second        // bounds one attempt
	holdTime    = 100 * time.Millisecond // before a name that was taken is tried again
	limboLook   = 50 * time.Millisecond  // how often is looked whether the calls are ours again
	// maxStreamBytes bounds a batch, about: the store takes a message of 1 MiB, and not
	// much more of a batch at once.
	maxStreamBytes = 512 << 10
)

// sending is an event as it is sent.
type sending struct {
	o     *outgoing
	e     *Event
	epoch uint32
	base  bool
	name  string
}

// publishAll sends what is told until stop is closed and all of it is in the stream. One
// batch is under way at a time: so no event of a call is there without the one before.
func (b *Bus) publishAll(ctx context.Context, stop <-chan struct{}) {
	s := b.shared
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var retry time.Duration
	var giveUp time.Time
	for {
		list, held := s.take(time.Now())
		wait := time.Hour
		switch {
		case len(list) > 0 && b.cfg.Holds != nil && !b.cfg.Holds():
			// Another node may have the calls by now. What is told waits until that is known.
			wait = limboLook
		case len(list) > 0:
			if err := b.send(ctx, list); err != nil {
				b.streamFailed(&s.unsent, err)
				b.stats.failed.Add(1)
				retry = min(max(2*retry, 20*time.Millisecond), maxRetry)
				wait = retry
			} else {
				b.streamWorks(&s.unsent)
				b.stats.commits.Add(1)
				retry, wait = 0, 0
			}
		case held:
			retry, wait = 0, holdTime
		default:
			retry = 0
		}
		if isClosed(stop) {
			if giveUp.IsZero() {
				giveUp = time.Now().Add(lastTry)
			}
			if s.waiting() == 0 || time.Now().After(giveUp) {
				return
			}
			wait = min(wait, limboLook)
		}
		timer.Reset(wait)
		work, came := s.work, s.came
		ending := stop
		if !giveUp.IsZero() {
			ending = nil
		}
		if retry > 0 {
			work = nil // one more does not help a stream that fails
		}
		select {
		case <-timer.C:
		case <-work:
		case <-came:
		case <-ending:
		}
	}
}

// take returns what is to be sent next. held reports whether some wait for the mirror.
func (s *shared) take(now time.Time) (list []sending, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var waits map[*live]bool
	bytes := 0
	for _, o := range s.out[s.head:] {
		if o == nil || o.done || o.acked {
			continue
		}
		if now.Before(o.hold) || o.l != nil && waits[o.l] {
			held = true
			if o.l != nil {
				if waits == nil {
					waits = map[*live]bool{}
				}
				waits[o.l] = true // and what follows of its call
			}
			continue
		}
		if len(list) == maxStreamBatch || bytes > maxStreamBytes {
			break
		}
		bytes += 400
		if o.base {
			bytes += o.e.size
		}
		list = append(list, sending{o, o.e, o.epoch, o.base, o.name})
	}
	return list, held
}

// send publishes a batch. Where a name of it is taken, each call is tried alone.
func (b *Bus) send(ctx context.Context, list []sending) error {
	err := b.sendSome(ctx, list)
	if !errors.Is(err, ErrTaken) {
		return err
	}
	var order []*live
	of := map[*live][]sending{}
	for _, x := range list {
		if of[x.o.l] == nil {
			order = append(order, x.o.l)
		}
		of[x.o.l] = append(of[x.o.l], x)
	}
	for _, l := range order {
		if len(order) > 1 {
			err = b.sendSome(ctx, of[l])
		}
		if errors.Is(err, ErrTaken) { // by itself, before the answer was lost, or by another node: the mirror will tell
			b.shared.hold(of[l])
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *shared) hold(list []sending) {
	until := time.Now().Add(holdTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range list {
		x.o.hold = until
	}
}

// sendSome publishes events, all or none.
func (b *Bus) sendSome(ctx context.Context, list []sending) error {
	s := b.shared
	records := make([]StreamRecord, len(list))
	for i, x := range list {
		data, err := encodeEvent(x.e, s.writer, x.epoch, x.base)
		if err != nil {
			b.log.Error("an event cannot be written and is dropped", "call", x.name, "error", err)
			s.mu.Lock()
			s.finish(b, x.o)
			s.mu.Unlock()
			return nil
		}
		records[i] = StreamRecord{Name: x.name, Data: data}
	}
	s.mu.Lock()
	for i, x := range list {
		x.o.data = records[i].Data
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	if err := s.stream.Publish(ctx, records); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range list {
		if x.o.e == x.e && x.o.name == x.name {
			x.o.acked = true
		}
	}
	return nil
}

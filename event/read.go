package event

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	maxReaders = 16     // that read the store at the same time, and as many that read one call
	maxPage    = 1000   // events of one answer
	storePage  = 500    // that are read from the store at once
	ringScan   = 20_000 // that one call of Events looks at in memory
)

// Call returns a call as its last event left it.
func (b *Bus) Call(id string) (*Call, bool) {
	if l := b.find(id); l != nil {
		c := l.pub.Load()
		return c, c != nil
	}
	old, err := b.store.Call(id)
	if err != nil || old == nil || old.Ended == nil {
		return nil, false
	}
	return old.Ended, true
}

// WaitCall returns a call as soon as its version is above the one given, or when ctx
// ends, as it is then. ErrNoCall means that there is none.
func (b *Bus) WaitCall(ctx context.Context, id string, version int64) (*Call, error) {
	s := b.Subscribe(Filter{CallID: id})
	defer s.Close()
	for {
		c, ok := b.Call(id)
		if !ok {
			return nil, fmt.Errorf("call %s: %w", id, ErrNoCall)
		}
		if c.Version > version || c.State == Ended {
			return c, nil
		}
		select {
		case <-s.Wake():
		case <-ctx.Done():
			return c, nil
		}
	}
}

// Head is the place behind the last event that readers see.
func (b *Bus) Head() Cursor { return b.cursor(b.visible.Load()) }

// Oldest is the place before the oldest event that is there.
func (b *Bus) Oldest() Cursor { return b.cursor(b.oldest() - 1) }

// Stored is the place behind the last event that is kept.
func (b *Bus) Stored() Cursor { return b.cursor(b.stored.Load()) }

// oldest is the number of the oldest event that is there.
func (b *Bus) oldest() int64 {
	if s := b.shared; s != nil && s.floor.Load() > 0 {
		return max(s.floor.Load(), b.store.First())
	}
	if first := b.store.First(); first > 0 {
		return first
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if first := b.ring.first(); first > 0 {
		return first
	}
	return b.visible.Load() + 1
}

// Events returns events behind a place, at most limit, and the place to go on from,
// behind what the filter left out, too. There may be none and still more to come: the
// reader has all when next is Head. It returns ErrBadCursor, ErrOtherStore, or a
// *CursorExpiredError.
func (b *Bus) Events(f Filter, from Cursor, limit int) (events []*Event, next Cursor, err error) {
	seq, err := b.place(from)
	if err != nil {
		return nil, Cursor{}, err
	}
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	if s := b.shared; s != nil && seq+1 < s.floor.Load() {
		oldest := s.floor.Load()
		return nil, Cursor{}, &CursorExpiredError{Oldest: b.cursor(oldest - 1), At: b.oldestAt(oldest)}
	}
	for {
		list, last, ok := b.inMemory(&f, seq, limit)
		if ok {
			return list, b.cursor(max(last, seq)), nil
		}
		list, last, err = b.inStore(&f, seq, limit)
		if err != nil {
			return nil, Cursor{}, err
		}
		if last > seq {
			return list, b.cursor(last), nil
		}
		if oldest := b.oldest(); seq+1 < oldest {
			return nil, Cursor{}, &CursorExpiredError{Oldest: b.cursor(oldest - 1), At: b.oldestAt(oldest)}
		}
		// It went from the store between both looks, or is not there yet.
		b.mu.RLock()
		first, head := b.ring.first(), b.visible.Load()
		b.mu.RUnlock()
		if first == 0 || first > head {
			return nil, b.cursor(seq), nil
		}
	}
}

// inMemory returns events from the ring; ok is false when they are older.
func (b *Bus) inMemory(f *Filter, seq int64, limit int) (list []*Event, last int64, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	head := b.visible.Load()
	if f.Stored {
		head = min(head, b.stored.Load())
	}
	if seq >= head {
		return nil, seq, true
	}
	var look []*Event
	t := b.topics.by[keyOfFilter(f)]
	switch first := b.ring.first(); {
	case t != nil && t.key.what != 0 && t.since <= seq:
		look = after(t.events, seq)
	case first > 0 && first <= seq+1:
		look = b.ring.between(seq, head)
	default:
		return nil, 0, false
	}
	for i, e := range look {
		if e.Seq > head {
			break
		}
		if len(list) == limit || i == ringScan {
			return list, look[i-1].Seq, true
		}
		if f.match(e) {
			list = append(list, e)
		}
	}
	return list, head, true
}

// inStore returns events from the store, each with its call.
func (b *Bus) inStore(f *Filter, seq int64, limit int) (list []*Event, last int64, err error) {
	if first := b.store.First(); first > seq+1 {
		return nil, seq, nil
	}
	b.slots <- struct{}{}
	defer func() { <-b.slots }()
	page, err := b.store.Read(seq, min(storePage, max(limit, storePage/10))) // a filter may leave most out
	if err != nil {
		return nil, 0, err
	}
	calls := map[string]*Call{}
	last = seq
	for _, e := range page {
		if len(list) == limit {
			break
		}
		if err := b.complete(e, calls); err != nil {
			return nil, 0, err
		}
		last = e.Seq
		if f.match(e) {
			list = append(list, e)
		}
	}
	return list, last, nil
}

// complete gives an event from the store its id and its call. calls are as they were
// before it.
func (b *Bus) complete(e *Event, calls map[string]*Call) error {
	e.ID = b.cursor(e.Seq).String()
	if e.Data.CallID == nil {
		return nil
	}
	id := *e.Data.CallID
	c := e.Data.Call
	if c == nil {
		before := calls[id]
		if before == nil && e.CallSeq > 1 {
			var err error
			if before, err = b.fold(id, e.CallSeq-1); err != nil {
				return err
			}
		}
		var err error
		if c, err = Apply(before, e); err != nil {
			return err
		}
		e.Data.Call = c
	}
	calls[id] = c
	return nil
}

// fold makes a call anew, as it was at a version.
func (b *Bus) fold(id string, version int64) (c *Call, err error) {
	for seq := int64(0); ; {
		list, err := b.store.ReadCall(id, seq, int(min(storePage, version-seq)))
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return c, nil
		}
		for _, e := range list {
			if seq = e.CallSeq; seq > version {
				return c, nil
			}
			if e.Data.Call != nil {
				c = e.Data.Call
			} else if c, err = Apply(c, e); err != nil {
				return nil, err
			}
		}
	}
}

// CallEvents returns the events of one call after a number of its own. Of a call that
// is unknown there are none.
func (b *Bus) CallEvents(id string, afterSeq int64, limit int) ([]*Event, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	if list, ok := b.callInMemory(id, afterSeq, limit); ok {
		return list, nil
	}
	b.callSlots <- struct{}{}
	defer func() { <-b.callSlots }()
	b.mu.RLock()
	var recent []*Event // that the store may not have yet
	for _, e := range b.ring.between(b.stored.Load(), b.visible.Load()) {
		if e.Data.CallID != nil && *e.Data.CallID == id {
			recent = append(recent, e)
		}
	}
	b.mu.RUnlock()
	var c *Call
	var err error
	if afterSeq > 0 && !b.memory {
		if c, err = b.fold(id, afterSeq); err != nil {
			return nil, err
		}
	}
	list, err := b.store.ReadCall(id, afterSeq, limit)
	if err != nil {
		return nil, err
	}
	calls := map[string]*Call{}
	if c != nil {
		calls[id] = c
	}
	for _, e := range list {
		if e.ID == "" {
			if err := b.complete(e, calls); err != nil {
				return nil, err
			}
		}
		afterSeq = e.CallSeq
	}
	for _, e := range recent {
		if len(list) < limit && e.CallSeq > afterSeq {
			list = append(list, e)
		}
	}
	return list, nil
}

// callInMemory returns events of one call for who follows it, which is what happens most.
// To make a call anew for each of its events would take the longer the more there are. ok
// is false when memory lacks some of them.
func (b *Bus) callInMemory(id string, afterSeq int64, limit int) (list []*Event, ok bool) {
	if l := b.find(id); l != nil {
		if c := l.pub.Load(); c != nil && c.Version <= afterSeq {
			return nil, true
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.topics.by[topicKey{'c', id}]
	if t == nil || len(t.events) == 0 {
		return nil, false
	}
	for _, e := range t.events {
		if e.Data.Call == nil {
			continue
		}
		if e.CallSeq <= afterSeq {
			ok = true // memory begins before what is wanted
			continue
		}
		if !ok && e.CallSeq != afterSeq+1 {
			return nil, false
		}
		ok = true
		if list = append(list, e); len(list) == limit {
			break
		}
	}
	return list, ok
}

// oldestAt is when the oldest event happened.
func (b *Bus) oldestAt(seq int64) Time {
	if list, _, ok := b.inMemory(&Filter{}, seq-1, 1); ok && len(list) > 0 {
		return list[0].Timestamp
	}
	if list, err := b.store.Read(seq-1, 1); err == nil && len(list) > 0 {
		return list[0].Timestamp
	}
	return Time{}
}

// Encoded is an event as JSON. It is made once, and shared: do not change it.
func (b *Bus) Encoded(e *Event) []byte { return e.encode(0) }

// EncodedChange is Encoded without the call.
func (b *Bus) EncodedChange(e *Event) []byte { return e.encode(1) }

func (e *Event) encode(form int) []byte {
	if made := e.encoded[form].Load(); made != nil {
		return *made
	}
	w := struct {
		ID        string `json:"id"`
		Type      Type   `json:"type"`
		Timestamp Time   `json:"timestamp"`
		Seq       int64  `json:"seq"`
		CallSeq   int64  `json:"call_seq"`
		Final     bool   `json:"final"`
		Data      Data   `json:"data"`
	}{e.ID, e.Type, e.Timestamp, e.Seq, e.CallSeq, e.Final, e.Data}
	if form == 1 {
		w.Data.Call = nil
	}
	text, err := json.Marshal(&w)
	if err != nil {
		text = []byte(`{}`) // of texts, numbers and JSON that was read: it does not fail
	}
	e.encoded[form].Store(&text)
	return text
}

// trimEvery is how often the log lets go of what is old.
const trimEvery = time.Minute

// trimAll lets the log and the memory let go of what is old, until stop is closed.
func (b *Bus) trimAll(stop <-chan struct{}) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.trim()
		case <-stop:
			return
		}
	}
}

func (b *Bus) trim() {
	now := b.cfg.Now()
	b.mu.Lock()
	b.ring.trim(now.Add(-b.cfg.Recent), b.cfg.RecentBytes, min(b.stored.Load(), b.visible.Load()))
	b.topics.trim(b.ring.first())
	b.mu.Unlock()
	err := b.store.Trim(Trim{Now: now, Events: now.Add(-b.cfg.Retention), Calls: now.Add(-b.cfg.CallTime), CDRs: now.Add(-b.cfg.CDRRetention),
		MaxBytes: b.cfg.MaxBytes})
	if err != nil {
		b.log.Warn("old events stay where they are", "store", b.cfg.Store, "error", err)
	}
}

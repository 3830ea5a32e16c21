package event

import (
	"errors"
	"slices"
	"time"
)

// findOwed reads which events behind the cursor have a delivery already: whoever sent
// before was ahead of the cursor when his turn ended. Such an event goes with the
// delivery. Were it taken for a new one, it would wait for itself.
func (h *hook) findOwed() {
	owed := map[place]bool{}
	q := deliveryQuery{limit: hookAhead}
	for {
		list, err := h.o.store.list(h.id, q)
		if err != nil {
			h.storeFailed(err)
			return
		}
		for _, d := range list {
			if !(place{h.read.Run, h.read.Seq}).before(d.at) {
				h.owed = owed
				return
			}
			if !d.replay {
				owed[d.at] = true
			}
		}
		if len(list) < q.limit {
			h.owed = owed
			return
		}
		q.before = &list[len(list)-1].at
	}
}

// readMore reads a page of the log, and reports whether there was one.
func (h *hook) readMore(now time.Time) bool {
	if h.owed == nil {
		return false
	}
	for h.more && len(h.pending) < hookPage && len(h.ahead) < hookAhead && h.counts.waiting < h.o.most {
		h.looked = now
		events, next, err := h.o.log.Events(h.filter, h.read, hookPage)
		if err != nil {
			if !h.jump(err) {
				h.more = false
				return false
			}
			continue
		}
		moved := next != h.read
		if len(events) == 0 && !moved {
			h.more = false
			return false
		}
		prev := h.read
		found := false
		for _, e := range events {
			at, err := ParseCursor(e.ID)
			if err != nil {
				continue // a log does not write such
			}
			before := prev
			prev = at
			if h.mine(e) {
				continue
			}
			h.last = h.last || e.Final && h.spec.call != ""
			d := &delivery{hook: h.id, at: place{at.Run, at.Seq}, id: e.ID, kind: e.Type}
			if h.owed[d.at] {
				delete(h.owed, d.at)
				continue
			}
			it := &item{event: e, prev: before, read: now, fresh: true, d: d}
			if e.Data.CallID != nil {
				it.d.call = *e.Data.CallID
			}
			h.ahead = append(h.ahead, it)
			h.pending = append(h.pending, it)
			found = true
		}
		h.read = next
		h.advance(now)
		if found {
			return true
		}
	}
	return false
}

// jump goes on where the log does, when the cursor is of no use any more.
func (h *hook) jump(err error) bool {
	var expired *CursorExpiredError
	to := h.o.log.Head()
	switch {
	case errors.As(err, &expired):
		to = expired.Oldest
		h.st.lastErr = "events before " + to.String() + " were gone from the log before they could be sent"
	case errors.Is(err, ErrOtherStore), errors.Is(err, ErrBadCursor):
		h.st.lastErr = "the log is another one than before: sending goes on with what is new"
	default:
		h.storeFailed(err)
		return false
	}
	if to == h.read {
		return false
	}
	h.o.lost.Add(1)
	h.o.logger.Warn("a webhook has lost events", "webhook", h.id, "name", h.spec.spec.Name, "error", h.st.lastErr)
	h.read = to
	h.noteState()
	return true
}

// mine reports whether an event is about this webhook, or a test of any: it is not
// told of these.
func (h *hook) mine(e *Event) bool {
	switch e.Type {
	case WebhookTest:
		return true
	case WebhookDisabled, WebhookRecovered:
		return changeOf(e).ID == h.id
	}
	return false
}

// queue has an event wait for the ones of its call before it.
func (h *hook) queue(it *item, now time.Time) {
	it.d.since, it.d.next = now, now.Add(overtake)
	h.put(it.d, it.event)
	it.row, it.settled = true, true
	h.counts.calls[it.d.call]++
	h.counts.waiting++
	h.advance(now)
}

// put keeps a delivery. Without a database it needs its body: the log may lose the
// event sooner.
func (h *hook) put(d *delivery, e *Event) {
	if d.body == nil && e != nil && (d.dead || h.o.keepBodies) {
		d.body = h.o.body(&h.spec.spec, e)
	}
	delete(h.batch.gone, d.at)
	h.batch.puts[d.at] = d
	if !d.dead && (h.counts.next.IsZero() || d.next.Before(h.counts.next)) {
		h.counts.next = d.next
	}
	h.dirty(h.o.now(), commitPause)
}

// dirty has the batch be kept after a time, at the latest.
func (h *hook) dirty(now time.Time, after time.Duration) {
	if at := now.Add(after); h.commitAt.IsZero() || at.Before(h.commitAt) {
		h.commitAt = at
	}
}

// advance moves the cursor over what is settled.
func (h *hook) advance(now time.Time) {
	n := 0
	for n < len(h.ahead) && h.ahead[n].settled {
		n++
	}
	clear(h.ahead[:n])
	h.ahead = h.ahead[n:]
	if to := h.position(); to != h.saved {
		after := idlePause
		if n > 0 {
			after = commitPause
		}
		h.dirty(now, after)
	}
}

// position is the cursor as it may be kept now.
func (h *hook) position() Cursor {
	if len(h.ahead) > 0 {
		return h.ahead[0].prev
	}
	return h.read
}

// queueSlow puts what waits for slow calls behind them.
func (h *hook) queueSlow(now time.Time, slow map[string]bool) {
	if h.spec.spec.Order != OrderPerCall {
		return
	}
	h.pending = slices.DeleteFunc(h.pending, func(it *item) bool {
		if !slow[it.d.call] {
			return false
		}
		h.queue(it, now)
		return true
	})
}

package event

import (
	"context"
	"slices"
	"time"
)

// resting reports whether nothing may be sent now.
func (h *hook) resting(now time.Time) bool {
	return !h.st.enabled || now.Before(h.rest) || h.st.state == WebhookFailing && now.Before(h.probe) || len(h.spec.secrets) == 0
}

// requests is how many there may be at once.
func (h *hook) requests() int {
	switch {
	case h.st.state == WebhookFailing:
		return 1
	case h.st.fails >= suspicious:
		return suspectRequests
	}
	return hookRequests
}

// suspect reports whether the receiver seems to be away.
func (h *hook) suspect(now time.Time) bool {
	if h.st.fails >= suspicious {
		return true
	}
	for _, it := range h.inflight {
		if now.Sub(it.started) > suspectTime && h.success.Before(it.started) {
			return true
		}
	}
	return false
}

// launch sends what may be sent now.
func (h *hook) launch(ctx context.Context, now time.Time) {
	if h.resting(now) || ctx.Err() != nil {
		return
	}
	// What is tried again leaves room for what is new, and replays for both.
	most := h.requests()
	h.launchRows(ctx, now, max(1, most/2), most)
	for len(h.inflight) < most {
		it := h.next(now)
		if it == nil {
			return
		}
		h.send(ctx, it, now)
	}
}

// launchRows sends what is due of the store.
func (h *hook) launchRows(ctx context.Context, now time.Time, share, most int) {
	if h.blocked || h.counts.waiting == 0 || h.counts.next.After(now) || now.Before(h.storeAt) {
		return
	}
	again, replays := 0, 0
	for _, it := range h.inflight {
		switch {
		case it.d.replay:
			replays++
		case !it.fresh:
			again++
		}
	}
	if again+replays >= share || len(h.inflight) >= most {
		h.blocked = true // until a request is over
		return
	}
	if h.batch.rows() && !h.commit(now) {
		return
	}
	list, err := h.o.store.due(h.id, now, hookPage+len(h.inflight))
	if err != nil {
		h.storeFailed(err)
		return
	}
	for _, d := range list {
		if h.inflight[d.at] != nil || h.isBusy(d) || again+replays >= share || len(h.inflight) >= most || d.replay && replays >= max(1, share/2) {
			continue
		}
		if d.replay {
			replays++
		} else {
			again++
		}
		h.send(ctx, &item{d: d, row: true, settled: true}, now)
	}
	// What is left of the due ones waits for a request that is under way.
	h.blocked = len(h.inflight) > 0
}

// isBusy reports whether a request of the same call is under way, where order
// counts.
func (h *hook) isBusy(d *delivery) bool {
	return h.spec.spec.Order == OrderPerCall && d.call != "" && h.busy[freed{call: d.call}] > 0
}

// next returns the next event of the log that may be sent. Those whose call has
// something waiting are put behind it.
func (h *hook) next(now time.Time) *item {
	for from := 0; ; {
		for i := from; i < len(h.pending); i++ {
			it := h.pending[i]
			if h.spec.spec.Order == OrderPerCall && it.d.call != "" && h.counts.calls[it.d.call] > 0 {
				h.queue(it, now)
				h.pending = slices.Delete(h.pending, i, i+1)
				i--
				continue
			}
			if h.isBusy(it.d) {
				continue
			}
			h.pending = slices.Delete(h.pending, i, i+1)
			return it
		}
		if from = len(h.pending); !h.readMore(now) {
			return nil
		}
	}
}

// send begins a request.
func (h *hook) send(ctx context.Context, it *item, now time.Time) {
	it.started = now
	h.inflight[it.d.at] = it
	h.busy[freed{call: it.d.call}]++
	rec := h.spec
	suspect := h.suspect(now)
	h.o.senders.Go(func() {
		h.o.attempt(ctx, h, rec, it, suspect)
		h.results <- it
	})
}

// land ends a request.
func (h *hook) land(it *item) {
	delete(h.inflight, it.d.at)
	key := freed{call: it.d.call}
	if h.busy[key]--; h.busy[key] <= 0 {
		delete(h.busy, key)
	}
	h.blocked = false
}

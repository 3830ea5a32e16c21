package event

import (
	"fmt"
	"time"
)

// settle notes what became of a request.
func (h *hook) settle(it *item, now time.Time) {
	h.land(it)
	v := it.verdict
	d := it.d
	if it.fresh {
		it.settled = true
	}
	d.history = append(d.history, it.attempt)
	switch {
	case v.taken:
		h.o.taken.Add(1)
		if it.row {
			h.remove(d, true, now)
		}
		h.succeeded(now)
	case it.lost:
		// Nobody can tell any more what it was. It is no failure of the receiver.
		h.o.lost.Add(1)
		h.die(it, now)
	default:
		h.o.failed.Add(1)
		d.tries++
		if v.gone {
			d.next = now // once it is enabled
		} else {
			d.next = now.Add(max(pause(d.tries), v.wait))
		}
		if d.tries >= maxTries && !v.gone {
			h.die(it, now)
		} else {
			h.keep(it, now)
		}
		h.refused(v, now)
	}
	h.advance(now)
}

// keep has a delivery wait for its next attempt.
func (h *hook) keep(it *item, now time.Time) {
	d := it.d
	if !it.row {
		it.row = true
		d.since = now
		h.counts.waiting++
		if d.call != "" {
			h.counts.calls[d.call]++
		}
	}
	h.put(d, it.event)
}

// die gives a delivery up.
func (h *hook) die(it *item, now time.Time) {
	d := it.d
	if it.row {
		h.remove(d, false, now)
	}
	h.o.died.Add(1)
	h.counts.dead++
	d.dead, d.since, d.next = true, now, time.Time{}
	h.put(d, it.event)
	h.o.logger.Warn("a webhook has not taken an event, which is a dead letter now", "webhook", h.id, "name", h.spec.spec.Name,
		"event", d.id, "type", string(d.kind), "error", it.attempt.Error)
}

// remove takes a delivery from those that wait; the next one of its call need not
// wait for it any more.
func (h *hook) remove(d *delivery, taken bool, now time.Time) {
	delete(h.batch.puts, d.at)
	h.batch.gone[d.at] = true
	h.counts.waiting--
	if d.call != "" {
		key := freed{d.call, d.replay}
		h.batch.freed[key] = h.batch.freed[key] || taken
		if !d.replay {
			if h.counts.calls[d.call]--; h.counts.calls[d.call] <= 0 {
				delete(h.counts.calls, d.call)
			}
		}
	}
	h.dirty(now, commitPause)
}

// succeeded notes that the receiver works.
func (h *hook) succeeded(now time.Time) {
	h.success = now
	if h.st.fails == 0 {
		return
	}
	recovered := h.st.state == WebhookFailing
	h.st.fails, h.st.failing = 0, time.Time{}
	if recovered {
		h.st.state, h.st.since, h.st.lastErr = WebhookOK, time.Time{}, ""
		h.batch.all = true
		h.more = true
		h.noteState()
		h.o.logger.Info("a webhook works again", "webhook", h.id, "name", h.spec.spec.Name)
		h.o.tell(h, WebhookRecovered, WebhookOK, "")
	}
}

// refused notes that the receiver does not take what it is told, and stops sending
// where that is of no use.
func (h *hook) refused(v verdict, now time.Time) {
	st := &h.st
	st.fails++
	st.lastErr = v.text
	if st.failing.IsZero() {
		st.failing = now
	}
	if v.rest && v.wait > 0 {
		h.rest = later(h.rest, now.Add(v.wait))
	}
	since := later(st.failing, h.success)
	switch {
	case v.gone:
		h.disable(v.text, now)
	case st.state == WebhookFailing && now.Sub(since) >= giveUp:
		h.disable(fmt.Sprintf("it has failed for %d days; the last time: %s", int(giveUp.Hours()/24), v.text), now)
	case st.state == WebhookFailing:
		h.probe = now.Add(probePause)
	case st.fails >= failures && now.Sub(since) >= failTime:
		st.state, st.since = WebhookFailing, now
		h.probe = now.Add(probePause)
		h.noteState()
		h.o.logger.Warn("a webhook fails: it is tried once a minute, what it is to be told waits", "webhook", h.id, "name", h.spec.spec.Name, "error", v.text)
		h.o.tell(h, WebhookDisabled, WebhookFailing, v.text)
	}
}

// disable ends sending until somebody enables the webhook.
func (h *hook) disable(why string, now time.Time) {
	h.st.enabled, h.st.state, h.st.since, h.st.lastErr = false, WebhookOff, now, why
	h.noteState()
	h.o.logger.Warn("a webhook is disabled", "webhook", h.id, "name", h.spec.spec.Name, "error", why)
	h.o.tell(h, WebhookDisabled, WebhookOff, why)
}

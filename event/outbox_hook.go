package event

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/webhook"
)

const (
	// hookPage is how many events a webhook reads at once.
	hookPage = 64
	// hookAhead bounds the events that a webhook has read and whose fate is not
	// kept yet.
	hookAhead = 1_000
	// hookRequests are the requests of a webhook at once; those of one that seems
	// to be away.
	hookRequests    = 16
	suspectRequests = 1
	// suspectTime is how long a request may take, without one that began later
	// having been taken, until the webhook seems to be away.
	suspectTime = 2 * time.Second
	// maxRows bounds the deliveries of a webhook that wait. Beyond it the webhook
	// reads no further, which loses nothing.
	maxRows = 100_000
	// commitPause is how long changes of a webhook are gathered; idlePause is that
	// of a cursor that only passes by what the webhook is not told.
	commitPause, idlePause = 50 * time.Millisecond, 10 * time.Second
	// slowRequest is when a request that is under way gets a row, so that the
	// cursor need not wait for it.
	slowRequest = time.Second
	// callPause is how often the webhook of one call looks for events. Where many
	// listen, only events of their own calls wake them; but that is when streams may
	// see them, which may be before they are kept.
	callPause = time.Second
	// storePause is before a store that failed is tried again.
	storePause = time.Second
)

// A hook is a webhook at work. All without a lock belongs to its goroutine, run.
type hook struct {
	o      *Outbox
	id     string
	poster *webhook.Poster
	own    chan struct{} // its own place among the requests
	poke   chan struct{} // capacity 1: something of it has changed
	done   chan struct{} // closed when run has returned
	cancel context.CancelFunc

	mu     sync.Mutex
	rec    *hookRecord   // guarded by mu, its state is run's; replaced, never changed
	status WebhookStatus // guarded by mu
	stale  bool          // guarded by mu; what the store has of it was changed by others
	known  hookState     // guarded by mu; st as publish has seen it
	state  *hookState    // guarded by mu; others want it, nil: as it is

	spec    *hookRecord // as run has it
	filter  Filter
	news    <-chan struct{} // the log may have more
	deaf    func()          // ends that
	st      hookState
	success time.Time // of the last attempt that was taken
	probe   time.Time // when a failing webhook may be tried again
	rest    time.Time // until when the receiver asks to be left alone

	read     Cursor         // behind what was read of the log
	saved    Cursor         // as the store has it
	ahead    []*item        // read, in their order, from the first one that is not settled
	pending  []*item        // of those, what no request carries yet
	more     bool           // the log may have more behind read
	looked   time.Time      // when it was read
	owed     map[place]bool // see findOwed; nil: it was not called yet
	counts   hookCounts
	blocked  bool // what is due waits for a request that is under way
	inflight map[place]*item
	busy     map[freed]int // requests under way by call
	batch    *hookBatch
	commitAt time.Time // when batch is kept; zero: there is nothing to keep
	storeAt  time.Time // not before then: the store has failed
	results  chan *item
	recSeq   int64 // of a cluster: number of the record that rec is; guarded by Outbox.changing
	last     bool  // the last event of the call was read, OriginCall only
}

// An item is an event on its way to a webhook.
type item struct {
	event   *Event // nil until it is sent, of one from the store
	d       *delivery
	prev    Cursor // before it
	read    time.Time
	started time.Time
	row     bool // the store has it, or will with the batch
	fresh   bool // it comes from the log, not from the store
	settled bool // the cursor may pass it
	verdict verdict
	attempt Attempt
	lost    bool // what it was is gone
}

func (h *hook) record() *hookRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rec
}

// wake has run look at what has changed.
func (h *hook) wake() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// refresh has run read again what the store has of it.
func (h *hook) refresh() {
	h.mu.Lock()
	h.stale = true
	h.mu.Unlock()
	h.wake()
}

// run delivers until ctx ends, and what is there until flush ends. hard ends what
// is under way then.
func (h *hook) run(ctx, hard context.Context) {
	defer close(h.done)
	h.adopt()
	defer func() { h.deaf() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ending := ctx.Done()
	for {
		now := h.o.now()
		if h.owed == nil && !now.Before(h.storeAt) {
			h.findOwed() // it takes a while: what is changed meanwhile counts for what is read
		}
		h.adopt()
		h.reload()
		if h.spec.call != "" && now.Sub(h.looked) >= callPause {
			h.more = true
		}
		h.launch(hard, now)
		h.age(now)
		if !h.commitAt.IsZero() && !now.Before(h.commitAt) || ending == nil && h.idle() {
			h.commit(now)
		}
		h.publish(now)
		if h.over() {
			h.o.forget(h)
			return
		}
		if ending == nil && h.idle() && h.commitAt.IsZero() {
			return
		}
		timer.Reset(h.wait(h.o.now()))
		select {
		case <-ending:
			ending = nil
			h.wake()
		case <-hard.Done():
			h.finish()
			return
		case <-h.news:
			h.more = true
		case <-h.poke:
		case it := <-h.results:
			h.settle(it, h.o.now())
		case <-timer.C:
		}
		for range len(h.results) { // all at once, for one commit
			h.settle(<-h.results, h.o.now())
		}
	}
}

// idle reports whether there is nothing to do now but to wait for something.
func (h *hook) idle() bool {
	return len(h.inflight) == 0 && (!h.more && len(h.pending) == 0 || h.resting(h.o.now()))
}

// finish notes what is under way at the hard end, and keeps it.
func (h *hook) finish() {
	now := h.o.now()
	for len(h.inflight) > 0 {
		it := <-h.results // all requests have been cancelled
		if it.verdict.taken {
			h.settle(it, now)
			continue
		}
		h.land(it) // it goes again after the start
		if it.fresh && it.row {
			it.settled = true
		}
	}
	h.storeAt = time.Time{}
	h.commit(now)
}

// adopt takes what others have changed.
func (h *hook) adopt() {
	h.mu.Lock()
	rec, state := h.rec, h.state
	h.state = nil
	h.mu.Unlock()
	if rec != h.spec {
		h.spec = rec
		if h.deaf != nil {
			h.deaf()
		}
		h.filter = hookFilter(rec)
		ear := h.filter
		ear.Stored = rec.call == "" // see callPause
		h.news, h.deaf = h.o.log.listen(ear)
		h.more = true
	}
	if state != nil {
		h.st = *state
		h.probe, h.rest, h.success = time.Time{}, time.Time{}, time.Time{}
		h.more = true
		if state.enabled {
			h.batch.all = true
		}
		h.batch.state = state
		h.dirty(h.o.now(), 0)
	}
}

// reload reads the counts again where others have changed what waits.
func (h *hook) reload() {
	h.mu.Lock()
	stale := h.stale
	h.stale = false
	h.mu.Unlock()
	if !stale {
		return
	}
	if h.batch.rows() && !h.commit(h.o.now()) {
		h.mu.Lock()
		h.stale = true // without them the counts would be wrong, and events out of order
		h.mu.Unlock()
		return
	}
	h.recount()
}

// recount reads what waits. Where the store fails it is read again later.
func (h *hook) recount() {
	c, err := h.o.store.count(h.id)
	if err != nil {
		h.storeFailed(err)
		h.mu.Lock()
		h.stale = true
		h.mu.Unlock()
		return
	}
	h.counts, h.blocked = c, false
}

func (h *hook) storeFailed(err error) {
	h.storeAt = h.o.now().Add(storePause)
	h.o.storeFailed(err)
}

// hookFilter is what a webhook is told.
func hookFilter(r *hookRecord) Filter {
	f := Filter{CallID: r.call, Stored: true}
	if !slices.Contains(r.spec.Events, "*") {
		f.Types = r.spec.Events
	}
	if !slices.Contains(r.spec.Agents, "*") {
		f.Agents = r.spec.Agents
	}
	for _, k := range r.spec.Kinds {
		f.Kinds = append(f.Kinds, string(k))
	}
	return f
}

// noteState keeps how the webhook fares.
func (h *hook) noteState() {
	st := h.st
	h.batch.state = &st
	h.dirty(h.o.now(), commitPause)
}

// age gives requests that take long a row, and what waits for them one behind it.
func (h *hook) age(now time.Time) {
	slow := map[string]bool{}
	for _, it := range h.inflight {
		if it.fresh && !it.row && now.Sub(it.started) >= slowRequest {
			it.d.since, it.d.next = now, now
			c := *it.d // the request has the other one
			h.put(&c, it.event)
			it.row, it.settled = true, true
			h.counts.waiting++
			if it.d.call != "" {
				h.counts.calls[it.d.call]++
				slow[it.d.call] = true
			}
		}
	}
	if len(slow) > 0 {
		h.advance(now)
		h.queueSlow(now, slow)
	}
}

// commit keeps the batch, and reports whether it could.
func (h *hook) commit(now time.Time) bool {
	if now.Before(h.storeAt) {
		h.commitAt = h.storeAt
		return false
	}
	b := h.batch
	to := h.position()
	if to != h.saved {
		b.cursor = to.String()
	}
	b.now = now
	rows := b.rows()
	if rows || b.cursor != "" {
		if err := h.o.commit(b); err != nil {
			if errors.Is(err, errNotMine) {
				h.cancel() // another node delivers
			} else {
				h.storeFailed(err)
			}
			h.commitAt = h.storeAt
			return false
		}
	}
	h.saved, h.commitAt = to, time.Time{}
	h.batch = newBatch(h.id)
	if rows {
		h.recount()
	}
	return true
}

// wait is how long there is nothing to do.
func (h *hook) wait(now time.Time) time.Duration {
	d := time.Hour
	until := func(at time.Time) {
		if !at.IsZero() {
			d = min(d, max(at.Sub(now), time.Millisecond))
		}
	}
	until(h.commitAt)
	if h.spec.call != "" {
		until(h.looked.Add(callPause))
	}
	for _, it := range h.inflight {
		if it.fresh && !it.row {
			until(it.started.Add(slowRequest))
		}
	}
	h.mu.Lock()
	stale := h.stale
	h.mu.Unlock()
	switch {
	case !h.st.enabled || len(h.spec.secrets) == 0:
		return d
	case stale:
		until(h.storeAt)
	case now.Before(h.rest):
		until(h.rest)
	case h.st.state == WebhookFailing && now.Before(h.probe):
		until(h.probe)
	default:
		if h.counts.waiting > 0 && !h.blocked {
			until(later(h.counts.next, h.storeAt))
		}
		if h.more && now.Before(h.storeAt) {
			until(h.storeAt)
		}
	}
	return d
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// over reports whether a webhook of one call is of no use any more.
func (h *hook) over() bool {
	return h.spec.call != "" && h.last && len(h.ahead) == 0 && len(h.inflight) == 0 && h.counts.waiting == 0 && !h.more && h.commitAt.IsZero()
}

// publish shows how the webhook fares.
func (h *hook) publish(now time.Time) {
	s := WebhookStatus{State: h.st.state, Cursor: h.position().String(), Waiting: h.counts.waiting, Dead: h.counts.dead, Failures: h.st.fails}
	if !h.st.enabled {
		s.State = WebhookOff
	}
	if h.st.lastErr != "" {
		text := h.st.lastErr
		s.LastError = &text
	}
	if s.State != WebhookOK {
		s.Since = At(h.st.since)
	}
	for _, it := range h.pending {
		if !it.event.Timestamp.IsZero() {
			s.LagMS = max(0, now.Sub(it.event.Timestamp.Time).Milliseconds())
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == nil { // else others have changed it meanwhile
		h.known, h.status = h.st, s
	}
}

// keysNow are the secrets that sign now.
func keysNow(rec *hookRecord, now time.Time) (keys []webhook.SigningKey) {
	for _, s := range rec.secrets {
		if s.retires.IsZero() || s.retires.After(now) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

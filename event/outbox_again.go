package event

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"sipxrest/internal/webhook"
)

// maxReplay bounds the events of one request for a replay.
const maxReplay = 10_000

// Delivery is an event that a webhook has not taken, as it is shown.
type Delivery struct {
	EventID  string    `json:"event_id"`
	Type     Type      `json:"type"`
	CallID   *string   `json:"call_id"`
	State    string    `json:"state"` // "pending", "failed" (it is tried again), "dead"
	Replay   bool      `json:"replay"`
	NextAt   Time      `json:"next_attempt_at"`
	Since    Time      `json:"since"`
	Attempts []Attempt `json:"attempts"`
}

// DeliveryQuery is which deliveries are listed: the newest event first.
type DeliveryQuery struct {
	State  string // "pending", "failed", "dead"; "": all
	CallID string
	Before string // id of an event: those before it
	Limit  int
}

// Deliveries returns what a webhook has not taken, and whether there is more.
func (o *Outbox) Deliveries(id string, q DeliveryQuery) (list []Delivery, more bool, err error) {
	if o.find(id) == nil {
		return nil, false, ErrNoWebhook
	}
	query := deliveryQuery{state: q.State, call: q.CallID, limit: q.Limit + 1}
	if q.Before != "" {
		at, err := ParseCursor(q.Before)
		if err != nil {
			return nil, false, err
		}
		query.before = &place{at.Run, at.Seq}
	}
	rows, err := o.store.list(id, query)
	if err != nil {
		return nil, false, err
	}
	for i, d := range rows {
		if i == q.Limit {
			return list, true, nil
		}
		list = append(list, d.shown())
	}
	return list, false, nil
}

func (d *delivery) shown() Delivery {
	s := Delivery{EventID: d.id, Type: d.kind, State: "pending", Replay: d.replay, Since: At(d.since), Attempts: d.history}
	switch {
	case d.dead:
		s.State = "dead"
	case len(d.history) > 0:
		s.State = "failed"
	}
	if !d.dead {
		s.NextAt = At(d.next)
	}
	if d.call != "" {
		s.CallID = &d.call
	}
	if s.Attempts == nil {
		s.Attempts = []Attempt{}
	}
	return s
}

// ReplayQuery is what is sent again: one of its members.
type ReplayQuery struct {
	After    Cursor // events of the log behind it, that the webhook is told of
	Dead     bool   // dead letters
	EventIDs []string
	CallID   string // events of a call, that the webhook is told of
}

// ErrNoEvent says that the log has no such event any more, or that it is none of
// those that the webhook may be told of.
var ErrNoEvent = errors.New("there is no such event any more, or the webhook is not told of such")

// Replay sends events again. It returns how many, and from where the next request
// goes on when there are more; zero when there are not.
func (o *Outbox) Replay(id string, q ReplayQuery) (n int, next Cursor, err error) {
	h := o.find(id)
	if h == nil {
		return 0, Cursor{}, ErrNoWebhook
	}
	rec := h.record()
	r := revival{dead: q.Dead, now: o.now()}
	filter := hookFilter(rec)
	add := func(e *Event) {
		at, err := ParseCursor(e.ID)
		if err != nil || h.mine(e) {
			return
		}
		d := &delivery{hook: id, at: place{at.Run, at.Seq}, id: e.ID, kind: e.Type, replay: true}
		if e.Data.CallID != nil {
			d.call = *e.Data.CallID
		}
		if o.keepBodies {
			d.body = o.body(&rec.spec, e)
		}
		r.rows = append(r.rows, d)
	}
	switch {
	case q.CallID != "":
		events, err := o.log.CallEvents(q.CallID, 0, maxReplay)
		if err != nil {
			return 0, Cursor{}, err
		}
		for _, e := range events {
			if filter.match(e) {
				add(e)
			}
		}
	case len(q.EventIDs) > 0:
		for _, name := range q.EventIDs {
			if err := o.addEvent(rec, name, &r, add); err != nil {
				return 0, Cursor{}, err
			}
		}
	case !q.After.IsZero():
		if next, err = o.after(filter, q.After, add, &r); err != nil {
			return 0, Cursor{}, err
		}
	}
	n, err = o.store.revive(id, r)
	h.refresh()
	return n, next, err
}

// addEvent adds one event by its id: of the log, or else a dead letter, which has
// its body still.
func (o *Outbox) addEvent(rec *hookRecord, name string, r *revival, add func(*Event)) error {
	at, err := ParseCursor(name)
	if err != nil {
		return err
	}
	e, err := o.eventAt(name)
	switch {
	case err == nil:
		own := hookFilter(rec)
		own.Types = nil // one that is asked for may be of any type
		if !own.match(e) {
			return ErrNoEvent
		}
		add(e)
		return nil
	case !errors.Is(err, errGone):
		return err
	}
	list, err := o.store.list(rec.id, deliveryQuery{state: "dead", before: &place{at.Run, at.Seq + 1}, limit: 1})
	if err != nil {
		return err
	}
	if len(list) == 0 || list[0].id != name || list[0].body == nil {
		return ErrNoEvent
	}
	list[0].replay, list[0].dead, list[0].tries = true, false, 0
	r.rows = append(r.rows, list[0])
	return nil
}

// after adds the events behind a cursor, up to the newest one.
func (o *Outbox) after(f Filter, from Cursor, add func(*Event), r *revival) (Cursor, error) {
	for len(r.rows) < maxReplay {
		events, next, err := o.log.Events(f, from, min(500, maxReplay-len(r.rows)))
		if err != nil {
			return Cursor{}, err
		}
		for _, e := range events {
			add(e)
		}
		if next == from {
			return Cursor{}, nil
		}
		from = next
	}
	return from, nil
}

// A TestResult is what came of a test.
type TestResult struct {
	EventID string  `json:"event_id"`
	Taken   bool    `json:"taken"`
	Attempt Attempt `json:"attempt"`
}

// Test sends an event webhook.test to a webhook, once, even to one that is disabled.
// It is signed by all secrets, or by the newest one alone.
func (o *Outbox) Test(ctx context.Context, id string, newestOnly bool) (TestResult, error) {
	h := o.find(id)
	if h == nil {
		return TestResult{}, ErrNoWebhook
	}
	rec := h.record()
	keys := keysNow(rec, o.now())
	if len(keys) == 0 {
		return TestResult{}, errSealed
	}
	if newestOnly {
		keys = keys[:1]
	}
	e, err := o.testEvent(ctx, h)
	if err != nil {
		return TestResult{}, err
	}
	leave, ok := o.takePlace(ctx, h, rec, false)
	if !ok {
		return TestResult{}, context.Cause(ctx)
	}
	defer leave()
	body := o.body(&rec.spec, e)
	began := o.now()
	p, err := o.post(ctx, h, rec, &delivery{hook: id, id: e.ID}, body, keys)
	v := judgePost(p, err)
	a := newAttempt(began, o.now(), p, v)
	if a.Answer == "" && err == nil {
		a.Answer = newAttempt(began, began, webhook.Posted{Body: p.Body}, verdict{}).Answer
	}
	return TestResult{EventID: e.ID, Taken: v.taken, Attempt: a}, nil
}

// testWait is how long the log may take to keep the event of a test.
const testWait = 5 * time.Second

// testEvent puts an event of a test into the stream, and returns it.
func (o *Outbox) testEvent(ctx context.Context, h *hook) (*Event, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, testWait, ErrStore)
	defer cancel()
	f := Filter{Types: []string{string(WebhookTest)}, Stored: true}
	news, deaf := o.log.listen(f)
	defer deaf()
	at := o.log.Head()
	mark := rand.Text()
	o.announce(h, WebhookTest, webhookChange{Test: mark})
	for {
		events, next, err := o.log.Events(f, at, hookPage)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if changeOf(e).Test == mark {
				return e, nil
			}
		}
		if next != at {
			at = next
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// webhookChange is what an event says of a webhook.
type webhookChange struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Origin string `json:"origin"`
	CallID string `json:"call_id,omitempty"`
	State  string `json:"state,omitempty"`
	Error  string `json:"error,omitempty"`
	Test   string `json:"test,omitempty"` // tells tests apart
}

// tell puts an event about a webhook into the stream.
func (o *Outbox) tell(h *hook, t Type, state, why string) {
	o.announce(h, t, webhookChange{State: state, Error: clip(why, maxTold)})
}

func (o *Outbox) announce(h *hook, t Type, c webhookChange) {
	rec := h.record()
	c.ID, c.Name, c.Origin, c.CallID = h.id, rec.spec.Name, rec.origin, rec.call
	b, err := json.Marshal(c)
	if err != nil {
		return // texts can be written
	}
	o.log.Announce(t, Change{Webhook: b})
}

// changeOf returns what an event says of a webhook.
func changeOf(e *Event) (c webhookChange) {
	if e.Data.Change != nil {
		_ = json.Unmarshal(e.Data.Change.Webhook, &c) // of another type: nothing
	}
	return c
}

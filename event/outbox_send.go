package event

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"sipxrest/internal/webhook"
)

const (
	// There are 256 requests at once: one place of its own for each webhook, so that
	// none holds another up, and places for bursts that they share; and those of
	// webhooks of single calls, 16 for one client.
	sharedPlaces  = allRequests - MaxWebhooks - callPlaces
	callPlaces    = 64
	allRequests   = 256
	placesOfOwner = 16
	// maxEnvelope bounds the body of a request. A bigger one goes without the call.
	maxEnvelope = 20_000
	// maxTold bounds what is kept of an error.
	maxTold = 256
)

// poster makes the request of a delivery; tests have another.
type postFunc func(ctx context.Context, h *hook, address string, header http.Header, body []byte) (webhook.Posted, error)

func postIt(ctx context.Context, h *hook, address string, header http.Header, body []byte) (webhook.Posted, error) {
	return h.poster.Post(ctx, address, header, body)
}

// attempt sends a delivery once, and notes what became of it.
func (o *Outbox) attempt(ctx context.Context, h *hook, rec *hookRecord, it *item, suspect bool) {
	leave, ok := o.takePlace(ctx, h, rec, suspect)
	if !ok {
		it.verdict = verdict{text: errEnding.Error()}
		return
	}
	defer leave()
	body, err := o.bodyOf(rec, it)
	began := o.now()
	if err != nil {
		it.lost = true
		it.verdict = verdict{text: err.Error()}
		it.attempt = Attempt{At: At(began), Error: err.Error()}
		return
	}
	posted, err := o.post(ctx, h, rec, it.d, body, keysNow(rec, began))
	it.verdict = judgePost(posted, err)
	it.attempt = newAttempt(began, o.now(), posted, it.verdict)
}

// takePlace waits for a place among the requests of all. One that seems to be away
// has its own alone.
func (o *Outbox) takePlace(ctx context.Context, h *hook, rec *hookRecord, suspect bool) (leave func(), ok bool) {
	own, shared := h.own, o.places
	if rec.origin == OriginCall {
		own, shared = nil, o.ofCalls
		mine := o.placesOf(rec.owner)
		select {
		case mine <- struct{}{}:
		case <-ctx.Done():
			return nil, false
		}
		defer func() {
			if leave == nil {
				<-mine
				return
			}
			other := leave
			leave = func() { other(); <-mine }
		}()
	} else if suspect {
		shared = nil
	}
	select { // its own one first
	case own <- struct{}{}:
		return func() { <-own }, true
	default:
	}
	select {
	case own <- struct{}{}:
		return func() { <-own }, true
	case shared <- struct{}{}:
		return func() { <-shared }, true
	case <-ctx.Done():
		return nil, false
	}
}

// placesOf are those of a client's webhooks of single calls.
func (o *Outbox) placesOf(owner string) chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owners[owner] == nil {
		o.owners[owner] = make(chan struct{}, placesOfOwner)
	}
	return o.owners[owner] // there are not more of them than API keys
}

// errEnding says that the service ends.
var errEnding = errors.New("the service ends")

// newAttempt is what is kept of a request.
func newAttempt(began, ended time.Time, p webhook.Posted, v verdict) Attempt {
	a := Attempt{At: At(began), TookMS: ended.Sub(began).Milliseconds(), Status: p.Code, Error: clip(v.text, maxTold)}
	if !v.taken {
		a.Answer = string(bytes.ToValidUTF8(p.Body, []byte("\uFFFD")))
	}
	return a
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// post makes one request, signed by keys.
func (o *Outbox) post(ctx context.Context, h *hook, rec *hookRecord, d *delivery, body []byte, keys []webhook.SigningKey) (webhook.Posted, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(rec.spec.TimeoutMS)*time.Millisecond, errTimeout)
	defer cancel()
	header := http.Header{}
	for name, value := range rec.spec.Headers {
		header.Set(name, value)
	}
	header.Set("Content-Type", contentType(&rec.spec))
	header.Set("Sipxrest-Attempt", strconv.Itoa(d.tries+1))
	if d.replay {
		header.Set("Sipxrest-Replay", "1")
	}
	webhook.SignStandard(header, d.id, o.now(), body, rec.spec.Ed25519, keys...)
	began := o.now()
	p, err := o.doPost(ctx, h, rec.spec.URL, header, body)
	o.observe(o.now().Sub(began))
	return p, err
}

func contentType(w *WebhookSpec) string {
	if w.Format == FormatCloud {
		return "application/cloudevents+json"
	}
	return "application/json"
}

// errGone says that an event cannot be sent any more.
var errGone = errors.New("the event is no longer in the log (events.retention, events.max-bytes)")

// bodyOf returns what is sent of a delivery.
func (o *Outbox) bodyOf(rec *hookRecord, it *item) ([]byte, error) {
	if it.d.body != nil {
		return it.d.body, nil
	}
	if it.event == nil {
		e, err := o.eventAt(it.d.id)
		if err != nil {
			return nil, err
		}
		it.event = e
	}
	return o.body(&rec.spec, it.event), nil
}

// eventAt returns an event of the log.
func (o *Outbox) eventAt(id string) (*Event, error) {
	at, err := ParseCursor(id)
	if err != nil {
		return nil, err
	}
	at.Seq--
	events, _, err := o.log.Events(Filter{}, at, 1)
	switch {
	case errors.Is(err, ErrCursorExpired), errors.Is(err, ErrOtherStore):
		return nil, errGone
	case err != nil:
		return nil, err
	case len(events) == 0 || events[0].ID != id:
		return nil, errGone
	}
	return events[0], nil
}

// envelopeData is that of an event without its call.
type envelopeData struct {
	CallID *string `json:"call_id"`
	Leg    string  `json:"leg,omitempty"`
	Change *Change `json:"change"`
}

// body returns an event as a webhook wants it: one line of JSON.
func (o *Outbox) body(w *WebhookSpec, e *Event) []byte {
	cloud, call := w.Format == FormatCloud, w.Include == IncludeCall
	var b []byte
	switch {
	case cloud:
		b = CloudEvent(e, call)
	case call:
		b = o.log.Encoded(e)
	default:
		return o.log.EncodedChange(e)
	}
	if len(b) < maxEnvelope || !call || e.Data.Call == nil {
		return b
	}
	if cloud {
		return cloudEvent(e, envelopeData{e.Data.CallID, e.Data.Leg, e.Data.Change}, true)
	}
	b = o.log.EncodedChange(e)
	return append(b[:len(b)-1:len(b)-1], `,"truncated":true}`...)
}

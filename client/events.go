package client

import (
	"context"
	"encoding/json"
	"errors"

	"iter"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StreamSnapshot is the type of the events with which a stream begins that was asked for
// a snapshot: one for each call that goes on.
const StreamSnapshot EventType = "stream.snapshot"

const (
	// silence ends a connection on which nothing came. The service says each 15 s where
	// the stream is.
	silence = 50 * time.Second
	// soon bounds the random pause before the first attempt to go on.
	soon = 250 * time.Millisecond
)

// Cursor returns the present place in the stream of events: an [EventQuery.After] that
// begins with what happens from now on.
func (c *Client) Cursor(ctx context.Context) (string, error) {
	var p page[json.RawMessage]
	err := c.do(ctx, request{method: http.MethodGet, path: path("events"), query: url.Values{"after": {"now"}, "limit": {"1"}}}, &p)
	return p.Next, err
}

// EventPage returns a page of events, of 100 as long as there are so many. The page after
// it begins After its Next. Without After the oldest come first.
func (c *Client) EventPage(ctx context.Context, query EventQuery) (*EventPage, error) {
	out := &EventPage{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("events"), query: values(query)}, out))
}

// Events follows what happens to calls until ctx ends, or the service refuses. A lost
// connection is opened again where the stream was. A [*GapError] tells of events that are
// missing, and the iterator goes on after it; any other error is the last thing that
// comes.
func (c *Client) Events(ctx context.Context, query EventQuery) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if query.After == "" && !query.Snapshot || query.After == "now" {
			// The place is fixed before the stream opens, so that one which is cut before its
			// first event loses none.
			cursor, err := c.Cursor(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			query.After = cursor
		}
		(&follower{client: c, path: path("events"), query: query, yield: yield}).follow(ctx)
	}
}

// CallEvents follows the events of one call from its first, or from query.After, and ends
// after call.ended, which is told whatever the types are. Of the query After, Types,
// Include and Coalesce count.
func (c *Client) CallEvents(ctx context.Context, id string, query EventQuery) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		types := query.Types
		if len(types) > 0 { // without it nobody would know where the stream ends
			types = append(slices.Clone(types), string(EventTypeCallEnded))
		}
		query = EventQuery{After: query.After, Types: types, Include: query.Include, Coalesce: query.Coalesce}
		(&follower{client: c, path: path("calls", id, "events"), query: query, one: true, yield: yield}).follow(ctx)
	}
}

// follower is one iteration over events.
type follower struct {
	client *Client
	path   string
	query  EventQuery
	one    bool // of one call, whose end is the end
	yield  func(Event, error) bool

	cursor string        // the place that was reached, "" before the first
	retry  time.Duration // how long the service asks to stay away
	opened bool          // there was a stream
	fails  int           // attempts since something came
}

// follow reads streams, one after the other.
func (f *follower) follow(ctx context.Context) {
	for {
		more, err := f.stream(ctx)
		if !more {
			return
		}
		if ctx.Err() != nil {
			f.yield(Event{}, context.Cause(ctx))
			return
		}
		pause, again := f.again(err)
		if !again {
			f.yield(Event{}, err)
			return
		}
		if !sleep(ctx, pause) {
			if ctx.Err() == nil { // the pause would outlast it
				<-ctx.Done()
			}
			f.yield(Event{}, context.Cause(ctx))
			return
		}
	}
}

// unreadable is an event that is not of this interface.
type unreadable struct{ error }

// errClosing is how a stream ends that the service closes.
var errClosing = errors.New("sipxrest: the service ends")

// again reports whether another stream is opened after one that failed, and when.
func (f *follower) again(err error) (time.Duration, bool) {
	f.fails++
	pause := backoff(f.fails)
	var p *Problem
	switch {
	case errors.Is(err, errLongBlock), errors.As(err, new(unreadable)):
		return 0, false // and would be so again
	case errors.As(err, &p) && !p.unanswered():
		if !p.passes() {
			return 0, false
		}
		pause = max(pause, p.wait())
	case errors.Is(err, errClosing):
		return f.retry, true
	case f.opened && f.fails == 1:
		return mathrand.N(soon), true
	case f.opened:
		pause = max(pause, f.retry)
	}
	return pause, f.opened || f.fails < f.client.cfg.Attempts && pause <= f.client.cfg.MaxWait
}

// stream reads one stream until it ends. It reports whether events may follow, and why it
// ended.
func (f *follower) stream(ctx context.Context) (more bool, err error) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	watch := time.AfterFunc(silence, cut)
	defer watch.Stop()
	query, header := f.query, http.Header{"Accept": {"text/event-stream"}}
	if f.cursor != "" {
		query.After, query.Snapshot = "", false
		header.Set("Last-Event-ID", f.cursor)
	}
	resp, err := f.client.once(ctx, request{method: http.MethodGet, path: f.path, query: values(query), header: header}, nil)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent { // its last event has been read
		return false, nil
	}
	f.opened = true
	in := newBlocks(resp.Body)
	for {
		b, err := in.next()
		if err != nil {
			return true, err
		}
		watch.Reset(silence)
		if b.retry > 0 {
			f.retry = b.retry
		}
		if b.id == "" && len(b.data) == 0 {
			continue
		}
		f.fails = 0
		if more, err := f.take(b); !more || err != nil {
			return more, err
		}
	}
}

// note is the data of events that only streams have.
type note struct {
	Reason  string `json:"reason"`
	Oldest  string `json:"oldest"`
	RetryMS int    `json:"retry_ms"`
	Calls   []Call `json:"calls"`
	Part    int    `json:"part"`
	Parts   int    `json:"parts"`
}

// take hands on what a block says. It reports whether events may follow.
func (f *follower) take(b block) (more bool, err error) {
	if len(b.data) == 0 {
		f.cursor = b.id
		return true, nil
	}
	if kind, ok := strings.CutPrefix(b.event, "stream."); ok && kind != "gap" {
		return f.note(b, kind)
	}
	var e Event
	if err := json.Unmarshal(b.data, &e); err != nil {
		return true, unreadable{err}
	}
	if f.query.Coalesce == "" && before(b.id, f.cursor) {
		return true, nil
	}
	if b.id != "" {
		f.cursor = b.id
	}
	if e.Type == EventTypeStreamGap {
		gap := &GapError{Reason: "store_too_slow", Cursor: f.cursor}
		if e.Data.Change != nil {
			gap.Lost = e.Data.Change.Count
		}
		return f.yield(e, gap), nil
	}
	return f.yield(e, nil) && !(f.one && e.Final), nil
}

// note takes an event that only streams have.
func (f *follower) note(b block, kind string) (more bool, err error) {
	var e struct {
		ID        string    `json:"id"`
		Timestamp time.Time `json:"timestamp"`
		Data      note      `json:"data"`
	}
	if err := json.Unmarshal(b.data, &e); err != nil {
		return true, unreadable{err}
	}
	switch n := e.Data; kind {
	case "snapshot":
		for i := range n.Calls {
			call := &n.Calls[i]
			if !f.yield(Event{ID: e.ID, Type: StreamSnapshot, Timestamp: e.Timestamp, CallSeq: call.Version,
				Data: EventData{CallID: call.ID, Call: call}}, nil) {
				return false, nil
			}
		}
		if n.Part < n.Parts { // who is cut off here gets all parts again
			return true, nil
		}
	case "reset":
		if b.id != "" {
			f.cursor = b.id
		}
		return f.yield(Event{}, &GapError{Reason: n.Reason, Oldest: n.Oldest, Cursor: f.cursor}), nil
	case "closing":
		f.retry = time.Duration(n.RetryMS) * time.Millisecond
		err = errClosing
	}
	if b.id != "" {
		f.cursor = b.id
	}
	return true, err
}

// before reports whether an event's id is at or before a cursor of the same store, so
// that it has been handed on.
func before(id, cursor string) bool {
	store, run, seq, ok := place(id)
	wasStore, wasRun, wasSeq, was := place(cursor)
	return ok && was && store == wasStore && (run < wasRun || run == wasRun && seq <= wasSeq)
}

// place takes an id apart: evt_STORE_RUN_SEQ.
func place(id string) (store string, run, seq uint64, ok bool) {
	parts := strings.Split(id, "_")
	if len(parts) != 4 {
		return "", 0, 0, false
	}
	run, err1 := strconv.ParseUint(parts[2], 10, 64)
	seq, err2 := strconv.ParseUint(parts[3], 10, 64)
	return parts[1], run, seq, err1 == nil && err2 == nil
}

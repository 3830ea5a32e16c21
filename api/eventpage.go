package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"sipxrest/event"
)

// eventList is a page of events. next is always there: it is where the reader goes
// on, be there more now or not.
type eventList struct {
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
	Next    string            `json:"next"`
}

// eventPage answers with events behind a cursor. With Prefer: wait it waits for the
// first one.
func (a *API) eventPage(w http.ResponseWriter, r *request, rd *reading) *Problem {
	for _, name := range []string{"snapshot", "coalesce"} {
		if r.query.Has(name) {
			return wrongParam(name, memberInvalid, "for streams only")
		}
	}
	limit, why := r.number("limit", eventsDefault, 1, eventsMost)
	if why != nil {
		return why
	}
	page, why := a.pageOf(rd, limit)
	if why == nil && len(page.Data) == 0 && !page.HasMore && !page.over {
		if d := preferredWait(r.Header); d > 0 {
			page, why = a.waitForPage(w, r, rd, limit, d)
		}
	}
	if why != nil {
		return why
	}
	tag := `"` + page.Next + `"`
	w.Header().Set("ETag", tag)
	if len(page.Data) == 0 && matchesTag(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if page.HasMore {
		r.linkNext(w, "after", page.Next)
	}
	return send(w, http.StatusOK, page.eventList)
}

// readPage is a page, and whether nothing will come behind it.
type readPage struct {
	eventList
	over bool
}

// pageOf reads a page.
func (a *API) pageOf(rd *reading, limit int) (*readPage, *Problem) {
	page := &readPage{eventList: eventList{Data: []json.RawMessage{}}}
	var events []*event.Event
	next := rd.cursor
	if rd.call != "" {
		for after, full := int64(0), true; full && len(events) <= limit; {
			read, err := a.bus.CallEvents(rd.call, after, eventsMost)
			if err != nil {
				return nil, a.unreadable()
			}
			for _, e := range typed(read, rd.filter.Types) {
				if e.Seq > rd.cursor.Seq {
					events = append(events, e)
				}
			}
			if n := len(read); n > 0 {
				after, page.over = read[n-1].CallSeq, read[n-1].Final
			}
			full = len(read) == eventsMost
		}
		if page.HasMore = len(events) > limit; page.HasMore {
			events = events[:limit]
		}
		if n := len(events); n > 0 {
			next, _ = event.ParseCursor(events[n-1].ID) // which the bus has made
		}
	} else {
		var err error
		if events, next, err = a.bus.Events(rd.filter, rd.cursor, limit); err != nil {
			return nil, a.gone(err)
		}
		page.HasMore = next.Seq < a.bus.Head().Seq
	}
	for _, e := range events {
		page.Data = append(page.Data, a.encode(e, rd.format, 0))
	}
	rd.cursor, page.Next = next, next.String()
	return page, nil
}

// waitForPage waits for the first event.
func (a *API) waitForPage(w http.ResponseWriter, r *request, rd *reading, limit int, d time.Duration) (*readPage, *Problem) {
	free, why := a.wait(w, d)
	if why != nil {
		return nil, why
	}
	defer free()
	sub := a.bus.Subscribe(rd.filter)
	defer sub.Close()
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	for {
		page, why := a.pageOf(rd, limit)
		if why != nil || len(page.Data) > 0 {
			return page, why
		}
		select {
		case <-sub.Wake():
		case <-ctx.Done():
			return page, nil
		case <-a.streams.end:
			return page, nil
		}
	}
}

// gone words why events cannot be read from a cursor on.
func (a *API) gone(err error) *Problem {
	why := a.lostBy(err)
	if why == nil {
		return a.unreadable()
	}
	at := "of another store"
	if !why.At.IsZero() {
		at = why.At.UTC().Format(time.RFC3339)
	}
	p := refuse(CursorExpired, why.Oldest, at, why.Oldest)
	p.Oldest, p.Reason = why.Oldest, why.Reason
	return p
}

func (a *API) unreadable() *Problem {
	return refuse(StoreUnavailable, "its events cannot be read").after(5 * time.Second)
}

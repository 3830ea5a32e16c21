package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"
)

// values writes the fields of a query that are set, by their tags.
func values(query any) url.Values {
	all := url.Values{}
	v := reflect.ValueOf(query)
	for i := range v.NumField() {
		name, field := v.Type().Field(i).Tag.Get("query"), v.Field(i)
		if name == "" || field.IsZero() {
			continue
		}
		switch x := field.Interface().(type) {
		case time.Time:
			all.Set(name, x.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		case bool:
			all.Set(name, "1")
		case int:
			all.Set(name, strconv.Itoa(x))
		case map[string]string:
			for tag, value := range x {
				all.Set(name+"."+tag, value)
			}
		default:
			if field.Kind() != reflect.Slice {
				all.Set(name, field.String())
				continue
			}
			for j := range field.Len() {
				all.Add(name, fmt.Sprint(field.Index(j).Interface()))
			}
		}
	}
	return all
}

// page is how each list is answered.
type page[T any] struct {
	Data    []T    `json:"data"`
	HasMore bool   `json:"has_more"`
	Next    string `json:"next"`
}

// list reads all pages of a list, each as it is needed.
func list[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		next := url.Values{}
		for k, v := range query {
			next[k] = v
		}
		for {
			var p page[T]
			if err := c.do(ctx, request{method: http.MethodGet, path: path, query: next}, &p); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Data {
				if !yield(item, nil) {
					return
				}
			}
			if !p.HasMore || p.Next == "" {
				return
			}
			next.Set("cursor", p.Next)
		}
	}
}

// CallQuery chooses calls. What is zero chooses all.
type CallQuery struct {
	State         []State           `query:"state"` // or "active": all but ended
	Kind          []Kind            `query:"kind"`
	Source        []Source          `query:"source"`
	User          []string          `query:"user"` // of any party, or the agent
	Outcome       []Outcome         `query:"outcome"`
	Reason        []Reason          `query:"reason"`
	Flow          []string          `query:"flow"`
	Tags          map[string]string `query:"tag"` // all must fit
	CreatedAfter  time.Time         `query:"created_after"`
	CreatedBefore time.Time         `query:"created_before"`
	UpdatedAfter  time.Time         `query:"updated_after"`
	Order         string            `query:"order"` // "desc", the default, or "asc"
	Limit         int               `query:"limit"` // of a page: 1 to 100
	Cursor        string            `query:"cursor"`
}

// RecordQuery chooses records of calls. What is zero chooses all.
type RecordQuery struct {
	Kind        []Kind            `query:"kind"`
	Source      []Source          `query:"source"`
	Flow        []string          `query:"flow"`
	Outcome     []Outcome         `query:"outcome"`
	Reason      []Reason          `query:"reason"`
	Termination []string          `query:"termination"`
	SIPCode     []int             `query:"sip_code"`
	User        []string          `query:"user"`
	Caller      []string          `query:"caller"`
	Callee      []string          `query:"callee"`
	Tags        map[string]string `query:"tag"`
	MinTalkMS   int               `query:"min_talk_ms"`
	StartAfter  time.Time         `query:"start_after"`
	StartBefore time.Time         `query:"start_before"`
	EndAfter    time.Time         `query:"end_after"`
	EndBefore   time.Time         `query:"end_before"`
	Order       string            `query:"order"`
	Limit       int               `query:"limit"`
	Cursor      string            `query:"cursor"` // of lists only
	Fields      string            `query:"fields"` // of the export only
	Safe        bool              `query:"safe"`   // of the export only
}

// DeliveryQuery chooses deliveries of a webhook.
type DeliveryQuery struct {
	State  string `query:"state"` // "pending", "failed" or "dead"
	CallID string `query:"call_id"`
	Limit  int    `query:"limit"`
	Cursor string `query:"cursor"`
}

// EventQuery chooses events. What is zero chooses all, but leg.dtmf, which must be named.
type EventQuery struct {
	// After is the id of an event, "now" or "oldest". Without it the events of one call
	// begin with its first, and others now.
	After  string            `query:"after"`
	Types  []string          `query:"type"` // such as "call.ended" or "leg.*"
	Kinds  []Kind            `query:"kind"`
	Agents []string          `query:"agent"`
	Users  []string          `query:"user"`
	CallID string            `query:"call_id"`
	Tags   map[string]string `query:"tag"`
	// Snapshot begins with an event StreamSnapshot for each call that goes on. After a
	// lost connection some of these may come again; no other events do.
	Snapshot bool `query:"snapshot"`
	// Include leaves out the call after each event by "change".
	Include string `query:"include"`
	// Coalesce has a slow reader told only the last event of each call, by "call".
	Coalesce string `query:"coalesce"`
}

package api

import (
	"encoding/json"
	"strconv"

	"sipxrest/event"
)

// A format is how an event is written.
type format struct {
	changeOnly bool // without the call after the event
	cloud      bool // CloudEvents 1.0
}

// format reads "include" and "format".
func (r *request) format() (f format, why *Problem) {
	include, why := r.word("include", "call", "change")
	if why != nil {
		return f, why
	}
	kind, why := r.word("format", "standard", "cloudevents")
	return format{changeOnly: include == "change", cloud: kind == "cloudevents"}, why
}

// cloudEvent is an event as CloudEvents 1.0 words it in JSON.
type cloudEvent struct {
	SpecVersion string     `json:"specversion"`
	ID          string     `json:"id"`
	Source      string     `json:"source"`
	Type        string     `json:"type"`
	Subject     string     `json:"subject,omitempty"`
	Time        event.Time `json:"time"`
	ContentType string     `json:"datacontenttype"`
	// Sequence orders the events of a call as text, too.
	Sequence string     `json:"sequence"`
	CallSeq  int64      `json:"callseq"` // names of extensions have no underscores
	Final    bool       `json:"final"`
	Data     event.Data `json:"data"`
}

// encode writes an event. What is usual is written once for all readers.
func (a *API) encode(e *event.Event, f format, skipped int) []byte {
	switch {
	case !f.cloud && !f.changeOnly:
		return withSkipped(a.bus.Encoded(e), skipped)
	case !f.cloud:
		return withSkipped(a.bus.EncodedChange(e), skipped)
	}
	c := cloudEvent{SpecVersion: "1.0", ID: e.ID, Source: Prefix + "/events", Type: "org.sipxrest." + string(e.Type), Time: e.Timestamp,
		ContentType: "application/json", Sequence: sequence(e.Seq), CallSeq: e.CallSeq, Final: e.Final, Data: e.Data}
	if f.changeOnly {
		c.Data.Call = nil
	}
	if id := e.Data.CallID; id != nil {
		c.Source, c.Subject = Prefix+"/calls/"+*id, e.Data.Leg
	}
	data, err := json.Marshal(c)
	if err != nil { // a change is JSON
		return []byte("{}")
	}
	return withSkipped(data, skipped)
}

// sequence writes a number so that texts compare as numbers do.
func sequence(n int64) string {
	text := strconv.FormatInt(n, 10)
	const digits = 19
	b := make([]byte, 0, digits)
	for range digits - len(text) {
		b = append(b, '0')
	}
	return string(append(b, text...))
}

// withSkipped adds how many events of the call were left out before this one.
func withSkipped(data []byte, skipped int) []byte {
	if skipped == 0 || len(data) == 0 || data[len(data)-1] != '}' {
		return data
	}
	out := make([]byte, 0, len(data)+20)
	out = append(append(out, data[:len(data)-1]...), `,"skipped":`...)
	return append(strconv.AppendInt(out, int64(skipped), 10), '}')
}

// note is an event that only a stream has. Its id is a place in the stream, too.
type note struct {
	ID        string     `json:"id"`
	Type      string     `json:"type"`
	Timestamp event.Time `json:"timestamp"`
	Data      noteData   `json:"data"`
}

type noteData struct {
	CallID *string       `json:"call_id"`
	Cursor string        `json:"cursor"`
	Reason string        `json:"reason,omitempty"`
	Oldest string        `json:"oldest,omitempty"`
	At     event.Time    `json:"oldest_at,omitzero"`
	Retry  int64         `json:"retry_ms,omitempty"`
	Calls  []*event.Call `json:"calls,omitempty"`
	// Part and Parts number the snapshots of many calls.
	Part  int `json:"part,omitempty"`
	Parts int `json:"parts,omitempty"`
}

// note writes one.
func (a *API) note(kind string, at event.Cursor, d noteData) []byte {
	d.Cursor = at.String()
	data, err := json.Marshal(note{ID: d.Cursor, Type: kind, Timestamp: event.At(a.cfg.Now()), Data: d})
	if err != nil { // calls are JSON
		return []byte("{}")
	}
	return data
}

package event

import (
	"encoding/json"
	"strconv"
)

// CloudEvent returns an event as CloudEvents 1.0 has it, in JSON. Without the call
// it has the change alone.
func CloudEvent(e *Event, call bool) []byte {
	if call {
		return cloudEvent(e, e.Data, false)
	}
	return cloudEvent(e, envelopeData{e.Data.CallID, e.Data.Leg, e.Data.Change}, false)
}

// cloudEvent wraps the data of an event; truncated says that its call is missing
// for its size.
func cloudEvent(e *Event, data any, truncated bool) []byte {
	c := struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Subject     string `json:"subject,omitempty"`
		Type        string `json:"type"`
		Time        Time   `json:"time"`
		ContentType string `json:"datacontenttype"`
		// Names of extensions are of small letters alone.
		Sequence  string `json:"sequence"`
		CallSeq   int64  `json:"callseq"`
		Final     bool   `json:"final"`
		Truncated bool   `json:"truncated,omitempty"`
		Data      any    `json:"data"`
	}{"1.0", e.ID, "/v1", e.Data.Leg, "org.sipxrest." + string(e.Type), e.Timestamp, "application/json",
		strconv.FormatInt(e.Seq, 10), e.CallSeq, e.Final, truncated, data}
	if e.Data.CallID != nil {
		c.Source = "/v1/calls/" + *e.Data.CallID
	}
	b, err := json.Marshal(c)
	if err != nil {
		b = []byte("null") // a call has nothing that JSON has not
	}
	return b
}

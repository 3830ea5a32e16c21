package event

import (
	"encoding/json"
	"sync/atomic"
)

// Type names what happened.
type Type string

// The types of events that are kept. Those that only streams have are the streams' own.
const (
	CallCreated     Type = "call.created"
	CallRouted      Type = "call.routed"
	CallConnecting  Type = "call.connecting"
	CallConnected   Type = "call.connected"
	CallFlowChanged Type = "call.flow_changed"
	CallReleased    Type = "call.released"
	CallUpdated     Type = "call.updated"
	CallMoved       Type = "call.moved" // in a cluster: another node goes on with it
	CallEnded       Type = "call.ended"

	LegDialled    Type = "leg.dialing"
	LegRedirected Type = "leg.redirected"
	LegRang       Type = "leg.ringing"
	LegPickedUp   Type = "leg.answered"
	LegHeld       Type = "leg.held"
	LegResumed    Type = "leg.resumed"
	LegMuted      Type = "leg.muted"
	LegUnmuted    Type = "leg.unmuted"
	LegDTMF       Type = "leg.dtmf" // never kept
	LegOver       Type = "leg.ended"

	TransferStarted    Type = "transfer.started"
	TransferRinging    Type = "transfer.ringing"
	TransferConsulting Type = "transfer.consulting"
	TransferCompleted  Type = "transfer.completed"
	TransferFailed     Type = "transfer.failed"
	TransferCancelled  Type = "transfer.cancelled"

	WebhookTest      Type = "webhook.test"
	WebhookDisabled  Type = "webhook.disabled"
	WebhookRecovered Type = "webhook.recovered"

	SystemStarted  Type = "system.started"
	SystemDraining Type = "system.draining"
	StreamGap      Type = "stream.gap"
)

// Event is one thing that happened: the change, and the call after it. An Event that
// was given out is never changed, nor copied.
type Event struct {
	ID        string `json:"id"` // "evt_<store>_<run>_<seq>"
	Type      Type   `json:"type"`
	Timestamp Time   `json:"timestamp"`
	Seq       int64  `json:"seq"`      // without gaps in the run
	CallSeq   int64  `json:"call_seq"` // from 1, without gaps in the call; 0 of no call
	Final     bool   `json:"final"`    // call.ended
	Data      Data   `json:"data"`

	encoded [2]atomic.Pointer[[]byte] // JSON with the call and without it, see Bus.Encoded
	size    int                       // what it takes in memory, about
	base    bool                      // the log keeps the call with it: a change before it is not there
	key     *IdempotencyKey           // call.created: is kept with it
	live    *live                     // whose event it is; nil for those that were read
}

// Data is what an event says.
type Data struct {
	CallID *string `json:"call_id"`
	Leg    string  `json:"leg,omitempty"`
	Change *Change `json:"change"`
	Call   *Call   `json:"call,omitempty"`
}

// Change is what an event changes of its call. Which members count is the type's
// choice; the others are empty. It is what the log keeps. In JSON the state of a leg
// is "state" as that of the call is, and its end "end": the type tells which is meant.
type Change struct {
	// Of the call. Created is all that is known of it when it begins.
	Created   *Created          `json:"created,omitempty"`
	State     State             `json:"-"`
	Flow      *Flow             `json:"flow,omitempty"` // call.flow_changed: what is used now
	SIP       *Status           `json:"sip,omitempty"`
	Knowledge *Knowledge        `json:"knowledge,omitempty"`
	FinalBy   Time              `json:"final_by,omitzero"`
	Rule      string            `json:"rule,omitempty"`
	Decision  string            `json:"decision,omitempty"`
	Target    string            `json:"target,omitempty"`
	TookMS    int64             `json:"took_ms,omitempty"`
	Tags      map[string]string `json:"tags,omitzero"` // empty: the last ones are taken away
	Metadata  json.RawMessage   `json:"metadata,omitempty"`
	End       *End              `json:"-"`
	TalkMS    *int64            `json:"talk_ms,omitempty"`
	Merged    string            `json:"merged_into,omitempty"`
	Node      string            `json:"node,omitempty"` // call.moved: that has it now; From had it

	// Of a leg, which Data.Leg names. Leg is the whole of a new one.
	Leg        *Leg     `json:"leg,omitempty"`
	Role       Role     `json:"role,omitempty"` // it has another one now
	LegState   LegState `json:"-"`
	Hop        string   `json:"hop,omitempty"`
	SIPCallID  string   `json:"sip_call_id,omitempty"`
	Contact    string   `json:"contact,omitempty"`
	Via        string   `json:"via,omitempty"`
	From       string   `json:"from,omitempty"`
	To         string   `json:"to,omitempty"`
	RingingBy  string   `json:"ringing_by,omitempty"`
	EarlyMedia bool     `json:"early_media,omitempty"`
	Devices    int      `json:"devices,omitempty"`
	Tried      []Tried  `json:"tried,omitempty"`
	By         string   `json:"by,omitempty"`
	LegEnd     *LegEnd  `json:"-"`
	Digit      string   `json:"digit,omitempty"`

	// Of a transfer.
	Transfer *Transfer `json:"transfer,omitempty"`

	// Of no call. From and To of stream.gap are ids of events.
	Run     int64           `json:"run,omitempty"`   // system.started
	Calls   *int64          `json:"calls,omitempty"` // system.started: that were ended by it
	Count   int64           `json:"count,omitempty"` // stream.gap: events that were not kept
	Webhook json.RawMessage `json:"webhook,omitempty"`
}

// Created is what a call begins with: what was asked for, without secrets.
type Created struct {
	Kind      Kind              `json:"kind"`
	Source    Source            `json:"source"`
	Agent     string            `json:"agent"`
	RequestID string            `json:"request_id,omitempty"`
	Subject   string            `json:"subject,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Metadata  json.RawMessage   `json:"metadata,omitempty"`
	Flow      Flow              `json:"flow"`
	Knowledge Knowledge         `json:"knowledge"`
	State     State             `json:"state"`
	Legs      []Leg             `json:"legs"` // pending ones: the parties that are known
	Node      string            `json:"node,omitempty"`
}

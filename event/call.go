package event

import (
	"encoding/json"
	"time"
)

// Kind tells calls apart by what they are for.
type Kind string

// The kinds of calls.
const (
	ClickToCall Kind = "click_to_call" // two phones that a client has joined
	DialOut     Kind = "dial_out"      // a telephone number, for a room or a target
	Inbound     Kind = "inbound"       // placed to us
	WebSocket   Kind = "websocket"     // between users of the phone over WebSocket
)

// Source is the door by which a call came.
type Source string

// The doors.
const (
	FromAPI            Source = "api"
	FromCallController Source = "callcontroller"
	FromDialOut        Source = "dialout"
	FromTalk           Source = "talk"
	FromDispatch       Source = "dispatch"
	FromPhone          Source = "phone"
)

// State is how far a call is. It never goes back.
type State string

// The states of a call, in their order.
const (
	Routing    State = "routing"    // it is being decided where an inbound call goes
	Calling    State = "calling"    // the first phone is called
	Connecting State = "connecting" // that has answered, the other one is called
	Connected  State = "connected"  // both are joined
	Released   State = "released"   // the phones have been left to themselves
	Ended      State = "ended"      // final
)

// LegState is how far the way to one phone is. It never goes back either.
type LegState string

// The states of a leg, in their order. LegRinging may be skipped.
const (
	LegPending  LegState = "pending"
	LegDialing  LegState = "dialing"
	LegRinging  LegState = "ringing"
	LegAnswered LegState = "answered"
	LegEnded    LegState = "ended"
)

// Role is what a leg is in its call.
type Role string

// The roles.
const (
	RoleCalling Role = "calling" // the phone that rings first
	RoleCalled  Role = "called"
	RoleCaller  Role = "caller"  // of an inbound call
	RoleTarget  Role = "target"  // of a transfer, a redirect or a rule
	RoleConsult Role = "consult" // second line of an attended transfer
	RoleDevice  Role = "device"  // of a user of the phone over WebSocket
)

// Call is one call as its events tell it: the fold of all of them (Apply). A
// Call that was given out is never changed.
type Call struct {
	ID          string            `json:"id"`
	Object      string            `json:"object"`  // "call"
	Version     int64             `json:"version"` // number of the last event
	Kind        Kind              `json:"kind"`
	Source      Source            `json:"source"`
	Direction   string            `json:"direction"` // "outbound" or "inbound"
	State       State             `json:"state"`
	Agent       string            `json:"agent"` // address of record
	RequestID   string            `json:"request_id,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	Tags        map[string]string `json:"tags"`
	Metadata    json.RawMessage   `json:"metadata"`
	Flow        Flow              `json:"flow"`
	Knowledge   Knowledge         `json:"knowledge"`
	Rule        string            `json:"rule,omitempty"`     // of dispatch, that took an inbound call
	Decision    string            `json:"decision,omitempty"` // what was decided
	Legs        []Leg             `json:"legs"`
	Transfers   []Transfer        `json:"transfers"`
	Actions     []string          `json:"actions"` // what who asks can do; filled by who shows the call
	CreatedAt   Time              `json:"created_at"`
	ConnectedAt Time              `json:"connected_at"`
	ReleasedAt  Time              `json:"released_at"`
	EndedAt     Time              `json:"ended_at"`
	RingMS      *int64            `json:"ring_ms"` // of the first leg, until its answer or its end; nil: not known
	TalkMS      *int64            `json:"talk_ms"` // nil: not known
	MergedInto  string            `json:"merged_into,omitempty"`
	FinalBy     Time              `json:"final_by,omitzero"` // released: call.ended comes by then
	End         *End              `json:"end"`
	Links       *Links            `json:"links,omitempty"` // filled by who shows the call

	// In a cluster: the node that has the call, and the one that had it before.
	Node          string `json:"node,omitempty"`
	TakenOverFrom string `json:"taken_over_from,omitempty"`
	MovedAt       Time   `json:"moved_at,omitzero"`

	updated Time // of the last event; zero for a call that was read from the log
}

// UpdatedAt is when the last event of the call happened.
func (c *Call) UpdatedAt() Time {
	if !c.updated.IsZero() || c.State != Ended {
		return c.updated
	}
	return c.EndedAt
}

// Flow is how the phones are joined.
type Flow struct {
	Requested string  `json:"requested"` // "auto", "invite", "refer", "refer_only"; "" for kinds that have no choice
	Used      string  `json:"used"`      // "invite" or "refer"
	Fallback  *string `json:"fallback"`  // why another was used than requested
}

// Knowledge says how much of a call the service can know.
type Knowledge struct {
	Level string `json:"level"` // "full", "setup" (REFER: until Until) or "lost"
	Until Time   `json:"until"`
	Text  string `json:"text,omitempty"`
}

// Leg is the service's way to one phone.
type Leg struct {
	ID         string   `json:"id"` // "l1", "l2", … in the order in which they came
	Role       Role     `json:"role"`
	Address    string   `json:"address"` // user@host
	Display    string   `json:"display,omitempty"`
	State      LegState `json:"state"`
	Held       bool     `json:"held"`
	Muted      bool     `json:"muted"`
	EarlyMedia bool     `json:"early_media"`
	RingingBy  string   `json:"ringing_by,omitempty"` // "180" or "183"
	Via        string   `json:"via,omitempty"`        // "refer": the calling phone calls it
	Devices    int      `json:"devices,omitempty"`    // WebSocket: that ring
	SIP        *LegSIP  `json:"sip"`                  // nil where it is none of SIP, or not ours
	DialingAt  Time     `json:"dialing_at"`
	RingingAt  Time     `json:"ringing_at"`
	AnsweredAt Time     `json:"answered_at"`
	EndedAt    Time     `json:"ended_at"`
	End        *LegEnd  `json:"end,omitempty"`
}

// LegSIP is what of a leg helps to find it in a PBX's own records.
type LegSIP struct {
	CallID  string  `json:"call_id"`
	Hop     string  `json:"hop,omitempty"` // "udp:192.0.2.10:5060", that took the request
	Contact string  `json:"contact,omitempty"`
	Tried   []Tried `json:"tried,omitempty"` // hops that failed
}

// Tried is a hop that did not take a request.
type Tried struct {
	Hop string `json:"hop"`
	Why string `json:"why"`
}

// Status is a SIP response or request that something came of.
type Status struct {
	Code        int    `json:"code"`
	Reason      string `json:"reason,omitempty"`
	Method      string `json:"method,omitempty"`
	Hop         string `json:"hop,omitempty"`
	Synthesized bool   `json:"synthesized"` // nobody sent it: a timer of ours
}

// Q850 is a cause of the telephone network (ITU-T Q.850).
type Q850 struct {
	Cause  int    `json:"cause"`
	Text   string `json:"text,omitempty"`
	Source string `json:"source"` // "header" (Reason, RFC 3326) or "mapped" (RFC 3398)
}

// LegEnd is how a leg ended.
type LegEnd struct {
	By     string  `json:"by"`
	Reason string  `json:"reason"`
	SIP    *Status `json:"sip"`
	Q850   *Q850   `json:"q850,omitempty"`
}

// End is how a call ended.
type End struct {
	Outcome Outcome `json:"outcome"`
	By      string  `json:"by"` // "calling", "called", "caller", "target", "client", "service", "network", "unknown"
	Actor   *Actor  `json:"actor"`
	Leg     string  `json:"leg,omitempty"` // on which it fell
	Stage   string  `json:"stage"`
	Reason  string  `json:"reason"`
	SIP     *Status `json:"sip"`
	Q850    *Q850   `json:"q850"`
	Dialled string  `json:"dialled"` // "no", "yes", "unknown": whether a phone was called
	Message string  `json:"message"`
}

// Actor is who by a request of his ended a call.
type Actor struct {
	Type      string `json:"type"` // "user", "key", "peer"
	Name      string `json:"name"`
	RequestID string `json:"request_id,omitempty"`
}

// Outcome is what a call came to.
type Outcome string

// The outcomes.
const (
	Completed   Outcome = "completed"
	HandedOver  Outcome = "handed_over"
	NoAnswer    Outcome = "no_answer"
	Busy        Outcome = "busy"
	Declined    Outcome = "declined"
	Unreachable Outcome = "unreachable"
	Cancelled   Outcome = "cancelled"
	Failed      Outcome = "failed"
	Merged      Outcome = "merged"
	Unknown     Outcome = "unknown"
)

// Transfer is one transfer of a call.
type Transfer struct {
	ID          string       `json:"id"`   // "t1", …
	Mode        string       `json:"mode"` // "blind", "attended", "phone"
	Leaver      string       `json:"leaver,omitempty"`
	To          string       `json:"to,omitempty"`
	WithCall    *string      `json:"with_call"`
	RequestedBy string       `json:"requested_by,omitempty"` // the leg, of one by a phone
	State       string       `json:"state"`                  // "dialing", "ringing", "consulting", "completed", "failed", "cancelled"
	StartedAt   Time         `json:"started_at"`
	EndedAt     Time         `json:"ended_at"`
	End         *TransferEnd `json:"end"`
}

// TransferEnd is how a transfer ended.
type TransferEnd struct {
	Reason  string  `json:"reason"`
	Leg     string  `json:"leg,omitempty"`
	SIP     *Status `json:"sip"`
	Message string  `json:"message"`
}

// Links lead to what belongs to a call.
type Links struct {
	Self   string `json:"self"`
	Events string `json:"events"`
	Trace  string `json:"trace,omitempty"`
}

// Time is a time as the API writes it: RFC 3339 in UTC with milliseconds, null
// when it is zero.
type Time struct{ time.Time }

const timeForm = "2006-01-02T15:04:05.000Z"

// At returns t, as precise as the API says it.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// MarshalJSON writes the time, or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(timeForm)+2)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeForm)
	return append(b, '"'), nil
}

// UnmarshalJSON reads any time of RFC 3339, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	var at time.Time
	if err := at.UnmarshalJSON(b); err != nil {
		return err
	}
	*t = At(at)
	return nil
}

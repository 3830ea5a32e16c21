package event

import (
	"encoding/json"
	"slices"
)

// CDR is the record of one call that is over: a row of the table cdrs. Texts that
// are empty, times that are zero and pointers that are nil are NULL there, and null in
// JSON. cdr_column.go has the columns.
type CDR struct {
	CallID    string
	Kind      Kind
	Source    Source
	Flow      string // "invite" or "refer"; empty for kinds that have no choice
	Knowledge string // of Knowledge.Level

	Agent         string
	CallerAOR     string // the calling party: neither the agent nor a trunk
	CalleeAOR     string // whom it was meant for; a redirect or a transfer does not change it
	CallerContact string
	CalleeContact string
	CalleeRoute   string // the hop that took the request to the called party

	StartTime   Time
	RingTime    Time // the called party's phone began to ring
	ConnectTime Time
	EndTime     Time
	TalkMS      *int64
	RingMS      *int64

	Termination    string // sipXecs' letter: C, F, A, T, U; see termination
	Outcome        Outcome
	Reason         string
	EndedBy        string
	FailedLeg      string // the leg on which it fell
	Stage          string
	SIPCode        *int64
	Q850           *int64
	Q850Source     string
	SIPSynthesized *bool
	Message        string

	TransferredTo string
	MergedInto    string
	SIPCallIDs    []string
	Tags          map[string]string
	Metadata      json.RawMessage
	Legs          json.RawMessage // of Call.Legs
	Node          string          // that had the call; empty where there is one only
	RequestID     string
	TakenOverFrom string // the node that had it before Node
	MovedAt       Time   // when Node took it over

	of *Call // of a record of recordOf; nil once Legs is there
}

// Record returns the record of a call that is over.
func Record(c *Call) *CDR { return recordOf(c).whole() }

// recordOf is Record, but for Legs, which few ask for.
func recordOf(c *Call) *CDR {
	r := &CDR{
		of:     c,
		CallID: c.ID, Kind: c.Kind, Source: c.Source, Flow: c.Flow.Used, Knowledge: c.Knowledge.Level, Agent: c.Agent,
		StartTime: c.CreatedAt, ConnectTime: c.ConnectedAt, EndTime: c.EndedAt, TalkMS: c.TalkMS, RingMS: c.RingMS,
		MergedInto: c.MergedInto, Tags: c.Tags, Metadata: c.Metadata, RequestID: c.RequestID, Termination: termination(c),
		Node: c.Node, TakenOverFrom: c.TakenOverFrom, MovedAt: c.MovedAt,
	}
	for i := range c.Legs {
		if s := c.Legs[i].SIP; s != nil && s.CallID != "" && !slices.Contains(r.SIPCallIDs, s.CallID) {
			r.SIPCallIDs = append(r.SIPCallIDs, s.CallID)
		}
	}
	caller, callee := parties(c)
	if caller != nil {
		r.CallerAOR = caller.Address
		if caller.SIP != nil {
			r.CallerContact = caller.SIP.Contact
		}
	}
	if callee != nil {
		r.CalleeAOR, r.RingTime = callee.Address, callee.RingingAt
		if callee.SIP != nil {
			r.CalleeContact, r.CalleeRoute = callee.SIP.Contact, callee.SIP.Hop
		}
	}
	for _, t := range c.Transfers {
		if t.State == "completed" {
			r.TransferredTo = t.To
		}
	}
	if e := c.End; e != nil {
		r.Outcome, r.Reason, r.EndedBy, r.FailedLeg, r.Stage, r.Message = e.Outcome, e.Reason, e.By, e.Leg, e.Stage, e.Message
		if e.SIP != nil {
			code, ours := int64(e.SIP.Code), e.SIP.Synthesized
			r.SIPCode, r.SIPSynthesized = &code, &ours
		}
		if e.Q850 != nil {
			cause := int64(e.Q850.Cause)
			r.Q850, r.Q850Source = &cause, e.Q850.Source
		}
	}
	return r
}

// whole is a record with Legs, which one of recordOf does not have.
func (r *CDR) whole() *CDR {
	if r.of == nil {
		return r
	}
	w := *r
	w.Legs, _ = json.Marshal(r.of.Legs) // of texts, numbers and times: it cannot fail
	w.of = nil
	return &w
}

// parties are the legs of the two that a call was for. After a transfer a target has
// the role of the one who left, so the first leg of a role counts. An inbound call was
// for its target that answered, or else for the first.
func parties(c *Call) (caller, callee *Leg) {
	for i := range c.Legs {
		l := &c.Legs[i]
		switch l.Role {
		case RoleCalling, RoleCaller:
			if caller == nil {
				caller = l
			}
		case RoleCalled:
			if callee == nil {
				callee = l
			}
		}
	}
	if callee != nil {
		return caller, callee
	}
	for i := range c.Legs {
		if l := &c.Legs[i]; l.Role == RoleTarget || l.Role == RoleDevice {
			if callee == nil || callee.AnsweredAt.IsZero() && !l.AnsweredAt.IsZero() {
				callee = l
			}
		}
	}
	return caller, callee
}

// termination is the letter that sipXecs' records have for what a call came to: C
// completed, F failed, A abandoned, T transferred, U unknown. I (in progress) and R
// (requested) are for calls that are not over.
func termination(c *Call) string {
	if c.End == nil {
		return "I"
	}
	switch c.End.Outcome {
	case Completed:
		if c.End.Reason == "transferred_away" {
			return "T"
		}
		return "C"
	case Merged:
		return "T"
	case Cancelled:
		return "A"
	case Busy, Declined, NoAnswer, Unreachable, Failed:
		return "F"
	case HandedOver: // the called phone has answered, as far as is known
		if slices.ContainsFunc(c.Legs, func(l Leg) bool { return l.Role != RoleCalling && l.Role != RoleCaller && !l.AnsweredAt.IsZero() }) {
			return "C"
		}
	}
	return "U"
}

package dispatch

import (
	"cmp"
	"time"

	"sipxrest/sipflow"
)

// Calls is who is told of calls beside the webhooks: the stream of events of all calls.
// What happens to a call the switchboard tells itself, under the id that Inbound has
// given it; what was decided, and why it was refused, it does not know. The methods
// return at once.
type Calls interface {
	// Routed says what was decided on a call. It may come again.
	Routed(id string, r Routed)
	// Refuses says why a call is about to be refused, redirected or hung up.
	Refuses(id string, why Reason)
}

// Routed is a decision.
type Routed struct {
	Rule     string // its id
	Decision string // of Action: "answer", "hangup", "transfer"
	Fallback bool   // the rule's, for the webhook failed
	Target   string // URI; empty when nobody is called
	Took     time.Duration
}

// Reason is why a call comes to nothing.
type Reason uint8

// The reasons.
const (
	ByRule     Reason = iota // no rule is for it, or a decision says so
	WrongName                // a user or a trunk calls in the name of another
	NoDecision               // the webhook failed, or what it decided cannot be carried out
	ByPolicy                 // the target may not be called
	ByMedia                  // the decision asks for other media
	ByPIN                    // it was not entered
	Redirected               // the caller is told to call somebody else
)

// idOf is the id of a call: that which the switchboard tells of it by.
func idOf(in *sipflow.Incoming) string { return cmp.Or(in.ID(), newID()) }

// routed tells what was decided.
func (c *call) routed(p plan, took time.Duration) {
	calls := c.st.cfg.Calls
	if calls == nil {
		return
	}
	r := Routed{Rule: c.rule.ID, Decision: p.Action.String(), Fallback: c.fellBack && p.Decision == &c.rule.Fallback, Took: took}
	if p.Action != Hangup {
		r.Target = shown(p.uri)
	}
	calls.Routed(c.ID, r)
}

// refuses tells why the call is about to come to nothing.
func (c *call) refuses(why Reason) {
	if calls := c.st.cfg.Calls; calls != nil {
		calls.Refuses(c.ID, why)
	}
}

// hangsUp is the reason of a decision to hang up.
func (c *call) hangsUp() Reason {
	switch {
	case !c.fellBack || c.decision != &c.rule.Fallback:
		return ByRule
	case c.denied:
		return ByPolicy
	}
	return NoDecision
}

package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

// Inbound is what becomes of calls that come in, for those who may know all of it.
type Inbound interface {
	// Rules are the rules in their order, and who may send calls.
	Rules() ([]InboundRule, []InboundTrunk)
	// Try says what would become of a call. An error names what is wrong with c.
	Try(ctx context.Context, c InboundCall) (*InboundTrial, error)
}

// An InboundRule says for which calls it is, and who decides on them.
type InboundRule struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Where string `json:"where"` // the file and the line
	// Trunks, Numbers and InboundNumbers are all three to match; none of one is any.
	Trunks         []string `json:"trunks"`
	Numbers        []string `json:"numbers"`         // called
	InboundNumbers []string `json:"inbound_numbers"` // calling
	DefaultRegion  string   `json:"default_region"`
	Policy         string   `json:"policy"`
	Mode           string   `json:"mode"` // "dial", "redirect"
	// URL is that of the webhook, without a user and a query; null where the rule
	// itself decides.
	URL      *string          `json:"url"`
	Events   []string         `json:"events"` // that the webhook is told of
	Decide   []string         `json:"decide"` // and asked about
	Decision *InboundDecision `json:"decision"`
	// Fallback is what becomes of the call when the webhook fails.
	Fallback *InboundDecision `json:"fallback"`
}

// An InboundDecision is what becomes of a call. A PIN itself is not told.
type InboundDecision struct {
	Action string `json:"action"` // "answer", "hangup", "transfer"
	Room   string `json:"room,omitempty"`
	To     string `json:"to,omitempty"`
	SIP    int    `json:"sip_code,omitempty"`
	Reason string `json:"sip_reason,omitempty"`
	RingMS int64  `json:"ring_ms,omitempty"`
	PIN    bool   `json:"pin_required"`
}

// An InboundTrunk may send calls.
type InboundTrunk struct {
	Name      string   `json:"name"`
	Sources   []string `json:"sources"` // networks, addresses, "domain"
	FromHosts []string `json:"from_hosts"`
	Digest    bool     `json:"digest"`    // it has to prove who it is
	MaxCalls  int      `json:"max_calls"` // at once; 0: as many as of all
}

// An InboundCall is a call to try.
type InboundCall struct {
	From, To, Trunk string
	Source          netip.Addr // from where it comes; not valid: unknown
	Ask             bool       // the webhook is asked
}

// What a trial comes to.
const (
	TrialDecided  = "decided"
	TrialNotAsked = "webhook_not_asked" // the webhook would decide
	TrialFallback = "fallback"          // the webhook, or what it says, fails
	TrialNoRule   = "no_rule"           // the caller gets 404
	TrialOff      = "off"               // no call comes in at all
)

// An InboundTrial is what would become of a call.
type InboundTrial struct {
	Object string         `json:"object"` // "inbound_trial"
	Result string         `json:"result"`
	Call   InboundTried   `json:"call"`
	Prove  bool           `json:"must_authenticate"` // by a SIP password
	Rules  []InboundMatch `json:"rules"`
	// Request is what the webhook is sent, and Answer what it says, without secrets.
	Request  string           `json:"request,omitempty"`
	Answer   string           `json:"answer,omitempty"`
	TookMS   *int64           `json:"took_ms"`
	Error    string           `json:"error,omitempty"` // why the fallback is taken
	Decision *InboundDecision `json:"decision"`
	URI      string           `json:"uri,omitempty"` // who would be called
	Outcome  string           `json:"outcome"`       // in a sentence
}

// InboundTried is the call as rules see it.
type InboundTried struct {
	FromUser string `json:"from_user"`
	FromHost string `json:"from_host"`
	ToUser   string `json:"to_user"`
	ToHost   string `json:"to_host"`
	Trunk    string `json:"trunk,omitempty"`
	Source   string `json:"source_ip,omitempty"`
}

// An InboundMatch is a rule that was looked at.
type InboundMatch struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Where string `json:"where"`
	Taken bool   `json:"taken"`
	// Why says why it is not the rule of the call; empty for one that fits, but says
	// less than the one that is taken.
	Why string `json:"why"`
}

// inboundRoutes name what becomes of calls that come in.
func (a *API) inboundRoutes(to *mux.Router) {
	a.resource(to, "/inbound/rules", methods{http.MethodGet: {do: a.inboundRules, scopes: []Scope{Admin}}})
	a.resource(to, "/inbound/try", methods{http.MethodPost: {do: a.tryInbound, scopes: []Scope{Admin}}})
}

// inboundPage is the answer to GET /v1/inbound/rules.
type inboundPage struct {
	Object  string         `json:"object"` // "inbound"
	Enabled bool           `json:"enabled"`
	Rules   []InboundRule  `json:"rules"`
	Trunks  []InboundTrunk `json:"trunks"`
}

func (a *API) inboundRules(w http.ResponseWriter, _ *request) *Problem {
	p := inboundPage{Object: "inbound", Rules: []InboundRule{}, Trunks: []InboundTrunk{}}
	if a.cfg.Inbound != nil {
		p.Enabled = true
		p.Rules, p.Trunks = a.cfg.Inbound.Rules()
	}
	return send(w, http.StatusOK, p)
}

// tryBody is what a trial is asked by.
type tryBody struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Trunk  string `json:"trunk"`
	Source string `json:"source"`
	Ask    bool   `json:"ask"`
}

// maxTried bounds a party and the name of a trunk, in bytes: longer ones are no call's.
const maxTried = 512

// call reads what is asked for.
func (b *tryBody) call() (c InboundCall, why *Problem) {
	var wrong []MemberFault
	for _, m := range []struct {
		pointer, text string
		needed        bool
	}{{"/from", b.From, true}, {"/to", b.To, true}, {"/trunk", b.Trunk, false}} {
		switch {
		case m.text == "" && m.needed:
			wrong = append(wrong, MemberFault{Pointer: m.pointer, Code: memberMissing, Detail: "a number, a user, user@host or a SIP URI"})
		case len(m.text) > maxTried || strings.ContainsFunc(m.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
			wrong = append(wrong, MemberFault{Pointer: m.pointer, Code: memberInvalid, Detail: "at most 512 bytes, without control characters"})
		}
	}
	c = InboundCall{From: b.From, To: b.To, Trunk: b.Trunk, Ask: b.Ask}
	if b.Source != "" {
		var err error
		if c.Source, err = netip.ParseAddr(b.Source); err != nil {
			wrong = append(wrong, MemberFault{Pointer: "/source", Code: memberInvalid, Detail: "it is no IP address"})
		}
	}
	if wrong != nil {
		return c, invalid(wrong...)
	}
	return c, nil
}

// tryInbound says what would become of a call. Nobody is called; the webhook is asked
// only where the client wants it.
func (a *API) tryInbound(w http.ResponseWriter, r *request) *Problem {
	var b tryBody
	if _, why := read(w, r, &b, false); why != nil {
		return why
	}
	c, why := b.call()
	if why != nil {
		return why
	}
	if a.cfg.Inbound == nil {
		return send(w, http.StatusOK, &InboundTrial{Object: "inbound_trial", Result: TrialOff, Rules: []InboundMatch{},
			Outcome: "Calls that come in are refused: there are no rules (dispatch.rules, dispatch.rules-dir)."})
	}
	free, why := a.wait(w, 0)
	if why != nil {
		return why
	}
	defer free()
	w.Header().Del("Preference-Applied")
	ctx, cancel := context.WithTimeoutCause(r.Context(), testTime, errors.New("no answer in time"))
	defer cancel()
	t, err := a.cfg.Inbound.Try(ctx, c)
	if err != nil {
		return invalid(MemberFault{Pointer: "/trunk", Code: memberInvalid, Detail: clip(err.Error(), 300)})
	}
	return send(w, http.StatusOK, t)
}

// inMS is a duration in milliseconds.
func inMS(d time.Duration) *int64 {
	ms := d.Milliseconds()
	return &ms
}

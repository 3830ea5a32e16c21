package app

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"time"

	"sipxrest/api"
	"sipxrest/dispatch"
)

// inboundDoor tells the API what becomes of calls that come in. What rules keep
// secret stays in them.
type inboundDoor struct {
	d      *dispatch.Dispatcher
	domain string
}

// Rules implements api.Inbound.
func (i inboundDoor) Rules() ([]api.InboundRule, []api.InboundTrunk) {
	rules, trunks := i.d.List()
	list := make([]api.InboundRule, len(rules))
	for n := range rules {
		r := &rules[n]
		out := api.InboundRule{ID: r.ID, Name: r.Name, Where: r.Where(), Trunks: none(r.Trunks), Numbers: none(r.Numbers),
			InboundNumbers: none(r.InboundNumbers), DefaultRegion: r.DefaultRegion, Policy: r.Policy, Mode: "dial",
			Events: none(r.Events.Names()), Decide: none(r.Decide.Names()), Decision: decisionOf(r.Static)}
		if r.Redirect {
			out.Mode = "redirect"
		}
		if r.Static == nil {
			text := bareURL(r.URL)
			out.URL, out.Fallback = &text, decisionOf(&r.Fallback)
		}
		list[n] = out
	}
	all := make([]api.InboundTrunk, len(trunks))
	for n, t := range trunks {
		all[n] = api.InboundTrunk{Name: t.Name, Sources: none(t.Sources), FromHosts: none(t.FromHosts), Digest: t.Username != "", MaxCalls: t.MaxCalls}
	}
	return list, all
}

// Try implements api.Inbound.
func (i inboundDoor) Try(ctx context.Context, c api.InboundCall) (*api.InboundTrial, error) {
	call := dispatch.Call{Trunk: c.Trunk, SIPCallID: "try", At: time.Now()}
	call.FromUser, call.FromHost = dispatch.Party(c.From, i.domain)
	call.ToUser, call.ToHost = dispatch.Party(c.To, i.domain)
	if c.Source.IsValid() {
		call.Source = netip.AddrPortFrom(c.Source, 5060)
	}
	t, err := i.d.Try(ctx, call, c.Ask)
	if err != nil {
		return nil, err
	}
	return trialOf(t), nil
}

// trialOf is a trial as the API tells it.
func trialOf(t *dispatch.Trial) *api.InboundTrial {
	out := &api.InboundTrial{Object: "inbound_trial", Prove: t.Prove, Rules: []api.InboundMatch{}, Request: t.Request, Answer: t.Answer,
		Decision: decisionOf(t.Decision), URI: t.URI, Outcome: t.Outcome(), Result: api.TrialDecided,
		Call: api.InboundTried{FromUser: t.Call.FromUser, FromHost: t.Call.FromHost, ToUser: t.Call.ToUser, ToHost: t.Call.ToHost, Trunk: t.Call.Trunk}}
	if t.Call.Source.IsValid() {
		out.Call.Source = t.Call.Source.Addr().Unmap().String()
	}
	for _, r := range t.Considered {
		out.Rules = append(out.Rules, api.InboundMatch{ID: r.ID, Name: r.Name, Where: r.Where, Taken: r.Taken, Why: r.Why})
	}
	if t.Took > 0 {
		ms := t.Took.Milliseconds()
		out.TookMS = &ms
	}
	switch {
	case t.Err != nil:
		out.Result, out.Error = api.TrialFallback, t.Err.Error()
	case t.Decision == nil && t.Request != "":
		out.Result = api.TrialNotAsked
	case t.Decision == nil:
		out.Result = api.TrialNoRule
	}
	return out
}

// decisionOf is a decision without what is secret in it; nil for none.
func decisionOf(d *dispatch.Decision) *api.InboundDecision {
	if d == nil {
		return nil
	}
	out := &api.InboundDecision{Action: d.Action.String(), PIN: d.PIN != ""}
	switch d.Action {
	case dispatch.Answer:
		out.Room, out.RingMS = d.Room, d.Ring.Milliseconds()
	case dispatch.Transfer:
		out.To, out.RingMS = d.To, d.Ring.Milliseconds()
	case dispatch.Hangup:
		out.SIP, out.Reason = cmp.Or(d.Code, 603), d.Reason
	}
	return out
}

// bareURL is a URL without what may be a secret: a user and the query.
func bareURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// none has a list of none be [], not null.
func none(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

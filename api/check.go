package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// What a check comes to. Nobody can promise that a call succeeds: a phone decides.
const (
	willFail    = "will_fail"    // a create would be refused
	mayFail     = "may_fail"     // something is not known
	noObjection = "no_objection" // nothing speaks against it
)

// A checkResult says whether a create would be carried out.
type checkResult struct {
	Object  string      `json:"object"` // "check"
	Verdict string      `json:"verdict"`
	Flow    checkFlow   `json:"flow"`
	Steps   []checkStep `json:"steps"`
}

type checkFlow struct {
	Requested string `json:"requested"`
	Used      string `json:"used"`
}

// A checkStep is one thing that a create needs. OK is nil where it cannot be known.
type checkStep struct {
	Step   string        `json:"step"`
	OK     *bool         `json:"ok"`
	Code   string        `json:"code,omitempty"`
	SIP    int           `json:"sip,omitempty"`
	Detail string        `json:"detail,omitempty"`
	Errors []MemberFault `json:"errors,omitempty"`
}

var yes, no = true, false

// fine adds a step that is as it should be.
func (c *checkResult) fine(step, detail string) {
	c.Steps = append(c.Steps, checkStep{Step: step, OK: &yes, Detail: detail})
}

// refused adds a step for which a create would be refused.
func (c *checkResult) refused(step string, why *Problem) {
	c.Steps = append(c.Steps, checkStep{Step: step, OK: &no, Code: string(why.Code), Detail: why.Detail, Errors: why.Errors})
}

// unknown adds a step of which nobody knows.
func (c *checkResult) unknown(step, code, detail string) {
	c.Steps = append(c.Steps, checkStep{Step: step, Code: code, Detail: detail})
}

// verdict sums the steps up.
func (c *checkResult) verdict() string {
	verdict := noObjection
	for i := range c.Steps {
		switch s := &c.Steps[i]; {
		case s.OK == nil:
			verdict = mayFail
		case !*s.OK:
			return willFail
		}
	}
	return verdict
}

// check says whether a create would be carried out. It sends no INVITE.
func (a *API) check(w http.ResponseWriter, r *request) *Problem {
	var raw json.RawMessage
	if _, why := read(w, r, &raw, false); why != nil {
		return why
	}
	result := &checkResult{Object: "check"}
	a.checkAll(r, raw, result)
	result.Verdict = result.verdict()
	return send(w, http.StatusOK, result)
}

// checkAll takes one step after the other, as a create does.
func (a *API) checkAll(r *request, raw []byte, result *checkResult) {
	c, why := a.readCreate(raw, &checkBody{})
	if why != nil {
		result.refused("request", why)
		return
	}
	result.Flow = checkFlow{Requested: c.flow, Used: c.used}
	result.fine("request", "")
	p, why := a.orderOf(r, c)
	if why == nil && !r.who.Has(CallsWrite) {
		why = r.who.lacks(CallsWrite)
	}
	if why == nil && c.webhook != nil && !r.who.Has(WebhooksCall) {
		why = r.who.lacks(WebhooksCall)
	}
	switch {
	case why == nil:
	case why.Code == PolicyDenied:
		result.refused("policy", why)
		return
	default:
		result.refused("permission", why)
		return
	}
	result.fine("permission", a.permission(r, p))
	if c.used == flowRefer {
		result.fine("flow", p.created.Knowledge.Text)
	}
	a.checkPolicy(p, result)
	a.checkLimits(p, result)
	a.checkConflict(r, p, result)
	a.checkRoute(result, c.probe)
	if c.probe {
		a.probeBoth(r, p, result)
	}
	a.checkEvents(p, result)
}

// permission says why the client may place the call.
func (a *API) permission(r *request, p *placement) string {
	by := map[PrincipalType]string{PrincipalUser: "by PIN", PrincipalPeer: "by a trusted peer", PrincipalKey: "by the key " + r.who.Name}[r.who.Type]
	if p.key.Calling == p.key.Agent {
		return p.agent.Name + " calls for himself, " + by + "."
	}
	return p.calling.String() + " is called on behalf of " + p.agent.Name + ", " + by + "."
}

// checkPolicy asks whether the agent may have both parties called.
func (a *API) checkPolicy(p *placement, result *checkResult) {
	for _, target := range [...]party{p.calling, p.called} {
		if err := a.allowed(&p.spec, target.wire()); err != nil {
			result.refused("policy", a.forbidden(err))
			return
		}
	}
	name := ""
	if a.cfg.Policy != nil {
		name = a.cfg.Policy(p.agent)
	}
	if name == "" {
		result.fine("policy", p.agent.Name+" may dial everything.")
		return
	}
	result.fine("policy", "Both are allowed by "+name+".")
}

// checkLimits asks whether there is room.
func (a *API) checkLimits(p *placement, result *checkResult) {
	if a.sw.Draining() {
		result.refused("limits", refuse(Draining))
		return
	}
	active, most := a.sw.Active(), a.cfg.Calls.MaxCalls
	if most > 0 && active >= most {
		result.refused("limits", refuse(TooManyCalls, most))
		return
	}
	calls, next, err := a.bus.Calls(event.CallFilter{Agents: []string{p.key.Agent}, States: activeStates}, event.Page{Limit: pageMost})
	if limit := a.cfg.CallsPerUser; err == nil && limit > 0 && !p.spec.Trusted {
		n := len(calls)
		for next != "" && n < limit && err == nil {
			calls, next, err = a.bus.Calls(event.CallFilter{Agents: []string{p.key.Agent}, States: activeStates}, event.Page{Limit: pageMost, Cursor: next})
			n += len(calls)
		}
		if n >= limit {
			result.refused("limits", refuse(TooManyCallsOfUser, p.agent.Name, limit))
			return
		}
		result.fine("limits", fmt.Sprintf("%s has %d of %d calls at once.", p.agent.Name, n, limit))
		return
	}
	if most == 0 {
		result.fine("limits", fmt.Sprintf("The service has %d calls.", active))
		return
	}
	result.fine("limits", fmt.Sprintf("The service has %d of %d calls at once.", active, most))
}

// checkConflict asks whether the agent has a call of these parties.
func (a *API) checkConflict(r *request, p *placement, result *checkResult) {
	holder := a.sw.Find(p.key)
	switch {
	case holder == nil:
		result.fine("conflict", "")
	case p.conflict == conflictReject:
		c, ok := a.bus.Call(holder.ID())
		if !ok || a.Access(r.who, c) == NoAccess {
			result.refused("conflict", refuse(CallInProgress, p.calling, p.called, "a call that is not shown to you"))
			return
		}
		result.refused("conflict", refuse(CallInProgress, p.calling, p.called, c.ID))
	case p.conflict == conflictReplace:
		result.fine("conflict", holder.ID()+" would be hung up.")
	default:
		result.fine("conflict", holder.ID()+" would be returned.")
	}
}

// checkRoute says how the servers are that calls go to.
func (a *API) checkRoute(result *checkResult, probed bool) {
	hops := a.sw.Hops()
	if len(hops) == 0 && probed {
		result.unknown("route", "", "No server is asked regularly (sip.health-interval, sip.outbound-proxy); calling and called say what is found now.")
		return
	}
	if len(hops) == 0 {
		result.unknown("route", "", "No server is asked regularly (sip.health-interval, sip.outbound-proxy); probe: true asks now.")
		return
	}
	var down []string
	for i := range hops {
		h := &hops[i]
		name := h.Hop.Transport + ":" + h.Hop.Addr.String()
		if h.Up {
			text := fmt.Sprintf("%s is up (%d ms).", name, h.Trip.Milliseconds())
			if !h.Checked.IsZero() {
				text = fmt.Sprintf("%s answered OPTIONS %d s ago (%d ms).", name, int(a.cfg.Now().Sub(h.Checked).Seconds()), h.Trip.Milliseconds())
			}
			result.fine("route", text)
			return
		}
		down = append(down, name+": "+cmpOr(h.Failure, "no answer"))
	}
	result.unknown("route", string(UnreachableCode), "No server answers: "+strings.Join(down, ", ")+". Calls are tried all the same.")
}

// probeBoth asks both phones by OPTIONS.
func (a *API) probeBoth(r *request, p *placement, result *checkResult) {
	attempt := sipflow.Spec{Key: p.key, Trusted: p.spec.Trusted}
	if err := a.sw.Attempt(&attempt); err != nil {
		result.refused("limits", a.limited(err))
		return
	}
	ctx, stop := context.WithTimeout(r.Context(), actionTime)
	defer stop()
	as := sipflow.Account{Address: p.key.Agent, Credentials: p.spec.Credentials}
	var steps [2]checkStep
	var both sync.WaitGroup
	for i, target := range [...]party{p.calling, p.called} {
		both.Go(func() { steps[i] = a.probe(ctx, [...]string{"calling", "called"}[i], target, as) })
	}
	both.Wait()
	result.Steps = append(result.Steps, steps[:]...)
}

// probe asks one phone by OPTIONS, which few proxies pass on to phones.
func (a *API) probe(ctx context.Context, step string, target party, as sipflow.Account) checkStep {
	if target.number != "" {
		return checkStep{Step: step, Detail: "A telephone cannot be asked."}
	}
	found, hop, err := a.sw.ProbeUser(ctx, target.wire(), as)
	name := hop.Transport + ":" + hop.Addr.String()
	switch {
	case errors.Is(err, sipflow.ErrPhoneTimeout), errors.Is(err, context.DeadlineExceeded), err != nil && ctx.Err() != nil:
		return checkStep{Step: step, Code: string(UnreachableCode), Detail: "Nobody answered OPTIONS for " + target.String() + " within 10 s."}
	case err != nil:
		return checkStep{Step: step, Code: string(UnreachableCode), Detail: "No SIP server for " + target.String() + " can be reached."}
	case found.Code < 300:
		return checkStep{Step: step, OK: &yes, SIP: found.Code, Detail: fmt.Sprintf("%s answered OPTIONS for %s: %d %s.", name, target, found.Code, found.Reason)}
	}
	code, means := "phone_refused", "which may be the server's answer or the phone's"
	switch found.Code {
	case 401, 403, 407:
		code, means = "auth_failed", cmpOr(found.Denied, "the agent's SIP credentials are refused")
	case 404, 410, 604:
		code, means = "not_found", "it does not know him"
	case 405, 501:
		code, means = "not_acceptable", "OPTIONS is not taken there, calls may be"
	case 408, 480:
		code, means = "phone_unavailable", "no phone is registered, or it does not pass OPTIONS on"
	}
	return checkStep{Step: step, Code: code, SIP: found.Code,
		Detail: fmt.Sprintf("%s says %d %s for %s: %s.", name, found.Code, found.Reason, target, means)}
}

// checkEvents says whether the call could be stored, and which webhooks would hear of
// it.
func (a *API) checkEvents(p *placement, result *checkResult) {
	heard := a.heard(p)
	stats := a.bus.Stats()
	switch {
	case stats.Store == "memory":
		result.fine("events", "Events are kept in memory, until a restart."+heard)
	case stats.StoreError != nil:
		result.refused("events", a.storeRefusal(stats.StoreError))
	default:
		result.fine("events", fmt.Sprintf("The call will be stored; events are %d ms behind.", stats.Lag.Milliseconds())+heard)
	}
}

// heard says how many webhooks would hear of a call.
func (a *API) heard(p *placement) string {
	if a.cfg.Webhooks == nil {
		return ""
	}
	n, off := a.cfg.Webhooks.Hears(&event.Call{Kind: p.created.Kind, Agent: p.created.Agent})
	if p.webhook != nil {
		n++
	}
	switch {
	case n == 0:
		return " No webhook will hear of it."
	case off == 0:
		return fmt.Sprintf(" Of the webhooks %d will hear of it; none of these is disabled or failing.", n)
	}
	return fmt.Sprintf(" Of the webhooks %d will hear of it; %d of these are disabled or failing.", n, off)
}

package event

import (
	"errors"

	"sipxrest/sipflow"
)

// rule is what follows from a reason.
type rule struct {
	end    Outcome // of a call that was connected
	before Outcome // of one that was not; empty: the same
	who    string  // who ended it, where it is not told; "party": whose leg it fell on
}

// reasons are all that End.Reason and LegEnd.Reason can say. The list only grows.
var reasons = map[string]rule{
	"hung_up":            {end: Completed, who: "party"},
	"client_hung_up":     {end: Completed, before: Cancelled, who: "client"},
	"caller_gave_up":     {end: Cancelled, who: "first"},
	"busy":               {end: Busy, who: "party"},
	"declined":           {end: Declined, who: "party"},
	"no_answer":          {end: NoAnswer, who: "service"},
	"unavailable":        {end: Unreachable, who: "network"},
	"not_found":          {end: Unreachable, who: "network"},
	"gone":               {end: Unreachable, who: "network"},
	"number_incomplete":  {end: Unreachable, who: "network"},
	"unreachable":        {end: Unreachable, who: "network"},
	"forbidden":          {end: Failed, who: "network"},
	"auth_failed":        {end: Failed, who: "network"},
	"not_acceptable":     {end: Failed, who: "party"},
	"loop":               {end: Failed, who: "network"},
	"server_error":       {end: Failed, who: "network"},
	"server_busy":        {end: Failed, who: "network"},
	"refer_refused":      {end: Failed, who: "calling"},
	"refer_unreported":   {end: Unknown, who: "calling"},
	"handed_over":        {end: HandedOver, who: "service"},
	"replaced":           {end: Cancelled, who: "client"},
	"transferred_away":   {end: Completed, who: "party"},
	"merged":             {end: Merged, who: "client"},
	"time_limit":         {end: Completed, who: "service"},
	"phone_lost":         {end: Completed, who: "network"},
	"other_leg_ended":    {end: Failed, who: "service"},
	"not_tried":          {end: Failed, who: "service"},
	"unknown":            {end: Unknown, who: "unknown"},
	"redirected":         {end: HandedOver, who: "client"},
	"answered_elsewhere": {end: HandedOver, who: "party"},
	"rule_refused":       {end: Declined, who: "service"},
	"policy_denied":      {end: Failed, who: "service"},
	"pin_failed":         {end: Declined, who: "service"},
	"decision_failed":    {end: Failed, who: "service"},
	"not_verified":       {end: Failed, who: "service"},
	"draining":           {end: Completed, before: Cancelled, who: "service"},
	"service_restarted":  {end: Unknown, who: "service"},
	"node_lost":          {end: Completed, before: Failed, who: "service"},
	"internal_error":     {end: Failed, who: "service"},
}

// outcome is what a call comes to that ends for the reason.
func (r rule) outcome(c *Call) Outcome {
	switch {
	case r.before != "" && c.ConnectedAt.IsZero():
		return r.before
	case r.end == "":
		return Failed
	}
	return r.end
}

// by is who ends a call or leg for the reason.
func (r rule) by(c *Call, leg string) string {
	switch l := legOf(c, leg); {
	case r.who == "party" && l != nil:
		return partyName(l.Role)
	case r.who == "first" && len(c.Legs) > 0:
		return partyName(c.Legs[0].Role)
	case r.who == "" || r.who == "party" || r.who == "first":
		return "unknown"
	}
	return r.who
}

// partyName is how End.By names who has a leg of that role.
func partyName(r Role) string {
	switch r {
	case RoleConsult:
		return string(RoleTarget)
	case RoleDevice:
		return string(RoleCalled)
	}
	return string(r)
}

// partyOf is how End.By names a party of sipflow.
func (b *Bus) partyOf(c *Call, p sipflow.Party) string {
	switch p {
	case sipflow.CallingParty:
		if c.Kind == Inbound {
			return string(RoleCaller)
		}
		return string(RoleCalling)
	case sipflow.CalledParty:
		if c.Kind == Inbound {
			return string(RoleTarget)
		}
		return string(RoleCalled)
	case sipflow.NetworkParty:
		return "network"
	case sipflow.ClientParty:
		return "client"
	case sipflow.UnknownParty:
		return "unknown"
	}
	return "service"
}

// byOf is who caused an end.
func (b *Bus) byOf(c *Call, k *sipflow.Cause) string {
	if k.By == sipflow.CallingParty || k.By == sipflow.CalledParty {
		if l := legOf(c, legID(k.Leg)); l != nil {
			return partyName(l.Role)
		}
	}
	return b.partyOf(c, k.By)
}

// sipOf is the response or request behind a cause, nil for none.
func sipOf(k *sipflow.Cause) *Status {
	if k == nil || k.Code == 0 && k.Method == "" {
		return nil
	}
	return &Status{Code: k.Code, Reason: k.Reason, Method: k.Method, Hop: k.Hop, Synthesized: k.Synthesized}
}

func q850Of(k *sipflow.Cause) *Q850 {
	if k == nil || k.Q850 == 0 {
		return nil
	}
	source := "mapped"
	if k.Q850Header {
		source = "header"
	}
	return &Q850{Cause: k.Q850, Text: k.Q850Text, Source: source}
}

// endFromSIP is how a call of sipflow's ended.
func (b *Bus) endFromSIP(l *live, k *sipflow.Cause) *End {
	if k == nil {
		return &End{Reason: "internal_error"}
	}
	end := &End{SIP: sipOf(k), Q850: q850Of(k), Stage: string(k.Stage)}
	leg := legOf(l.cur, legID(k.Leg))
	if leg != nil {
		end.Leg = leg.ID
	}
	end.Reason, end.By = b.reasonOf(l.cur, leg, k)
	if end.Reason == "hung_up" && l.passedOn { // whichever of the two has hung up for that
		end.Reason = "transferred_away"
	}
	end.Reason, end.By = l.reasonToo(k, end.Reason, end.By)
	return end
}

// legEnd is how a leg of sipflow's ended.
func (b *Bus) legEnd(l *live, leg *Leg, k *sipflow.Cause) *LegEnd {
	switch {
	case k == nil:
		return &LegEnd{By: "service", Reason: "internal_error"}
	case (k.NotTried || leg.State == LegPending) && leg.Role != RoleCaller: // who calls us is not tried
		return &LegEnd{By: "service", Reason: "not_tried"}
	case k.Other:
		return &LegEnd{By: "service", Reason: "other_leg_ended"}
	case k.By == sipflow.UnknownParty:
		return &LegEnd{By: "unknown", Reason: "unknown"}
	}
	end := &LegEnd{SIP: sipOf(k), Q850: q850Of(k)}
	end.Reason, end.By = b.reasonOf(l.cur, leg, k)
	if end.Reason == "hung_up" && l.passedOn {
		end.Reason = "transferred_away"
	}
	if leg.Role == RoleCaller {
		end.Reason, end.By = l.reasonToo(k, end.Reason, end.By)
	}
	if end.Reason == "handed_over" && leg.Role == RoleCalled && leg.Via == "refer" {
		end.By, end.Reason = "unknown", "unknown"
	}
	return end
}

// reasonOf is why a call, or its leg, ended, and by whom.
func (b *Bus) reasonOf(c *Call, leg *Leg, k *sipflow.Cause) (reason, by string) {
	by = b.byOf(c, k)
	up := leg != nil && !leg.AnsweredAt.IsZero()
	switch err := k.Err; {
	case errors.Is(err, sipflow.ErrMerged):
		return "merged", "client"
	case errors.Is(err, sipflow.ErrReplaced):
		return "replaced", by
	case errors.Is(err, sipflow.ErrTransferred):
		return "transferred_away", by
	case errors.Is(err, sipflow.ErrRedirected):
		return "redirected", by
	case errors.Is(err, sipflow.ErrHungUpByUser):
		return "client_hung_up", by
	case errors.Is(err, sipflow.ErrDraining):
		return "draining", by
	case errors.Is(err, sipflow.ErrTimeLimit):
		return "time_limit", by
	case errors.Is(err, sipflow.ErrNodeLost):
		return "node_lost", by
	case errors.Is(err, sipflow.ErrInternal):
		return "internal_error", by
	case errors.Is(err, sipflow.ErrUnreported):
		return "refer_unreported", by
	case k.Lost:
		return "phone_lost", by
	case k.Method == "BYE" || errors.Is(err, sipflow.ErrHungUp):
		if len(c.Legs) > 0 && leg == &c.Legs[0] && c.ConnectedAt.IsZero() {
			return "caller_gave_up", by
		}
		return "hung_up", by
	case k.Elsewhere: // the server of the caller has called several phones
		return "answered_elsewhere", by
	case k.Method == "CANCEL" || errors.Is(err, sipflow.ErrCancelled):
		return "caller_gave_up", by
	case errors.Is(err, sipflow.ErrNoAnswer):
		return "no_answer", by
	case k.By == sipflow.ClientParty: // for whatever reason he gave
		return "client_hung_up", by
	case errors.Is(err, sipflow.ErrForbidden):
		return "policy_denied", by
	case errors.Is(err, sipflow.ErrUnreachable):
		return "unreachable", by
	case k.Method == "REFER" && k.Code >= 300:
		return "refer_refused", by
	case k.Code != 0:
		return reasonOfCode(k, leg != nil && !leg.RingingAt.IsZero(), up), by
	case k.By == sipflow.ClientParty: // for a reason of its own
		return "client_hung_up", by
	case err != nil:
		return "internal_error", by
	case c.Flow.Used == "refer" && c.ConnectedAt.IsZero(), c.State == Released:
		return "handed_over", by
	}
	return "hung_up", by
}

// reasonOfCode is what a final response means. Codes that many phones send for several
// things are told apart by whether the phone rang.
func reasonOfCode(k *sipflow.Cause, rang, up bool) string {
	switch code := k.Code; code {
	case 486, 600:
		return "busy"
	case 603, 607, 608:
		return "declined"
	case 403, 433, 494:
		if rang && code == 403 {
			return "declined"
		}
		return "forbidden"
	case 408:
		if rang || k.Synthesized && k.Method == "INVITE" && up {
			return "no_answer"
		}
		return "unreachable"
	case 480, 487:
		if rang {
			return "no_answer"
		}
		return "unavailable"
	case 404, 604, 485:
		return "not_found"
	case 410:
		return "gone"
	case 484:
		return "number_incomplete"
	case 401, 407:
		return "auth_failed"
	case 406, 415, 488, 606:
		return "not_acceptable"
	case 482, 483:
		return "loop"
	case 503:
		return "server_busy"
	}
	return "server_error"
}

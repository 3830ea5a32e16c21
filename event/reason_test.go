package event

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow"
)

// stepsOf are what sipflow tells of a call, in short: d dialling, r rings, a answers, of leg
// 1 or 2; c connecting, j joined, R released, F another flow, w a minute passes.
func stepsOf(b *Bus, id string, kind Kind, method, steps string) {
	roles := []sipflow.Role{sipflow.RoleCalling, sipflow.RoleCalled}
	switch kind {
	case Inbound:
		roles = []sipflow.Role{sipflow.RoleCaller, sipflow.RoleTarget}
	}
	legs := []sipflow.LegReport{{N: 1, Role: roles[0], Address: "201@example.com"}, {N: 2, Role: roles[1], Address: "202@example.com"}}
	tell := func(kind sipflow.EventKind, leg *sipflow.LegReport) {
		b.Observe(&sipflow.Event{ID: id, Kind: kind, At: time.Now(), Leg: leg, FinalBy: time.Now().Add(32 * time.Second)})
	}
	b.Observe(&sipflow.Event{ID: id, Kind: sipflow.Placed, At: time.Now(), Legs: legs,
		Spec: &sipflow.Spec{Key: sipflow.Key{Agent: "201@example.com", Calling: "201@example.com", Called: "202@example.com"}, Method: method}})
	for _, step := range strings.Fields(steps) {
		time.Sleep(time.Second)
		switch step {
		case "c":
			tell(sipflow.Connecting, nil)
			continue
		case "j":
			tell(sipflow.Joined, nil)
			continue
		case "R":
			tell(sipflow.Released, nil)
			continue
		case "F":
			tell(sipflow.FlowChanged, &sipflow.LegReport{N: 1, Code: 405, Reason: "Method Not Allowed"})
			continue
		case "w":
			time.Sleep(time.Minute - time.Second)
			continue
		case "t": // hops that did not take it
			legs[0].Tried = []sipflow.TriedHop{{Hop: "udp:192.0.2.10:5060", Why: "did not answer within 2 s"},
				{Hop: "udp:192.0.2.11:5060", Why: "said 503"}}
			continue
		}
		l := legs[step[1]-'1']
		l.Hop, l.CallID = "udp:192.0.2.10:5060", "call-id-"+step[1:2]
		if method == sipflow.MethodRefer && l.N == 2 {
			l.Via, l.CallID = "refer", ""
		}
		switch step[0] {
		case 'd':
			tell(sipflow.LegDialling, &l)
		case 'r':
			l.Code, l.Reason = 180, "Ringing"
			tell(sipflow.LegAlerted, &l)
		case 'a':
			l.Code, l.Reason = 200, "OK"
			tell(sipflow.LegAnswered, &l)
		}
	}
	time.Sleep(time.Second)
}

const (
	toFirst  = "d1 r1"
	toSecond = "d1 r1 a1 c d2"
	ringing  = "d1 r1 a1 c d2 r2"
	talking  = "d1 r1 a1 c d2 r2 a2 j w"
)

// refused is a response that a leg got.
func refused(leg, code int, reason string, by sipflow.Party) sipflow.Cause {
	stage := sipflow.StageRingingCalled
	if leg == 1 {
		stage = sipflow.StageRingingCalling
	}
	return sipflow.Cause{Err: &sipflow.StatusError{Method: "INVITE", Code: code, Reason: reason}, By: by, Leg: leg, Stage: stage,
		Code: code, Reason: reason,
		Method: "INVITE", Hop: "udp:192.0.2.10:5060"}
}

// Each way in which a call may end has its reason, and a sentence for people.
func TestEachReasonHasItsSentence(t *testing.T) {
	const called, calling, network, self = sipflow.CalledParty, sipflow.CallingParty, sipflow.NetworkParty, sipflow.Self
	bye := func(leg int, by sipflow.Party) sipflow.Cause {
		return sipflow.Cause{Err: sipflow.ErrHungUp, By: by, Leg: leg, Stage: sipflow.StageConnected,
			Method: "BYE", Q850: 16, Q850Text: "Normal call clearing", Q850Header: true}
	}
	ours := func(err error, by sipflow.Party, stage sipflow.Stage) sipflow.Cause {
		return sipflow.Cause{Err: err, By: by, Stage: stage}
	}
	busy := refused(2, 486, "Busy Here", called)
	busy.Q850, busy.Q850Text = 17, "User busy"
	timer := refused(1, 408, "No Answer", self)
	timer.Err, timer.Synthesized, timer.Hop = sipflow.ErrNoAnswer, true, ""
	lost := refused(2, 481, "Call/Transaction Does Not Exist", network)
	lost.Lost, lost.Stage, lost.Method = true, sipflow.StageConnected, "UPDATE"
	noRefer := refused(1, 405, "Method Not Allowed", calling)
	noRefer.Method = "REFER"
	unreported := ours(sipflow.ErrUnreported, calling, sipflow.StageDiallingCalled)
	unreported.Leg, unreported.Code, unreported.Reason, unreported.Method, unreported.Synthesized = 1, 408, "Request Timeout", "NOTIFY", true
	cancel := sipflow.Cause{Err: sipflow.ErrCancelled, By: calling, Leg: 1, Stage: sipflow.StageRingingCalled, Method: "CANCEL"}
	unreachable := ours(sipflow.ErrUnreachable, network, sipflow.StageDiallingCalling)
	unreachable.Leg = 1
	handed := sipflow.Cause{By: self, Leg: 2, Stage: sipflow.StageReleased}
	giveUp := bye(1, calling)
	giveUp.Stage = sipflow.StageRingingCalled

	cases := []struct {
		name, steps string
		kind        Kind
		refer       bool
		cause       sipflow.Cause
		door        string // reason that a door tells instead
		actor       bool
	}{
		{name: "hung_up", steps: talking, cause: bye(2, called)},
		{name: "client_hung_up, talking", steps: talking,
			cause: ours(sipflow.ErrHungUpByUser, sipflow.ClientParty, sipflow.StageConnected), actor: true},
		{name: "client_hung_up, ringing", steps: toFirst, cause: ours(sipflow.ErrHungUpByUser, sipflow.ClientParty, sipflow.StageRingingCalling)},
		{name: "caller_gave_up, agent", steps: ringing, cause: giveUp},
		{name: "caller_gave_up, inbound", kind: Inbound, steps: "c d2 r2", cause: cancel},
		{name: "busy", steps: ringing, cause: busy},
		{name: "busy, by a server", steps: toSecond, cause: refused(2, 486, "Busy Here", network)},
		{name: "busy, the agent", steps: "d1", cause: refused(1, 486, "Busy Here", calling)},
		{name: "declined", steps: ringing, cause: refused(2, 603, "Decline", called)},
		{name: "declined, 403 after ringing", steps: ringing, cause: refused(2, 403, "Forbidden", called)},
		{name: "no_answer, our timer", steps: toFirst + " w", cause: timer},
		{name: "no_answer, a server", steps: ringing + " w", cause: refused(2, 480, "Temporarily Unavailable", network)},
		{name: "unavailable", steps: toSecond, cause: refused(2, 480, "Temporarily Unavailable", network)},
		{name: "not_found", steps: toSecond, cause: refused(2, 404, "Not Found", network)},
		{name: "gone", steps: toSecond, cause: refused(2, 410, "Gone", network)},
		{name: "number_incomplete", steps: toSecond, cause: refused(2, 484, "Address Incomplete", network)},
		{name: "unreachable", steps: "t d1", cause: unreachable},
		{name: "forbidden", steps: toSecond, cause: refused(2, 403, "Forbidden", network)},
		{name: "auth_failed", steps: "d1", cause: refused(1, 407, "Proxy Authentication Required", network)},
		{name: "not_acceptable", steps: toSecond, cause: refused(2, 488, "Not Acceptable Here", called)},
		{name: "loop", steps: toSecond, cause: refused(2, 482, "Loop Detected", network)},
		{name: "server_error", steps: toSecond, cause: refused(2, 500, "Server Internal Error", network)},
		{name: "server_busy", steps: "d1", cause: refused(1, 503, "Service Unavailable", network)},
		{name: "refer_refused", refer: true, steps: "d1 r1 a1", cause: noRefer},
		{name: "refer_unreported", refer: true, steps: "d1 r1 a1 c d2", cause: unreported},
		{name: "handed_over, rang", refer: true, steps: "d1 r1 a1 c d2 r2 R w", cause: handed},
		{name: "handed_over, answered", refer: true, steps: "d1 r1 a1 c d2 r2 R a2", cause: handed},
		{name: "busy, by NOTIFY after a fallback", refer: true, steps: "d1 r1 a1 F c d2", cause: busy},
		{name: "replaced", steps: toFirst, cause: ours(sipflow.ErrReplaced, sipflow.ClientParty, sipflow.StageRingingCalling)},
		{name: "merged", steps: talking, cause: ours(sipflow.ErrMerged, sipflow.ClientParty, sipflow.StageConnected)},
		{name: "time_limit", steps: talking, cause: ours(sipflow.ErrTimeLimit, self, sipflow.StageConnected)},
		{name: "phone_lost", steps: talking, cause: lost},
		{name: "draining, talking", steps: talking, cause: ours(sipflow.ErrStopped, self, sipflow.StageConnected)},
		{name: "draining, ringing", steps: toFirst, cause: ours(sipflow.ErrDraining, self, sipflow.StageRingingCalling)},
		{name: "internal_error", steps: toFirst, cause: ours(sipflow.ErrInternal, self, sipflow.StageRingingCalling)},
		{name: "policy_denied", steps: toFirst + " a1 c", cause: func() sipflow.Cause {
			c := ours(sipflow.ErrForbidden, self, sipflow.StageDiallingCalled)
			c.Leg = 2
			return c
		}()},
		{name: "transferred_away", steps: talking, door: "transferred_away"},
		{name: "redirected", kind: Inbound, door: "redirected"},
		{name: "answered_elsewhere", kind: Inbound, steps: "c d2", door: "answered_elsewhere"},
		{name: "rule_refused", kind: Inbound, door: "rule_refused"},
		{name: "pin_failed", kind: Inbound, door: "pin_failed"},
		{name: "decision_failed", kind: Inbound, door: "decision_failed"},
		{name: "not_verified", door: "not_verified"},
		{name: "service_restarted", steps: ringing, door: "service_restarted"},
		{name: "node_lost", steps: talking, door: "node_lost"},
		{name: "other_leg_ended", steps: toFirst, door: "other_leg_ended"},
		{name: "not_tried", door: "not_tried"},
		{name: "unknown", steps: toFirst, door: "unknown"},
	}
	var text strings.Builder
	seen := map[string]bool{}
	synctest.Test(t, func(t *testing.T) {
		b := startBus(t, Config{})
		for i, c := range cases {
			id := fmt.Sprint("call-", i)
			method := sipflow.MethodInvite
			if c.refer {
				method = sipflow.MethodRefer
			}
			stepsOf(b, id, c.kind, method, c.steps)
			if c.actor {
				b.SetActor(id, Actor{Type: "user", Name: "201"})
			}
			if c.door != "" {
				b.Tell(id, CallEnded, "", Change{End: &End{Reason: c.door, Leg: "l1"}})
			} else {
				b.Observe(&sipflow.Event{ID: id, Kind: sipflow.Ended, At: time.Now(), Cause: &c.cause})
			}
			settle(b)
			call, ok := b.Call(id)
			if !ok || call.End == nil {
				t.Fatal(c.name, call)
			}
			e := call.End
			seen[e.Reason] = true
			if e.Reason != strings.SplitN(c.name, ",", 2)[0] {
				t.Errorf("%s: %s", c.name, e.Reason)
			}
			fmt.Fprintf(&text, "%s\n\t%s %s by %s, leg %q, stage %s, sip %s, q850 %s, dialled %s, talk %s\n",
				c.name, e.Reason, e.Outcome, e.By, e.Leg, e.Stage,
				statusText(e.SIP), q850Text(e.Q850), e.Dialled, msText(call.TalkMS))
			for _, l := range call.Legs {
				seen[l.End.Reason] = true
				fmt.Fprintf(&text, "\t%s: %s by %s, sip %s\n", l.ID, l.End.Reason, l.End.By, statusText(l.End.SIP))
			}
			fmt.Fprintf(&text, "\t%s\n", e.Message)
			if c.refer && e.Reason == "handed_over" && call.TalkMS != nil {
				t.Errorf("%s: %d ms of talk", c.name, *call.TalkMS)
			}
		}
	})
	if got, want := slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(reasons)); !slices.Equal(got, want) {
		t.Errorf("reasons with a case\n%v\nthat there are\n%v", got, want)
	}
	golden(t, "reasons.golden", text.String())
}

func statusText(s *Status) string {
	if s == nil {
		return "none"
	}
	text := fmt.Sprintf("%d %s to %s", s.Code, s.Reason, s.Method)
	if s.Synthesized {
		text += " (ours)"
	}
	return text
}

func q850Text(q *Q850) string {
	if q == nil {
		return "none"
	}
	return fmt.Sprintf("%d %s (%s)", q.Cause, q.Text, q.Source)
}

func msText(ms *int64) string {
	if ms == nil {
		return "unknown"
	}
	return fmt.Sprintf("%d ms", *ms)
}

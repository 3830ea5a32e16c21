package event

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/sipflow"
)

// message says in one or two English sentences how a call ended: who, what, and what to
// do where there is something.
func message(c *Call, end *End) string {
	s := sentence{c: c, end: end, leg: legOf(c, end.Leg)}
	if s.leg == nil && len(c.Legs) > 0 {
		s.leg = &c.Legs[0]
	}
	text := s.main()
	if rest := s.rest(); rest != "" {
		text += " " + rest
	}
	return text
}

type sentence struct {
	c   *Call
	end *End
	leg *Leg // on which it fell, or the first
}

// who is the user of the leg, as people call him.
func (s *sentence) who() string { return nameOf(s.leg) }

func nameOf(l *Leg) string {
	if l == nil || l.Address == "" {
		return "The other party"
	}
	return userOf(l.Address)
}

// other is the user of the second phone, or of the first for that one.
func (s *sentence) other() *Leg {
	for i := range s.c.Legs {
		if l := &s.c.Legs[i]; l != s.leg {
			return l
		}
	}
	return nil
}

// code is the response, and from where: "486 Busy Here by 192.0.2.10".
func (s *sentence) code() string {
	sip := s.end.SIP
	if sip == nil || sip.Code == 0 {
		return ""
	}
	text := strconv.Itoa(sip.Code)
	if sip.Reason != "" {
		text += " " + sip.Reason
	}
	switch {
	case sip.Synthesized:
		text += ", by our timer"
	case sip.Hop != "":
		text += " by " + hostOf(sip.Hop)
	}
	return text
}

// coded is the code in brackets.
func (s *sentence) coded() string {
	if code := s.code(); code != "" {
		return " (" + code + ")"
	}
	return ""
}

// hostOf is the address of a hop without its transport and port.
func hostOf(hop string) string {
	_, rest, ok := strings.Cut(hop, ":")
	if !ok {
		return hop
	}
	if i := strings.LastIndexByte(rest, ':'); i > 0 && !strings.HasSuffix(rest, "]") {
		rest = rest[:i]
	}
	return strings.Trim(rest, "[]")
}

// clock is a time of day.
func clock(t Time) string { return t.UTC().Format("15:04:05") }

// lasted says for how long, roughly: "60 s".
func lasted(from, to Time) string {
	return strconv.FormatInt(int64(to.Sub(from.Time).Round(time.Second)/time.Second), 10) + " s"
}

// party is who ended the call.
func (s *sentence) party() string {
	switch s.end.By {
	case "client":
		if a := s.end.Actor; a != nil && a.Name != "" {
			return a.Name
		}
		return "The client"
	case "calling", "called", "caller", "target":
		return s.who()
	}
	return "The service"
}

func (s *sentence) main() string {
	who := s.who()
	switch s.end.Reason {
	case "hung_up":
		return who + " hung up."
	case "client_hung_up":
		if s.c.ConnectedAt.IsZero() {
			return s.party() + " ended the call by a request before the parties were connected."
		}
		return s.party() + " ended the call by a request."
	case "caller_gave_up":
		if o := s.other(); o != nil && s.leg.Role != RoleCaller {
			return who + " hung up before " + nameOf(o) + " had answered."
		}
		return who + " gave up before the call was answered."
	case "busy":
		return who + " is busy" + s.byServer() + "."
	case "declined":
		return who + " declined the call" + s.coded() + "."
	case "no_answer":
		return s.noAnswer()
	case "unavailable":
		return "No phone of " + who + " is registered" + s.coded() + "."
	case "not_found":
		return "There is no " + who + s.coded() + ". Check the number."
	case "gone":
		return who + " is gone and left no other address" + s.coded() + "."
	case "number_incomplete":
		return "The number " + who + " is incomplete" + s.coded() + "."
	case "unreachable":
		return s.unreachable()
	case "forbidden":
		return "The call to " + who + " is forbidden" + s.coded() + ". Ask who runs that server."
	case "auth_failed":
		return "The server of " + who + " does not take our credentials" + s.coded() + ". Check the SIP password of the agent."
	case "not_acceptable":
		return "The phone of " + who + " cannot take such a call: no codec or medium in common" + s.coded() + "."
	case "loop":
		return "The call to " + who + " goes in a circle" + s.coded() + ". Check the forwarding of " + who + "."
	case "server_error":
		return "A server on the way to " + who + " failed" + s.coded() + "."
	case "server_busy":
		return "A server on the way to " + who + " has no room for more calls" + s.coded() + ". Try again later."
	}
	return s.rare(who)
}

// rare are the reasons that are seldom heard, or are not the phones'.
func (s *sentence) rare(who string) string {
	switch s.end.Reason {
	case "refer_refused":
		return "The phone of " + who + " refuses to be referred" + s.coded() + ". Use flow auto or invite."
	case "refer_unreported":
		return who + " was told to call " + nameOf(s.other()) + ", and the phone has not said what became of it."
	case "handed_over":
		return s.handedOver()
	case "replaced":
		return "The same agent called the same two again; this call made way."
	case "transferred_away":
		for _, t := range slices.Backward(s.c.Transfers) { // the other one may have hung up first
			if l := legOf(s.c, t.RequestedBy); l != nil && t.State == sipflow.TransferCompleted {
				who = nameOf(l)
				break
			}
		}
		return who + " passed the call on."
	case "merged":
		return "The call goes on in another one, with which it was joined."
	case "time_limit":
		return "The call lasted as long as it may, and was ended."
	case "phone_lost":
		return "The phone of " + who + " no longer responds" + s.coded() + ". Since when is not known."
	case "redirected":
		return "The caller was sent to another address."
	case "answered_elsewhere":
		return "Another phone has answered the call."
	case "rule_refused":
		return "A rule for inbound calls refused this one" + s.coded() + "."
	case "policy_denied":
		return "The dial policy does not allow the call to " + who + "."
	case "pin_failed":
		return "The caller did not give the right PIN."
	case "decision_failed":
		return "The webhook did not decide where the call goes" + s.coded() + "."
	case "not_verified":
		return "Nextcloud does not know the number " + who + ", so it was not called."
	case "draining":
		return "The service was shut down and ended the call."
	case "service_restarted":
		return "The service was restarted while the call was in progress. What became of the phones is not known."
	case "node_lost":
		if s.end.Outcome == Unknown {
			return "The node that had the call was lost. What became of the phones is not known."
		}
		return "The node that had the call was lost, and another one ended it."
	case "internal_error":
		return "A fault of the service ended the call; its log has it under the call's id."
	case "unknown":
		return "What became of the call is not known."
	}
	return fmt.Sprintf("The call ended: %s.", strings.ReplaceAll(s.end.Reason, "_", " "))
}

func (s *sentence) byServer() string {
	if s.end.By == "network" {
		return ", says the server" + s.coded()
	}
	return ""
}

// noAnswer tells how long the phone rang.
func (s *sentence) noAnswer() string {
	text := "The phone of " + s.who()
	until := s.leg.EndedAt
	if until.IsZero() {
		until = s.c.updated
	}
	switch {
	case s.leg.RingingAt.IsZero():
		text += " did not ring in time, and was not picked up"
	default:
		text += " rang for " + lasted(s.leg.RingingAt, until) + " and was not picked up"
	}
	if o := s.other(); o != nil && o.DialingAt.IsZero() && s.leg.Role == RoleCalling {
		return text + "; " + nameOf(o) + " was not called."
	}
	return text + "."
}

// unreachable names each hop that was tried.
func (s *sentence) unreachable() string {
	text := "No SIP server took the call to " + s.who()
	if s.leg != nil && s.leg.SIP != nil && len(s.leg.SIP.Tried) > 0 {
		var hops []string
		for _, t := range s.leg.SIP.Tried {
			hops = append(hops, t.Hop+" "+t.Why)
		}
		text += ": " + strings.Join(hops, ", ")
	} else {
		text += s.coded()
	}
	if s.nobodyRang() {
		return text + ". Nobody rang."
	}
	return text + "."
}

func (s *sentence) nobodyRang() bool {
	for i := range s.c.Legs {
		if l := &s.c.Legs[i]; !l.RingingAt.IsZero() || !l.AnsweredAt.IsZero() {
			return false
		}
	}
	return true
}

// handedOver tells how far the other phone was when the service left.
func (s *sentence) handedOver() string {
	if len(s.c.Legs) == 0 {
		return "The call was handed over."
	}
	called := calledLeg(s.c)
	if s.c.Kind != ClickToCall || called == nil {
		return "The call was handed over; the phones have been alone since."
	}
	text := nameOf(&s.c.Legs[0]) + " was told to call " + nameOf(called)
	switch {
	case !called.AnsweredAt.IsZero():
		text += ", who answered"
	case !called.RingingAt.IsZero():
		text += ", whose phone rang"
	}
	if !s.c.ReleasedAt.IsZero() {
		text += "; the phones have been alone since " + clock(s.c.ReleasedAt)
	}
	return text + "."
}

// rest says what became of the first phone when it fell on the other one.
func (s *sentence) rest() string {
	if len(s.c.Legs) < 2 || s.leg == &s.c.Legs[0] || !s.c.ConnectedAt.IsZero() || s.c.Flow.Used == "refer" {
		return ""
	}
	switch s.end.Reason {
	case "busy", "declined", "no_answer", "unavailable", "not_found", "gone", "number_incomplete", "unreachable", "forbidden", "auth_failed",
		"not_acceptable", "loop", "server_error", "server_busy", "policy_denied":
	default:
		return ""
	}
	first := &s.c.Legs[0]
	if first.AnsweredAt.IsZero() || first.Role != RoleCalling {
		return ""
	}
	if first.End != nil && first.End.Reason == "other_leg_ended" {
		return nameOf(first) + " had answered and was hung up on."
	}
	return nameOf(first) + " had answered."
}

// transferMessage says how a transfer ended.
func transferMessage(c *Call, t *Transfer, end *TransferEnd) string {
	to := userOf(strings.TrimPrefix(strings.TrimPrefix(t.To, "sips:"), "sip:"))
	if to == "" {
		to = "the other call"
	}
	switch t.State {
	case "completed":
		return "The call was transferred to " + to + "."
	case "cancelled":
		return "The transfer to " + to + " was called off."
	}
	e := End{Reason: end.Reason, Leg: end.Leg, SIP: end.SIP, Outcome: Failed}
	s := sentence{c: c, end: &e, leg: legOf(c, end.Leg)}
	if s.leg == nil {
		s.leg = &Leg{Address: to}
	}
	return "The transfer to " + to + " failed: " + s.main()
}

package event

import (
	"cmp"
	"slices"
	"time"
)

// fromDoor makes an event of what a door tells. It says a reason; what follows from
// that is filled in.
func (b *Bus) fromDoor(l *live, t *told) {
	if l.cur == nil {
		b.stats.late.Add(1)
		return
	}
	ch := t.change
	switch t.typ {
	case LegDTMF:
		b.digit(l, t.at, t.leg, ch.Digit)
		return
	case LegDialled:
		ch.LegState = LegDialing
	case LegRang:
		ch.LegState = LegRinging
		if ch.RingingBy == "" {
			ch.RingingBy = "180"
		}
	case LegPickedUp:
		ch.LegState = LegAnswered
	case LegOver:
		ch.LegState = LegEnded
		if ch.LegEnd == nil {
			ch.LegEnd = &LegEnd{Reason: "other_leg_ended"}
		}
		end := *ch.LegEnd
		end.By = cmp.Or(end.By, reasons[end.Reason].by(l.cur, t.leg))
		ch.LegEnd = &end
	case CallConnecting: // sipflow may have told so of its part
		b.advance(l, t.at, CallConnecting, Connecting)
		return
	case CallConnected:
		b.advance(l, t.at, CallConnected, Connected)
		return
	case CallReleased:
		ch.State = Released
	}
	b.emit(l, t.at, t.typ, t.leg, ch)
}

// finish ends a call: first its transfers and legs that are not over.
func (b *Bus) finish(l *live, at time.Time, ch Change) {
	if l.cur == nil {
		b.stats.late.Add(1)
		return
	}
	end := End{Reason: "internal_error"}
	if ch.End != nil {
		end = *ch.End
	}
	b.completeEnd(l, &end, ch.Knowledge)
	b.closeTransfers(l, at, &end)
	for _, leg := range slices.Clone(l.cur.Legs) {
		if leg.State != LegEnded {
			b.emit(l, at, LegOver, leg.ID, &Change{LegState: LegEnded, LegEnd: legEndOf(&leg, &end)})
		}
	}
	if end.Message == "" {
		end.Message = message(l.cur, &end)
	}
	ch.End = &end
	if end.Reason == "phone_lost" && ch.Knowledge == nil {
		ch.Knowledge = &Knowledge{Level: "lost", Until: l.at, Text: "The phone has not been heard of since; how long the parties talked is not known."}
	}
	b.emit(l, at, CallEnded, "", &ch)
}

// legEndOf is how a leg ends that was there when its call ended.
func legEndOf(leg *Leg, end *End) *LegEnd {
	switch {
	case leg.State != LegPending && end.Reason == "handed_over":
		if leg.Via == "refer" {
			return &LegEnd{By: "unknown", Reason: "unknown"} // its phone is not ours to ask
		}
		return &LegEnd{By: end.By, Reason: end.Reason}
	case leg.ID == end.Leg:
		return &LegEnd{By: end.By, Reason: end.Reason, SIP: end.SIP, Q850: end.Q850}
	case leg.State == LegPending:
		return &LegEnd{By: "service", Reason: "not_tried"}
	case leg.Via == "refer":
		return &LegEnd{By: "unknown", Reason: "unknown"}
	case end.By == "client" || end.Reason == "draining" || end.Reason == "service_restarted" || end.Reason == "node_lost" || end.Reason == "time_limit" || end.Reason == "internal_error":
		return &LegEnd{By: end.By, Reason: end.Reason}
	}
	return &LegEnd{By: "service", Reason: "other_leg_ended"}
}

// completeEnd fills in what follows from the reason and the call.
func (b *Bus) completeEnd(l *live, end *End, k *Knowledge) {
	c := l.cur
	r := reasons[end.Reason]
	if end.By == "" {
		end.By = r.by(c, end.Leg)
	}
	if end.Outcome == "" {
		end.Outcome = r.outcome(c)
	}
	if end.Stage == "" {
		end.Stage = stageOf(c)
	}
	if end.Dialled == "" {
		end.Dialled = dialledOf(c, end)
	}
	if end.By == "client" && end.Actor == nil {
		l.shard.mu.Lock()
		end.Actor = l.actor
		l.shard.mu.Unlock()
	}
}

// stageOf is how far a call is, in the words of End.Stage.
func stageOf(c *Call) string {
	switch c.State {
	case Routing, Connected, Released:
		return string(c.State)
	}
	what := "dialing"
	who := "calling"
	if len(c.Legs) == 0 {
		return "dialing_calling"
	}
	last := &c.Legs[0]
	for i := range c.Legs {
		if c.Legs[i].State != LegPending {
			last = &c.Legs[i]
		}
	}
	if last != &c.Legs[0] {
		who = "called"
	} else if !last.AnsweredAt.IsZero() && len(c.Legs) > 1 {
		return "dialing_called"
	}
	if !last.RingingAt.IsZero() {
		what = "ringing"
	}
	return what + "_" + who
}

// dialledOf says whether a phone was called: one that rang or answered was, or that
// refused by itself. One of which nothing was heard may have been.
func dialledOf(c *Call, end *End) string {
	if end.Reason == "service_restarted" {
		return "unknown"
	}
	called := "no"
	for i := range c.Legs {
		leg := &c.Legs[i]
		if leg.Role == RoleCaller {
			continue // he called us
		}
		switch {
		case !leg.RingingAt.IsZero() || !leg.AnsweredAt.IsZero():
			return "yes"
		case leg.DialingAt.IsZero():
		case leg.ID == end.Leg && end.SIP != nil && !end.SIP.Synthesized && end.By == "network":
		case leg.ID == end.Leg && end.SIP != nil && !end.SIP.Synthesized:
			called = "yes"
		case leg.End != nil && leg.End.SIP != nil && !leg.End.SIP.Synthesized && leg.End.By == "network":
		case leg.End != nil && leg.End.SIP != nil && !leg.End.SIP.Synthesized:
			called = "yes"
		case called == "no":
			called = "unknown"
		}
	}
	return called
}

package event

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	"sipxrest/sipflow"
)

// seen is a copy of what sipflow told: its own is changed afterwards.
type seen struct {
	kind     sipflow.EventKind
	stage    sipflow.Stage
	leg      sipflow.LegReport // N is 0 where the event is about none
	cause    *sipflow.Cause
	transfer *sipflow.TransferReport
	finalBy  time.Time
	digit    byte
	placed   *placed
}

// placed is what a call is made of that no door has announced.
type placed struct {
	key     sipflow.Key
	method  string
	subject string
	display string // of the agent
	dial    bool
	legs    []sipflow.LegReport
}

// Observe takes what sipflow tells of its calls. It copies it and returns.
func (b *Bus) Observe(e *sipflow.Event) {
	if e.ID == "" {
		return
	}
	switch e.Kind {
	case sipflow.Progress, sipflow.DialogChanged, sipflow.Moved, sipflow.Alerted, sipflow.Answered:
		return // the kinds for clients of the old interfaces
	case sipflow.Resumed:
		b.Resume(e)
		return
	}
	s := b.shard(e.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.calls[e.ID]
	if e.Kind == sipflow.Placed {
		if l == nil {
			l = b.newLive(e.ID, s)
			s.calls[e.ID] = l
		}
		if l.far != nil && !l.far.mine {
			return // another node has a call of that id, which the claim of the id prevents
		}
		l.begun = true
	} else if l == nil || !l.begun {
		return
	}
	n := copySeen(e)
	if l.req != nil {
		n.shift(l.req.FirstLeg)
	}
	b.put(s, told{l: l, what: toldSIP, at: e.At, sip: n})
}

// shift counts sipflow's legs from behind those of a door.
func (n *seen) shift(by int) {
	add := func(leg *int) {
		if *leg > 0 {
			*leg += by
		}
	}
	add(&n.leg.N)
	if n.cause != nil {
		add(&n.cause.Leg)
	}
	if t := n.transfer; t != nil {
		add(&t.Leg)
		add(&t.RequestedBy)
		if t.Cause != nil {
			add(&t.Cause.Leg)
		}
	}
}

func copySeen(e *sipflow.Event) *seen {
	n := &seen{kind: e.Kind, stage: e.Stage, finalBy: e.FinalBy, digit: e.Digit}
	if e.Leg != nil {
		n.leg = *e.Leg
		n.leg.Tried = slices.Clone(n.leg.Tried)
	}
	if e.Cause != nil {
		c := *e.Cause
		n.cause = &c
	}
	if e.Transfer != nil {
		t := *e.Transfer
		if t.Cause != nil {
			c := *t.Cause
			t.Cause = &c
		}
		n.transfer = &t
	}
	if e.Kind == sipflow.Placed || e.Kind == sipflow.Resumed {
		n.placed = &placed{legs: slices.Clone(e.Legs)}
		if p := e.Spec; p != nil {
			n.placed.key, n.placed.method, n.placed.subject, n.placed.display, n.placed.dial = p.Key, p.Method, p.Subject, p.AgentName, p.Dial != nil
		}
	}
	return n
}

// create makes the call of what a door announced, and of what sipflow knows of it.
func (b *Bus) create(l *live, at time.Time, p *placed) {
	l.shard.mu.Lock()
	var made Created
	if l.req != nil {
		made, l.own = l.req.Created, l.req.Own
	} else {
		made = p.created()
	}
	l.shard.mu.Unlock()
	if b.shared != nil {
		made.Node = b.cfg.Node
	}
	if p != nil {
		if made.Agent == "" {
			made.Agent = p.key.Agent
		}
		if made.Flow.Used == "" {
			made.Flow.Used = flowOf(p.method)
		}
		if len(made.Legs) == 0 {
			for i := range p.legs {
				made.Legs = append(made.Legs, newLeg(&p.legs[i]))
			}
		}
	}
	made.Legs = slices.Clone(made.Legs) // what a door gave is the door's
	for i := range made.Legs {
		l := &made.Legs[i]
		l.ID, l.State = cmp.Or(l.ID, legID(i+1)), cmp.Or(l.State, LegPending)
	}
	if made.State == "" {
		made.State = Calling
		if made.Kind == Inbound {
			made.State = Routing
		}
	}
	if made.Knowledge.Level == "" {
		made.Knowledge = Knowledge{Level: "full"}
		if made.Flow.Used == "refer" {
			made.Knowledge = Knowledge{Level: "setup", Text: "REFER: what the phones do once they are left to themselves is not known here."}
		}
	}
	b.emit(l, at, CallCreated, "", &Change{Created: &made})
}

// created is a call of which no door has told: one by the compatible interface.
func (p *placed) created() Created {
	made := Created{Kind: ClickToCall, Source: FromCallController, Agent: p.key.Agent, Subject: p.subject,
		Flow: Flow{Requested: flowOf(p.method), Used: flowOf(p.method)}}
	switch {
	case p.dial:
		made.Kind, made.Source, made.Flow.Requested = DialOut, FromDialOut, ""
	case len(p.legs) > 0 && p.legs[0].Role == sipflow.RoleCaller:
		made.Kind, made.Source, made.Flow = Inbound, FromDispatch, Flow{}
	}
	return made
}

func flowOf(method string) string {
	if method == sipflow.MethodRefer {
		return "refer"
	}
	return "invite"
}

func newLeg(r *sipflow.LegReport) Leg {
	return Leg{ID: legID(r.N), Role: Role(r.Role), Address: r.Address, State: LegPending}
}

// fromSIP makes events of what sipflow tells. What the call knows already is no event:
// a second ring, or a hop that is tried after the first.
func (b *Bus) fromSIP(l *live, t *told) {
	n := t.sip
	if n.kind == sipflow.Placed {
		if l.cur == nil {
			b.create(l, t.at, n.placed)
		}
		return
	}
	if l.cur == nil {
		b.stats.late.Add(1)
		return
	}
	switch n.kind {
	case sipflow.LegDialling, sipflow.LegAlerted, sipflow.LegAnswered, sipflow.LegRedirected, sipflow.LegEnded,
		sipflow.LegHeld, sipflow.LegResumed, sipflow.LegMuted, sipflow.LegUnmuted:
		b.legFromSIP(l, t)
	case sipflow.Connecting:
		b.advance(l, t.at, CallConnecting, Connecting)
	case sipflow.Joined:
		b.advance(l, t.at, CallConnected, Connected)
	case sipflow.FlowChanged:
		b.flowChanged(l, t)
	case sipflow.Released:
		b.released(l, t)
	case sipflow.TransferChanged:
		b.transferFromSIP(l, t)
	case sipflow.Digit:
		b.digit(l, t.at, legID(n.leg.N), string(rune(n.digit)))
	case sipflow.Ended:
		if b.shared != nil && n.cause != nil && errors.Is(n.cause.Err, sipflow.ErrForgotten) {
			b.dropCall(l) // it goes on at another node, which tells how it ends
			return
		}
		if !l.own {
			b.finish(l, t.at, Change{End: b.endFromSIP(l, n.cause)})
		}
	}
}

// advance brings the call to a state that it has not had.
func (b *Bus) advance(l *live, at time.Time, typ Type, to State) {
	if stateRank[l.cur.State] < stateRank[to] {
		b.emit(l, at, typ, "", &Change{State: to})
	}
}

// statusOf is the response that an event is about, nil for none.
func statusOf(r *sipflow.LegReport) *Status {
	if r.Code == 0 {
		return nil
	}
	return &Status{Code: r.Code, Reason: r.Reason, Method: "INVITE"}
}

func triedOf(list []sipflow.TriedHop) (tried []Tried) {
	for _, t := range list {
		tried = append(tried, Tried{Hop: t.Hop, Why: t.Why})
	}
	return tried
}

// legFromSIP makes an event of a leg's news. A leg that the call does not have yet comes
// with its first one.
func (b *Bus) legFromSIP(l *live, t *told) {
	r := &t.sip.leg
	id := legID(r.N)
	ch := &Change{Hop: r.Hop, SIPCallID: r.CallID, Contact: r.Contact, Tried: triedOf(r.Tried)}
	leg := legOf(l.cur, id)
	if leg == nil {
		made := newLeg(r)
		ch.Leg, leg = &made, &made
	} else {
		if leg.SIP != nil { // what is known is not said again
			ch.Hop, ch.SIPCallID, ch.Contact = unless(ch.Hop, leg.SIP.Hop), unless(ch.SIPCallID, leg.SIP.CallID), unless(ch.Contact, leg.SIP.Contact)
			if len(ch.Tried) == len(leg.SIP.Tried) {
				ch.Tried = nil
			}
		}
		if leg.State == LegEnded {
			return
		}
	}
	by := b.partyOf(l.cur, r.By)
	switch t.sip.kind {
	case sipflow.LegDialling:
		if legRank[leg.State] < legRank[LegDialing] {
			ch.LegState, ch.Via = LegDialing, r.Via
			b.emit(l, t.at, LegDialled, id, ch)
		}
	case sipflow.LegAlerted:
		if legRank[leg.State] < legRank[LegRinging] {
			ch.LegState, ch.RingingBy, ch.EarlyMedia, ch.SIP, ch.Via = LegRinging, "180", r.EarlyMedia, statusOf(r), notify(r.Via)
			if r.Code == 183 {
				ch.RingingBy = "183"
			}
			b.emit(l, t.at, LegRang, id, ch)
		}
	case sipflow.LegAnswered:
		if legRank[leg.State] < legRank[LegAnswered] {
			ch.LegState, ch.SIP, ch.Via = LegAnswered, statusOf(r), notify(r.Via)
			b.emit(l, t.at, LegPickedUp, id, ch)
		}
	case sipflow.LegRedirected:
		ch.From, ch.To, ch.SIP = r.From, r.To, statusOf(r)
		b.emit(l, t.at, LegRedirected, id, ch)
	case sipflow.LegHeld:
		ch.By = by
		b.flag(l, t.at, LegHeld, id, ch, leg.Held)
	case sipflow.LegResumed:
		ch.By = by
		b.flag(l, t.at, LegResumed, id, ch, !leg.Held)
	case sipflow.LegMuted:
		ch.By = by
		b.flag(l, t.at, LegMuted, id, ch, leg.Muted)
	case sipflow.LegUnmuted:
		ch.By = by
		b.flag(l, t.at, LegUnmuted, id, ch, !leg.Muted)
	case sipflow.LegEnded:
		ch.LegState, ch.LegEnd = LegEnded, b.legEnd(l, leg, t.sip.cause)
		b.emit(l, t.at, LegOver, id, ch)
	}
}

// flag tells that a leg is held or muted, or no longer, unless that is known.
func (b *Bus) flag(l *live, at time.Time, typ Type, id string, ch *Change, known bool) {
	if !known {
		b.emit(l, at, typ, id, ch)
	}
}

func unless(value, known string) string {
	if value == known {
		return ""
	}
	return value
}

// notify names how the service hears of a leg that a phone calls.
func notify(via string) string {
	if via == "" {
		return ""
	}
	return "notify"
}

// flowChanged tells that a call by REFER is bridged.
func (b *Bus) flowChanged(l *live, t *told) {
	why := "the calling phone refused REFER"
	if r := &t.sip.leg; r.Code != 0 {
		why += ": " + strconv.Itoa(r.Code) + " " + r.Reason
	}
	status := statusOf(&t.sip.leg)
	if status != nil {
		status.Method = "REFER"
	}
	b.emit(l, t.at, CallFlowChanged, "", &Change{From: l.cur.Flow.Used, To: "invite", SIP: status,
		Flow: &Flow{Requested: l.cur.Flow.Requested, Used: "invite", Fallback: &why}, Knowledge: &Knowledge{Level: "full"}})
}

// released tells that the phones of a REFER have been left to themselves.
func (b *Bus) released(l *live, t *told) {
	if stateRank[l.cur.State] >= stateRank[Released] {
		return
	}
	text := "REFER: the phones were left to themselves"
	if c := calledLeg(l.cur); c != nil {
		switch c.State {
		case LegRinging:
			text += " when " + userOf(c.Address) + " rang"
		case LegAnswered:
			text += " when " + userOf(c.Address) + " answered"
		}
	}
	text += ". Whether they talked, and for how long, is not known here."
	at := At(t.at)
	if at.Before(l.at.Time) {
		at = l.at
	}
	b.emit(l, t.at, CallReleased, "", &Change{State: Released, Knowledge: &Knowledge{Level: "setup", Until: at, Text: text}, FinalBy: At(t.sip.finalBy)})
}

// calledLeg is the one of the called party, nil if there is none.
func calledLeg(c *Call) *Leg {
	for i := range c.Legs {
		if r := c.Legs[i].Role; r == RoleCalled || r == RoleTarget {
			return &c.Legs[i]
		}
	}
	return nil
}

// digit tells of a key that was pressed to those who listen now. It is not kept.
func (b *Bus) digit(l *live, at time.Time, leg, digit string) {
	e := &Event{Type: LegDTMF, Timestamp: At(at), CallSeq: l.cur.Version,
		Data: Data{CallID: &l.id, Leg: leg, Change: &Change{Digit: digit}, Call: l.cur}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics.digit(e)
}

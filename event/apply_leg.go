package event

import (
	"fmt"
	"slices"
	"strconv"
)

func legID(n int) string { return "l" + strconv.Itoa(n) }

// legOf is the leg of that id, nil if there is none.
func legOf(c *Call, id string) *Leg {
	for i := range c.Legs {
		if c.Legs[i].ID == id {
			return &c.Legs[i]
		}
	}
	return nil
}

var legRank = map[LegState]int{LegPending: 1, LegDialing: 2, LegRinging: 3, LegAnswered: 4, LegEnded: 5}

// leg applies a change of a leg, or a leg that is new.
func (f *fold) leg() error {
	c, ch, id := f.c, f.ch, f.e.Data.Leg
	c.Legs = slices.Clone(c.Legs)
	l := legOf(c, id)
	switch {
	case id == "":
		return f.refuse("no leg is said")
	case l == nil && ch.Leg == nil:
		return f.refuse("there is no leg " + id)
	case l != nil && ch.Leg != nil:
		return f.refuse("there is a leg " + id + " already")
	case l == nil:
		made := *ch.Leg
		made.ID, made.State = id, LegPending
		c.Legs = append(c.Legs, made)
		l = &c.Legs[len(c.Legs)-1]
	case l.State == LegEnded:
		return f.refuse("leg " + id + " is over")
	}
	if l.SIP != nil {
		own := *l.SIP
		l.SIP = &own
	}
	f.sip(l)
	switch f.e.Type {
	case LegDialled:
		l.Via = ch.Via
		return f.legTo(l, LegDialing)
	case LegRang:
		l.RingingBy, l.EarlyMedia = ch.RingingBy, ch.EarlyMedia
		if ch.Devices > 0 {
			l.Devices = ch.Devices
		}
		return f.legTo(l, LegRinging)
	case LegPickedUp:
		return f.legTo(l, LegAnswered)
	case LegHeld:
		l.Held = true
	case LegResumed:
		l.Held = false
	case LegMuted:
		l.Muted = true
	case LegUnmuted:
		l.Muted = false
	case LegOver:
		if ch.LegEnd == nil {
			return f.refuse("no end is said")
		}
		l.End, l.Held, l.Muted = ch.LegEnd, false, false
		return f.legTo(l, LegEnded)
	}
	return nil
}

// sip notes how the leg is found elsewhere.
func (f *fold) sip(l *Leg) {
	ch := f.ch
	if ch.SIPCallID == "" && ch.Contact == "" && ch.Hop == "" && ch.Tried == nil {
		return
	}
	if l.SIP == nil {
		l.SIP = &LegSIP{}
	}
	if ch.SIPCallID != "" {
		l.SIP.CallID = ch.SIPCallID
	}
	if ch.Contact != "" {
		l.SIP.Contact = ch.Contact
	}
	if ch.Hop != "" {
		l.SIP.Hop = ch.Hop
	}
	if ch.Tried != nil {
		l.SIP.Tried = ch.Tried
	}
}

// legTo brings a leg to a later state.
func (f *fold) legTo(l *Leg, to LegState) error {
	if legRank[to] <= legRank[l.State] {
		return f.refuse(fmt.Sprintf("leg %s is %s, it cannot become %s", l.ID, l.State, to))
	}
	l.State = to
	f.enter(l)
	if to == LegAnswered || to == LegEnded {
		f.rang(l)
	}
	return nil
}

// enter notes when a leg came to its state.
func (f *fold) enter(l *Leg) {
	switch at := f.e.Timestamp; l.State {
	case LegDialing:
		l.DialingAt = at
	case LegRinging:
		l.RingingAt = at
	case LegAnswered:
		l.AnsweredAt = at
	case LegEnded:
		l.EndedAt = at
	}
}

// rang notes how long the first phone rang. Without a ring it is not known.
func (f *fold) rang(l *Leg) {
	if c := f.c; l == &c.Legs[0] && c.RingMS == nil && !l.RingingAt.IsZero() {
		ms := f.e.Timestamp.Sub(l.RingingAt.Time).Milliseconds()
		c.RingMS = &ms
	}
}

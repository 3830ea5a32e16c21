package event

import (
	"slices"
	"strconv"
	"time"

	"sipxrest/sipflow"
)

var transferTypes = map[string]Type{
	"dialing": TransferStarted, "ringing": TransferRinging, "consulting": TransferConsulting,
	"completed": TransferCompleted, "failed": TransferFailed, "cancelled": TransferCancelled,
}

func transferOf(c *Call, id string) *Transfer {
	for i := range c.Transfers {
		if c.Transfers[i].ID == id {
			return &c.Transfers[i]
		}
	}
	return nil
}

// transferFromSIP makes an event of a transfer's news.
func (b *Bus) transferFromSIP(l *live, t *told) {
	r := t.sip.transfer
	if r == nil {
		return
	}
	id := "t" + strconv.Itoa(r.N)
	known := transferOf(l.cur, id)
	if known == nil && r.State != sipflow.TransferDialling {
		// A transfer by a phone may be told when it is done already.
		b.startTransfer(l, t.at, id, r)
		known = transferOf(l.cur, id)
	}
	switch {
	case known == nil:
		b.startTransfer(l, t.at, id, r)
		return
	case transferRank[r.State] <= transferRank[known.State]:
		return
	}
	n := *known
	n.State = r.State
	ch := &Change{Transfer: &n}
	leg := ""
	if r.Leg > 0 {
		leg = legID(r.Leg)
	}
	if terminal(n.State) {
		n.EndedAt = atLeast(t.at, l.at)
		n.End = b.transferEnd(l, &n, leg, r)
		switch {
		case n.State != sipflow.TransferCompleted:
		case legOf(l.cur, leg) != nil:
			ch.Role = b.leaverRole(l.cur, r.Leaver)
		case n.Mode == sipflow.TransferByPhone:
			l.passedOn = true // both are about to hang up
		}
	}
	if legOf(l.cur, leg) == nil {
		leg = ""
	}
	b.emit(l, t.at, transferTypes[n.State], leg, ch)
}

func (b *Bus) startTransfer(l *live, at time.Time, id string, r *sipflow.TransferReport) {
	n := Transfer{ID: id, Mode: r.Mode, Leaver: b.partyOf(l.cur, r.Leaver), To: r.To, State: "dialing", StartedAt: atLeast(at, l.at)}
	if r.WithCall != "" {
		n.WithCall = &r.WithCall
	}
	if r.RequestedBy > 0 {
		n.RequestedBy = legID(r.RequestedBy)
	}
	b.emit(l, at, TransferStarted, "", &Change{Transfer: &n})
}

// leaverRole is the role that the target gets from who left.
func (b *Bus) leaverRole(c *Call, leaver sipflow.Party) Role {
	switch {
	case leaver == sipflow.CallingParty && c.Kind == Inbound:
		return RoleCaller
	case leaver == sipflow.CallingParty:
		return RoleCalling
	case c.Kind == Inbound:
		return RoleTarget
	}
	return RoleCalled
}

// transferEnd is how a transfer ended.
func (b *Bus) transferEnd(l *live, t *Transfer, leg string, r *sipflow.TransferReport) *TransferEnd {
	end := &TransferEnd{Reason: r.State}
	if r.Cause != nil {
		end.Reason, _ = b.reasonOf(l.cur, legOf(l.cur, leg), r.Cause)
		end.SIP = sipOf(r.Cause)
		if r.Cause.Leg > 0 {
			end.Leg = legID(r.Cause.Leg)
		}
	}
	end.Message = transferMessage(l.cur, t, end)
	return end
}

// closeTransfers ends the transfers that are at work when the call ends.
func (b *Bus) closeTransfers(l *live, at time.Time, end *End) {
	for _, t := range slices.Clone(l.cur.Transfers) {
		if terminal(t.State) {
			continue
		}
		t.State, t.EndedAt = "failed", atLeast(at, l.at)
		if end.By == "client" {
			t.State = "cancelled"
		}
		t.End = &TransferEnd{Reason: end.Reason, Leg: end.Leg, SIP: end.SIP}
		t.End.Message = transferMessage(l.cur, &t, t.End)
		b.emit(l, at, transferTypes[t.State], "", &Change{Transfer: &t})
	}
}

// atLeast is a time, but not before that of the last event.
func atLeast(at time.Time, last Time) Time {
	if n := At(at); !n.Before(last.Time) {
		return n
	}
	return last
}

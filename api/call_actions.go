package api

import (
	"slices"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// The actions.
const (
	actHangUp   = "hangup"
	actHold     = "hold"
	actUnhold   = "unhold"
	actMute     = "mute"
	actUnmute   = "unmute"
	actDTMF     = "dtmf"
	actRedirect = "redirect"
	actTransfer = "transfer"
)

// actionNames are all of them, in the order in which a call lists them. A transfer has
// a resource of its own.
var actionNames = []string{actHangUp, actHold, actUnhold, actMute, actUnmute, actDTMF, actRedirect, actTransfer}

// cannot says what calls of a kind cannot have done, in a sentence.
var cannot = map[string]string{
	actHold: "cannot be held", actUnhold: "cannot be held", actMute: "cannot be muted", actUnmute: "cannot be muted",
	actDTMF: "take no digits", actRedirect: "cannot be redirected", actTransfer: "cannot be transferred",
}

// supports reports whether calls of a kind have an action at all.
func supports(c *event.Call, action string) bool {
	switch action {
	case actHangUp:
		return true
	case actHold, actUnhold, actTransfer:
		return c.Kind == event.ClickToCall
	case actMute, actUnmute, actRedirect:
		return c.Kind == event.ClickToCall || c.Kind == event.Inbound
	case actDTMF:
		return c.Kind != event.WebSocket
	}
	return false
}

// impossible says why an action cannot be done to a call as it is; nil when it can be
// tried.
func impossible(c *event.Call, action string) *Problem {
	switch {
	case c.State == event.Ended:
		return callEnded(c)
	case c.State == event.Released:
		return about(refuse(NotInControl, stamp(c.ReleasedAt)), c.ID)
	case action == actHangUp:
		return nil
	case !supports(c, action):
		return about(refuse(ActionUnsupported, string(c.Kind)+" calls "+cannot[action]), c.ID)
	case action == actRedirect:
		return unredirectable(c)
	case c.State != event.Connected:
		return about(refuse(NotConnected, c.State), c.ID)
	case action == actTransfer:
		if t := pendingTransfer(c); t != nil {
			return about(refuse(TransferInProgress, t.ID), c.ID)
		}
	}
	return nil
}

// unredirectable says why no leg of a call can be sent elsewhere.
func unredirectable(c *event.Call) *Problem {
	switch {
	case c.Flow.Used == flowRefer: // the calling phone calls the other one, and our leg to it goes on from its answer
		return about(refuse(ActionUnsupported, "calls by REFER cannot be redirected"), c.ID)
	case ringingLeg(c) == nil:
		return about(refuse(AlreadyAnswered), c.ID)
	}
	return nil
}

// ringingLeg is the leg that is called at this moment, nil when there is none.
func ringingLeg(c *event.Call) *event.Leg {
	for i := range c.Legs {
		l := &c.Legs[i]
		if (l.State == event.LegDialing || l.State == event.LegRinging) && partyOf(c, l) {
			return l
		}
	}
	return nil
}

// pendingTransfer is the transfer of a call that is under way, nil when there is none.
func pendingTransfer(c *event.Call) *event.Transfer {
	for i := range c.Transfers {
		if !transferOver(c.Transfers[i].State) {
			return &c.Transfers[i]
		}
	}
	return nil
}

func transferOver(state string) bool {
	return state == sipflow.TransferCompleted || state == sipflow.TransferFailed || state == sipflow.TransferCancelled
}

// callEnded says how a call ended.
func callEnded(c *event.Call) *Problem {
	message := "it is not known how."
	if c.End != nil {
		message = c.End.Message
	}
	p := about(refuse(CallEnded, stamp(c.EndedAt), message), c.ID)
	p.End = c.End
	if c.End != nil {
		p.Dialled = c.End.Dialled
	}
	return p
}

// stamp is a time in a sentence.
func stamp(t event.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// actionsOf are the actions that are possible now for somebody with that access.
func (a *API) actionsOf(c *event.Call, may Access) []string {
	list := []string{}
	for _, action := range actionNames {
		if may == NoAccess || may == AsParty && action != actHangUp || impossible(c, action) != nil || alreadySo(c, action) {
			continue
		}
		list = append(list, action)
	}
	return list
}

// alreadySo reports whether all legs that an action is about are so already.
func alreadySo(c *event.Call, action string) bool {
	so := func(is func(*event.Leg) bool) bool {
		return !slices.ContainsFunc(c.Legs, func(l event.Leg) bool { return l.State == event.LegAnswered && !is(&l) })
	}
	switch action {
	case actHold:
		return so(func(l *event.Leg) bool { return l.Held })
	case actUnhold:
		return so(func(l *event.Leg) bool { return !l.Held })
	case actMute:
		return so(func(l *event.Leg) bool { return l.Muted })
	case actUnmute:
		return so(func(l *event.Leg) bool { return !l.Muted })
	}
	return false
}

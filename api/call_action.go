package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sipxrest/event"
	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// Bounds of digits.
const (
	maxDigits  = 32
	maxGap     = 5 * time.Second
	defaultGap = 100 * time.Millisecond
)

// hangUpReasons are the causes of the telephone network that a client may give (ITU-T
// Q.850), and what phones are told with them.
var hangUpReasons = map[int64]string{16: "Normal call clearing", 17: "User busy", 21: "Call rejected"}

// actionBody is the body of an action. Which members it may have is the action's choice.
type (
	hangUpBody struct {
		Leg    *string `json:"leg"`
		Reason *int64  `json:"reason"`
	}
	legBody struct {
		Leg *string `json:"leg"`
	}
	dtmfBody struct {
		Digits *string `json:"digits"`
		Leg    *string `json:"leg"`
		As     *string `json:"as"`
		GapMS  *int64  `json:"gap_ms"`
	}
	redirectBody struct {
		To  *string `json:"to"`
		Leg *string `json:"leg"`
	}
)

// bodyOf is a new body of an action; nil for what is no action.
func bodyOf(action string) any {
	switch action {
	case actHangUp:
		return &hangUpBody{}
	case actHold, actUnhold, actMute, actUnmute:
		return &legBody{}
	case actDTMF:
		return &dtmfBody{}
	case actRedirect:
		return &redirectBody{}
	}
	return nil
}

// An actionResult is a call after an action.
type actionResult struct {
	*event.Call
	Changed bool `json:"changed"`        // false: it was so before
	Sent    *int `json:"sent,omitempty"` // digits that the phone took
}

// postAction does something to a call.
func (a *API) postAction(w http.ResponseWriter, r *request) *Problem {
	action := r.vars("action")
	into := bodyOf(action)
	if into == nil {
		return refuse(NotFound).because("The actions are: " + strings.Join(actionNames[:len(actionNames)-1], ", ") + ".")
	}
	return a.act(w, r, action, into)
}

// deleteCall hangs a call up.
func (a *API) deleteCall(w http.ResponseWriter, r *request) *Problem {
	return a.act(w, r, actHangUp, &hangUpBody{})
}

// act reads an action and does it.
func (a *API) act(w http.ResponseWriter, r *request, action string, into any) *Problem {
	var raw json.RawMessage
	body, why := read(w, r, &raw, true)
	if why != nil {
		return why
	}
	c, may, why := a.find(r)
	if why != nil {
		return why
	}
	var d decoding
	if len(raw) > 0 {
		d.value(raw, reflect.ValueOf(into).Elem(), "")
	}
	o := &actionOrder{action: action, may: may}
	a.readAction(&d, c, into, o)
	if len(d.wrong) > 0 {
		return invalid(d.wrong...)
	}
	if may == AsParty && action != actHangUp {
		return about(refuse(NotYourLeg), c.ID)
	}
	if why := ifMatch(r.Request, c.Version); why != nil {
		return why
	}
	return a.once(w, r, "action "+action+" "+c.ID, c.ID, body, func(w http.ResponseWriter) *Problem { return a.do(w, r, c, o) })
}

// An actionOrder is what is to be done.
type actionOrder struct {
	action string
	may    Access
	leg    *event.Leg    // that it is about; nil where it is about none
	party  sipflow.Party // of the leg
	why    error         // of a hang-up
	digits string
	as     sipflow.DTMF
	gap    time.Duration
	to     order.Party
}

// readAction reads the body of an action on a call.
func (a *API) readAction(d *decoding, c *event.Call, into any, o *actionOrder) {
	switch b := into.(type) {
	case *hangUpBody:
		o.why = sipflow.ErrHungUpByUser
		if b.Reason != nil {
			text, ok := hangUpReasons[*b.Reason]
			if !ok {
				d.fault("/reason", memberInvalid, "16 (normal), 17 (busy) or 21 (rejected)")
			}
			o.why = &sipflow.ClientHangUp{Cause: int(*b.Reason), Text: text}
		}
		if b.Leg != nil {
			if o.leg = legOf(c, *b.Leg); o.leg == nil {
				d.fault("/leg", memberInvalid, legRule(c))
			}
		}
	case *legBody:
		absent := event.RoleCalled
		if o.action == actMute || o.action == actUnmute {
			absent = event.RoleCalling
		}
		d.leg(c, b.Leg, absent, o)
	case *dtmfBody:
		d.leg(c, b.Leg, event.RoleCalled, o)
		o.digits = d.text("/digits", b.Digits, maxDigits)
		switch {
		case b.Digits == nil:
			d.fault("/digits", memberMissing, "1 to 32 of 0123456789*#ABCD")
		case o.digits == "" || strings.Trim(o.digits, "0123456789*#ABCD") != "":
			d.fault("/digits", memberInvalid, "1 to 32 of 0123456789*#ABCD")
		}
		o.as = sipflow.DTMFRelay
		if d.word("/as", b.As, "relay", "plain") == "plain" {
			o.as = sipflow.DTMFPlain
		}
		o.gap = d.millis("/gap_ms", b.GapMS, 0, maxGap, defaultGap)
	case *redirectBody:
		d.leg(c, b.Leg, event.RoleCalled, o)
		o.to = a.readTarget(d, "/to", b.To)
	}
}

// readTarget reads whom a call is to be sent to.
func (a *API) readTarget(d *decoding, at string, text *string) (to order.Party) {
	if text == nil {
		d.fault(at, memberMissing, "a user, alias, number, user@host or SIP URI")
		return to
	}
	to, ok := a.order.Party(restauth.TrimBlanks(*text))
	if !ok {
		d.fault(at, memberInvalid, "want a user, alias, number, user@host or SIP URI")
	}
	return to
}

// leg reads which leg an action is about: by its role, or by its id.
func (d *decoding) leg(c *event.Call, given *string, absent event.Role, o *actionOrder) {
	name := string(absent)
	if given != nil {
		name = *given
	}
	if o.leg = legOf(c, name); o.leg == nil && given == nil { // an inbound call has others
		for i := range c.Legs {
			if l := &c.Legs[i]; sideOf(l.Role) == sideOf(absent) && l.State != event.LegEnded {
				o.leg = l
			}
		}
	}
	if o.leg == nil && (given != nil || c.State != event.Ended) {
		d.fault("/leg", memberInvalid, legRule(c))
		return
	}
	if o.leg != nil {
		o.party = sideOf(o.leg.Role)
	}
}

// legOf is a leg by its id or its role, nil if there is none. Of legs that have the same
// role the latest counts.
func legOf(c *event.Call, name string) *event.Leg {
	for i := len(c.Legs) - 1; i >= 0; i-- {
		if l := &c.Legs[i]; l.ID == name || string(l.Role) == name {
			return l
		}
	}
	return nil
}

// legRule says which legs there are.
func legRule(c *event.Call) string {
	var names []string
	for i := range c.Legs {
		names = append(names, string(c.Legs[i].Role), c.Legs[i].ID)
	}
	return "one of: " + strings.Join(names, ", ")
}

// sideOf is the party of a bridge that a leg is.
func sideOf(role event.Role) sipflow.Party {
	if role == event.RoleCalled || role == event.RoleTarget {
		return sipflow.CalledParty
	}
	return sipflow.CallingParty
}

// do does an action, and answers when the phone has agreed.
func (a *API) do(w http.ResponseWriter, r *request, c *event.Call, o *actionOrder) *Problem {
	if o.action == actHangUp {
		return a.hangUp(w, r, c, o)
	}
	if why := impossible(c, o.action); why != nil {
		return why
	}
	call := a.sw.ByID(c.ID)
	if call == nil {
		return a.notRunning(c, o.action)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), actionTime)
	defer stop()
	var err error
	result := actionResult{Changed: true}
	done := func(*event.Call) bool { return true }
	switch on := o.action == actHold || o.action == actMute; o.action {
	case actHold, actUnhold:
		if result.Changed = o.leg.Held != on; result.Changed {
			err = call.Hold(ctx, o.party, on)
			done = o.when(func(l *event.Leg) bool { return l.Held == on })
		}
	case actMute, actUnmute:
		if result.Changed = o.leg.Muted != on; result.Changed {
			var m sipflow.Mute
			if on {
				m = sipflow.MuteSpeaking
			}
			err = call.MuteParty(ctx, o.party, m)
			done = o.when(func(l *event.Leg) bool { return l.Muted == on })
		}
	case actDTMF:
		n := 0
		n, err = sendDigits(ctx, r.Context(), call, o)
		result.Sent = &n
	case actRedirect:
		return a.redirect(ctx, w, r, c, call, o)
	}
	if err != nil {
		why := a.phoneProblem(c, o, err)
		why.Sent = result.Sent
		return why
	}
	c = a.waitFor(r.Context(), c, lagTime, done)
	result.Call = a.show(r, c)
	w.Header().Set("ETag", etag(c.Version))
	return send(w, http.StatusOK, result)
}

// lagTime bounds how long an answer waits for the event of what has been done.
const lagTime = time.Second

// when reports whether something is so of the order's leg, or will not be any more.
func (o *actionOrder) when(so func(*event.Leg) bool) func(*event.Call) bool {
	return func(c *event.Call) bool {
		l := legOf(c, o.leg.ID)
		return l == nil || so(l) || c.State == event.Ended
	}
}

// sendDigits sends one digit after the other, and stops at the first that the phone
// refuses. The digits are not sent faster for a client that has gone.
func sendDigits(ctx, client context.Context, call *sipflow.Call, o *actionOrder) (n int, err error) {
	for i := range len(o.digits) {
		if i > 0 && o.gap > 0 {
			pause := time.NewTimer(o.gap)
			select {
			case <-pause.C:
			case <-call.Done():
				pause.Stop()
				return i, sipflow.ErrNoCall
			}
		}
		each, stop := context.WithTimeout(context.WithoutCancel(client), actionTime)
		err = call.SendDTMFTo(each, o.party, o.digits[i], o.as)
		stop()
		if err != nil {
			return i, err
		}
	}
	return len(o.digits), nil
}

// hangUp ends a call, or a leg that was called for a transfer.
func (a *API) hangUp(w http.ResponseWriter, r *request, c *event.Call, o *actionOrder) *Problem {
	if c.State == event.Ended {
		return a.sendResult(w, r, c, false)
	}
	if why := impossible(c, actHangUp); why != nil {
		return why
	}
	if o.leg != nil && (o.leg.Role == event.RoleConsult || o.leg.Role == event.RoleTarget && c.Kind != event.Inbound) {
		if o.may == AsParty {
			return about(refuse(NotYourLeg), c.ID)
		}
		return a.hangUpTarget(w, r, c, o)
	}
	if o.leg != nil && o.may != AsParty {
		return invalid(MemberFault{Pointer: "/leg", Code: memberInvalid,
			Detail: "a single leg is hung up only where it was called for a transfer (consult, target); leave it out to end the call"})
	}
	if o.leg != nil && !a.isOwn(r, c, o.leg) {
		return about(refuse(NotYourLeg), c.ID)
	}
	a.bus.SetActor(c.ID, r.who.Actor(r.id))
	call := a.sw.ByID(c.ID)
	controls := a.cfg.Calls.Controls[c.Source]
	switch {
	case controls != nil && controls.EndCall(c.ID):
	case call != nil:
		call.HangUp(o.why)
	}
	over := func(c *event.Call) bool { return c.State == event.Ended || c.State == event.Released }
	wait, hungUp := actionTime, false
	if call != nil {
		hungUp, wait = finished(call), lagTime // a phone that was referred may still report, so the end comes later
	}
	if c = a.waitFor(context.WithoutCancel(r.Context()), c, wait, over); over(c) || hungUp {
		return a.sendResult(w, r, c, byUs(c, r))
	}
	return about(refuse(PhoneTimeout).dialled(DialledYes), c.ID)
}

// finished waits until the phones of a call are hung up, and reports whether they are
// within the time of an action.
func finished(call *sipflow.Call) bool {
	timer := time.NewTimer(actionTime)
	defer timer.Stop()
	select {
	case <-call.Done():
		return true
	case <-timer.C:
		return false
	}
}

// byUs reports whether a call was ended by this very request.
func byUs(c *event.Call, r *request) bool {
	return c.End == nil || c.End.Actor != nil && c.End.Actor.RequestID == r.id
}

// isOwn reports whether a leg is that of who asks.
func (a *API) isOwn(r *request, c *event.Call, l *event.Leg) bool {
	if r.who.Phone != nil {
		return partyOf(c, l) && r.who.Phone.is(l.Address)
	}
	return r.who.Agent != nil && partyOf(c, l) && a.isUser(r.who.Agent, l.Address)
}

// sendResult answers an action with the call as it is now.
func (a *API) sendResult(w http.ResponseWriter, r *request, c *event.Call, changed bool) *Problem {
	w.Header().Set("ETag", etag(c.Version))
	return send(w, http.StatusOK, actionResult{Call: a.show(r, c), Changed: changed})
}

// hangUpTarget calls the transfer off for which a leg was called.
func (a *API) hangUpTarget(w http.ResponseWriter, r *request, c *event.Call, o *actionOrder) *Problem {
	t := pendingTransfer(c)
	call := a.sw.ByID(c.ID)
	if t == nil || call == nil || o.leg.State == event.LegEnded {
		return a.sendResult(w, r, c, false)
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(r.Context()), actionTime)
	defer stop()
	n, _ := strconv.Atoi(strings.TrimPrefix(t.ID, "t"))
	if err := call.CancelTransfer(ctx, n); err != nil && !errors.Is(err, sipflow.ErrNoTransfer) {
		return a.phoneProblem(c, o, err)
	}
	c = a.waitFor(r.Context(), c, lagTime, func(c *event.Call) bool {
		l := legOf(c, o.leg.ID)
		return l == nil || l.State == event.LegEnded
	})
	return a.sendResult(w, r, c, true)
}

// redirect sends a phone that has not answered elsewhere.
func (a *API) redirect(ctx context.Context, w http.ResponseWriter, r *request, c *event.Call, call *sipflow.Call, o *actionOrder) *Problem {
	if s := o.leg.State; s != event.LegDialing && s != event.LegRinging {
		if s == event.LegPending {
			return about(refuse(NotConnected, c.State).because("The leg "+string(o.leg.Role)+" is not called yet."), c.ID)
		}
		return about(refuse(AlreadyAnswered), c.ID)
	}
	if o.party == sipflow.CallingParty && c.Kind == event.ClickToCall && a.order.KeyOf(o.to) != c.Agent {
		return about(refuse(PolicyDenied, "The calling phone may be replaced by phones of the agent only"), c.ID)
	}
	if err := call.Redirect(ctx, o.party, o.to.Wire(), r.who.Type == PrincipalPeer); err != nil {
		return a.phoneProblem(c, o, err)
	}
	version := c.Version
	c = a.waitFor(r.Context(), c, lagTime, func(c *event.Call) bool { return c.Version > version })
	w.Header().Set("ETag", etag(c.Version))
	return send(w, http.StatusAccepted, actionResult{Call: a.show(r, c), Changed: true})
}

// notRunning is for a call that the switchboard does not have: it ends at this moment, or it
// is one of another kind.
func (a *API) notRunning(c *event.Call, action string) *Problem {
	if c.Kind == event.WebSocket {
		return about(refuse(ActionUnsupported, string(c.Kind)+" calls "+cannot[action]), c.ID)
	}
	c = a.waitFor(context.Background(), c, lagTime, func(c *event.Call) bool { return c.State == event.Ended || c.State == event.Released })
	if why := impossible(c, action); why != nil {
		return why
	}
	return about(refuse(NotConnected, c.State), c.ID)
}

// phoneProblem words what an action came to.
func (a *API) phoneProblem(c *event.Call, o *actionOrder, err error) *Problem {
	var refused *sipflow.StatusError
	var p *Problem
	switch {
	case errors.Is(err, sipflow.ErrPhoneTimeout), errors.Is(err, context.DeadlineExceeded):
		p = refuse(PhoneTimeout).dialled(DialledYes)
	case errors.Is(err, sipflow.ErrAnswered):
		p = refuse(AlreadyAnswered)
	case errors.Is(err, sipflow.ErrTransferring):
		id := "one by a phone"
		if now, ok := a.bus.Call(c.ID); ok {
			if t := pendingTransfer(now); t != nil {
				id = t.ID
			}
		}
		p = refuse(TransferInProgress, id)
	case errors.Is(err, sipflow.ErrNoTransfer), errors.Is(err, sipflow.ErrNotConsulting):
		p = refuse(NotConnected, "without such a transfer")
	case errors.Is(err, sipflow.ErrForbidden):
		p = a.forbidden(err)
	case errors.Is(err, sipflow.ErrTooManyCalls):
		p = a.limited(err)
	case errors.Is(err, sipflow.ErrUnreachable):
		p = refuse(UnreachableCode, "there is none for the target that can be reached")
	case errors.Is(err, sipflow.ErrNoCall):
		return a.notRunning(c, o.action)
	case errors.Is(err, sipflow.ErrForgotten): // another node has it
		p = refuse(NodeUnavailable).after(placingAgain).dialled(DialledUnknown)
	case errors.Is(err, sipflow.ErrNotOwner):
		p = a.clusterRefusal()
	case errors.As(err, &refused):
		name := "that leg"
		if o.leg != nil {
			name, _, _ = strings.Cut(o.leg.Address, "@")
		}
		p = refuse(PhoneRefused, name, fmt.Sprintf("%d %s", refused.Code, refused.Reason))
		p.SIP = &event.Status{Code: refused.Code, Reason: refused.Reason, Method: refused.Method}
	default:
		a.log.Error("an action on a call failed", "call", c.ID, "action", o.action, "error", err)
		p = refuse(InternalError).dialled(DialledUnknown)
	}
	return about(p, c.ID)
}

package app

import (
	"cmp"
	"errors"
	"strings"

	"sipxrest/callcontroller"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/event"
	webphone "sipxrest/phone"
	"sipxrest/sipflow"
)

// The doors say in their own words what happens to their calls; here it becomes
// events. Each door knows its interface alone.

// controllerDoor is callcontroller.Calls.
type controllerDoor struct{ bus *event.Bus }

// controllerCalls is callcontroller.Config.Calls; nil where nobody listens.
func (a *App) controllerCalls() callcontroller.Calls {
	if a.bus == nil {
		return nil
	}
	return controllerDoor{a.bus}
}

func (d controllerDoor) Expect(a callcontroller.Asked) string {
	id, flow := event.NewID(), "refer"
	if a.Method == sipflow.MethodInvite {
		flow = "invite"
	}
	err := d.bus.Expect(event.Request{ID: id, Fresh: true, Created: event.Created{Kind: event.ClickToCall, Source: event.FromCallController, Agent: a.Agent,
		Subject: a.Subject, RequestID: a.RequestID, Flow: event.Flow{Requested: flow, Used: flow}}})
	if err != nil {
		return "" // the switchboard gives it another
	}
	return id
}

func (d controllerDoor) Forget(id string) { d.bus.Forget(id) }

func (d controllerDoor) HangsUp(id string, who callcontroller.Who) {
	a := event.Actor{Type: "user", Name: who.Agent, RequestID: who.RequestID}
	if who.Trusted {
		a.Type, a.Name = "peer", who.Address // as the API names one
	}
	d.bus.SetActor(id, a)
}

// dialoutDoor is dialout.Calls.
type dialoutDoor struct{ bus *event.Bus }

func dialoutCreated(a *dialout.Asked) event.Created {
	c := event.Created{Kind: event.DialOut, Source: event.FromDialOut, Agent: a.Agent, RequestID: a.RequestID, Flow: event.Flow{Used: "invite"}}
	if a.Source == dialout.FromTalk {
		c.Source = event.FromTalk
	}
	return c
}

func (d dialoutDoor) Expect(a dialout.Asked) {
	_ = d.bus.Expect(event.Request{ID: a.ID, Fresh: true, Created: dialoutCreated(&a)}) // the switchboard tells of it none the less
}

func (d dialoutDoor) Forget(id string) { d.bus.Forget(id) }

// dialoutReasons are the reasons of events.
var dialoutReasons = map[dialout.Reason]string{
	dialout.NotVerified: "not_verified", dialout.BadNumber: "number_incomplete", dialout.BadCaller: "forbidden", dialout.BadRequest: "not_verified",
	dialout.Forbidden: "policy_denied", dialout.TooMany: "server_busy", dialout.Stopping: "draining", dialout.HungUp: "client_hung_up",
	dialout.NoGateway: "unreachable", dialout.Internal: "internal_error",
}

func (d dialoutDoor) Refused(a dialout.Asked, why dialout.Reason, text string) {
	c := dialoutCreated(&a)
	c.State = event.Routing
	c.Legs = []event.Leg{{Role: event.RoleCalling, Address: a.Number}}
	if a.Target != "" {
		c.Legs = append(c.Legs, event.Leg{Role: event.RoleCalled, Address: strings.TrimPrefix(a.Target, "sip:")})
	}
	if d.bus.Begin(event.Request{ID: a.ID, Fresh: true, Created: c}) != nil {
		return // the switchboard has told of it
	}
	end := &event.End{Reason: dialoutReasons[why], Dialled: "no", Message: text}
	if why != dialout.HungUp {
		end.By = "service"
	}
	d.bus.Tell(a.ID, event.CallEnded, "", event.Change{End: end})
}

func (d dialoutDoor) HangsUp(id string, who dialout.Who) {
	a := event.Actor{Type: "user", Name: who.Agent}
	if who.Backend != "" {
		a = event.Actor{Type: "peer", Name: who.Backend}
	}
	d.bus.SetActor(id, a)
}

// dispatchDoor is dispatch.Calls.
type dispatchDoor struct{ bus *event.Bus }

func (d dispatchDoor) Routed(id string, r dispatch.Routed) {
	c := event.Change{Rule: r.Rule, Decision: r.Decision, Target: r.Target, TookMS: r.Took.Milliseconds()}
	if r.Fallback {
		c.Decision = "fallback:" + r.Decision
	}
	d.bus.Tell(id, event.CallRouted, "", c)
}

// dispatchReasons are the reasons of events.
var dispatchReasons = [...]string{
	dispatch.ByRule: "rule_refused", dispatch.WrongName: "forbidden", dispatch.NoDecision: "decision_failed", dispatch.ByPolicy: "policy_denied",
	dispatch.ByMedia: "not_acceptable", dispatch.ByPIN: "pin_failed", dispatch.Redirected: "redirected",
}

func (d dispatchDoor) Refuses(id string, why dispatch.Reason) {
	d.bus.SetReason(id, dispatchReasons[why])
}

// phoneDoor is phone.Calls. The legs of a call between users are l1, of the caller, and
// l2, of the callee's devices; a SIP phone's follow. In the call of a SIP phone to a
// user the devices are d1 beside the switchboard's own legs.
type phoneDoor struct{ bus *event.Bus }

// phoneCalls is phone.Config.Calls; nil where nobody listens.
func (a *App) phoneCalls() webphone.Calls {
	if a.bus == nil {
		return nil
	}
	return phoneDoor{a.bus}
}

const (
	callerLeg  = "l1"
	devicesLeg = "l2"
	phoneLeg   = "l3"
	inboundLeg = "d1"
)

func (d phoneDoor) Name(id string) string {
	if _, used := d.bus.Call(id); used {
		return event.NewID()
	}
	return id
}

// addressOf is a user's: that of his SIP phone, or his name.
func addressOf(u *webphone.User) string {
	return cmp.Or(strings.TrimPrefix(u.SIP, "sip:"), u.Username)
}

func (d phoneDoor) Begins(b webphone.Begun) {
	if b.Inbound {
		d.bus.Tell(b.ID, event.LegDialled, inboundLeg, event.Change{Leg: &event.Leg{ID: inboundLeg, Role: event.RoleDevice, Address: addressOf(&b.Callee), Display: b.Callee.DisplayName}})
		return
	}
	_ = d.bus.Begin(event.Request{ID: b.ID, Fresh: true, Own: true, FirstLeg: 2, Created: event.Created{ // an id that is taken is not told twice
		Kind: event.WebSocket, Source: event.FromPhone, Agent: addressOf(&b.Caller), Legs: []event.Leg{
			{ID: callerLeg, Role: event.RoleCalling, Address: addressOf(&b.Caller), Display: b.Caller.DisplayName, State: event.LegAnswered},
			{ID: devicesLeg, Role: event.RoleDevice, Address: addressOf(&b.Callee), Display: b.Callee.DisplayName},
		}}})
	if b.Direct {
		d.bus.Tell(b.ID, event.LegDialled, devicesLeg, event.Change{Via: "direct"})
	}
}

// devices is the leg of the callee's devices.
func devices(inbound bool) string {
	if inbound {
		return inboundLeg
	}
	return devicesLeg
}

func (d phoneDoor) Rings(id string, n int, inbound bool) {
	d.bus.Tell(id, event.LegRang, devices(inbound), event.Change{Devices: n})
}

func (d phoneDoor) Answered(id string, inbound bool) {
	d.bus.Tell(id, event.LegPickedUp, devices(inbound), event.Change{})
}

func (d phoneDoor) Answering(id string) { d.bus.Tell(id, event.CallConnecting, "", event.Change{}) }

func (d phoneDoor) Joined(id string) { d.bus.Tell(id, event.CallConnected, "", event.Change{}) }

// phoneReasons are the reasons of events; those of Ended differ.
var phoneReasons = [...]string{
	webphone.Completed: "hung_up", webphone.Declined: "declined", webphone.Cancelled: "caller_gave_up", webphone.NoAnswer: "no_answer",
	webphone.TooLong: "time_limit", webphone.HandedOver: "handed_over", webphone.Ended: "client_hung_up",
}

func phoneReason(e *webphone.Ending) string {
	var refused *sipflow.StatusError
	switch {
	case e.Outcome == webphone.Ended && e.Stopped:
		return "draining"
	case errors.Is(e.Err, sipflow.ErrForbidden):
		return "policy_denied"
	case e.Outcome == webphone.Declined && errors.As(e.Err, &refused) && (refused.Code == 486 || refused.Code == 600):
		return "busy"
	}
	return phoneReasons[e.Outcome]
}

func (d phoneDoor) Ends(id string, e webphone.Ending) {
	reason := phoneReason(&e)
	by := [...]string{webphone.BySelf: "", webphone.ByCaller: "calling", webphone.ByCallee: "called"}[e.By]
	switch {
	case e.Inbound: // the switchboard tells the end of the call
		d.bus.Tell(id, event.LegOver, inboundLeg, event.Change{LegEnd: &event.LegEnd{Reason: reason, By: strings.Replace(by, "calling", "caller", 1)}})
		return
	case e.Outcome == webphone.HandedOver:
		d.bus.Tell(id, event.LegPickedUp, devicesLeg, event.Change{})
		d.bus.Tell(id, event.CallReleased, "", event.Change{Knowledge: &event.Knowledge{Level: "setup",
			Text: "The devices speak with each other. For how long they do, and who hangs up, is not known here."}})
		by = ""
	case e.Outcome == webphone.Ended && !e.Stopped:
		by = "client"
	}
	end := &event.End{Reason: reason, By: by}
	switch callee := devicesLeg; {
	case e.Outcome == webphone.Ended, e.Outcome == webphone.TooLong, e.Outcome == webphone.HandedOver: // it fell on neither
	case e.By == webphone.ByCaller:
		end.Leg = callerLeg
	default:
		if e.Phone {
			callee = phoneLeg
		}
		end.Leg = callee
	}
	var refused *sipflow.StatusError
	if errors.As(e.Err, &refused) {
		end.SIP = &event.Status{Code: refused.Code, Reason: refused.Reason, Method: refused.Method}
	}
	d.bus.Tell(id, event.CallEnded, "", event.Change{End: end})
}

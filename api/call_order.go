package api

import (
	"context"
	"errors"

	"sipxrest/event"
	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// A placement is a create that may be carried out: it is known for whom, and what the
// switchboard is to do.
type placement struct {
	*create
	agent   *restauth.User
	key     sipflow.Key
	spec    sipflow.Spec
	flow    sipflow.Flow
	created event.Created
}

// orderOf turns what a client wants into what the switchboard is to do. It refuses what
// the client may not want, but for what the switchboard itself decides.
func (a *API) orderOf(r *request, c *create) (*placement, *Problem) {
	agent, identity, why := a.agentOf(r, c)
	if why != nil {
		return nil, why
	}
	p := &placement{create: c, agent: agent}
	p.key = sipflow.Key{Agent: identity.AOR(), Calling: a.keyOf(c.calling), Called: a.keyOf(c.called)}
	who := order.Client{Addr: r.who.Addr, Trusted: r.who.Type == PrincipalPeer}
	p.spec = who.Spec(agent, p.key.Agent)
	s := &p.spec
	s.Key, s.AgentName = p.key, agent.DisplayName
	s.Method, p.flow = sipflow.MethodInvite, sipflow.Invite
	if c.used == flowRefer {
		s.Method, p.flow, s.NoFallback = sipflow.MethodRefer, sipflow.Refer, c.flow == flowReferOnly
	}
	s.CallingUser, s.CalledUser = c.calling.wire(), c.called.wire()
	s.Subject, s.ConfPIN, s.ForwardingAllowed = c.subject, c.confPIN, c.forwarding
	s.Timeout, s.MaxTalk = c.timeout, c.maxDuration
	s.Conflict = sipflow.ConflictReject
	if c.conflict == conflictReplace {
		s.Conflict = sipflow.ConflictReplaceAny
	}
	if c.autoAnswer {
		// It opens a microphone: nobody may have the phone of another do it.
		if p.key.Calling != p.key.Agent {
			return nil, refuse(AutoAnswerNotOwn)
		}
		s.AutoAnswer = a.cfg.Calls.AutoAnswer
	}
	if c.dialsOut() {
		if why := a.dialOut(p); why != nil {
			return nil, why
		}
	}
	p.created = a.createdBy(r, p)
	return p, nil
}

// agentOf is on whose behalf a call is asked for: whom the client names, else the
// client, else the calling user.
func (a *API) agentOf(r *request, c *create) (*restauth.User, order.Party, *Problem) {
	named := c.agent
	if named == "" && r.who.Agent == nil && c.calling.User != "" {
		if _, ok := a.users.Lookup(c.calling.User); ok {
			named = c.calling.User
		}
	}
	agent, why := a.actAs(r.who, named)
	if why != nil {
		return nil, order.Party{}, why
	}
	identity, ok := a.order.Agent(agent)
	if !ok {
		return nil, order.Party{}, refuse(UnknownUser, clip(agent.Name, 64)).because("His identity cannot be called.")
	}
	return agent, identity, nil
}

// keyOf is a party in a key.
func (a *API) keyOf(p party) string {
	if p.number != "" {
		return p.number
	}
	return a.order.KeyOf(p.Party)
}

// wire is a party as it goes on the wire.
func (p party) wire() string {
	if p.number != "" {
		return p.number
	}
	return p.Wire()
}

// dialOut completes a call to a telephone number.
func (a *API) dialOut(p *placement) *Problem {
	number := cmpOr(p.calling.number, p.called.number)
	d := a.cfg.Calls.Telephony.Dialling(number)
	d.Number, d.Anonymous, d.Last = number, p.anonymous, p.called.number != ""
	if p.caller != "" {
		shown, ok := a.cfg.Calls.Telephony.Caller(p.caller)
		if !ok {
			return refuse(CallerIDNotAllowed, clip(p.caller, maxNumber))
		}
		d.Caller = shown
	}
	if !d.Last {
		p.flow = sipflow.Dial
		d.Target, d.Chosen, d.TargetTime = "sip:"+p.called.wire(), true, p.timeout
		p.spec.CalledUser = d.Target
		// The switchboard is told of a target only when it has been asked about.
		if err := a.allowed(&p.spec, p.called.wire()); err != nil {
			return a.forbidden(err)
		}
	}
	p.spec.Dial = &d
	return nil
}

// allowed asks whether an agent may have a target called.
func (a *API) allowed(spec *sipflow.Spec, target string) error {
	if a.cfg.Calls.Allow == nil {
		return nil
	}
	if err := a.cfg.Calls.Allow(spec, target); err != nil {
		return errors.Join(sipflow.ErrForbidden, err)
	}
	return nil
}

// createdBy is what the call begins with.
func (a *API) createdBy(r *request, p *placement) event.Created {
	kind := event.ClickToCall
	if p.dialsOut() {
		kind = event.DialOut
	}
	knowledge := event.Knowledge{Level: "full"}
	if p.used == flowRefer {
		knowledge.Level = "setup"
		knowledge.Text = "REFER: once the phones are left to themselves, whether they talk, and for how long, is not known here."
	}
	return event.Created{
		Kind: kind, Source: event.FromAPI, Agent: p.key.Agent, RequestID: r.id, Subject: p.subject, Tags: p.tags, Metadata: p.metadata,
		Flow: event.Flow{Requested: p.create.flow, Used: p.used}, Knowledge: knowledge, State: event.Calling,
		Legs: []event.Leg{
			{ID: "l1", Role: event.RoleCalling, Address: p.key.Calling, Display: a.displayOf(p.calling), State: event.LegPending},
			{ID: "l2", Role: event.RoleCalled, Address: p.key.Called, Display: a.displayOf(p.called), State: event.LegPending},
		},
	}
}

// displayOf is the name of a party that is a user of ours.
func (a *API) displayOf(p party) string {
	if p.number == "" && a.order.KeyOf(p.Party) != "" {
		if u, ok := a.users.Lookup(p.User); ok && a.isUser(u, p.AOR()) {
			return u.DisplayName
		}
	}
	return ""
}

// follow has a trace watch the call, if there are traces.
func (a *API) follow(ctx context.Context, s *sipflow.Spec, observe func(*sipflow.Event)) {
	s.Observe = observe
	if a.cfg.Calls.Follow != nil {
		s.Observe = a.cfg.Calls.Follow(ctx, s.Method, observe)
	}
}

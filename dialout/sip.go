package dialout

import (
	"context"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// A placement is a call as SIP is to make it.
type placement struct {
	callID    string
	agent     *restauth.User // on whose behalf; nil for nobody of ours
	number    string         // +E.164
	target    string         // SIP URI
	chosen    bool           // target is a client's choice
	caller    string         // number, "" for the default one
	anonymous bool
	client    order.Client          // who asks; Talk is trusted, and has no address
	talks     *sipflow.Conversation // the phone is in the conversation itself; nil: it is joined with target
	report    func(happening)       // returns at once
	placed    func(callID string)   // likewise; told the SIP Call-ID of the phone's call
	keepWith  func(*sipflow.Spec)   // says what is kept with the call's state; nil: nothing
}

// A line is a call that was placed. Its functions may be called from any
// goroutine, also when the call is over.
type line struct {
	hangUp func(why error) // returns at once
	dtmf   func(ctx context.Context, digit byte) error
	mute   func(ctx context.Context, f talk.Flags) error
	// changed has what is kept of the call be written again; nil: nothing is kept.
	changed func()
}

// placeBy returns how calls are placed by way of a switchboard.
func placeBy(sw *sipflow.Switchboard, cfg *Config) func(context.Context, *placement) (*line, error) {
	return func(ctx context.Context, o *placement) (*line, error) {
		flow := sipflow.Dial
		if o.talks != nil {
			flow = sipflow.Converse
		}
		spec := o.spec(cfg)
		if o.keepWith != nil {
			o.keepWith(&spec)
		}
		c, err := sw.Place(ctx, spec, flow)
		if err != nil {
			return nil, err
		}
		return lineOf(c, cfg), nil
	}
}

// lineOf is the line of a call.
func lineOf(c *sipflow.Call, cfg *Config) *line {
	digits := sipflow.DTMFRelay
	if cfg.DTMF == DTMFPlain {
		digits = sipflow.DTMFPlain
	}
	return &line{
		hangUp: c.HangUp,
		dtmf:   func(ctx context.Context, digit byte) error { return c.SendDTMF(ctx, digit, digits) },
		mute:   func(ctx context.Context, f talk.Flags) error { return c.Mute(ctx, muteOf(f)) },

		changed: c.Changed,
	}
}

// takenBy returns the line of a call that the switchboard is about to take over.
func takenBy(sw *sipflow.Switchboard, cfg *Config) func(id string) *line {
	return func(id string) *line {
		now := func() *line {
			if c := sw.ByID(id); c != nil {
				return lineOf(c, cfg)
			}
			return nil
		}
		return &line{
			hangUp: func(why error) {
				if l := now(); l != nil {
					l.hangUp(why)
				}
			},
			dtmf: func(ctx context.Context, digit byte) error {
				if l := now(); l != nil {
					return l.dtmf(ctx, digit)
				}
				return sipflow.ErrNoCall
			},
			mute: func(ctx context.Context, f talk.Flags) error {
				if l := now(); l != nil {
					return l.mute(ctx, f)
				}
				return sipflow.ErrNoCall
			},
			changed: func() {
				if l := now(); l != nil {
					l.changed()
				}
			},
		}
	}
}

// muteOf is what of a phone is off by flags.
func muteOf(f talk.Flags) (m sipflow.Mute) {
	if f&talk.MutedSpeaking != 0 {
		m |= sipflow.MuteSpeaking
	}
	if f&talk.MutedListening != 0 {
		m |= sipflow.MuteListening
	}
	return m
}

// spec is the placement in sipflow's words. The call's key is its own: a number may
// be called out of two conversations at once.
func (o *placement) spec(cfg *Config) sipflow.Spec {
	g := &cfg.Gateway
	caller := o.caller
	if caller == "" {
		caller = g.DefaultNumber
	}
	identity := ""
	if o.agent != nil {
		identity = o.agent.Identity
	}
	spec := o.client.Spec(o.agent, identity)
	spec.Calling, spec.Called = o.number, o.callID
	if cfg.Calls != nil {
		spec.ID = o.callID
	}
	spec.Method, spec.CallingUser, spec.CalledUser = sipflow.MethodInvite, o.number, o.target
	spec.Timeout, spec.LogsEnd, spec.Observe = cfg.RingTimeout, true, o.observe
	spec.Dial = &sipflow.Dialling{
		Gateway: g.URI, GatewayDomain: g.Domain, Realm: g.Realm,
		Credentials: sipflow.Credentials{Username: g.User, Password: g.Secret},
		Number:      o.number, Caller: caller, Anonymous: o.anonymous,
		Target: o.target, Chosen: o.chosen,
	}
	spec.Converse = o.talks
	return spec
}

// observe is sipflow.Spec.Observe.
func (o *placement) observe(e *sipflow.Event) {
	if e.CallID != "" {
		o.placed(e.CallID)
	}
	switch e.Kind {
	case sipflow.Alerted:
		o.report(happening{kind: itRings})
	case sipflow.Joined:
		o.report(happening{kind: itConnects})
	case sipflow.Ended:
		by := us
		switch e.By {
		case sipflow.CallingParty:
			by = phone
		case sipflow.CalledParty:
			by = room
		}
		o.report(happening{itEnds, ending{by, e.Err, e.End}})
	}
}

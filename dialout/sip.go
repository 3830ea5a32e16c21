package dialout

import (
	"context"
	"net/netip"

	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// An order is a call as SIP is to make it.
type order struct {
	callID    string
	agent     *restauth.User // on whose behalf; nil for nobody of ours
	trusted   bool           // the limits of one user do not hold
	number    string         // +E.164
	target    string         // SIP URI
	chosen    bool           // target is a client's choice
	caller    string         // number, "" for the default one
	anonymous bool
	peer      netip.Addr          // of the client; invalid for Talk
	report    func(happening)     // returns at once
	placed    func(callID string) // likewise; told the SIP Call-ID of the phone's call
}

// A line is a call that was placed. Its functions may be called from any
// goroutine, also when the call is over.
type line struct {
	hangUp func(why error) // returns at once
	dtmf   func(ctx context.Context, digit byte) error
	mute   func(ctx context.Context, f talk.Flags) error
}

// placeBy answers how calls are placed by way of a switchboard.
func placeBy(sw *sipflow.Switchboard, cfg *Config) func(context.Context, *order) (*line, error) {
	return func(ctx context.Context, o *order) (*line, error) {
		c, err := sw.Place(ctx, o.spec(cfg), sipflow.Dial)
		if err != nil {
			return nil, err
		}
		digits := sipflow.DTMFRelay
		if cfg.DTMF == DTMFPlain {
			digits = sipflow.DTMFPlain
		}
		return &line{
			hangUp: c.HangUp,
			dtmf:   func(ctx context.Context, digit byte) error { return c.SendDTMF(ctx, digit, digits) },
			mute:   func(ctx context.Context, f talk.Flags) error { return c.Mute(ctx, muteOf(f)) },
		}, nil
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

// spec is the order in sipflow's words. The call's key is its own: a number may
// be called out of two conversations at once.
func (o *order) spec(cfg *Config) sipflow.Spec {
	g := &cfg.Gateway
	caller := o.caller
	if caller == "" {
		caller = g.DefaultNumber
	}
	spec := sipflow.Spec{
		Key:         sipflow.Key{Calling: o.number, Called: o.callID},
		Method:      sipflow.MethodInvite,
		CallingUser: o.number,
		CalledUser:  o.target,
		Timeout:     cfg.RingTimeout,
		Trusted:     o.trusted,
		Dial: &sipflow.Dialling{
			Gateway: g.URI, GatewayDomain: g.Domain, Realm: g.Realm,
			Credentials: sipflow.Credentials{Username: g.User, Password: g.Secret},
			Number:      o.number, Caller: caller, Anonymous: o.anonymous,
			Target: o.target, Chosen: o.chosen,
		},
		Peer: o.peer, LogsEnd: true,
		Observe: func(e *sipflow.Event) { o.observe(e) },
	}
	if a := o.agent; a != nil {
		spec.Agent = a.Identity
		spec.Credentials = sipflow.Credentials{Username: a.Name, Password: a.SIPPassword, HA1: a.SIPHA1, HA1SHA256: a.SIPHA1SHA256}
	}
	return spec
}

// observe is sipflow.Spec.Observe.
func (o *order) observe(e *sipflow.Event) {
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

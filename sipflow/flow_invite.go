package sipflow

import (
	"context"

	"sipxrest/sipflow/sdp"
)

// Invite is the flow that calls both phones and joins them, in control of the
// call until it ends (RFC 3725 §4.4, flow IV):
//
//	Calling               sipxrest               Called
//	    | INVITE (placeholder) |                     |
//	    |<---------------------|                     |
//	    | 180, 200             |                     |
//	    |--------------------->|                     |
//	    |                  ACK | INVITE (no offer)   |
//	    |<---------------------|-------------------->|
//	    |                      |   180, 200 (offer B)|
//	    | INVITE (offer B)     |<--------------------|
//	    |<---------------------|                     |
//	    | 200 (answer A)       |                     |
//	    |--------------------->|                     |
//	    |                  ACK | ACK (answer A)      |
//	    |<---------------------|-------------------->|
//	    |<================== media =================>|
//
// Where a phone refuses its part of that, connectTo has other ways.
func Invite(ctx context.Context, c *Call) (err error) {
	calling := c.callingLeg()
	answer, err := c.ringPlaceholder(ctx, calling)
	for c.diverts(CallingParty, err) {
		calling = c.callingLeg()
		answer, err = c.ringPlaceholder(ctx, calling)
	}
	c.mayDivertNoMore(CallingParty)
	if err != nil {
		return err
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { c.hangUp(ctx, calling, err) }()
	return c.joinCalled(ctx, calling, answer)
}

// joinCalled joins a calling phone, which has answered, with the called one. One that
// cannot be held is not acknowledged before the called one has answered its offer, as
// in flow I of RFC 3725.
func (c *Call) joinCalled(ctx context.Context, calling *Leg, answer *Success) error {
	c.at(stepSecond)
	calling.heard(answer.SDP)
	if !answer.unheld() {
		if err := answer.AckHeld(); err != nil {
			return err
		}
		if len(answer.SDP) == 0 {
			return errNoSDP
		}
		return c.connect(ctx, calling)
	}
	waiting, stop := calling.While(ctx)
	defer stop()
	called := c.calledLeg()
	joined, held, err := c.offerTarget(waiting, calling, called, answer)
	for c.diverts(CalledParty, err) {
		called = c.calledLeg()
		joined, held, err = c.offerTarget(waiting, calling, called, answer)
	}
	if refusesOffer(err) && sdp.SecurityOf(answer.SDP) == sdp.WebRTC {
		err = c.cannotTalk(calling, sdp.OneSpeaksWebRTC)
	}
	return c.joinOffered(ctx, waiting, calling, called, answer, joined, held, err)
}

// connect calls the called phone for a calling one that has answered, and
// stays between them. It leaves the calling leg to its caller.
func (c *Call) connect(ctx context.Context, calling *Leg) (err error) {
	err = c.connectTo(ctx, calling, c.calledLeg(), true)
	for c.diverts(CalledParty, err) {
		err = c.connectTo(ctx, calling, c.calledLeg(), true)
	}
	return err
}

// calledLeg prepares the call to the called phone.
func (c *Call) calledLeg() *Leg {
	if c.Dial != nil {
		return c.phoneLeg(allowBridged)
	}
	user := c.user(CalledParty)
	uri := "sip:" + user + ";sipx-noroute=Voicemail"
	if !c.ForwardingAllowed {
		uri += ";sipx-userforward=false"
	}
	l := c.newLeg(uri+";sipxbridge-moh=false", user)
	l.mayDivert(CalledParty)
	l.first = c.inviteHeader(c.Subject, c.ConfPIN, allowBridged)
	l.record = c.record.leg(RoleCalled, l.party)
	return l
}

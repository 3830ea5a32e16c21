package sipflow

import (
	"context"
	"errors"
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
func Invite(ctx context.Context, c *Call) (err error) {
	calling := c.callingLeg()
	answer, err := c.ringPlaceholder(ctx, calling)
	if err != nil {
		return err
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { c.hangUp(ctx, calling, err) }()
	if err := answer.Ack(nil); err != nil {
		return err
	}
	if len(answer.SDP) == 0 {
		return errNoSDP
	}
	return c.connect(ctx, calling)
}

// connect calls the called phone for a calling one that has answered, and
// stays between them. It leaves the calling leg to its caller.
func (c *Call) connect(ctx context.Context, calling *Leg) (err error) {
	return c.connectTo(ctx, calling, c.calledLeg())
}

// connectTo is connect with the called leg, which may be another than the
// usual one.
func (c *Call) connectTo(ctx context.Context, calling, called *Leg) (err error) {
	// A calling phone that hangs up ends every wait for the called one.
	waiting, stop := calling.While(ctx)
	defer stop()
	waiting, fail := context.WithCancelCause(waiting)
	defer fail(nil)
	early := &earlyOffer{calling: calling, fail: fail}
	called.joinedMedia().early = early
	offer, err := c.ring(waiting, called, nil)
	if err != nil {
		return err
	}
	called.media.early = nil
	defer func() { c.hangUp(ctx, called, err) }()
	called.heard(offer.SDP)
	if offer.settled != unsettled {
		if err := errors.Join(context.Cause(waiting), offer.Ack(nil)); err != nil {
			return err
		}
		if offer.settled == heldEarly { // what calling knows is the offer of another phone
			if err := c.tellAgain(ctx, waiting, calling, called, offer.SDP, nil); err != nil {
				return err
			}
		}
		return c.bridge(ctx, calling, called)
	}
	if len(offer.SDP) == 0 {
		return errors.Join(errNoSDP, offer.Ack(nil))
	}
	answer, err := calling.reinvite(waiting, calling.describe(offer.SDP))
	if err != nil {
		return errors.Join(err, offer.Ack(called.refuse(offer.SDP)))
	}
	// The answer to B first: B repeats its 200 until then.
	if err := errors.Join(offer.Ack(called.answerTo(offer.SDP, answer.SDP)), answer.Ack(nil)); err != nil {
		return err
	}
	calling.heard(answer.SDP)
	return c.bridge(ctx, calling, called)
}

// calledLeg prepares the call to the called phone.
func (c *Call) calledLeg() *Leg {
	uri := "sip:" + c.CalledUser + ";sipx-noroute=Voicemail"
	if !c.ForwardingAllowed {
		uri += ";sipx-userforward=false"
	}
	l := c.newLeg(uri+";sipxbridge-moh=false", c.CalledUser)
	l.first = c.inviteHeader(c.Subject, c.ConfPIN, allowBridged)
	return l
}

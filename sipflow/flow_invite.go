package sipflow

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

var errNoSDP = errors.New("the phone answered without a session description")

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

// hangUp ends a leg and tells the phone why. Its answer is waited for when the
// flow is over, so that both phones are hung up at once.
func (c *Call) hangUp(ctx context.Context, l *Leg, why error) {
	reason := c.reasonFor(why)
	if errors.Is(why, ErrNoAnswer) {
		reason = reasonLine(408, "No Answer")
	}
	c.byes = append(c.byes, l.startBye(context.WithoutCancel(ctx), reason))
	c.dialled(l, Terminated) // whatever it answers (RFC 3261 §15.1.1)
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
	called.joined().early = early
	offer, err := c.ring(waiting, called, nil)
	if err != nil {
		return err
	}
	called.joint.early = nil
	defer func() { c.hangUp(ctx, called, err) }()
	if early.answered {
		if err := context.Cause(waiting); err != nil {
			return errors.Join(err, offer.Ack(nil))
		}
		if err := offer.Ack(nil); err != nil {
			return err
		}
		return c.bridge(ctx, calling, called)
	}
	if len(offer.SDP) == 0 {
		return errors.Join(errNoSDP, offer.Ack(nil))
	}
	called.heard(offer.SDP)
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
	l.first = c.inviteHeader(c.Subject, c.ConfPIN, true)
	return l
}

// reinvite sends an INVITE within the dialog and returns its answer, which
// needs its ACK. When the phone's own crosses it (491) it is sent again a
// little later (RFC 3261 §14.1: 2.1 to 4 s for the owner of the Call-ID).
func (l *Leg) reinvite(ctx context.Context, offer []byte) (*Answer, error) {
	l.peer.invites(1)
	defer l.peer.invites(-1)
	l.first = "Allow: " + l.allows() + "\r\n" + l.sessionHeader()
	for try := 0; ; try++ {
		answer, err := func() (*Answer, error) {
			ctx, stop := context.WithTimeoutCause(ctx, inviteTime, &StatusError{"INVITE", 408, "Request Timeout"})
			defer stop()
			return l.Invite(ctx, offer)
		}()
		if err == nil && len(offer) > 0 && len(answer.SDP) == 0 {
			return nil, errors.Join(errNoSDP, answer.Ack(nil))
		}
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Code != 491 || try == 3 {
			return answer, err
		}
		wait := 2100*time.Millisecond + time.Duration(rand.Int64N(int64(1900*time.Millisecond)))
		if err := l.pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

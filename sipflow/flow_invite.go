package sipflow

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
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

// invitePending reports whether an INVITE of ours is pending in the dialog.
func (p *peer) invitePending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inviting > 0
}

// invites counts our INVITEs that are pending in the dialog: a crossing one of
// the phone's gets 491 (RFC 3261 §14.2).
func (p *peer) invites(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inviting += n
}

// earlyOffer joins the media before the called phone answers, when it insists
// on reliable provisional responses (RFC 3262 §5: the first of them carries
// the offer, and its PRACK our answer).
type earlyOffer struct {
	calling  *Leg // nil: it is held until there is one
	offered  bool // our INVITE carries an offer: what comes is its answer
	answered bool
	onHold   bool                    // with our own answer
	fail     context.CancelCauseFunc // ends the call: the calling phone cannot do what is offered
}

// answerEarly answers the offer in a reliable provisional response, if it has
// one that is new.
func (j *joint) answerEarly(ctx context.Context, called *Leg, m *wire.Message) []byte {
	e, offer := j.early, bodyOf(m)
	if offer != nil && (e == nil || e.offered) { // it answers the offer in our INVITE
		j.inEarly = bytes.Clone(offer)
		return nil
	}
	if e == nil || offer == nil || e.answered {
		return nil
	}
	e.answered = true
	called.heard(offer)
	if e.calling == nil {
		return called.onHold(offer)
	}
	if in := e.calling.caller(); in != nil && !in.held {
		answer, ok, err := in.offerEarly(ctx, m, offer)
		switch {
		case err != nil:
			e.fail(err)
			return called.refuse(offer)
		case !ok: // until the caller has answered our offer
			e.onHold = true
			return called.onHold(offer)
		}
		e.calling.heard(answer)
		return called.answerTo(offer, answer)
	}
	answer, err := e.calling.reinvite(ctx, e.calling.describe(offer))
	if err != nil {
		e.fail(err)
		return called.refuse(offer)
	}
	answer.Ack(nil) //nolint:errcheck // repeated with the repeated 200
	e.calling.heard(answer.SDP)
	return called.answerTo(offer, answer.SDP)
}

// maxPracks bounds the reliable provisional responses of one phone that are
// acknowledged: each PRACK is repeated until it is answered.
const maxPracks = 64

// prack acknowledges a reliable provisional response (RFC 3262 §4). sdp
// answers an offer in it.
func (l *Leg) prack(m *wire.Message, invite *clientTx, body []byte) {
	if l.pracks >= maxPracks {
		l.call.sw.stats.limited[LimitPracks].Add(1)
		return
	}
	l.pracks++
	d := dialogOf(m)
	d.callID, d.local = l.callID, l.local
	if invite.inside {
		d = l.dialog
	} else if d.target == "" {
		d.target, d.routes = l.target, routeTo(invite.path)
	}
	l.cseq++
	r := outgoing{method: "PRACK", body: body,
		header: "RAck: " + string(m.Get(wire.RSeq)) + " " + string(m.Get(wire.CSeq)) + "\r\n"}
	if len(body) > 0 {
		r.contentType = sdp.Type
	}
	// Nobody waits for its answer: it is repeated until there is one.
	tx := &clientTx{id: idIn(l.id), method: "PRACK", path: invite.path, seq: l.cseq}
	msg := d.request(invite.path.Link, &r, l.cseq, tx.id, "")
	if len(msg) > maxDatagram {
		tx.path, msg = l.enlarge(context.Background(), tx.path, msg)
	}
	l.call.sw.start(tx, msg) //nolint:errcheck
}

package sipflow

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

const (
	// quickAnswer is how long the phone's answer waits for the target's. A
	// conference answers at once; longer, the phone would be left with an answer
	// that nobody acknowledges, and repeat it.
	quickAnswer = 2 * time.Second
	targetTime  = 30 * time.Second
)

// Dial is the flow that calls a number by way of a gateway and joins the phone
// with a target. The target never rings before the phone has answered (RFC 3725
// §4.1, flow I):
//
//	Phone                 sipxrest               Target
//	    | INVITE (no offer)    |                     |
//	    |<---------------------|                     |
//	    | 180, 200 (offer P)   |                     |
//	    |--------------------->| INVITE (offer P)    |
//	    |                      |-------------------->|
//	    |                      |      200 (answer T) |
//	    |       ACK (answer T) |<--------------------|
//	    |<---------------------| ACK                 |
//	    |                      |-------------------->|
//	    |<================== media =================>|
//
// A target that rings, or takes its time, does not keep the phone's answer
// waiting: the phone is acknowledged on hold and invited again with the
// target's description. A phone or target that refuses an INVITE without an
// offer, or the other's offer, is joined as Invite does (flow IV).
func Dial(ctx context.Context, c *Call) (err error) {
	c.by = CallingParty
	phone := c.phoneLeg()
	phone.joinedMedia().early = &earlyOffer{} // should the phone insist on offering before it answers
	answer, err := c.ring(ctx, phone, nil)
	phone.media.early = nil
	if refusesOffer(err) {
		return c.dialHeld(ctx, phone)
	}
	if err != nil {
		return c.blame(ctx, CallingParty, err)
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { c.hangUp(ctx, phone, err) }()
	c.observe(&Event{Kind: Answered, At: time.Now(), CallID: phone.callID})
	if answer.settled == heldEarly {
		return c.dialOn(ctx, phone, answer)
	}
	offer := answer.SDP
	if len(offer) == 0 {
		return errors.Join(errNoSDP, answer.Ack(nil))
	}
	phone.heard(offer)
	target, joined, held, err := c.offerTarget(ctx, phone, answer)
	switch {
	case refusesOffer(err):
		if err := held(); err != nil {
			return err
		}
		return c.blameTarget(ctx, c.connectTo(ctx, phone, c.targetLeg()))
	case err != nil:
		return errors.Join(c.blameTarget(ctx, err), held())
	}
	defer func() { c.hangUp(ctx, target, err) }()
	if len(joined.SDP) == 0 {
		return errors.Join(c.blame(ctx, CalledParty, errNoSDP), joined.Ack(nil), held())
	}
	target.heard(joined.SDP)
	if answer.acked {
		return c.joinLate(ctx, phone, target, joined, offer)
	}
	if err := errors.Join(answer.Ack(phone.answerTo(offer, joined.SDP)), joined.Ack(nil)); err != nil {
		return err
	}
	return c.bridge(ctx, phone, target)
}

// offerTarget calls the target with the phone's offer. held acknowledges the
// phone's answer on hold, once; it has been called when the target took its
// time.
func (c *Call) offerTarget(ctx context.Context, phone *Leg, answer *Success) (target *Leg, joined *Success, held func() error, err error) {
	held = func() error {
		if answer.acked {
			return nil
		}
		answer.acked = true
		// Not refused: there are gateways that hang up when no stream is left.
		return answer.Ack(phone.onHold(answer.SDP))
	}
	waiting, stop := phone.While(ctx)
	defer stop()
	target = c.targetLeg()
	waiting, limit := context.WithTimeoutCause(waiting, target.callee.ringTime(), ErrNoAnswer)
	defer limit()
	target.onRinging = func() { held() } //nolint:errcheck // its repeats ask again
	// When it is given up the phone must not wait for what it says to that.
	target.joinedMedia().early = &earlyOffer{calling: phone}
	late := time.AfterFunc(quickAnswer, func() { target.inbox.put(event{late: true}, true) })
	defer late.Stop()
	joined, err = target.Invite(waiting, target.describe(answer.SDP))
	if !target.gone {
		target.onRinging, target.media.early = nil, nil
	}
	return target, joined, held, err
}

// joinLate joins the phone, which is on hold, with a target that has answered
// its offer meanwhile.
func (c *Call) joinLate(ctx context.Context, phone, target *Leg, joined *Success, offer []byte) error {
	if err := joined.Ack(nil); err != nil {
		return err
	}
	waiting, stop := phone.While(ctx)
	defer stop()
	if err := c.tellAgain(ctx, waiting, phone, target, joined.SDP, offer); err != nil {
		return err
	}
	return c.bridge(ctx, phone, target)
}

// tellAgain invites a phone again with what a target has answered to its offer.
func (c *Call) tellAgain(ctx, waiting context.Context, phone, target *Leg, answer, offer []byte) error {
	again, err := phone.reinvite(waiting, phone.describe(answer))
	if err != nil {
		return c.blame(ctx, CallingParty, err)
	}
	if err := again.Ack(nil); err != nil {
		return err
	}
	phone.heard(again.SDP)
	if now := sdp.Fit(again.SDP, answer); !sdp.SameMedia(now, offer) { // its answer differs from its offer
		last, err := target.reinvite(waiting, target.describe(now))
		if err != nil {
			if waiting.Err() == nil {
				return c.blame(ctx, CalledParty, err)
			}
			return c.blame(ctx, CallingParty, err)
		}
		if err := last.Ack(nil); err != nil {
			return err
		}
		target.heard(last.SDP)
	}
	return nil
}

// dialHeld is for phones that want an offer: they get one on hold.
func (c *Call) dialHeld(ctx context.Context, phone *Leg) (err error) {
	answer, err := c.ring(ctx, phone, sdp.HeldAnswer(nil, phone.id, phone.peer.nextVersion(true), phone.mediaHost()))
	if err != nil {
		return c.blame(ctx, CallingParty, err)
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { c.hangUp(ctx, phone, err) }()
	c.observe(&Event{Kind: Answered, At: time.Now(), CallID: phone.callID})
	if len(answer.SDP) == 0 {
		return errors.Join(errNoSDP, answer.Ack(nil))
	}
	return c.dialOn(ctx, phone, answer)
}

// dialOn joins a phone that is held with the target.
func (c *Call) dialOn(ctx context.Context, phone *Leg, answer *Success) error {
	if err := answer.Ack(nil); err != nil {
		return err
	}
	return c.blameTarget(ctx, c.connectTo(ctx, phone, c.targetLeg()))
}

// refusesOffer reports whether a refusal is about the session description.
func refusesOffer(err error) bool {
	switch refusedBy(err, "INVITE") {
	case 400, 415, 488, 606:
		return true
	}
	return false
}

// blameTarget is blame for the outcome of the target's part of the call. A call
// that was joined knows better.
func (c *Call) blameTarget(ctx context.Context, err error) error {
	switch {
	case c.wasUp:
	case errors.Is(err, ErrHungUp):
		c.blame(ctx, CallingParty, err) //nolint:errcheck // it is returned below
	default:
		c.blame(ctx, CalledParty, err) //nolint:errcheck
	}
	return err
}

// gatewayPhone is the phone that a call by Dial reaches by way of a gateway.
type gatewayPhone struct{ *userPhone }

func (p gatewayPhone) secret() (*Credentials, string, bool) {
	return &p.Dial.Credentials, p.Dial.Realm, p.Dial.Realm == ""
}

func (p gatewayPhone) servers() secretServers { return secretServers{p.Dial.Gateway, ofGateway} }

func (p gatewayPhone) route(ctx context.Context, _ string) ([]resolve.Hop, error) {
	return p.sw.hopsOf(ctx, p.Dial.Gateway)
}

func (p gatewayPhone) passwordKey() string { return "dialout.gateway.user" }

// dialTarget is what that phone is joined with.
type dialTarget struct{ *userPhone }

// route lets the configuration name a service that only this machine reaches. A
// redirection may not.
func (p dialTarget) route(ctx context.Context, uri string) ([]resolve.Hop, error) {
	if !p.Dial.Chosen && uri == p.Dial.Target {
		return p.sw.nextHops(ctx, uri)
	}
	return p.userPhone.route(ctx, uri)
}

func (p dialTarget) ringTime() time.Duration { return cmp.Or(max(p.Dial.TargetTime, 0), targetTime) }

// phoneLeg prepares the call to the number.
func (c *Call) phoneLeg() *Leg {
	d := c.Dial
	scheme, rest, _ := strings.Cut(d.Gateway, ":")
	host, _, _ := strings.Cut(rest, ";")
	domain := d.GatewayDomain
	if domain == "" {
		domain = host
		if u, ok := wire.ParseURI([]byte(d.Gateway)); ok {
			domain = u.Host
			if strings.Contains(domain, ":") {
				domain = "[" + domain + "]"
			}
		}
	}
	number, caller := uri.Dialable(d.Number), uri.Dialable(d.Caller)
	name, aor := c.AgentName, domain
	if caller != "" {
		aor = caller + "@" + domain
	}
	if d.Anonymous {
		name, aor = "Anonymous", "anonymous@anonymous.invalid"
	}
	l := c.newLegFrom(scheme+":"+number+"@"+rest+";user=phone", number+"@"+host, name, aor)
	l.callee = gatewayPhone{(*userPhone)(c)}
	l.first = c.inviteHeader(c.Subject, "", allowBridged)
	if d.Anonymous {
		l.first += "Privacy: id\r\n"
		if caller != "" {
			l.first += "P-Asserted-Identity: <sip:" + caller + "@" + domain + ">\r\n"
		}
	}
	l.onRinging = func() { c.observe(&Event{Kind: Alerted, At: time.Now(), CallID: l.callID}) }
	return l
}

// targetLeg prepares the call to what the phone is joined with.
func (c *Call) targetLeg() *Leg {
	target := wire.OneLine(c.Dial.Target)
	to := uri.AOR(target)
	aor := c.Key.Agent
	if aor == "" {
		aor = uri.Dialable(c.Dial.Number) + "@" + c.sw.host
	}
	l := c.newLegFrom(target, to, c.AgentName, aor)
	l.callee = dialTarget{(*userPhone)(c)}
	l.first = c.inviteHeader(c.Subject, c.ConfPIN, allowBridged)
	return l
}

package sipflow

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// targetTime is how long a target may ring.
const targetTime = 30 * time.Second

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
	phone := c.phoneLeg(allowBridged)
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
	if len(answer.SDP) == 0 {
		return errors.Join(errNoSDP, answer.Ack(nil))
	}
	phone.heard(answer.SDP)
	waiting, stop := phone.While(ctx)
	defer stop()
	c.at(stepSecond)
	target := c.targetLeg()
	joined, held, err := c.offerTarget(waiting, phone, target, answer)
	if refusesOffer(err) {
		if err := held(); err != nil {
			return err
		}
		return c.blameTarget(ctx, c.connectTo(ctx, phone, c.targetLeg(), false))
	}
	return c.joinOffered(ctx, waiting, phone, target, answer, joined, held, err)
}

// dialHeld is for phones that want an offer: they get one on hold.
func (c *Call) dialHeld(ctx context.Context, phone *Leg) (err error) {
	answer, err := c.ringHeld(ctx, phone)
	if err != nil {
		return c.blame(ctx, CallingParty, err)
	}
	c.sw.stats.answered[c.kind()].observe(c.sw.stats.elapsed() - c.began)
	defer func() { c.hangUp(ctx, phone, err) }()
	c.observe(&Event{Kind: Answered, At: time.Now(), CallID: phone.callID})
	if len(answer.SDP) == 0 {
		return errors.Join(errNoSDP, answer.Ack(nil))
	}
	phone.heard(answer.SDP)
	return c.dialOn(ctx, phone, answer)
}

// dialOn joins a phone that is held with the target.
func (c *Call) dialOn(ctx context.Context, phone *Leg, answer *Success) error {
	if err := answer.Ack(nil); err != nil {
		return err
	}
	return c.blameTarget(ctx, c.connectTo(ctx, phone, c.targetLeg(), true))
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

// numberRole is what the phone of the number is in the call.
func (c *Call) numberRole() Role {
	if c.Dial.Last {
		return RoleCalled
	}
	return RoleCalling
}

// phoneLeg prepares the call to the number, whose phone may send what allow says.
func (c *Call) phoneLeg(allow string) *Leg {
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
	l.record = c.record.leg(c.numberRole(), l.party)
	l.first = c.inviteHeader(c.Subject, "", allow)
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
	l.record = c.record.leg(RoleCalled, l.party)
	l.first = c.inviteHeader(c.Subject, c.ConfPIN, allowBridged)
	return l
}

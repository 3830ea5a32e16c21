package sipflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sipxrest/resolve"
	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// Connect calls a target with the caller's offer and stays between the two
// until one hangs up (RFC 3261 §16 does not apply: this is a B2BUA):
//
//	Caller                sipxrest               Target
//	    | INVITE (offer C)     |                     |
//	    |--------------------->| INVITE (offer C)    |
//	    |                  100 |-------------------->|
//	    |<---------------------|                 180 |
//	    |                  180 |<--------------------|
//	    |<---------------------|      200 (answer T) |
//	    |       200 (answer T) |<--------------------|
//	    |<---------------------| ACK                 |
//	    | ACK                  |-------------------->|
//	    |--------------------->|                     |
//	    |<================== media =================>|
//
// Without an offer the target is asked for one, which goes into our 200, and
// the answer in the caller's ACK into ours. After AnswerHeld or Answer the caller
// is invited again with the target's offer.
//
// A nil error means that the call was connected and is over. Before that an
// error leaves the caller as it was, so that another target can be tried: a
// *StatusError of the target's, ErrNoAnswer, ErrForbidden, ErrUnreachable, or
// what ended the call.
func (in *Incoming) Connect(ctx context.Context, to Destination) error {
	c := in.call
	if err := context.Cause(in.ctx); err != nil {
		return err
	}
	if to.Check != "" {
		if err := c.sw.allowed(&c.Spec, to.Check); err != nil {
			return err
		}
	}
	target, err := in.targetLeg(&to)
	if err != nil {
		return err
	}
	switch {
	case in.bridged: // and hung up
		c.letGo(target)
		return in.open()
	case in.held:
		in.leave()
		target.mayDivert(CalledParty)
		err = in.connectHeld(ctx, target)
	case in.open() != nil:
		c.letGo(target)
		return in.open()
	default:
		target.mayDivert(CalledParty)
		err = in.connect(ctx, target)
	}
	c.mayDivertNoMore(CalledParty)
	if d := diversionOf(err); d != nil { // who wants it has asked whether it may be called
		d.reply <- nil
		to.URI, to.DisplayName, to.Check, to.Trusted = "sip:"+d.target, "", "", false
		return in.Connect(ctx, to)
	}
	return err
}

func (to *Destination) ringTime() time.Duration {
	if to.RingTime > 0 {
		return to.RingTime
	}
	return targetTime
}

// calledTarget is the target that a caller is connected to.
type calledTarget struct {
	*userPhone
	in     *Incoming
	to     *Destination
	onward bool   // its provisional responses go to the caller
	header string // what its 200 says beyond its dialog
}

// calledTarget is the callee of the leg of a Connect.
func (l *Leg) calledTarget() *calledTarget { return l.callee.(*calledTarget) }

func (t *calledTarget) secret() (*Credentials, string, bool) {
	if t.to.Gateway != "" {
		return &t.to.Credentials, t.to.Realm, t.to.Realm == ""
	}
	return &t.to.Credentials, cmp.Or(t.to.Realm, t.sw.cfg.Realm), false
}

// servers lets only the configuration name servers that get the secret. A client or
// caller could name a host of his own, which would have calls signed that others pay.
func (t *calledTarget) servers() secretServers {
	if t.to.Gateway != "" {
		return secretServers{t.to.Gateway, ofGateway}
	}
	if t.to.Trusted {
		return secretServers{t.to.URI, ofURI}
	}
	return secretServers{cmp.Or(t.to.Realm, t.sw.cfg.Realm), ofAddress}
}

func (t *calledTarget) route(ctx context.Context, uri string) ([]resolve.Hop, error) {
	if t.to.Gateway != "" {
		return t.sw.hopsOf(ctx, t.to.Gateway)
	}
	if t.to.Trusted {
		return t.sw.nextHops(ctx, uri)
	}
	return t.userPhone.route(ctx, uri)
}

func (t *calledTarget) ringTime() time.Duration { return t.to.ringTime() }

func (t *calledTarget) ringing(l *Leg, m *wire.Message) {
	if t.onward {
		t.in.progress(l, m)
	}
}

func (t *calledTarget) pickedUp(m *wire.Message) { t.header = relayedHeader(m) }

func (t *calledTarget) passwordKey() string {
	if t.to.Gateway != "" {
		return "dialout.gateway.user"
	}
	return "dispatch.agent"
}

// targetLeg prepares the call to the target.
func (in *Incoming) targetLeg(to *Destination) (*Leg, error) {
	c := in.call
	forwards, _ := forwardsLeft(in.req)
	target := to.URI
	if !uri.IsPlain(target) {
		return nil, fmt.Errorf("connect %q: not a SIP or tel URI", target)
	}
	if scheme, number, _ := strings.Cut(target, ":"); strings.EqualFold(scheme, "tel") {
		if len(c.sw.proxies) == 0 {
			return nil, fmt.Errorf("connect %s: a tel URI needs an outbound proxy", target)
		}
		number, _, _ = strings.Cut(number, ";")
		target = "sip:" + uri.Dialable(number) + "@" + c.sw.proxies[0].Host + ";user=phone"
	}
	aor := uri.AOR(target)
	l := c.newLegFrom(target, aor, in.From.Name, in.fromAOR())
	if to.DisplayName != "" {
		l.remote = string(appendNameAddr(nil, to.DisplayName, aor))
	}
	l.callee = &calledTarget{userPhone: (*userPhone)(c), in: in, to: to, onward: true}
	l.record = c.record.another(RoleTarget, l.party)
	l.joinedMedia().forwards = forwards
	l.first = c.inviteHeader("", "", allowBridged) + in.onwardHeader() + c.sw.loopHeader(in.req) + headerLines(to.Header)
	l.onRinging = func() { c.observe(&Event{Kind: Alerted, At: time.Now(), CallID: l.callID}) }
	return l, nil
}

// fromAOR is the caller as the target is told it.
func (in *Incoming) fromAOR() string {
	rest := uri.AOR(in.From.URI)
	switch {
	case !uri.IsPlain(in.From.URI):
		return "anonymous@anonymous.invalid"
	case in.From.Host == "":
		return uri.Dialable(in.From.User) + "@" + in.call.sw.host
	}
	return rest
}

// diverted reports whether the target may be told by whom a call was diverted.
// A trunk or a trusted server must say so, and the caller must not ask for
// privacy (RFC 5379 §4.3, RFC 7044 §10.1). A user could name anybody, and a
// gateway bills by it.
func (in *Incoming) diverted() bool {
	if in.trunk == "" && in.Username != "" {
		return false
	}
	for _, v := range in.Header("Privacy") {
		for word := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
			if !strings.EqualFold(word, "none") && !strings.EqualFold(word, "critical") {
				return false
			}
		}
	}
	return true
}

// onwardHeader is what the target gets of the caller's header: what says
// something of the caller or the call, and what programs agree on (X-). Never
// what a proxy vouches for, or what makes a phone do something by itself.
func (in *Incoming) onwardHeader() string {
	var b []byte
	in.req.Fields(func(id wire.Header, name, value []byte) bool {
		field := strings.ToLower(string(name))
		if id == wire.Subject {
			field = "subject"
		}
		switch field {
		case "diversion", "history-info":
			if !in.diverted() {
				return true
			}
		case "subject", "organization", "priority", "privacy", "user-to-user", "accept-language", "session-id", "in-reply-to":
		default:
			if !strings.HasPrefix(field, "x-") || strings.EqualFold(field, loopField) || strings.Contains(field, "answer") || strings.Contains(field, "alert") {
				return true
			}
		}
		if !isText(value) {
			return true
		}
		if len(b)+len(name)+len(value) > maxRelayedHeader/2 {
			return false
		}
		if id == wire.Subject {
			name = []byte("Subject")
		}
		b = wire.AppendField(b, string(name), string(value))
		return true
	})
	if in.reliably() {
		b = wire.AppendField(b, "Supported", "100rel")
	}
	return string(b)
}

// connect calls the target for a caller that has no final response yet.
func (in *Incoming) connect(ctx context.Context, target *Leg) (err error) {
	c, caller := in.call, in.leg
	waiting, stop := in.while(ctx)
	defer stop()
	ringing, limit := context.WithTimeoutCause(waiting, target.callee.ringTime(), ErrNoAnswer)
	defer limit()
	ringing, fail := context.WithCancelCause(ringing)
	defer fail(nil)
	var offer []byte
	if in.offer != nil {
		caller.heard(in.offer)
		offer = target.describe(in.offer)
	}
	target.joinedMedia().early = &earlyOffer{calling: caller, joined: caller.joinedMedia().agreed, fail: fail}
	joined, err := target.Invite(ringing, offer)
	if in.offer == nil && ringing.Err() == nil && target.wantsOffer(err) {
		joined, err = in.offerHeld(ringing, target)
	}
	if refusesOffer(err) && sdp.SecurityOf(in.offer) == sdp.WebRTC {
		err = c.cannotTalk(caller, sdp.OneSpeaksWebRTC)
	}
	if target.gone {
		if in.failed = Self; waiting.Err() == nil {
			in.failed = CalledParty
		}
		return err
	}
	target.onRinging, target.calledTarget().onward, target.media.early, target.media.forwards = nil, false, nil, 0
	in.failed = Self
	if err != nil {
		if waiting.Err() == nil {
			in.failed = CalledParty
		}
		c.letGo(target)
		return err
	}
	limit()
	defer func() { c.hangUp(ctx, target, err) }()
	if err := in.settle(waiting); err != nil {
		return errors.Join(err, joined.Ack(target.refuseOffer(in, joined)))
	}
	switch {
	case in.offer != nil:
		err = in.answerOffer(waiting, target, joined)
	case joined.settled == joinedEarly:
		err = in.answerAfterPrack(waiting, target, joined)
	case caller.joinedMedia().agreed:
		err = in.answerAnother(waiting, target, joined)
	default:
		err = in.answerDelayed(waiting, target, joined)
	}
	if err != nil {
		return err
	}
	return in.bridge(ctx, target)
}

// offerHeld calls a target that wants an offer for a caller that makes none: with
// audio on hold. What the target answers is the caller's offer then, and the target is
// invited again with what the caller answers to that. A target that refuses held audio
// cannot be joined: nothing is known of the caller before its ACK.
func (in *Incoming) offerHeld(ctx context.Context, target *Leg) (*Success, error) {
	joined, err := in.call.inviteHeld(ctx, in.leg, target)
	if err == nil {
		if joined.SDP = target.forAnother(); joined.SDP == nil {
			return nil, errors.Join(errNoSDP, joined.Ack(nil), target.Bye(ctx, ""))
		}
		target.media.remote, joined.settled = joined.SDP, heldEarly
	}
	return joined, err
}

// refuseOffer is what the ACK to a target says when nothing comes of its call.
func (l *Leg) refuseOffer(in *Incoming, joined *Success) []byte {
	if in.offer != nil || joined.settled != unsettled {
		return nil
	}
	return l.refuse(joined.SDP)
}

// answerOffer answers the caller's offer with the target's answer.
func (in *Incoming) answerOffer(ctx context.Context, target *Leg, joined *Success) error {
	caller := in.leg
	if len(joined.SDP) == 0 {
		return errors.Join(errNoSDP, joined.Ack(nil))
	}
	target.heard(joined.SDP)
	if err := joined.Ack(nil); err != nil {
		return err
	}
	answer := joined.SDP
	if in.early != nil { // the caller has had an answer, which stays the same (RFC 3262 §5)
		answer = in.early
	}
	if !in.accept(caller.answerTo(in.offer, answer), target.calledTarget().header) {
		return context.Cause(in.ctx)
	}
	if sdp.SameMedia(answer, joined.SDP) {
		return nil
	}
	// Another phone has picked up than the one that was heard early.
	if _, err := in.await(ctx, func(e event) bool { return e.ack != nil }); err != nil {
		return err
	}
	return in.call.tellAgain(ctx, ctx, caller, target, joined.SDP, in.offer)
}

// answerDelayed hands the target's offer to a caller that made none. Its ACK
// has the answer. A target that has been answered early, on hold, is told otherwise.
func (in *Incoming) answerDelayed(ctx context.Context, target *Leg, joined *Success) error {
	caller := in.leg
	if len(joined.SDP) == 0 {
		return errors.Join(errNoSDP, joined.Ack(nil))
	}
	target.heard(joined.SDP)
	if !in.accept(caller.describe(joined.SDP), target.calledTarget().header) {
		return errors.Join(context.Cause(in.ctx), joined.Ack(target.refuseOffer(in, joined)))
	}
	e, err := in.await(ctx, func(e event) bool { return e.ack != nil })
	answer := []byte(nil)
	if err == nil {
		if answer = bodyOf(e.ack); answer == nil {
			err = errNoSDP
		}
	}
	if err != nil {
		return errors.Join(err, joined.Ack(target.refuseOffer(in, joined)))
	}
	caller.heard(answer)
	if joined.settled == unsettled {
		return joined.Ack(target.answerTo(joined.SDP, answer))
	}
	if err := joined.Ack(nil); err != nil {
		return err
	}
	offer := joined.SDP
	again, err := target.reinvite(ctx, target.describe(answer))
	if err != nil {
		return err
	}
	target.heard(again.SDP)
	if err := again.Ack(nil); err != nil || sdp.SameMedia(sdp.Fit(again.SDP, answer), offer) {
		return err
	}
	return in.call.tellAgain(ctx, ctx, caller, target, again.SDP, answer)
}

// answerAfterPrack accepts the call of a caller that has answered the target's
// offer in a reliable provisional response.
func (in *Incoming) answerAfterPrack(ctx context.Context, target *Leg, joined *Success) error {
	target.heard(joined.SDP)
	if err := errors.Join(context.Cause(ctx), joined.Ack(nil)); err != nil {
		return err
	}
	if !in.accept(nil, target.calledTarget().header) {
		return context.Cause(in.ctx)
	}
	return nil
}

// answerAnother accepts the call of a caller that has answered the offer of another
// phone than the one that has picked up. In responses to its INVITE there is no further
// offer (RFC 3261 §13.2.1), so that it is invited again.
func (in *Incoming) answerAnother(ctx context.Context, target *Leg, joined *Success) error {
	if len(joined.SDP) == 0 {
		return errors.Join(errNoSDP, joined.Ack(nil))
	}
	target.heard(joined.SDP)
	var onHold []byte // until the caller has answered
	if joined.settled == unsettled {
		onHold = target.onHold(joined.SDP)
	}
	if err := joined.Ack(onHold); err != nil {
		return err
	}
	if !in.accept(nil, target.calledTarget().header) {
		return context.Cause(in.ctx)
	}
	if _, err := in.await(ctx, func(e event) bool { return e.ack != nil }); err != nil {
		return err
	}
	return in.call.tellAgain(ctx, ctx, in.leg, target, joined.SDP, nil)
}

// connectHeld joins a caller that is answered and on hold with a target, as
// Invite does.
func (in *Incoming) connectHeld(ctx context.Context, target *Leg) error {
	defer in.leg.peer.whenHungUp(func(why error) { in.end(why) })
	up, stop := in.upWhile(ctx)
	defer stop()
	err := in.call.connectTo(up, in.leg, target, true)
	in.bridged = in.bridged || in.call.wasUp
	if in.bridged {
		in.hangUp(ctx, err)
	} else if !target.gone {
		in.call.letGo(target)
	}
	return err
}

// bridge stays between the two until one hangs up.
func (in *Incoming) bridge(ctx context.Context, target *Leg) error {
	in.bridged = true
	up, stop := in.upWhile(ctx)
	defer stop()
	err := in.call.bridge(up, in.leg, target)
	if in.unacked() { // the target does not wait for that ACK
		in.call.hangUp(ctx, target, err)
	}
	in.hangUp(ctx, err)
	return err
}

// upWhile is the context of a bridge: the caller's BYE, which Take's ends with,
// is the bridge's own to see.
func (in *Incoming) upWhile(ctx context.Context) (context.Context, context.CancelFunc) {
	up, cancel := context.WithCancelCause(in.calls)
	stop := context.AfterFunc(ctx, func() {
		if why := context.Cause(ctx); !errors.Is(why, ErrHungUp) {
			cancel(why)
		}
	})
	return up, func() { stop(); cancel(nil) }
}

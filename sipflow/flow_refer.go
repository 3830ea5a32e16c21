package sipflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sipxrest/sipflow/sdp"
	"sipxrest/sipflow/wire"
)

const (
	// notifyWait is how long the first NOTIFY of an accepted REFER is waited
	// for (RFC 6665 §4.1.2.4, timer N).
	notifyWait = 64 * t1
	// outcomeWait is how long all that follow are: a phone that says 100 and
	// then only the outcome may ring the other one for minutes.
	outcomeWait = 5 * time.Minute
	// referLead is the head start of an ACK before the REFER that follows it.
	// Proxies hand messages to several processes, so that the REFER overtakes the
	// ACK in one call of ten; and a PBX that stands between us and the phone must
	// have joined its two sides before it can transfer one of them: Asterisk
	// refuses two of three REFERs that come at once, and none after this.
	referLead = 100 * time.Millisecond
	// tooSoon is how long after accepting a REFER a PBX may still say that it was
	// not ready. secondLead is the pause before it is asked again.
	tooSoon    = time.Second
	secondLead = 500 * time.Millisecond
	// lastWord is how long the outcome is waited for once the phone has hung up.
	lastWord = time.Second
)

var (
	errNoNotify  = error(unreported("the phone accepted the REFER but did not say what became of it"))
	errNoOutcome = error(unreported("the phone ended the REFER's subscription without an outcome"))
	errNotReady  = errors.New("the phone could not follow the REFER at once")
)

// Refer is the flow that rings the calling phone and then asks it to call the
// other one (RFC 3515, RFC 5359 §2.4 seen from the transferor):
//
//	sipxrest             Calling              Called
//	    | INVITE (placeholder) |                  |
//	    |--------------------->|                  |
//	    | 180, 200             |                  |
//	    |<---------------------|                  |
//	    | ACK, REFER (called)  |                  |
//	    |--------------------->| INVITE           |
//	    | 202                  |----------------->|
//	    |<---------------------|              180 |
//	    | NOTIFY 100           |<-----------------|
//	    |<---------------------|                  |
//	    | NOTIFY 180           |                  |
//	    |<---------------------|                  |
//	    | BYE                  |                  |
//	    |--------------------->|          200/ACK |
//	    |                      |<---------------->|
//
// A phone that refuses the REFER, or does not respond, stays in the call and is
// bridged with the other one as Invite does.
func Refer(ctx context.Context, c *Call) (err error) {
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
	phone := phoneKey{c.user(CallingParty), calling.userAgent}
	if c.fallsBack() && (c.sw.phones.refusesRefer(phone) || answer.unheld()) { // after an ACK one that cannot be held is lost
		calling.record.flowChanged(nil)
		return c.joinCalled(ctx, calling, answer)
	}
	c.at(stepReferNext)
	if err := answer.AckHeld(); err != nil {
		return err
	}
	var said []byte // the phone's description, should it be bridged
	if c.fallsBack() {
		said = bytes.Clone(answer.SDP)
	}
	err = c.refer(ctx, calling, referLead)
	if errors.Is(err, errNotReady) {
		err = c.refer(ctx, calling, secondLead)
	}
	if c.fallsBack() && (errors.Is(err, errNotReady) || cannotRefer(err)) {
		if neverRefers(err) {
			c.sw.phones.remember(phone)
		}
		calling.heard(said)
		calling.record.flowChanged(err)
		return c.connect(ctx, calling)
	}
	return err
}

// fallsBack reports whether a phone that refuses REFER is bridged.
func (c *Call) fallsBack() bool { return c.sw.cfg.Fallback && !c.NoFallback }

// refer asks the calling phone to call the other one, after a lead, and follows
// what it reports of that. errNotReady means that the phone, or the PBX in its
// place, could not do so yet.
func (c *Call) refer(ctx context.Context, calling *Leg, lead time.Duration) error {
	c.keptBeforeRefer()
	if err := calling.Refer(ctx, c.referTo(), c.user(CallingParty), lead); err != nil {
		return err
	}
	c.kept().referredAt = time.Now()
	c.keep(stepReferred)
	c.record.referred()
	c.sw.referred.add(c.Key, c.kept().referredAt)
	err := calling.outcome(ctx, c.sw.cfg.HangUpOn)
	if err != nil { // nobody is rung any more, so that the call may be placed again
		c.sw.referred.failed(c.Key, c.kept().referredAt)
	}
	if errors.Is(err, ErrHungUpByUser) {
		calling.unsubscribe()
	}
	if notReady(err) && time.Since(c.kept().referredAt) <= tooSoon && calling.peer.isUp() {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	return err
}

// notReady reports whether the outcome of a REFER is what a PBX says that has not
// joined its two sides yet: Asterisk 400 (chan_pjsip) or 503 (chan_sip).
func notReady(err error) bool {
	code := refusedBy(err, "NOTIFY")
	return code == 400 || code == 503
}

// callingLeg prepares the call to the calling phone.
func (c *Call) callingLeg() *Leg {
	// sipXrest: sipXproxy reads these. The caller's voicemail must not take
	// the call, nor may his forwarding unless asked for, and no music on hold.
	user := c.user(CallingParty)
	uri, pickUp := "sip:"+user+";sipx-noroute=Voicemail", ""
	if !c.ForwardingAllowed {
		uri += ";sipx-userforward=false"
	}
	if !c.ForwardingAllowed && user == c.CallingUser { // else another's phone could pick up by itself
		pickUp = c.AutoAnswer.header(c.Key.Agent)
	}
	l := c.newLeg(uri+";sipxbridge-moh=false", user)
	l.mayDivert(CallingParty)
	methods := allow
	if c.Method == MethodInvite {
		methods = allowBridged
	}
	l.first = c.inviteHeader(c.Subject, "", methods) + pickUp
	l.record = c.record.leg(RoleCalling, l.party)
	return l
}

// referTo is the URI of the called party; a conference PIN is a header of it
// (RFC 3261 §19.1.1).
func (c *Call) referTo() string {
	if c.ConfPIN == "" {
		return "sip:" + c.CalledUser
	}
	return "sip:" + c.CalledUser + "?X-ConfPin=" + escapeHeaderValue(c.ConfPIN)
}

// ring invites a phone for the call's timeout. An answer that comes too late
// is hung up; the error is then ErrNoAnswer.
func (c *Call) ring(ctx context.Context, l *Leg, offer []byte) (*Success, error) {
	ctx, stop := context.WithTimeoutCause(ctx, l.callee.ringTime(), ErrNoAnswer)
	defer stop()
	return l.Invite(ctx, offer)
}

// ringPlaceholder rings the calling phone, which is offered audio that nobody
// sends: RFC 3725 §4.4 lets the first description be a dummy. A phone that refuses it
// has none of the usual codecs, or takes encrypted audio only. A browser is offered the
// like of what it takes, so that it is up while the other phone rings. Any other is
// asked for an offer of its own.
func (c *Call) ringPlaceholder(ctx context.Context, l *Leg) (*Success, error) {
	ctx, stop := context.WithTimeoutCause(ctx, c.ringTime(), ErrNoAnswer)
	defer stop()
	answer, err := l.invite(ctx, &outgoing{body: sdp.Placeholder(l.id>>1, l.peer.firstVersion(1, 1), l.mediaHost()), placeholder: true})
	if refusesOffer(err) && l.overWebSocket {
		answer, err = l.Invite(ctx, l.firstOffer(sdp.ForBrowser(l.mediaHost()), 1))
	}
	if refusesOffer(err) {
		answer, err = l.Invite(ctx, nil)
		if err == nil {
			answer.offers = true
		}
	}
	return l.orOthers(ctx, answer, err)
}

// ringHeld rings a phone that wants an offer, which is of audio on hold.
func (c *Call) ringHeld(ctx context.Context, l *Leg) (*Success, error) {
	ctx, stop := context.WithTimeoutCause(ctx, l.callee.ringTime(), ErrNoAnswer)
	defer stop()
	answer, err := l.Invite(ctx, l.firstOffer(sdp.Held(l.mediaHost()), 1))
	return l.orOthers(ctx, answer, err)
}

// orOthers rings a phone again that takes neither our offer nor an INVITE without one,
// with the others in turn (see sdp.Others). They come last, for there are phones that
// ring for ever with them: JsSIP waits for addresses of streams that there are not.
func (l *Leg) orOthers(ctx context.Context, answer *Success, err error) (*Success, error) {
	if !refusesOffer(err) {
		return answer, err
	}
	for _, other := range sdp.Others(l.mediaHost()) {
		answer, err = l.Invite(ctx, l.firstOffer(other.Rest, other.Lines))
		if !refusesOffer(err) {
			break
		}
	}
	return answer, err
}

// Refer asks the phone to call target (RFC 3515 §2.4) and returns once the
// REFER is accepted: by its response, or by a NOTIFY that overtakes it. A
// refusal is a *StatusError; ErrHungUp means the phone sent BYE first. It
// waits at most 64*T1 (32 s), after a lead that the ACK before it gets.
func (l *Leg) Refer(ctx context.Context, target, by string, lead time.Duration) error {
	b := make([]byte, 0, 128)
	b = wire.AppendField(b, "Refer-To", "<"+target+">")
	b = wire.AppendField(b, "Referred-By", "<sip:"+by+">")
	_, err := l.do(ctx, &outgoing{method: "REFER", header: string(b), lead: lead})
	if err == nil {
		return nil
	}
	var refused *StatusError
	if errors.As(err, &refused) {
		l.peer.unsubscribe()
		l.call.note(l, "REFER", fmt.Sprintf("SIP/2.0 %d %s", refused.Code, refused.Reason), time.Now())
		l.noteDenied("REFER", refused.Code)
		return err
	}
	if errors.Is(err, errTimeout) {
		if len(l.reports()) > 0 { // the responses were lost, it was accepted all the same
			return nil
		}
		l.peer.unsubscribe()
		l.call.note(l, "REFER", "SIP/2.0 408 Request Timeout", time.Now())
		return l.fault(&StatusError{"REFER", 408, "Request Timeout"})
	}
	return err
}

// unsubscribe tells the phone that nobody is left to hear what becomes of the
// REFER (RFC 6665 §4.1.2.3). Its call to the other phone goes on: no request
// takes a REFER back.
func (l *Leg) unsubscribe() {
	if !l.peer.subscribes() {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), t1)
	defer stop()
	l.errand(ctx, &outgoing{method: "SUBSCRIBE", header: "Event: refer\r\nExpires: 0\r\n"}, nil, nil) //nolint:errcheck // the BYE follows
}

// NextNotification waits for the phone's next NOTIFY. ErrHungUp means that it
// sent BYE.
func (l *Leg) NextNotification(ctx context.Context) (Notification, error) {
	for len(l.reports()) == 0 {
		e, err := l.event(ctx)
		if err != nil {
			return Notification{}, err
		}
		if err := l.meanwhile(e); err != nil {
			return Notification{}, err
		}
	}
	n := l.pending[0]
	l.pending = l.pending[1:]
	return n, nil
}

// reports are the NOTIFYs that came and have not been looked at. Those of a REFER
// that has been given up for another are of no interest any more.
func (l *Leg) reports() []Notification {
	latest := l.peer.latestRefer()
	l.pending = slices.DeleteFunc(l.pending, func(n Notification) bool { return n.refer != latest })
	return l.pending
}

// outcome follows an accepted REFER up to the point where we may hang up. What
// the status line in a NOTIFY says counts, whatever becomes of the subscription:
// there are phones that leave it active after the last one.
func (l *Leg) outcome(ctx context.Context, on HangUpOn) error {
	n, err := l.notification(ctx, notifyWait)
	wait, stop := context.WithTimeoutCause(ctx, outcomeWait, errNoNotify)
	defer stop()
	return l.outcomeFrom(ctx, wait, on, n, err)
}

// outcomeFrom is outcome from a NOTIFY on, or from why there is none. wait bounds the
// wait for those that follow.
func (l *Leg) outcomeFrom(ctx, wait context.Context, on HangUpOn, n Notification, err error) error {
	for {
		switch {
		case errors.Is(err, ErrHungUp):
			return l.afterBye(ctx, err)
		case err != nil:
			return err
		case n.Code >= 200:
			return n.outcome()
		case n.Terminated:
			return errNoOutcome
		case on == Outcome:
		case n.Code >= 180 && n.Code <= 183:
			return nil // the two phones are on their own now
		}
		n, err = l.NextNotification(wait)
	}
}

// afterBye waits a moment for the outcome that a phone reports after it has hung
// up: its NOTIFY and its BYE may overtake each other. Without one the call ended
// with the BYE.
func (l *Leg) afterBye(ctx context.Context, hungUp error) error {
	wait, stop := context.WithTimeout(ctx, lastWord)
	defer stop()
	for l.peer.subscribes() || len(l.reports()) > 0 {
		switch n, err := l.NextNotification(wait); {
		case errors.Is(err, ErrHungUp): // a second BYE
		case err != nil:
			return hungUp
		case n.Code >= 200:
			return n.outcome()
		}
	}
	return hungUp
}

// outcome is what a final status means for the call: nil when the phones are
// connected, else the *StatusError of the called one. Its method tells an operator
// that the calling phone reports it, and has not refused the call itself.
func (n *Notification) outcome() error {
	if n.Code >= 300 {
		return &sentError{&StatusError{"NOTIFY", n.Code, n.Reason}, ""}
	}
	return nil
}

// notification waits for the next NOTIFY at most so long.
func (l *Leg) notification(ctx context.Context, most time.Duration) (Notification, error) {
	ctx, stop := context.WithTimeoutCause(ctx, most, errNoNotify)
	defer stop()
	return l.NextNotification(ctx)
}

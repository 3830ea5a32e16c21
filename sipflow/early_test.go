package sipflow

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
	"sipxrest/sipflow/wire"
)

// forkAddr is where a second phone of the called user is.
const forkAddr = "10.0.0.6:5060"

// describesEarly is a phone that describes the session in a reliable 183, a while after
// the INVITE, and then not in its 200.
func describesEarly(after, ring time.Duration) siptest.Script {
	s := siptest.Script{Ring: ring, NoSDP: true, Early: []siptest.Early{{After: after, Reliable: true, SDP: true}}}
	if ring == 0 { // nobody picks it up
		s.Ring, s.Status = time.Minute, 480
	}
	return s
}

// askingEarly is a phone that asks for this and that before it picks up.
func askingEarly(describe bool) siptest.Script {
	asks := []siptest.Action{
		{After: 1000 * time.Millisecond, Method: "UPDATE", NoBody: true},
		{After: 1500 * time.Millisecond, Method: "UPDATE", NoBody: true, Header: append(session("1800;refresher=uac"),
			sip.NewHeader("Supported", "timer"))},
		{After: 1700 * time.Millisecond, Method: "UPDATE", NoBody: true, Header: session("60")},
		{After: 2000 * time.Millisecond, Method: "UPDATE"},
		{After: 2500 * time.Millisecond, Method: "INFO", Body: "x", ContentType: "text/plain"},
		{After: 3000 * time.Millisecond, Method: "OPTIONS"},
		{After: 3500 * time.Millisecond, Method: "OPTIONS", Header: []sip.Header{sip.NewHeader("Require", "timer, telepathy")}},
		{After: 4000 * time.Millisecond, Method: "PRACK", Header: []sip.Header{sip.NewHeader("RAck", "1 1 INVITE")}},
		{After: 4500 * time.Millisecond, Method: "MESSAGE"},
		{After: 5000 * time.Millisecond, Method: "FOO"},
		{After: 5500 * time.Millisecond, Method: "INVITE"},
	}
	return siptest.Script{Ring: 8 * time.Second, Early: []siptest.Early{{After: time.Second, Reliable: describe, SDP: describe, Do: asks}},
		Do: []siptest.Action{{After: time.Second, Method: "OPTIONS"}}}
}

// prackChallenged has a proxy ask for credentials for each PRACK.
func prackChallenged(s siptest.Script, user string) siptest.Script {
	s.Challenge = siptest.Challenge{Methods: []sip.RequestMethod{"PRACK"}, Realm: "sipx.test", User: user, Password: "secret"}
	return s
}

func scriptOf(s siptest.Script) *siptest.Script { return &s }

// areJoined checks that each of two phones sends its audio to the other.
func areJoined(t *testing.T, a, b *siptest.Phone, addrs ...string) {
	t.Helper()
	for i, p := range []*siptest.Phone{a, b} {
		other, _, _ := strings.Cut(addrs[1-i], ":")
		got := p.Heard()
		if !strings.Contains(got, "c=IN IP4 "+other+"\r\n") || strings.Contains(got, "a=inactive") || strings.Contains(got, "audio 0 ") {
			t.Errorf("the phone at %s has of %s\n%s", addrs[i], addrs[1-i], got)
		}
	}
}

// joinedAfter checks that the calling phone is joined with that of the called user
// which has picked up.
func joinedAfter(d time.Duration, fork bool) func(*testing.T, *rig, *phones, *Call) {
	return after(d, func(t *testing.T, r *rig, p *phones, _ *Call) {
		synctest.Wait()
		winner, addr := p.called, calledAddr
		if fork {
			winner, addr = p.fork, forkAddr
		}
		if p.calling.Dialogs() == 1 && winner.Dialogs() == 1 { // not where a lost message has changed the call
			areJoined(t, p.calling, winner, phoneAddr, addr)
		}
	})
}

const hangsUp = 20 * time.Second

// saysAllInIts183 is a phone, or rather a gateway, that describes the session in an
// unreliable response, and not in its 200.
var saysAllInIts183 = siptest.Script{Ringing: 183, EarlyMedia: true, NoSDP: true, Ring: time.Second}

// srtpEarly is a phone that offers SRTP before it picks up, and takes RTP as well.
func srtpEarly() siptest.Script {
	s := describesEarly(time.Second, 6*time.Second)
	s.Media = siptest.SRTPOptional()
	return s
}

// What happens before the called phone, or the calling one, picks up.
var earlyBridgeCases = []bridgeCase{
	{name: "early-first-fork-picks-up", called: describesEarly(time.Second, 6*time.Second), fork: scriptOf(describesEarly(2*time.Second, 0)),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-second-fork-picks-up", called: describesEarly(time.Second, 0), fork: scriptOf(describesEarly(2*time.Second, 6*time.Second)),
		during: joinedAfter(15*time.Second, true), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-second-fork-offers-as-it-picks-up", called: describesEarly(time.Second, 0), fork: &siptest.Script{Ring: 6 * time.Second},
		during: joinedAfter(15*time.Second, true), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-both-forks-pick-up", called: describesEarly(time.Second, 6*time.Second), fork: scriptOf(describesEarly(2*time.Second,
		6*time.Second)), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-fork-picks-up-when-the-call-is-over", called: describesEarly(time.Second, 2*time.Second),
		fork: &siptest.Script{Ring: 15 * time.Second, IgnoreCancel: true,
			Early:     []siptest.Early{{After: 1500 * time.Millisecond, Reliable: true}},
			Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"BYE"}, Realm: "sipx.test", User: "200", Password: "secret"}},
		hangUp: 10 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "early-prack-challenged", called: prackChallenged(describesEarly(time.Second, 6*time.Second), "200"),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-prack-challenged-while-calling-is-asked", calling: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		called: describesEarly(1001*time.Millisecond, 6*time.Second),
		fork: scriptOf(prackChallenged(siptest.Script{Ring: time.Minute, Status: 480,
			Early: []siptest.Early{{After: time.Second, Reliable: true}}}, "200")),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-requests-of-called", called: askingEarly(false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-requests-of-called-that-offers", called: askingEarly(true), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-requests-of-calling", calling: askingEarly(false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-requests-of-calling-that-answers", calling: askingEarly(true), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-calling-says-all-in-its-183", calling: saysAllInIts183,
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-calling-cannot-do-the-offer", calling: siptest.Script{Media: siptest.Desk()}, called: srtpEarly(),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-transfer-target-says-all-in-its-183", third: &saysAllInIts183,
		hangUp: hangsUp, err: ErrHungUpByUser.Error(), during: after(5*time.Second, transfer203)},
	{name: "early-transfer-target-asks", third: scriptOf(askingEarly(true)),
		hangUp: hangsUp, err: ErrHungUpByUser.Error(), during: after(5*time.Second, transfer203)},
	{name: "early-transfer-prack-challenged", third: scriptOf(prackChallenged(describesEarly(time.Second, 3*time.Second), "200")),
		hangUp: hangsUp, err: ErrHungUpByUser.Error(), during: after(5*time.Second, transfer203)},
}

// Likewise of a telephone's gateway, and of the target that it is joined with.
var earlyDialCases = []bridgeCase{
	{name: "early-dial-phone-offers-early", calling: describesEarly(time.Second, 3*time.Second),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-dial-prack-challenged", calling: prackChallenged(describesEarly(time.Second, 3*time.Second), "200"),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-dial-target-forks", called: describesEarly(500*time.Millisecond, 3*time.Second),
		fork:   scriptOf(describesEarly(time.Second, 0)),
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-dial-target-says-all-in-its-183", called: saysAllInIts183,
		during: joinedAfter(15*time.Second, false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-dial-requests", calling: askingEarly(true), called: askingEarly(false), hangUp: 30 * time.Second,
		err: ErrHungUpByUser.Error()},
}

// callerJoined checks that the caller is joined with the target's phone at addr.
func callerJoined(d time.Duration) func(*testing.T, *rig, *siptest.Phone, *siptest.Phone) {
	return func(t *testing.T, _ *rig, caller, target *siptest.Phone) {
		time.Sleep(d)
		synctest.Wait()
		if caller.Dialogs() == 1 && target.Dialogs() == 1 {
			areJoined(t, caller, target, phoneAddr, calledAddr)
		}
	}
}

// refusedThen connects the caller to somebody who refuses, and then does otherwise.
func refusedThen(then func(ctx context.Context, in *Incoming) error) func(ctx context.Context, in *Incoming) error {
	return func(ctx context.Context, in *Incoming) error {
		if err := connectTo202(ctx, in); err == nil {
			return nil
		}
		return then(ctx, in)
	}
}

func connectTo203(ctx context.Context, in *Incoming) error {
	return in.Connect(ctx, Destination{URI: uri203})
}

var (
	patient   = siptest.Script{HangUpAfter: hangsUp}
	noOffer   = siptest.Calling{NoOffer: true}
	noOfferRe = siptest.Calling{NoOffer: true, Reliable: true}
	reliableC = siptest.Calling{Reliable: true}
)

var requires100rel = []sip.Header{sip.NewHeader("Require", "100rel")}

// Callers whose target rings in several ways.
var earlyInboundCases = []inboundCase{
	{name: "early-caller-first-fork-picks-up", how: reliableC, caller: patient, target: describesEarly(time.Second, 5*time.Second),
		fork: scriptOf(describesEarly(2*time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-second-fork-picks-up", how: reliableC, caller: patient, target: describesEarly(2*time.Second, 5*time.Second),
		fork: scriptOf(describesEarly(time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-target-says-all-in-its-183", caller: patient,
		target: siptest.Script{Ringing: 183, EarlyMedia: true, NoSDP: true, Ring: 3 * time.Second}, during: callerJoined(10 * time.Second)},
	{name: "early-caller-prack-challenged", caller: patient, target: prackChallenged(describesEarly(time.Second, 3*time.Second), "202"),
		take: func(ctx context.Context, in *Incoming) error {
			return in.Connect(ctx, Destination{URI: uri202, Trusted: true, Realm: "sipx.test",
				Credentials: Credentials{Username: "202", Password: "secret"}})
		}, during: callerJoined(10 * time.Second)},
	{name: "early-caller-target-asks", caller: patient, target: askingEarly(true)},
	{name: "early-caller-target-asks-before-it-answers", caller: patient, target: askingEarly(false)},
	{name: "early-caller-without-offer-first-fork", how: noOfferRe, caller: patient, target: describesEarly(time.Second, 5*time.Second),
		fork: scriptOf(describesEarly(2*time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-second-fork", how: noOfferRe, caller: patient, target: describesEarly(2*time.Second, 5*time.Second),
		fork: scriptOf(describesEarly(time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-second-fork-offers-late", how: noOfferRe, caller: patient,
		target: siptest.Script{Ring: 5 * time.Second},
		fork:   scriptOf(describesEarly(time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-unreliable-forks", how: noOffer, caller: patient, target: describesEarly(time.Second, 5*time.Second),
		fork: scriptOf(describesEarly(2*time.Second, 0)), during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-hears-ringing", how: noOfferRe, caller: patient, target: siptest.Script{Ring: 5 * time.Second},
		during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-insists", how: siptest.Calling{NoOffer: true, Reliable: true, Header: requires100rel}, caller: patient,
		target: describesEarly(time.Second, 5*time.Second), during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-insists-and-none-comes", how: siptest.Calling{NoOffer: true, Reliable: true, Header: requires100rel},
		caller: patient, target: siptest.Script{Ring: 5 * time.Second}, during: callerJoined(10 * time.Second)},
	{name: "early-caller-without-offer-agreed-with-another", how: noOfferRe, caller: patient, take: refusedThen(connectTo203),
		target: siptest.Script{Status: 486, Ring: 3 * time.Second, Early: []siptest.Early{{After: time.Second, Reliable: true, SDP: true}}}},
	{name: "early-caller-without-offer-agreed-then-held", how: noOfferRe, take: refusedThen(onHoldThen203),
		caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: hangsUp},
		target: siptest.Script{Status: 486, Ring: 3 * time.Second, Early: []siptest.Early{{After: time.Second, Reliable: true, SDP: true}}}},
	{name: "early-caller-answered-then-held", how: reliableC, take: refusedThen(onHoldThen203),
		caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: hangsUp},
		target: siptest.Script{Status: 486, Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true}},
	{name: "early-caller-answered-then-we-talk", how: reliableC, take: refusedThen(talks), caller: patient,
		target: siptest.Script{Status: 486, Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true}},
	{name: "early-caller-without-offer-agreed-then-we-talk", how: noOfferRe, take: refusedThen(talks), caller: patient,
		target: siptest.Script{Status: 486, Ring: 3 * time.Second, Early: []siptest.Early{{After: time.Second, Reliable: true, SDP: true}}}},
}

func onHoldThen203(ctx context.Context, in *Incoming) error {
	if err := in.AnswerHeld(ctx); err != nil {
		return err
	}
	return connectTo203(ctx, in)
}

func talks(ctx context.Context, in *Incoming) error {
	return in.Converse(ctx, new(audio).conversation())
}

// Phones whose media end here.
var earlyTalkCases = []*talkCase{
	{name: "early-talk-says-all-in-its-183", phone: siptest.Script{Ringing: 183, EarlyMedia: true, NoSDP: true, Ring: 3 * time.Second,
		HangUpAfter: hangsUp}, said: "1 early, 1 answers, offers [], digits "},
	{name: "early-talk-asks", phone: askingEarly(false), hangUp: hangsUp, err: ErrHungUpByUser.Error()},
	{name: "early-talk-prack-challenged", phone: prackChallenged(describesEarly(time.Second, 3*time.Second), "sam"), hangUp: hangsUp,
		err: ErrHungUpByUser.Error(), said: "1 early, 1 answers, offers [], digits "},
	{name: "early-talk-without-offer-rings", inbound: true, how: noOfferRe, phone: siptest.Script{HangUpAfter: hangsUp},
		said: "0 early, 1 answers, offers [], digits "},
}

// eachEarlyCase runs what each flow does before somebody picks up.
func eachEarlyCase(t *testing.T, f func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network, strict bool))) {
	for _, bc := range earlyBridgeCases {
		f(t, bc.name, bc.run)
	}
	for _, bc := range earlyDialCases {
		bc.flow, bc.spec = Dial, dialling(nil)
		f(t, bc.name, bc.run)
	}
	for _, ic := range earlyInboundCases {
		f(t, ic.name, ic.run)
	}
	for _, tc := range earlyTalkCases {
		f(t, tc.name, tc.run)
	}
}

func TestEarlyDialogs(t *testing.T) {
	eachEarlyCase(t, func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network, strict bool)) {
		t.Run(name, func(t *testing.T) {
			flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { run(t, n, true) })
		})
	})
}

// Each again with each of its messages lost once.
func TestEarlyDialogsSurviveLoss(t *testing.T) {
	eachEarlyCase(t, func(t *testing.T, name string, run func(t *testing.T, n *siptest.Network, strict bool)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { run(t, n, false) })
		})
	})
}

// inboundRawTarget is a call of a caller to a target who both do what the test writes.
func inboundRawTarget(t *testing.T, f func(t *testing.T, p *rawInbound, target *rawPhone)) {
	t.Helper()
	take := func(ctx context.Context, in *Incoming) error { return in.Connect(ctx, Destination{URI: uri203}) }
	inboundRaw(t, take, func(t *testing.T, p *rawInbound) { f(t, p, rawUDP(t, p.net, secondAddr)) })
}

// progressOf is a response of a fork with a description of its own.
func (p *rawPhone) progressOf(tag string, code int, rseq, port int) string {
	header, body := p.contact(), ""
	if rseq > 0 {
		header += fmt.Sprintf("Require: 100rel\r\nRSeq: %d\r\n", rseq)
	}
	if port > 0 {
		header, body = header+sdpHeader, sdpOf(port)
	}
	return strings.Replace(p.response(p.invite, code, header, body), "tag="+phoneTag, "tag="+tag, 1)
}

// byTag is a request of the phone's in the dialog of that tag.
func (p *rawPhone) byTag(tag, method string, seq int, header, body string) string {
	return p.inDialog(method, seq, header, body, "tag="+phoneTag, "tag="+tag)
}

// Requests in early dialogs are numbered by each, and the numbers of the one that picks
// up go on.
func TestEachEarlyDialogHasNumbersOfItsOwn(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		b := p.b
		b.invite = b.expect("INVITE")
		b.wants(481, b.byTag("aa", "INFO", 1, "", "")) // nobody of that tag rings
		b.send(b.progressOf("aa", 180, 0, 0))
		b.send(b.progressOf("bb", 180, 0, 0))
		b.wants(200, b.byTag("aa", "INFO", 501, "", ""))
		b.wants(200, b.byTag("bb", "OPTIONS", 7, "", ""))
		b.wants(500, b.byTag("aa", "OPTIONS", 500, "", ""))
		b.wants(200, b.byTag("aa", "INFO", 501, "", "")) // again
		b.wants(200, b.byTag("bb", "OPTIONS", 8, "", ""))
		b.wants(481, b.byTag("aa", "BYE", 502, "", ""))
		b.wants(500, b.byTag("bb", "UPDATE", 9, sdpHeader, sdpOf(5000))) // the INVITE waits for its offer
		m := b.wants(200, b.byTag("bb", "UPDATE", 10, "Supported: timer\r\nSession-Expires: 1800\r\n", ""))
		if got := string(m.Get(wire.SessionExpires)); got != "1800;refresher=uac" || !wire.Requires(m, "timer") {
			t.Errorf("Session-Expires: %s in\n%s", got, m.Raw())
		}
		if got := string(m.Get(wire.Contact)); !strings.HasPrefix(got, "<sip:callcontroller@") || !wire.Lists(m, wire.Allow, "update") {
			t.Errorf("the UPDATE is answered\n%s", m.Raw())
		}
		b.wants(420, b.byTag("bb", "INFO", 11, "Require: telepathy\r\n", ""))
		b.wants(501, b.byTag("bb", "FOO", 12, "Require: telepathy\r\n", ""))

		b.send(b.progressOf("aa", 200, 0, 5000))
		join := p.a.expect("INVITE")
		p.a.ok(join, "", sdpOf(4001))
		p.a.expect("ACK")
		b.expect("ACK")
		synctest.Wait()
		b.wants(500, b.byTag("aa", "OPTIONS", 502, "", "")) // the BYE's
		b.wants(200, b.byTag("bb", "OPTIONS", 13, "", ""))  // its 200 may come
		b.send(b.byTag("aa", "INFO", 503, "", ""))
		p.a.send(p.a.response(p.a.expect("INFO"), 200, "", ""))
		time.Sleep(40 * time.Second)
		b.read(time.Millisecond)
		b.wants(481, b.byTag("bb", "OPTIONS", 14, "", ""))
		p.hangUpBoth()
	})
}

// hangUpBoth has the client end a call whose phones have other tags than usual.
func (p *rawPair) hangUpBoth() {
	p.t.Helper()
	p.call.stop(ErrHungUpByUser)
	p.a.hungUp()
	p.b.hungUp()
	<-p.call.Done()
}

// The calling phone has agreed with one phone of the called user and cannot do what the
// other one offers, which picks up.
func TestCallingCannotDoTheOfferOfTheForkThatPicksUp(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		p.b.invite = p.b.expect("INVITE")
		p.b.send(p.b.progressOf("aa", 183, 10, 5000))
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001))
		p.a.expect("ACK")
		p.b.send(p.b.response(p.b.expect("PRACK"), 200, "", ""))
		p.b.send(p.b.progressOf("bb", 183, 20, 5002))
		p.b.send(p.b.response(p.b.expect("PRACK"), 200, "", ""))
		p.b.send(p.b.progressOf("bb", 200, 0, 0))
		p.b.expect("ACK")
		p.a.send(p.a.response(p.a.expect("INVITE"), 488, "", ""))
		p.a.expect("ACK")
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4002))
		p.b.offered("4002", sdpOf(5003))
		if ack := p.a.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 5003") {
			t.Errorf("A was answered\n%s", ack.Body())
		}
		p.hangUpBoth()
	})
}

// However many phones ring, and whatever they say, little is kept of them.
func TestEarlyDialogsAreFew(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		b := p.b
		b.invite = b.expect("INVITE")
		for i := range 500 {
			b.send(b.progressOf(fmt.Sprint("t", i), 183, 1+i, 5000))
			time.Sleep(10 * time.Millisecond)
			if i == 0 {
				p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001))
				p.a.expect("ACK")
			}
		}
		for i := 1; i < 300; i++ { // and one of them says much
			b.send(b.progressOf("t0", 183, i+1, 0))
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		l := p.call.legs[1]
		if n, m := len(l.peer.early.of), len(l.errands); n != maxEarly || m != maxErrands {
			t.Errorf("%d early dialogs and %d errands are kept", n, m)
		}
		p.call.stop(ErrHungUpByUser)
		time.Sleep(time.Second)
		for m := b.read(time.Second); m != nil; m = b.read(time.Second) {
			if m.Method() == "CANCEL" {
				b.send(b.response(m, 200, "", ""))
				b.send(b.progressOf("t0", 487, 0, 0))
			}
		}
		p.a.hungUp()
		<-p.call.Done()
	})
}

// Of two phones that answer the caller's offer before they pick up, the one that does
// counts, whoever spoke last.
func TestThePhoneThatPicksUpIsHeard(t *testing.T) {
	for _, reliable := range []int{0, 10} {
		t.Run(fmt.Sprint(reliable), func(t *testing.T) {
			inboundRawTarget(t, func(t *testing.T, p *rawInbound, target *rawPhone) {
				p.rawPhone.send(rawInvite())
				target.invite = target.expect("INVITE")
				target.send(target.progressOf("aa", 183, reliable, 27010))
				if reliable > 0 {
					target.send(target.response(target.expect("PRACK"), 200, "", ""))
				}
				p.next(183)
				target.send(target.progressOf("bb", 183, 5*reliable, 27020))
				if reliable > 0 {
					target.send(target.response(target.expect("PRACK"), 200, "", ""))
				}
				target.send(target.progressOf("aa", 200, 0, 0))
				answer := p.final("INVITE", 200)
				if !strings.Contains(string(answer.Body()), "m=audio 27010 ") {
					t.Errorf("the caller has got\n%s", answer.Body())
				}
				target.expect("ACK")
				p.rawPhone.send(within(answer, "ACK", 1, "", ""))
				p.rawPhone.quiet(time.Second)
				p.rawPhone.send(within(answer, "BYE", 2, "", ""))
				p.final("BYE", 200)
				target.hungUp()
			})
		})
	}
}

// A caller without an offer, and a phone that offers as it picks up after another one
// has been joined early: it gets an answer, and the caller is told of it.
func TestEachForkOfADelayedOfferGetsItsAnswer(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		b := p.b
		b.invite = b.expect("INVITE")
		b.send(b.progressOf("aa", 183, 10, 27010))
		m := p.a.expect("INVITE")
		p.a.ok(m, "", sdpOf(4001))
		p.a.expect("ACK")
		prack := b.expect("PRACK")
		b.send(b.response(prack, 200, "", ""))
		b.send(b.progressOf("bb", 183, 50, 27020))
		held := b.expect("PRACK")
		if held.Seq() != prack.Seq() || !strings.Contains(string(held.Get(wire.To)), "tag=bb") {
			t.Errorf("the PRACK of bb is\n%s", held.Raw())
		}
		says(t, "bb", held, "inactive")
		b.send(b.response(held, 200, "", ""))
		b.send(b.progressOf("cc", 200, 0, 27030))
		m = p.a.expect("INVITE")
		if !strings.Contains(string(m.Body()), "m=audio 27030 ") {
			t.Errorf("A was offered\n%s", m.Body())
		}
		p.a.ok(m, "", sdpOf(4002))
		p.a.expect("ACK")
		if ack := b.expect("ACK"); !strings.Contains(string(ack.Body()), "m=audio 4002 ") || ack.Seq() != b.invite.Seq() {
			t.Errorf("cc got the ACK\n%s", ack.Raw())
		}
		synctest.Wait()
		p.hangUpBoth()
	})
}

// Another request of ours may overtake a PRACK, or a repeat of the response it.
func TestPRACKsThatAreOvertaken(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.place()
		b := p.b
		b.invite = b.expect("INVITE")
		b.send(b.progressOf("aa", 180, 10, 0))
		first := b.expect("PRACK")
		b.send(b.progressOf("aa", 180, 11, 0))
		second := b.expect("PRACK")
		if second.Seq() != first.Seq()+1 {
			t.Errorf("CSeq %d after %d", second.Seq(), first.Seq())
		}
		b.send(b.response(second, 200, "", ""))
		b.send(b.progressOf("aa", 180, 10, 0)) // late
		b.send(b.response(first, 500, "", ""))
		again := b.expect("PRACK")
		if again.Seq() != second.Seq()+1 || string(again.Get(wire.RAck)) != string(first.Get(wire.RAck)) {
			t.Errorf("the PRACK that was overtaken comes again as\n%s", again.Raw())
		}
		b.send(b.response(again, 500, "", "")) // it means that
		b.quiet(time.Second)
		b.send(b.progressOf("aa", 200, 0, 5000))
		p.a.ok(p.a.expect("INVITE"), "", sdpOf(4001))
		p.a.expect("ACK")
		b.expect("ACK")
		synctest.Wait()
		p.call.stop(ErrHungUpByUser)
		if bye := b.hungUp(); bye.Seq() != again.Seq()+1 {
			t.Errorf("the BYE has CSeq %d after %d", bye.Seq(), again.Seq())
		}
		p.a.hungUp()
		<-p.call.Done()
	})
}

// A request in an early dialog goes where that dialog leads.
// A call may be held and resumed all day by a phone that insists on reliable responses.
func TestEachINVITEHasPRACKsOfItsOwn(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		for i := range maxPracks + 2 {
			p.a.send(p.a.inDialog("INVITE", 10+i, sdpHeader, sdpOf(4002)))
			m := p.b.expect("INVITE")
			p.b.send(p.b.response(m, 180, p.b.contact()+"Require: 100rel\r\nRSeq: 7\r\n", ""))
			prack := p.b.expect("PRACK")
			p.b.send(p.b.response(prack, 200, "", ""))
			p.b.ok(m, "", sdpOf(5002))
			p.b.expect("ACK")
			p.a.send(p.a.inDialog("ACK", 10+i, "", ""))
			time.Sleep(time.Second)
		}
		p.hangUp()
	})
}

func TestPRACKsTakeTheRoutesOfTheirDialog(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		way := rawUDP(t, p.net, thirdAddr)
		p.place()
		b := p.b
		b.invite = b.expect("INVITE")
		b.send(strings.Replace(b.progressOf("aa", 180, 10, 0), "Contact:", "Record-Route: <sip:"+thirdAddr+";lr>\r\nContact:", 1))
		prack := way.expect("PRACK")
		if prack.URI() == nil || string(prack.URI()) != "sip:201@"+calledAddr || string(prack.Get(wire.Route)) != "<sip:"+thirdAddr+";lr>" {
			t.Errorf("it is\n%s", prack.Raw())
		}
		way.send(way.response(prack, 200, "", ""))
		b.send(b.progressOf("bb", 180, 10, 0))
		b.send(b.response(b.expect("PRACK"), 200, "", ""))
		b.send(b.response(b.invite, 486, "", ""))
		b.expect("ACK")
		p.a.hungUp()
		<-p.call.Done()
	})
}

// A right is kept for as long as somebody needs it, and nothing after that.
func TestRightsAreForgottenInTurn(t *testing.T) {
	var r rights
	by := func(i int) *right {
		name := strings.Repeat("x", i%300)
		return &right{
			Credentials{Username: name, Password: "p" + name, HA1SHA256: fmt.Sprint(i)},
			"realm",
			i%2 == 0,
			secretServers{"201@" + name, serversKind(i % 3)},
		}
	}
	if at := r.keep(new(right)); at != 0 {
		t.Errorf("nobody's right is at %d", at)
	}
	var kept []uint64
	for i := range 1000 {
		kept = append(kept, r.keep(by(i)))
		if i%7 == 6 { // forget all but the last three
			r.drop(kept[i-3])
		}
		for j := max(0, i-2); j <= i; j++ {
			if got, _ := r.read(kept[j]); got != *by(j) {
				t.Fatalf("at %d: %+v instead of %+v", j, got, *by(j))
			}
		}
	}
	if r.drop(kept[len(kept)-1]); r.text != nil {
		t.Errorf("%d bytes are left", len(r.text))
	}
	if got, _ := r.read(r.keep(by(5))); got != *by(5) {
		t.Errorf("%+v", got)
	}
	if got, _ := r.read(0); got != (right{}) {
		t.Errorf("%+v", got)
	}
}

package sipflow

import (
	"context"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// Phones that keep a session of 90 s: the 2xx of each says who refreshes it.
func refreshedByUs(s siptest.Script) siptest.Script {
	s.Header, s.Reinvite.Header = session("90;refresher=uac"), session("90;refresher=uac")
	return s
}

// refreshedByInvite is one that takes no UPDATE.
func refreshedByInvite(s siptest.Script) siptest.Script {
	s = refreshedByUs(s)
	s.Allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, NOTIFY, INFO"
	return s
}

// refreshing is one that refreshes the session itself, in all the ways there are. With
// each it asks something else, too.
func refreshing(s siptest.Script) siptest.Script {
	s.Header = session("90;refresher=uas")
	s.Do = append(s.Do,
		siptest.Action{After: 40 * time.Second, Method: "UPDATE", NoBody: true, Header: keeping("timer")},
		siptest.Action{After: 50 * time.Second, Method: "OPTIONS", Header: []sip.Header{sip.NewHeader("Require", "timer, 100rel, replaces")}},
		siptest.Action{After: 80 * time.Second, Method: "INVITE", Header: keeping("timer")},
		siptest.Action{After: 90 * time.Second, Method: "INFO", Header: []sip.Header{sip.NewHeader("Require", "telepathy, timer")}},
		siptest.Action{After: 120 * time.Second, Method: "UPDATE", Header: keeping("timer")},
		siptest.Action{After: 160 * time.Second, Method: "INVITE", NoBody: true, Header: keeping("timer, 100rel")},
		siptest.Action{After: 170 * time.Second, Method: "UPDATE", NoBody: true, Header: session("60")},
		siptest.Action{After: 200 * time.Second, Method: "INVITE", Body: held("10.0.0.2"), Header: keeping("timer")})
	return s
}

// keeping is what a phone says that goes on to refresh the session.
func keeping(require string) []sip.Header {
	return append(session("90;refresher=uac"), sip.NewHeader("Supported", "timer"), sip.NewHeader("Require", require))
}

// challenging asks for credentials for everything.
func challenging(s siptest.Script) siptest.Script {
	s.Challenge = asking(func(c *siptest.Challenge) { c.Methods = []sip.RequestMethod{"INVITE", "UPDATE", "REFER", "BYE"} })
	return s
}

// reporting is a phone whose REFER takes four minutes.
var reporting = siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
	notify(0, "100 Trying", ""), notify(time.Second, "180 Ringing", ""), notify(4*time.Minute, "200 OK", overWith)}}}

const reported = "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"

// A phone whose REFER takes its time, and before its 202.
var aloneScenarios = []scenario{
	{name: "refer-session-refreshed-by-update", cfg: onOutcome, script: refreshedByUs(reporting), status: reported},
	{name: "refer-session-refreshed-by-invite", cfg: onOutcome, script: refreshedByInvite(reporting), status: reported},
	{name: "refer-session-refreshed-by-the-phone", cfg: onOutcome, script: refreshing(reporting), status: reported},
	{name: "refer-session-refresh-is-challenged", cfg: onOutcome, script: challenging(refreshedByUs(reporting)),
		status: "INVITE 407 Proxy Authentication Required, " + reported},
	{name: "refer-session-refresh-by-invite-is-challenged", cfg: onOutcome, script: challenging(refreshedByInvite(reporting)),
		status: "INVITE 407 Proxy Authentication Required, " + reported},
	{name: "refer-session-not-refreshed", cfg: onOutcome, script: siptest.Script{Header: session("90;refresher=uas"), Refer: reporting.Refer},
		err: errExpired.Error(), status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing"},
	{name: "refer-session-phone-vanished", cfg: onOutcome, err: errExpired.Error(),
		script: siptest.Script{Header: session("90;refresher=uac"), Refer: reporting.Refer, Reinvite: siptest.Reinvite{Silent: true}},
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing"},
	{name: "refer-asked-before-its-202", cfg: onOutcome, err: "408", script: siptest.Script{Refer: siptest.Refer{Silent: true},
		Do: []siptest.Action{
			{After: 5 * time.Second, Method: "INVITE", Header: keeping("timer")},
			{After: 10 * time.Second, Method: "UPDATE", Header: keeping("100rel")},
			{After: 15 * time.Second, Method: "OPTIONS"},
			{After: 20 * time.Second, Method: "INFO"},
			{After: 25 * time.Second, Method: "UPDATE", NoBody: true}}},
		status: "INVITE 180 Ringing, INVITE 200 OK, REFER 408 Request Timeout"},
}

// longRing lets phones ring for minutes.
func longRing(s *Spec) { s.Timeout = 5 * time.Minute }

// ringing is the other phone, which takes 220 s to pick up.
var ringing = siptest.Script{Ring: 220 * time.Second}

// dialOnHold has the target ring as long.
var dialOnHold = dialling(func(d *Dialling) { d.TargetTime = 5 * time.Minute })

// Phones that are up while the other rings, and a transfer's target before it is joined.
var aloneCases = []bridgeCase{
	{name: "alone-session-refreshed-by-update", calling: refreshedByUs(siptest.Script{}), called: ringing, spec: longRing,
		hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-session-refreshed-by-invite", calling: refreshedByInvite(siptest.Script{}), called: ringing, spec: longRing,
		hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-session-refreshed-by-the-phone", calling: refreshing(siptest.Script{}), called: ringing, spec: longRing,
		hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-session-refresh-is-challenged", calling: refreshedByInvite(siptest.Script{}), called: ringing,
		spec: longRing, hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(_ *testing.T, _ *rig, p *phones, _ *Call) {
			p.calling.SetScript(challenging(refreshedByInvite(siptest.Script{})))
		})},
	{name: "alone-session-not-refreshed", calling: siptest.Script{Header: session("90;refresher=uas")}, called: ringing, spec: longRing,
		err: errExpired.Error()},
	{name: "alone-session-phone-vanished", calling: siptest.Script{Header: session("90;refresher=uac"),
		Reinvite: siptest.Reinvite{Silent: true}}, called: ringing, spec: longRing, err: errExpired.Error()},
	{name: "alone-session-phone-knows-nothing-of-it", calling: siptest.Script{Header: session("90;refresher=uac"),
		Reinvite: siptest.Reinvite{Status: 481}}, called: ringing, spec: longRing, err: "481"},
	{name: "alone-session-refresh-is-pending-as-the-other-picks-up", calling: func() siptest.Script {
		s := refreshedByInvite(siptest.Script{})
		s.Reinvite.After = 5 * time.Second
		return s
	}(), called: siptest.Script{Ring: 47 * time.Second}, spec: longRing, hangUp: 2 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-dial-session-refreshed-by-update", spec: dialOnHold, flow: Dial, calling: refreshedByUs(siptest.Script{}), called: ringing,
		hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-dial-session-refreshed-by-invite", spec: dialOnHold, flow: Dial, calling: refreshedByInvite(siptest.Script{}),
		called: ringing, hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-dial-session-refreshed-by-the-phone", spec: dialOnHold, flow: Dial, calling: refreshing(siptest.Script{}), called: ringing,
		hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error()},
	{name: "alone-dial-session-not-refreshed", spec: dialOnHold, flow: Dial, calling: siptest.Script{Header: session("90;refresher=uas")},
		called: ringing, err: errExpired.Error()},
	{name: "transfer-target-waits-and-is-refreshed", called: siptest.Script{Reinvite: siptest.Reinvite{After: 100 * time.Second}},
		third: scripted(refreshedByUs(siptest.Script{})), hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error(), during: transferWaits},
	{name: "transfer-target-waits-and-refreshes", called: siptest.Script{Reinvite: siptest.Reinvite{After: 100 * time.Second}},
		third: scripted(refreshing(siptest.Script{})), hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error(), during: transferWaits},
	{name: "transfer-target-waits-and-is-not-heard-of", called: siptest.Script{Reinvite: siptest.Reinvite{After: 100 * time.Second}},
		third: scripted(siptest.Script{Header: session("90;refresher=uas")}), hangUp: 4 * time.Minute, err: ErrHungUpByUser.Error(),
		during: transferWaits},
}

func scripted(s siptest.Script) *siptest.Script { return &s }

// transferWaits has the target pick up while the called phone thinks about an INVITE of
// the calling one's.
func transferWaits(t *testing.T, r *rig, p *phones, c *Call) {
	time.Sleep(5 * time.Second)
	go do(t, p.calling, 0, siptest.Action{Method: "INVITE"})
	time.Sleep(time.Second)
	transfer203(t, r, p, c)
	p.called.SetScript(siptest.Script{}) // it does not think about the next one
}

// enterPIN is a Take that answers the caller, and reads a PIN of two digits.
func enterPIN(ctx context.Context, in *Incoming) error {
	if err := in.AnswerHeld(ctx); err != nil {
		return err
	}
	for range 2 {
		if _, err := in.Digit(ctx); err != nil {
			return err
		}
	}
	return connectTo202(ctx, in)
}

// waiting is a Take that waits for something else than the caller, after the answer.
func waiting(ctx context.Context, in *Incoming) error {
	if err := in.AnswerHeld(ctx); err != nil {
		return err
	}
	done := make(chan struct{})
	defer time.AfterFunc(190*time.Second, func() { close(done) }).Stop()
	if err := in.Wait(ctx, done); err != nil {
		return err
	}
	return connectTo202(ctx, in)
}

// How a caller asks for a session.
var (
	weRefresh     = siptest.Calling{Header: append(session("90;refresher=uas"), sip.NewHeader("Supported", "timer"))}
	callerKeepsIt = siptest.Calling{Header: append(session("90;refresher=uac"), sip.NewHeader("Supported", "timer"))}
)

// Callers that enter a PIN, or wait for somebody who is not called by SIP.
var aloneInbound = []inboundCase{
	{name: "inbound-pin-session-refreshed-by-us", how: weRefresh, take: enterPIN, caller: func() siptest.Script {
		s := refreshedByUs(siptest.Script{Do: digitsAt(3*time.Minute, "4#"), HangUpAfter: 5 * time.Minute})
		s.Header = nil
		return s
	}(), during: minutes},
	{name: "inbound-pin-session-refreshed-by-the-caller", how: callerKeepsIt, take: enterPIN, during: minutes,
		caller: refreshing(siptest.Script{Do: digitsAt(3*time.Minute, "4#"), HangUpAfter: 4 * time.Minute})},
	{name: "inbound-pin-session-not-refreshed", how: callerKeepsIt, take: enterPIN, during: minutes, taken: errExpired.Error()},
	{name: "inbound-pin-session-caller-vanished", how: weRefresh, take: enterPIN, during: minutes, taken: errExpired.Error(),
		caller: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}},
	{name: "inbound-waiting-session-refreshed-by-us", how: weRefresh, take: waiting, during: minutes, caller: func() siptest.Script {
		s := refreshedByUs(siptest.Script{HangUpAfter: 5 * time.Minute})
		s.Header = nil
		return s
	}()},
	{name: "inbound-waiting-session-not-refreshed", how: callerKeepsIt, take: waiting, during: minutes, taken: errExpired.Error()},
	{name: "inbound-pin-target-rings-for-minutes", how: weRefresh, during: minutes, target: siptest.Script{Ring: 100 * time.Second},
		take: func(ctx context.Context, in *Incoming) error {
			if err := in.AnswerHeld(ctx); err != nil {
				return err
			}
			return in.Connect(ctx, Destination{URI: uri202, RingTime: 2 * time.Minute})
		}, caller: func() siptest.Script {
			s := refreshedByUs(siptest.Script{HangUpAfter: 5 * time.Minute})
			s.Header = nil
			return s
		}()},
}

func minutes(*testing.T, *rig, *siptest.Phone, *siptest.Phone) { time.Sleep(5 * time.Minute) }

// A leg that is up and not joined does what its dialog owes: message by message.
func TestLegsThatAreAlone(t *testing.T) {
	for _, sc := range aloneScenarios {
		t.Run(sc.name, func(t *testing.T) {
			flowtest.Ladder(t, sc.name, func(t *testing.T, n *siptest.Network) { sc.run(t, n, true) })
		})
	}
	for _, bc := range aloneCases {
		t.Run(bc.name, func(t *testing.T) {
			flowtest.Ladder(t, bc.name, func(t *testing.T, n *siptest.Network) { bc.run(t, n, true) })
		})
	}
	for _, ic := range aloneInbound {
		t.Run(ic.name, func(t *testing.T) {
			flowtest.Ladder(t, ic.name, func(t *testing.T, n *siptest.Network) { ic.run(t, n, true) })
		})
	}
}

// The same with each message lost once.
func TestLegsThatAreAloneSurviveLoss(t *testing.T) {
	for _, sc := range aloneScenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { sc.run(t, n, false) })
		})
	}
	for _, bc := range aloneCases {
		t.Run(bc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { bc.run(t, n, false) })
		})
	}
	for _, ic := range aloneInbound {
		t.Run(ic.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { ic.run(t, n, false) })
		})
	}
}

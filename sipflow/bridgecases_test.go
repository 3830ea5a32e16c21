package sipflow

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// session is the header field of a phone that keeps a session timer.
func session(value string) []sip.Header {
	return []sip.Header{sip.NewHeader("Session-Expires", value)}
}

// after has a phone do something a while after the call is up.
func after(d time.Duration, f func(t *testing.T, r *rig, p *phones, c *Call)) func(*testing.T, *rig, *phones, *Call) {
	return func(t *testing.T, r *rig, p *phones, c *Call) {
		time.Sleep(d)
		f(t, r, p, c)
	}
}

// serveEnds ends Serve after a while.
func serveEnds(d time.Duration) func(*testing.T, *rig, *phones, *Call) {
	return after(d, func(_ *testing.T, r *rig, _ *phones, _ *Call) { r.shutdown() }) //nolint:errcheck // a lost BYE takes its 10 s
}

// What phones do to each other, and to us, while they are bridged.
var inCallCases = []bridgeCase{
	{name: "bridged-session-refreshed-by-us", called: siptest.Script{Header: session("90;refresher=uac")}, hangUp: 2 * time.Minute,
		err: ErrHungUpByUser.Error()},
	{name: "bridged-session-refreshed-by-the-phone", hangUp: 2 * time.Minute, err: ErrHungUpByUser.Error(),
		called: siptest.Script{Header: session("90;refresher=uas"), Do: []siptest.Action{
			{After: 45 * time.Second, Method: "UPDATE", Header: session("90;refresher=uac")},
			{After: 90 * time.Second, Method: "INVITE", Header: session("90;refresher=uac")}}}},
	{name: "bridged-session-not-refreshed", called: siptest.Script{Header: session("90;refresher=uas")}, err: errExpired.Error()},
	{name: "bridged-session-phone-vanished", called: siptest.Script{Header: session("90;refresher=uac"),
		Reinvite: siptest.Reinvite{Silent: true}}, err: errExpired.Error()},
	{name: "bridged-session-phone-knows-nothing-of-it", called: siptest.Script{Header: session("90;refresher=uac"),
		Reinvite: siptest.Reinvite{Status: 481}}, err: "481"},
	{name: "bridged-session-too-brief", hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 422, siptest.Action{Method: "INVITE", Header: session("60")})
			do(t, p.calling, 422, siptest.Action{Method: "UPDATE", Header: session("60")})
		})},
	{name: "bridged-reinvite-unanswered", called: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}, err: "408",
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 408, siptest.Action{Method: "INVITE"})
		})},
	{name: "bridged-reinvite-of-a-phone-that-does-not-know-the-call", called: siptest.Script{Reinvite: siptest.Reinvite{Status: 481}},
		err: "481",
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 481, siptest.Action{Method: "INVITE"})
		})},
	{name: "bridged-info-unanswered", called: siptest.Script{Answers: map[sip.RequestMethod]int{"INFO": -1}}, hangUp: 40 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 408, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
		})},
	{name: "bridged-reinvite-with-too-many-streams", hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			many := held("10.0.0.2") + strings.Repeat("m=audio 0 RTP/AVP 0\r\n", 70)
			do(t, p.calling, 488, siptest.Action{Method: "INVITE", Body: many})
			do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			invites := p.called.Requests("INVITE")
			if n := strings.Count(string(invites[len(invites)-1].Body()), "m="); n != 1 {
				t.Errorf("the other phone is offered %d streams", n)
			}
		})},
	{name: "bridged-both-hang-up-at-once", calling: siptest.Script{HangUpAfter: 10 * time.Second},
		called: siptest.Script{HangUpAfter: 10 * time.Second}},
	{name: "bridged-hang-up-while-a-reinvite-is-pending", called: siptest.Script{Reinvite: siptest.Reinvite{After: 10 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			go do(t, p.calling, 487, siptest.Action{Method: "INVITE"})
			time.Sleep(2 * time.Second)
			p.called.HangUp()
		})},
	{name: "bridged-caller-of-a-reinvite-hangs-up", called: siptest.Script{Reinvite: siptest.Reinvite{After: 10 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			go do(t, p.calling, 487, siptest.Action{Method: "INVITE"})
			time.Sleep(2 * time.Second)
			p.calling.HangUp()
		})},
	{name: "bridged-called-challenges-reinvite", hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			p.called.SetScript(siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE", "INFO", "BYE"},
				Realm: "sipx.test", User: "200", Password: "secret"}})
			do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			do(t, p.calling, 200, siptest.Action{Method: "INFO", Body: "x", ContentType: "text/plain"})
		})},
	{name: "bridged-blind-transfer-by-a-phone",
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 202, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>"),
				sip.NewHeader("Contact", "<sip:201@"+phoneAddr+">")}})
			time.Sleep(5 * time.Second)
			p.calling.HangUp()
		})},
	{name: "client-hangs-up-before-called-rings", called: siptest.Script{Silent: true}, hangUp: 5 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "serve-ends-while-calling-rings", calling: siptest.Script{NeverAnswer: true}, during: serveEnds(5 * time.Second),
		err: ErrStopped.Error()},
	{name: "serve-ends-while-called-rings", called: siptest.Script{NeverAnswer: true}, during: serveEnds(5 * time.Second),
		err: ErrStopped.Error()},
	{name: "serve-ends-before-called-rings", called: siptest.Script{Silent: true}, during: serveEnds(5 * time.Second), err: ErrStopped.Error(),
		stuck: true},
	{name: "serve-ends-while-calling-is-reinvited", calling: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}},
		during: serveEnds(5 * time.Second), err: ErrStopped.Error()},
	{name: "serve-ends-while-bridged", during: serveEnds(5 * time.Second), err: ErrStopped.Error()},
	{name: "serve-ends-while-a-reinvite-is-pending", called: siptest.Script{Reinvite: siptest.Reinvite{After: 10 * time.Second}},
		err: ErrStopped.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			go do(t, p.calling, 487, siptest.Action{Method: "INVITE"})
			time.Sleep(2 * time.Second)
			r.shutdown() //nolint:errcheck // see serveEnds
		})},
}

func transfer203(t *testing.T, r *rig, _ *phones, _ *Call) { transferTo(t, r, "203", nil) }

// The ways in which a transfer can go.
var transferCases = []bridgeCase{
	{name: "transfer-twice", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			now := spec().Key
			now.Calling = "203@sipx.test"
			if err := r.sw.Transfer(ctx, now, spec().Key, "201@sipx.test", false); err != nil { // back to where it came from
				t.Errorf("second transfer: %v", err)
			}
		})},
	{name: "transfer-twice-and-the-first-target-leaves", third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(5 * time.Second)
			p.calling.SetScript(siptest.Script{NeverAnswer: true})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := r.sw.Transfer(ctx, c.Holds(), spec().Key, "201@sipx.test", false); err != nil {
				t.Errorf("second transfer: %v", err)
			}
			time.Sleep(time.Second)
			p.third.HangUp()
			time.Sleep(time.Second)
			p.called.HangUp()
		})},
	{name: "transfer-to-the-calling-phone-itself", hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, _ *phones, _ *Call) { transferTo(t, r, "201", nil) })},
	{name: "transfer-while-one-is-on-its-way", third: &siptest.Script{Ring: 5 * time.Second}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(time.Second)
			transferTo(t, r, "203", ErrTransferring)
		})},
	{name: "transfer-target-forks", third: &siptest.Script{Forks: 1}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, transfer203)},
	{name: "transfer-target-answers-without-sdp", third: &siptest.Script{NoSDP: true}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, transfer203)},
	{name: "transfer-target-is-silent", third: &siptest.Script{Silent: true}, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, transfer203)},
	{name: "transfer-called-answers-otherwise-than-it-offered", third: &siptest.Script{}, hangUp: 20 * time.Second,
		err:    ErrHungUpByUser.Error(),
		called: siptest.Script{Reinvite: siptest.Reinvite{SDP: strings.Replace(held("10.0.0.3"), "sendonly", "sendrecv", 1)}},
		during: after(5*time.Second, transfer203)},
	{name: "transfer-called-ignores-reinvite", called: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}}, third: &siptest.Script{},
		err: "408", during: after(5*time.Second, transfer203)},
	{name: "transfer-waits-for-a-reinvite", called: siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}},
		third:  &siptest.Script{Ring: time.Second},
		hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			go do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			transfer203(t, r, p, c)
		})},
	{name: "transfer-target-hangs-up-while-it-waits", called: siptest.Script{Reinvite: siptest.Reinvite{After: 6 * time.Second}},
		third: &siptest.Script{HangUpAfter: time.Second}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			go do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			transfer203(t, r, p, c)
		})},
	{name: "transfer-calling-hangs-up-as-the-target-answers", third: &siptest.Script{Ring: 5 * time.Second}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(5*time.Second + 2*time.Millisecond)
			p.calling.HangUp()
		})},
	{name: "transfer-called-hangs-up-as-the-target-answers", third: &siptest.Script{Ring: 5 * time.Second},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(5*time.Second + 2*time.Millisecond)
			p.called.HangUp()
		})},
	{name: "transfer-called-hangs-up-while-it-is-reinvited", called: siptest.Script{Reinvite: siptest.Reinvite{After: 5 * time.Second}},
		third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(2 * time.Second)
			p.called.HangUp()
		})},
	{name: "transfer-of-a-phone-on-hold", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		called: siptest.Script{Reinvite: siptest.Reinvite{SDP: strings.Replace(held("10.0.0.3"), "sendonly", "recvonly", 1)}},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			do(t, p.calling, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
			transfer203(t, r, p, c)
			time.Sleep(5 * time.Second)
			for _, req := range p.third.Requests("INVITE")[:1] {
				if !strings.Contains(string(req.Body()), "a=sendrecv") {
					t.Errorf("the target was offered a stream on hold:\n%s", req.Body())
				}
			}
		})},
	{name: "client-hangs-up-during-transfer", third: &siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, transfer203)},
	{name: "client-hangs-up-during-transfer-to-a-silent-phone", third: &siptest.Script{Silent: true}, hangUp: 5 * time.Second,
		err: ErrHungUpByUser.Error(), during: after(5*time.Second, transfer203)},
	{name: "serve-ends-during-transfer", third: &siptest.Script{NeverAnswer: true}, err: ErrStopped.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			serveEnds(2*time.Second)(t, r, p, c)
		})},
	{name: "serve-ends-while-a-transfer-joins", called: siptest.Script{Reinvite: siptest.Reinvite{After: 5 * time.Second}},
		third: &siptest.Script{}, err: ErrStopped.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			serveEnds(2*time.Second)(t, r, p, c)
		})},
}

package sipflow

import (
	"context"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

const (
	blind203    = "t1 blind to 203@sipx.test, calling leaves"
	attended203 = "t1 attended to 203@sipx.test, calling leaves"
)

// blindly has a party leave for 203.
func blindly(leaver Party) func(*testing.T, *rig, *phones, *Call) {
	return after(5*time.Second, func(t *testing.T, r *rig, _ *phones, c *Call) {
		comesTo(t, unlessLost(r.net, nil), func(ctx context.Context) error {
			_, err := c.BlindTransfer(ctx, leaver, "203@sipx.test", false)
			return err
		})
	})
}

// then does more after a while.
func then(first func(*testing.T, *rig, *phones, *Call), d time.Duration, more func(*testing.T, *rig, *phones, *Call)) func(*testing.T,
	*rig, *phones, *Call) {
	return func(t *testing.T, r *rig, p *phones, c *Call) {
		first(t, r, p, c)
		time.Sleep(d)
		more(t, r, p, c)
	}
}

func callingBYE(_ *testing.T, _ *rig, p *phones, _ *Call) { p.calling.HangUp() }
func calledBYE(_ *testing.T, _ *rig, p *phones, _ *Call)  { p.called.HangUp() }
func thirdBYE(_ *testing.T, _ *rig, p *phones, _ *Call)   { p.third.HangUp() }

// talk checks which phones are in the call afterwards, if no message is lost.
func talk(inCall ...string) func(*testing.T, *rig, *phones, *Call) {
	return func(t *testing.T, r *rig, p *phones, _ *Call) {
		t.Helper()
		time.Sleep(5 * time.Second)
		if r.net.Drop != nil {
			return
		}
		for user, ph := range map[string]*siptest.Phone{"201": p.calling, "202": p.called, "203": p.third} {
			want := false
			for _, u := range inCall {
				want = want || u == user
			}
			if ph != nil && ph.OnHook() == want {
				t.Errorf("%s is on-hook: %t", user, ph.OnHook())
			}
		}
	}
}

// cancels has a client call the transfer off.
func cancels(t *testing.T, r *rig, _ *phones, c *Call) {
	comesTo(t, ErrNoTransfer, func(ctx context.Context) error { return c.CancelTransfer(ctx, 9) })
	comesTo(t, unlessLost(r.net, nil), func(ctx context.Context) error { return c.CancelTransfer(ctx, 1) })
	comesTo(t, ErrNoTransfer, func(ctx context.Context) error { return c.CancelTransfer(ctx, 1) })
}

// completes has a client complete the transfer, which comes to want.
func completes(want any) func(*testing.T, *rig, *phones, *Call) {
	return func(t *testing.T, r *rig, _ *phones, c *Call) {
		comesTo(t, unlessLost(r.net, want), func(ctx context.Context) error { return c.CompleteTransfer(ctx, 1) })
	}
}

func rings5() *siptest.Script { return &siptest.Script{Ring: 5 * time.Second} }

// The ways in which a blind transfer can go, of which its progress is told.
var blindCases = []bridgeCase{
	{name: "blind-calling-leaves", third: &siptest.Script{Ring: 2 * time.Second}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(blindly(CallingParty), 5*time.Second, talk("202", "203")),
		told:   blind203 + ", t1 ringing, t1 completed"},
	{name: "blind-called-leaves", third: &siptest.Script{Ring: 2 * time.Second}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(blindly(CalledParty), 5*time.Second, talk("201", "203")),
		told:   "t1 blind to 203@sipx.test, called leaves, t1 ringing, t1 completed"},
	{name: "blind-busy", third: &siptest.Script{Status: 486}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(blindly(CallingParty), 5*time.Second, talk("201", "202")),
		told:   blind203 + ", t1 ringing, t1 failed by called on l3 for 486"},
	{name: "blind-silent", third: &siptest.Script{Silent: true}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(blindly(CallingParty), time.Minute, talk("201", "202")),
		told:   blind203 + ", t1 failed by us on l3 for 408"},
	{name: "blind-not-answered", third: &siptest.Script{NeverAnswer: true}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(blindly(CallingParty), time.Minute, talk("201", "202")),
		told:   blind203 + ", t1 ringing, t1 failed by us on l3 for 408"},
	{name: "blind-called-off", third: &siptest.Script{NeverAnswer: true}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(blindly(CallingParty), 2*time.Second, cancels), time.Second, talk("201", "202")),
		told:   blind203 + ", t1 ringing, t1 cancelled by client on l0"},
	{name: "blind-leaver-hangs-up", third: rings5(), hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(blindly(CallingParty), 2*time.Second, callingBYE), 5*time.Second, talk("202", "203")),
		told:   blind203 + ", t1 ringing, t1 completed"},
	{name: "blind-called-leaver-hangs-up", third: rings5(), hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(blindly(CalledParty), 2*time.Second, calledBYE), 5*time.Second, talk("201", "203")),
		told:   "t1 blind to 203@sipx.test, called leaves, t1 ringing, t1 completed"},
	{name: "blind-leaver-hangs-up-and-target-is-busy", third: &siptest.Script{Ring: 5 * time.Second, Status: 486},
		during: then(then(blindly(CallingParty), 2*time.Second, callingBYE), 5*time.Second, talk()),
		told:   blind203 + ", t1 ringing, t1 failed by called on l3 for 486"},
	{name: "blind-who-stays-hangs-up", third: rings5(),
		during: then(then(blindly(CallingParty), 2*time.Second, calledBYE), 5*time.Second, talk()),
		told:   blind203 + ", t1 ringing, t1 failed by called on l2 for BYE"},
	{name: "blind-client-hangs-up", third: rings5(), hangUp: 2 * time.Second, err: ErrHungUpByUser.Error(),
		during: blindly(CallingParty), told: blind203 + ", t1 ringing, t1 cancelled by client on l0"},
	{name: "blind-serve-ends", third: rings5(), err: ErrStopped.Error(),
		during: then(blindly(CallingParty), 2*time.Second, serveEnds(0)),
		told:   blind203 + ", t1 ringing, t1 cancelled by us on l0"},
	{name: "blind-target-hangs-up-as-it-is-joined", third: &siptest.Script{HangUpAfter: time.Second}, hangUp: 10 * time.Second,
		called: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}}, err: ErrHungUpByUser.Error(),
		during: then(blindly(CallingParty), 5*time.Second, talk("201", "202"))},
}

// consulting has a party consult 203.
func consulting(leaver Party) func(*testing.T, *rig, *phones, *Call) {
	return after(5*time.Second, func(t *testing.T, r *rig, _ *phones, c *Call) {
		comesTo(t, unlessLost(r.net, nil), func(ctx context.Context) error {
			_, err := c.AttendedTransfer(ctx, leaver, "203@sipx.test", false)
			return err
		})
	})
}

const (
	consults203 = "l2 held by client, " + attended203 + ", t1 ringing, t1 consulting"
	rings203    = "l2 held by client, " + attended203 + ", t1 ringing"
)

// The ways in which an attended transfer can go.
var attendedCases = []bridgeCase{
	{name: "attended-calling-leaves", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 5*time.Second, completes(nil)), 0, talk("202", "203")),
		told:   consults203 + ", l2 resumed by client, t1 completed"},
	{name: "attended-called-leaves", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CalledParty), 5*time.Second, completes(nil)), 0, talk("201", "203")),
		told: "l1 held by client, t1 attended to 203@sipx.test, called leaves, t1 ringing, t1 consulting, l1 resumed by client, " +
			"t1 completed"},
	{name: "attended-of-a-phone-that-was-on-hold", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			then(consulting(CallingParty), 5*time.Second, cancels)(t, r, p, c)
			c.mustHold(t, CalledParty, false, unlessLost(r.net, nil))
		}),
		told: consults203 + ", t1 cancelled by client on l0, l2 resumed by client"},
	{name: "attended-called-off-while-target-rings", third: rings5(), hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 2*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			comesTo(t, unlessLost(r.net, ErrNotConsulting), func(ctx context.Context) error { return c.CompleteTransfer(ctx, 1) })
			cancels(t, r, p, c)
		}), 0, talk("201", "202")),
		told: rings203 + ", t1 cancelled by client on l0, l2 resumed by client"},
	{name: "attended-called-off", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 5*time.Second, cancels), 0, talk("201", "202")),
		told:   consults203 + ", t1 cancelled by client on l0, l2 resumed by client"},
	{name: "attended-busy", third: &siptest.Script{Status: 486}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(consulting(CallingParty), 5*time.Second, talk("201", "202")),
		told:   rings203 + ", t1 failed by called on l3 for 486, l2 resumed by client"},
	{name: "attended-not-answered", third: &siptest.Script{NeverAnswer: true}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(consulting(CallingParty), time.Minute, talk("201", "202")),
		told:   rings203 + ", t1 failed by us on l3 for 408, l2 resumed by client"},
	{name: "attended-target-hangs-up", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 5*time.Second, thirdBYE), 0, talk("201", "202")),
		told:   consults203 + ", t1 failed by called on l3 for BYE, l2 resumed by client"},
	{name: "attended-who-waits-hangs-up", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 5*time.Second, calledBYE), 0, talk("201", "203")),
		told:   consults203 + ", t1 failed by called on l2 for BYE"},
	{name: "attended-leaver-hangs-up", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 5*time.Second, callingBYE), 0, talk("202", "203")),
		told:   consults203 + ", l2 resumed by client, t1 completed"},
	{name: "attended-leaver-hangs-up-while-target-rings", third: rings5(), hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(then(consulting(CallingParty), 2*time.Second, callingBYE), 5*time.Second, talk("202", "203")),
		told:   rings203 + ", l2 resumed by client, t1 completed"},
	{name: "attended-who-waits-hangs-up-while-target-rings", third: rings5(),
		during: then(then(consulting(CallingParty), 2*time.Second, calledBYE), 0, talk()),
		told:   rings203 + ", t1 failed by called on l2 for BYE"},
	{name: "attended-who-waits-does-not-hold", called: refusing, third: &siptest.Script{}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			comesTo(t, unlessLost(r.net, 488), func(ctx context.Context) error {
				_, err := c.AttendedTransfer(ctx, CallingParty, "203@sipx.test", false)
				return err
			})
			talk("201", "202")(t, r, p, c)
		})},
	{name: "attended-leaver-does-not-take-the-target", third: rings5(), hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(), during: then(consulting(CallingParty), time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.calling.SetScript(refusing)
			time.Sleep(4*time.Second + 8*time.Millisecond) // it has refused
			p.calling.SetScript(siptest.Script{})
			talk("201", "202")(t, r, p, c)
		}), told: rings203 + ", t1 failed by calling on l1 for 488, l2 resumed by client"},
	{name: "attended-leaver-takes-nobody", third: rings5(), err: "488",
		during: then(consulting(CallingParty), time.Second, func(_ *testing.T, _ *rig, p *phones, _ *Call) {
			p.calling.SetScript(refusing)
		}), told: rings203 + ", t1 failed by calling on l1 for 488"},
	{name: "attended-who-waits-does-not-take-the-target", third: &siptest.Script{}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: then(consulting(CallingParty), 5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.called.SetScript(refusing)
			completes(488)(t, r, p, c)
			talk("201", "202", "203")(t, r, p, c)
			p.called.SetScript(siptest.Script{})
			completes(nil)(t, r, p, c)
			talk("202", "203")(t, r, p, c)
		}), told: consults203 + ", l2 resumed by client, t1 completed"},
	{name: "attended-target-does-not-take-who-waits", third: &siptest.Script{}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: then(consulting(CallingParty), 5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.third.SetScript(refusing)
			completes(488)(t, r, p, c)
			talk("201", "202", "203")(t, r, p, c)
			cancels(t, r, p, c)
			talk("201", "202")(t, r, p, c)
		}), told: consults203 + ", t1 cancelled by client on l0, l2 resumed by client"},
	{name: "attended-client-hangs-up", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: consulting(CallingParty), told: consults203 + ", t1 cancelled by client on l0"},
	{name: "attended-serve-ends", third: &siptest.Script{}, err: ErrStopped.Error(),
		during: then(consulting(CallingParty), 5*time.Second, serveEnds(0)), told: consults203 + ", t1 cancelled by us on l0"},
	{name: "attended-another-transfer-meanwhile", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(consulting(CallingParty), 5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transferTo(t, r, "203", ErrTransferring)
			c.mustHold(t, CalledParty, false, ErrTransferring)
		})},
}

// Phones send INVITEs of their own during an attended transfer.
var crossingAttended = bridgeCase{name: "attended-phones-move-while-they-wait", third: &siptest.Script{}, hangUp: 10 * time.Second,
	err: ErrHungUpByUser.Error(),
	during: then(consulting(CallingParty), 5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
		do(t, p.called, 0, siptest.Action{Method: "INVITE"})
		do(t, p.called, 0, siptest.Action{Method: "INFO", Body: "Signal=1\r\n", ContentType: "application/dtmf-relay"})
		do(t, p.calling, 0, siptest.Action{Method: "INVITE"}) // to the target
		do(t, p.third, 0, siptest.Action{Method: "INVITE"})
		completes(nil)(t, r, p, c)
	})}

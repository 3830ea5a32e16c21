package sipflow

import (
	"context"
	"errors"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// diverted has a client call 203 in place of a party, which comes to want.
func diverted(who Party, want any) func(*testing.T, *rig, *phones, *Call) {
	return func(t *testing.T, r *rig, _ *phones, c *Call) {
		comesTo(t, unlessLost(r.net, want), func(ctx context.Context) error { return c.Redirect(ctx, who, "203@sipx.test", false) })
	}
}

func forbids203(c *Config) {
	c.Allow = func(_ *Spec, target string) error {
		if target == "203@sipx.test" {
			return errors.New("premium")
		}
		return nil
	}
}

// The ways in which a client has another phone called than the one that rings.
var divertCases = []bridgeCase{
	{name: "divert-called", called: siptest.Script{NeverAnswer: true}, third: &siptest.Script{Ring: time.Second}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(), during: then(after(5*time.Second, diverted(CalledParty, nil)), 0, talk("201", "203"))},
	{name: "divert-calling", calling: siptest.Script{NeverAnswer: true}, third: &siptest.Script{Ring: time.Second}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(), during: then(after(5*time.Second, diverted(CallingParty, nil)), 0, talk("202", "203"))},
	{name: "divert-calling-of-a-refer", flow: Refer, spec: byRefer, calling: siptest.Script{NeverAnswer: true}, third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			diverted(CalledParty, ErrNoCall)(t, r, p, c)
			diverted(CallingParty, nil)(t, r, p, c)
		})},
	{name: "divert-called-that-is-silent", called: siptest.Script{Silent: true}, third: &siptest.Script{}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(), during: then(after(2*time.Second, diverted(CalledParty, nil)), 0, talk("201", "203"))},
	{name: "divert-called-answers-as-it-is-cancelled", called: siptest.Script{NeverAnswer: true, AnswerOnCancel: true},
		third: &siptest.Script{Ring: time.Second}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: then(after(5*time.Second, diverted(CalledParty, nil)), 0, talk("201", "203"))},
	{name: "divert-to-a-busy-phone", called: siptest.Script{NeverAnswer: true}, third: &siptest.Script{Status: 486},
		err: "486", during: after(5*time.Second, diverted(CalledParty, nil))},
	{name: "divert-twice", called: siptest.Script{NeverAnswer: true}, third: &siptest.Script{NeverAnswer: true}, hangUp: 5 * time.Second,
		err: ErrHungUpByUser.Error(), during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			diverted(CalledParty, nil)(t, r, p, c)
			time.Sleep(2 * time.Second)
			comesTo(t, unlessLost(r.net, nil), func(ctx context.Context) error { return c.Redirect(ctx, CalledParty, "202@sipx.test", false) })
		})},
	{name: "divert-against-the-policy", called: siptest.Script{NeverAnswer: true}, cfg: forbids203, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(), during: after(5*time.Second, diverted(CalledParty, ErrForbidden))},
	{name: "divert-who-has-answered", third: &siptest.Script{}, hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			diverted(CalledParty, ErrAnswered)(t, r, p, c)
			diverted(CallingParty, ErrAnswered)(t, r, p, c)
		})},
	{name: "divert-calling-hangs-up", called: siptest.Script{NeverAnswer: true}, third: &siptest.Script{NeverAnswer: true},
		err: ErrHungUp.Error(), during: then(after(5*time.Second, diverted(CalledParty, nil)), time.Second, callingBYE)},
}

// Whoever is first, the phone or the client that has another one called: both never are,
// and the client is told which.
func TestDivertCrossesTheAnswer(t *testing.T) {
	for _, at := range []time.Duration{4998, 4999, 5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007, 5008} {
		bc := bridgeCase{called: siptest.Script{Ring: 5 * time.Second}, third: &siptest.Script{}, hangUp: 10 * time.Second,
			err: ErrHungUpByUser.Error(), during: after(at*time.Millisecond, func(t *testing.T, r *rig, p *phones, c *Call) {
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				err := c.Redirect(ctx, CalledParty, "203@sipx.test", false)
				time.Sleep(5 * time.Second)
				if answered := errors.Is(err, ErrAnswered); p.third.OnHook() != answered || p.called.OnHook() == answered {
					t.Errorf("at %v: %v, 202 is on-hook: %t, 203: %t", at, err, p.called.OnHook(), p.third.OnHook())
				} else if err != nil && !answered {
					t.Errorf("at %v: %v", at, err)
				}
			})}
		ladder(t, bc)
	}
}

package sipflow

import (
	"context"
	"errors"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// comesTo runs an action of a client's, which has to come to want: nil, an error, or the
// code of a *StatusError.
func comesTo(t *testing.T, want any, do func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := do(ctx)
	var refused *StatusError
	switch want := want.(type) {
	case nil:
		if err != nil {
			t.Errorf("came to %v", err)
		}
	case int:
		if !errors.As(err, &refused) || refused.Code != want {
			t.Errorf("came to %v, want %d", err, want)
		}
	case error:
		if !errors.Is(err, want) {
			t.Errorf("came to %v, want %v", err, want)
		}
	}
}

func (c *Call) mustHold(t *testing.T, who Party, on bool, want any) {
	t.Helper()
	comesTo(t, want, func(ctx context.Context) error { return c.Hold(ctx, who, on) })
}

// unlessLost is want where no message is lost, else whatever comes of it.
func unlessLost(n *siptest.Network, want any) any {
	if n.Drop != nil {
		return "anything"
	}
	return want
}

var refusing = siptest.Script{Reinvite: siptest.Reinvite{Status: 488}}

// againAfter is a phone of an Asterisk that takes so long to have audio go past itself.
func againAfter(d time.Duration) siptest.Script {
	s := siptest.AsteriskDirectMedia()
	s.Do[0].After = d
	return s
}

// The ways in which phones are put on hold, and taken back.
var holdCases = []bridgeCase{
	{name: "hold-called", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 held by client, l2 resumed by client",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil)) // it is
			time.Sleep(5 * time.Second)
			c.mustHold(t, CalledParty, false, unlessLost(r.net, nil))
			c.mustHold(t, CalledParty, false, unlessLost(r.net, nil))
		})},
	{name: "hold-calling", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l1 held by client, l1 resumed by client",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CallingParty, true, unlessLost(r.net, nil))
			time.Sleep(5 * time.Second)
			c.mustHold(t, CallingParty, false, unlessLost(r.net, nil))
		})},
	{name: "hold-both", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		told: "l1 held by client, l2 held by client, l1 resumed by client, l2 resumed by client",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CallingParty, true, unlessLost(r.net, nil))
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			c.mustHold(t, CallingParty, false, unlessLost(r.net, nil))
			c.mustHold(t, CalledParty, false, unlessLost(r.net, nil))
		})},
	{name: "hold-by-a-phone", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 held by calling, l2 resumed by calling",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			do(t, p.calling, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
			time.Sleep(5 * time.Second)
			do(t, p.calling, 200, siptest.Action{Method: "INVITE"})
		})},
	{name: "hold-asterisk-invites-again", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		told: "l2 held by client, l2 resumed by client", calling: againAfter(7 * time.Second), called: againAfter(9 * time.Second),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			time.Sleep(6 * time.Second)
			c.mustHold(t, CalledParty, false, unlessLost(r.net, nil))
		})},
	{name: "hold-refused", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), called: refusing,
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, 488))
			p.called.SetScript(siptest.Script{})
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
		})},
	{name: "hold-refused-by-the-other", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.calling.SetScript(refusing)
			c.mustHold(t, CalledParty, true, unlessLost(r.net, 488))
			if r.events() != "" {
				t.Errorf("told %s", r.events())
			}
			p.calling.SetScript(siptest.Script{})
		})},
	{name: "hold-unanswered", err: "408", called: siptest.Script{Reinvite: siptest.Reinvite{Silent: true}},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			began := time.Now()
			c.mustHold(t, CalledParty, true, unlessLost(r.net, ErrPhoneTimeout))
			if d := time.Since(began); d != phoneTime && r.net.Drop == nil {
				t.Errorf("after %v", d)
			}
		})},
	{name: "hold-answered-late", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 held by client",
		called: siptest.Script{Reinvite: siptest.Reinvite{After: 12 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, ErrPhoneTimeout))
			time.Sleep(5 * time.Second)
			p.called.SetScript(siptest.Script{})
		})},
	{name: "hold-the-phone-hangs-up", called: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			go func() { time.Sleep(time.Second); p.called.HangUp() }()
			c.mustHold(t, CalledParty, true, unlessLost(r.net, ErrNoCall))
		})},
	{name: "hold-the-other-hangs-up", called: siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			go func() { time.Sleep(time.Second); p.calling.HangUp() }()
			c.mustHold(t, CalledParty, true, unlessLost(r.net, ErrNoCall))
		})},
	{name: "hold-then-transfer", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), third: &siptest.Script{},
		told: "l2 held by client, t1 blind to 203@sipx.test, calling leaves, t1 ringing, l2 resumed by client, t1 completed",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			transfer203(t, r, p, c)
			time.Sleep(5 * time.Second)
		})},
	{name: "mute-called", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 muted by client, l2 unmuted by client",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			mute := func(m Mute) {
				comesTo(t, unlessLost(r.net, nil), func(ctx context.Context) error { return c.MuteParty(ctx, CalledParty, m) })
			}
			mute(MuteSpeaking)
			mute(0)
		})},
	{name: "digit-of-a-phone", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 5, l1 #",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			info := func(ph *siptest.Phone, body, as string) {
				do(t, ph, 200, siptest.Action{Method: "INFO", Body: body, ContentType: as})
			}
			info(p.called, "Signal=5\r\nDuration=160\r\n", "application/dtmf-relay")
			info(p.calling, "#", "application/dtmf")
			info(p.calling, "hello", "text/plain")
		})},
	{name: "hold-of-a-call-that-rings", called: siptest.Script{Ring: 10 * time.Second}, hangUp: 10 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, _ *phones, c *Call) {
			c.mustHold(t, CalledParty, true, ErrNoCall)
		})},
}

// Who is on hold hears nobody and is heard by nobody, whatever the phones change
// meanwhile; then all is as before.
func TestHoldIsOfBothDirections(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		p.up()
		held := make(chan error, 1)
		hold := func(on bool) { go func() { held <- p.call.Hold(t.Context(), CalledParty, on) }() }
		hold(true)
		m := p.b.expect("INVITE")
		says(t, "B", m, "sendonly")
		p.b.ok(m, "", sdpAs(5000, "inactive")) // some say so, and mean recvonly
		p.b.expect("ACK")
		m = p.a.expect("INVITE")
		says(t, "A", m, "inactive")
		p.a.ok(m, "", sdpAs(4001, "inactive"))
		p.a.expect("ACK")
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		// A moves, and B, which is told, does not hear it.
		p.reinvite(p.a, p.b, 1, sdpOf(4009), "sendonly", sdpAs(5000, "recvonly"), "inactive")
		// So it is where B is a PBX that has its audio go another way, and says sendrecv.
		p.reinvite(p.b, p.a, 1, sdpOf(5009), "inactive", sdpAs(4009, "inactive"), "sendonly")
		hold(false)
		m = p.b.expect("INVITE")
		says(t, "B", m, "sendrecv")
		p.b.ok(m, "", sdpOf(5000))
		p.b.expect("ACK")
		m = p.a.expect("INVITE")
		says(t, "A", m, "sendrecv")
		p.a.ok(m, "", sdpOf(4009))
		p.a.expect("ACK")
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		p.a.quiet(5 * time.Second)
		p.b.quiet(0)
		p.hangUp()
	})
}

// What crosses an INVITE of a phone's is tried again after a while, which differs.
func TestActionsThatCrossAnINVITE(t *testing.T) {
	for _, bc := range []bridgeCase{
		{name: "hold-crosses-an-invite-of-the-phone", hangUp: 10 * time.Second, err: ErrHungUpByUser.Error(), told: "l2 held by client",
			calling: siptest.Script{Reinvite: siptest.Reinvite{After: time.Second}},
			during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
				go do(t, p.called, 0, siptest.Action{Method: "INVITE"})
				time.Sleep(500 * time.Millisecond)
				p.calling.SetScript(siptest.Script{})
				c.mustHold(t, CalledParty, true, unlessLost(r.net, nil))
			})},
		crossingAttended,
	} {
		t.Run(bc.name, func(t *testing.T) { ladder(t, bc) })
	}
}

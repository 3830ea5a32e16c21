package sipflow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
)

// follows is a phone that calls whom a REFER names.
var follows = siptest.Script{Refer: siptest.Refer{Follow: true}}

// consult has a phone call the third one while it is in a call. It returns the
// Call-IDs of both; "" if the call comes to nothing.
func consult(t *testing.T, p *phones, from *siptest.Phone) (first, second string) {
	t.Helper()
	before := from.Calls()
	if len(before) != 1 {
		t.Logf("the phone is in %d calls", len(before))
		return "", ""
	}
	ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
	defer stop()
	if err := from.Call(ctx, uri203); err != nil {
		t.Log(err)
		return "", ""
	}
	for _, id := range from.Calls() {
		if id != before[0] {
			return before[0], id
		}
	}
	return "", ""
}

// referIn has a phone send a REFER in one call that names the other one.
func referIn(t *testing.T, from *siptest.Phone, in, names string) {
	t.Helper()
	to, err := from.ReferTo(names)
	if err != nil {
		t.Log(err)
		return
	}
	ctx, stop := context.WithTimeout(t.Context(), 40*time.Second)
	defer stop()
	res, err := from.DoIn(ctx, in, siptest.Action{Method: "REFER", Header: []sip.Header{to, sip.NewHeader("Contact", "<"+from.AOR()+">")}})
	if err != nil {
		t.Log(err)
	} else if res.StatusCode != 202 {
		t.Errorf("REFER was answered %d", res.StatusCode)
	}
}

// attended has a phone transfer its call to the third, which it consults. The REFER
// goes to the third phone, and names the bridged call.
func attended(who func(*phones) *siptest.Phone) func(*testing.T, *rig, *phones, *Call) {
	return after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
		from := who(p)
		first, second := consult(t, p, from)
		if second == "" {
			return
		}
		time.Sleep(2 * time.Second)
		referIn(t, from, second, first)
		time.Sleep(10 * time.Second)
		from.HangUp()
		time.Sleep(5 * time.Second)
		p.third.HangUp()
	})
}

func theCalling(p *phones) *siptest.Phone { return p.calling }
func theCalled(p *phones) *siptest.Phone  { return p.called }

// takeOver has the third phone take the place of another one, for at most as long as
// it is patient. want is what comes of it, "" for success.
func takeOver(t *testing.T, p *phones, old *siptest.Phone, how siptest.Calling, patience time.Duration, want string, with ...sip.Header) {
	t.Helper()
	ids := old.Calls()
	if len(ids) != 1 {
		t.Logf("the phone is in %d calls", len(ids))
		return
	}
	value, contact, err := old.Replaces(ids[0])
	if err != nil {
		t.Error(err)
		return
	}
	ctx, stop := context.WithTimeoutCause(t.Context(), patience, errors.New("out of patience"))
	defer stop()
	err = p.third.CallAs(ctx, how, contact, append(with, sip.NewHeader("Replaces", value))...)
	if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
		t.Logf("%s has: %v, want %q", t.Name(), err, want)
		if strictly(t) {
			t.Errorf("the third phone's INVITE came to %v, want %q", err, want)
		}
	}
}

// strictly reports whether nothing is lost in the test.
func strictly(t *testing.T) bool {
	return !strings.Contains(t.Name(), "SurviveLoss") || strings.HasSuffix(t.Name(), "/undisturbed")
}

// takesOver is takeOver, after which the third phone is in the call for a while.
func takesOver(who func(*phones) *siptest.Phone, how siptest.Calling) func(*testing.T, *rig, *phones, *Call) {
	return after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
		old := who(p)
		takeOver(t, p, old, how, time.Minute, "")
		time.Sleep(10 * time.Second)
		if !strictly(t) {
			return
		}
		key := spec().Key
		if stays := p.calling; old == stays {
			key.Calling = "203@sipx.test"
		} else {
			key.Called = "203@sipx.test"
		}
		if !old.OnHook() || p.third.OnHook() || r.sw.Find(key) != c || c.Holds() != key {
			t.Errorf("the old phone is on-hook: %v, the third: %v; the call holds %s", old.OnHook(), p.third.OnHook(), c.Holds())
		}
	})
}

// Phones that take another's place in a bridged call by INVITE with Replaces.
var replacesCases = []bridgeCase{
	{name: "attended-called-refers-the-third", third: &follows, during: attended(theCalled),
		dialogs: up + ", 203 null, 203 Confirmed Dialog, 202 Terminated Dialog, 203 Terminated Dialog, 201 Terminated Dialog"},
	{name: "attended-calling-refers-the-third", third: &follows, during: attended(theCalling),
		dialogs: up + ", 203 null, 203 Confirmed Dialog, 201 Terminated Dialog, 203 Terminated Dialog, 202 Terminated Dialog"},
	{name: "attended-through-challenging-proxy", challenge: true, third: &follows, during: attended(theCalled)},
	{name: "attended-called-refers-the-calling", calling: follows, third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			first, second := consult(t, p, p.called)
			if second == "" {
				return
			}
			referIn(t, p.called, first, second)
			time.Sleep(10 * time.Second)
			if strictly(t) && !p.calling.ConnectedTo(p.third) {
				t.Error("201 and 203 are not connected")
			}
			p.called.HangUp()
			time.Sleep(5 * time.Second)
			p.third.HangUp()
		})},
	{name: "replaced-called-without-an-offer", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: takesOver(theCalled, siptest.Calling{NoOffer: true})},
	{name: "replaced-calling-without-an-offer", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: takesOver(theCalling, siptest.Calling{NoOffer: true})},
	{name: "replaced-and-the-client-hangs-up", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: takesOver(theCalled, siptest.Calling{})},
	{name: "replaced-twice", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
			time.Sleep(5 * time.Second)
			back := &phones{third: p.called}
			takeOver(t, back, p.third, siptest.Calling{}, time.Minute, "")
			time.Sleep(5 * time.Second)
			if strictly(t) && (c.Holds() != spec().Key || !p.third.OnHook()) {
				t.Errorf("the call holds %s, 203 is on-hook: %v", c.Holds(), p.third.OnHook())
			}
		})},
	{name: "replaced-other-refuses-reinvite", third: &siptest.Script{}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Status: 488}})
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "488")
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true}, time.Minute, "488")
		}), dialogs: up + ", 203 null, 203 Terminated Dialog, 203 null, 203 Terminated Dialog, 202 Terminated Dialog, 201 Terminated Dialog"},
	{name: "replaced-other-does-not-know-the-call", third: &siptest.Script{}, err: "481",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Status: 481}})
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "481")
		})},
	{name: "replaced-other-ignores-reinvite", third: &siptest.Script{}, err: "408",
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Silent: true}})
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "408")
		})},
	{name: "replaced-other-says-nothing-of-its-media", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{NoSDP: true}})
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true}, time.Minute, "488")
		})},
	{name: "replaced-waits-for-a-reinvite", calling: siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}},
		third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(10*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			go do(t, p.called, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
		})},
	{name: "replaced-third-gives-up-while-it-waits", calling: siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}},
		third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(10*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			go do(t, p.called, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			takeOver(t, p, p.called, siptest.Calling{}, time.Second, "out of patience")
		})},
	{name: "replaced-third-gives-up-while-the-other-is-reinvited", third: &siptest.Script{}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			takeOver(t, p, p.called, siptest.Calling{}, time.Second, "out of patience")
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-third-gives-up-while-the-other-makes-an-offer", third: &siptest.Script{}, hangUp: 20 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true}, time.Second, "out of patience")
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-third-gives-up-and-the-old-one-has-left", third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go takeOver(t, p, p.called, siptest.Calling{}, 2*time.Second, "out of patience")
			time.Sleep(time.Second)
			p.called.HangUp()
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-other-hangs-up-while-it-is-reinvited", third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "603")
			time.Sleep(2 * time.Second)
			p.calling.HangUp()
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-other-hangs-up-while-the-third-waits", third: &siptest.Script{},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go do(t, p.called, 0, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "603")
			time.Sleep(time.Second)
			p.calling.HangUp()
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-old-one-hangs-up-as-the-third-comes", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
			time.Sleep(time.Second)
			p.called.HangUp()
			time.Sleep(10 * time.Second)
		})},
	{name: "replaced-old-one-hangs-up-while-the-third-waits", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go do(t, p.called, 0, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
			time.Sleep(time.Second)
			p.called.HangUp()
			time.Sleep(20 * time.Second)
		})},
	{name: "replaced-third-does-not-acknowledge", third: &siptest.Script{}, err: errNoAck.Error(), offHook: true,
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{LoseACKs: 99}, time.Minute, "")
		})},
	{name: "replaced-third-does-not-answer-the-offer", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true, NoAnswer: true}, time.Minute, "")
			time.Sleep(5 * time.Second)
			if strictly(t) && (!p.third.OnHook() || p.called.OnHook()) {
				t.Error("the call is not as it was")
			}
		})},
	{name: "replaced-third-does-not-acknowledge-the-offer", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true, LoseACKs: 99}, time.Minute, "")
			time.Sleep(50 * time.Second)
			if strictly(t) && (!p.third.OnHook() || p.called.OnHook()) {
				t.Error("the call is not as it was")
			}
		})},
	{name: "replaced-client-hangs-up-before-the-third-acknowledges", third: &siptest.Script{}, hangUp: 5 * time.Second,
		err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{NoOffer: true, LoseACKs: 4}, time.Minute, "")
		})},
	{name: "replaced-third-hangs-up-at-once", third: &siptest.Script{HangUpAfter: time.Millisecond},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
		})},
	{name: "replaced-phone-on-hold", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			do(t, p.called, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.3")})
			time.Sleep(time.Second)
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "")
			time.Sleep(time.Second)
			if all := p.calling.Requests("INVITE"); strictly(t) && !strings.Contains(string(all[len(all)-1].Body()), "a=sendrecv") {
				t.Errorf("the other phone is still held:\n%s", all[len(all)-1].Body())
			}
		})},
	{name: "replaced-during-a-transfer", third: &siptest.Script{NeverAnswer: true}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			transfer203(t, r, p, c)
			time.Sleep(time.Second)
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "491")
		})},
	{name: "replaced-against-the-policy", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		cfg: func(c *Config) {
			c.Allow = func(_ *Spec, target string) error {
				if strings.HasPrefix(target, "203@") {
					return errors.New("not 203")
				}
				return nil
			}
		},
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "403")
		})},
	{name: "replaced-too-often", third: &siptest.Script{}, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		cfg: func(c *Config) { c.Limits.PairRate = 1 },
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Status: 488}})
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "488")
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "480")
		})},
	{name: "replaced-by-a-stranger", third: &siptest.Script{}, direct: true, hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
			takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "403")
		})},
	{name: "serve-ends-while-a-third-waits", third: &siptest.Script{}, err: ErrStopped.Error(), offHook: true,
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go do(t, p.called, 0, siptest.Action{Method: "INVITE"})
			time.Sleep(time.Second)
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "480")
			serveEnds(time.Second)(t, r, p, c)
			time.Sleep(time.Minute)
		})},
	{name: "serve-ends-while-a-third-is-joined", third: &siptest.Script{}, err: ErrStopped.Error(), offHook: true,
		during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, c *Call) {
			p.calling.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 4 * time.Second}})
			go takeOver(t, p, p.called, siptest.Calling{}, time.Minute, "480")
			serveEnds(time.Second)(t, r, p, c)
			time.Sleep(time.Minute)
		})},
}

// Both calls of the phone that transfers are ours. Each phone that is referred calls
// the other one, whose place in the other call it takes (RFC 5589 §7).
func TestAttendedTransferBetweenTwoCallsOfOurs(t *testing.T) {
	for _, c := range []struct{ name, in, names string }{
		{"the first call has the REFER", "202", "203"}, {"the second call has it", "203", "202"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Open: true,
					Users:     map[string]string{"201": "", "202": "", "203": ""},
					Locations: map[string]string{"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr, "203": "sip:203@" + thirdAddr}})
				defer proxy.Close()
				at := map[string]*siptest.Phone{}
				for user, addr := range map[string]string{"201": phoneAddr, "202": calledAddr, "203": thirdAddr} {
					n.Name(addr, user)
					at[user] = siptest.NewPhone(n.Listen(addr), siptest.Account{User: user, Domain: "sipx.test", Proxy: proxy.Addr()}, follows)
					defer at[user].Close()
				}
				r := newRig(t, n, proxyAddr)
				defer r.stop()
				ids := map[string]string{}
				for _, user := range []string{"202", "203"} {
					if _, err := r.sw.Place(t.Context(), spec(func(s *Spec) {
						s.Method, s.CalledUser, s.Called = MethodInvite, user+"@sipx.test", user+"@sipx.test"
					}), Invite); err != nil {
						t.Fatal(err)
					}
					time.Sleep(2 * time.Second)
					for _, id := range at["201"].Calls() {
						if id != ids["202"] {
							ids[user] = id
						}
					}
				}
				referIn(t, at["201"], ids[c.in], ids[c.names])
				time.Sleep(10 * time.Second)
				if !at["202"].ConnectedTo(at["203"]) {
					t.Errorf("202 and 203 are not connected:\n%s", n.Ladder())
				}
				at["201"].HangUp()
				time.Sleep(5 * time.Second)
				at["202"].HangUp()
				for user, phone := range at {
					time.Sleep(time.Minute)
					if !phone.OnHook() {
						t.Errorf("%s is off-hook", user)
					}
				}
				r.empty()
			})
		})
	}
}

func replacesHeader(value string) sip.Header { return sip.NewHeader("Replaces", value) }

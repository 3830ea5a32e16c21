package sipflow

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

func forwarding(s *Spec) { s.ForwardingAllowed = true }

// deny refuses targets that contain a word.
func deny(word string) func(*Config) {
	return func(c *Config) {
		c.Allow = func(_ *Spec, target string) error {
			if strings.Contains(target, word) {
				return errors.New("no " + word)
			}
			return nil
		}
	}
}

func to203() siptest.Script { return siptest.Script{Status: 302, RedirectTo: "<sip:203@sipx.test>"} }

// untouched checks that a phone was not called.
func untouched(t *testing.T, ph *siptest.Phone) {
	t.Helper()
	if n := len(ph.Requests("INVITE")); n != 0 {
		t.Errorf("%d INVITEs reached the phone", n)
	}
}

// Phones that forward their calls, message by message (RFC 3261 §8.1.3.4).
var redirectCases = []bridgeCase{
	{name: "redirect-of-called-is-followed",
		called: siptest.Script{Status: 302, RedirectTo: `"Bob" <sip:203@sipx.test;user=phone;method=BYE?Subject=evil&Route=x>;q=0.7`},
		third:  &siptest.Script{Ring: time.Second}, spec: forwarding, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			if got := p.third.Requests("INVITE")[0].Recipient.String(); strings.Contains(got, "evil") || strings.Contains(got, "BYE") {
				t.Errorf("INVITE %s", got)
			}
		})},
	{name: "redirect-of-calling-is-followed", calling: to203(), third: &siptest.Script{}, spec: forwarding, hangUp: time.Minute,
		err: ErrHungUpByUser.Error()},
	{name: "redirect-of-calling-is-followed-by-refer", calling: to203(), third: &siptest.Script{}, flow: Refer,
		spec:   func(s *Spec) { forwarding(s); byRefer(s) },
		status: "INVITE 180 Ringing, INVITE 200 OK, NOTIFY 100 Trying, NOTIFY 180 Ringing, NOTIFY 200 OK"},
	{name: "redirect-through-challenging-proxy", called: to203(), third: &siptest.Script{}, challenge: true, spec: forwarding,
		hangUp: time.Minute, err: ErrHungUpByUser.Error()},
	{name: "redirect-is-not-followed-unasked", called: to203(), third: &siptest.Script{}, err: "302",
		during: after(time.Minute, func(t *testing.T, _ *rig, p *phones, _ *Call) { untouched(t, p.third) })},
	{name: "redirect-is-followed-for-everybody", called: to203(), third: &siptest.Script{}, cfg: func(c *Config) { c.FollowRedirects = true },
		hangUp: time.Minute, err: ErrHungUpByUser.Error()},
	{name: "redirect-to-forbidden", called: to203(), third: &siptest.Script{}, spec: forwarding, cfg: deny("203"), err: "302",
		during: after(time.Minute, func(t *testing.T, r *rig, p *phones, _ *Call) {
			untouched(t, p.third)
			if n := r.sw.Stats().Refused[RefusedForbidden]; n != 1 {
				t.Errorf("%d refusals counted", n)
			}
		})},
	{name: "redirect-of-calling-to-forbidden", calling: to203(), third: &siptest.Script{}, flow: Refer, cfg: deny("203"), err: "302",
		spec: func(s *Spec) { forwarding(s); byRefer(s) }, status: "INVITE 180 Ringing, INVITE 302 Moved Temporarily",
		during: after(time.Minute, func(t *testing.T, _ *rig, p *phones, _ *Call) { untouched(t, p.third) })},
	{name: "redirect-prefers-the-highest-q",
		called: siptest.Script{Status: 300, RedirectTo: "<sip:204@sipx.test>;q=0.2, <mailto:x@y>, <sip:205@sipx.test>;q=0.9, " +
			"<sip:203@sipx.test>;q=0.5"},
		third: &siptest.Script{}, spec: forwarding, cfg: deny("204"), hangUp: time.Minute, err: ErrHungUpByUser.Error()},
	{name: "redirect-to-a-phone-that-declines",
		called: siptest.Script{Status: 302, RedirectTo: "<sip:203@sipx.test>, <sip:202@sipx.test;x=1>"},
		third:  &siptest.Script{Status: 603}, spec: forwarding, err: "603"},
	{name: "redirect-to-ourselves", called: siptest.Script{Status: 302, RedirectTo: "<sip:201@" + ourAddr + ">, <sip:201@127.0.0.1:5080>"},
		spec: forwarding, err: "302"},
	{name: "redirect-without-contact", called: siptest.Script{Status: 302}, spec: forwarding, err: "302"},
	{name: "redirect-to-a-proxy-of-its-choice", called: siptest.Script{Status: 305, RedirectTo: "<sip:203@sipx.test>"},
		third: &siptest.Script{}, spec: forwarding, err: "305"},
	{name: "redirect-of-a-transfer-target", called: siptest.Script{},
		third: &siptest.Script{Status: 302, RedirectTo: "<sip:201@sipx.test;line=2>"},
		spec:  forwarding, during: after(5*time.Second, transfer203), hangUp: 20 * time.Second, err: ErrHungUpByUser.Error()},
	{name: "refer-by-a-phone-to-forbidden", cfg: deny("203"), hangUp: 20 * time.Second, err: ErrHungUpByUser.Error(),
		during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
			do(t, p.calling, 603, siptest.Action{Method: "REFER", Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@sipx.test>"),
				sip.NewHeader("Contact", "<sip:201@"+phoneAddr+">")}})
			if n := len(p.called.Requests("REFER")); n != 0 {
				t.Error("the REFER was relayed")
			}
		})},
}

// Only the agent's own phone is asked to pick up by itself.
func TestRedirectedPhoneIsNotAskedToAnswerByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bc := bridgeCase{calling: to203(), third: &siptest.Script{Ring: time.Second}, hangUp: time.Minute, err: ErrHungUpByUser.Error(),
			spec: func(s *Spec) { s.AutoAnswer = AnswerMode },
			cfg:  func(c *Config) { c.FollowRedirects = true },
			during: after(5*time.Second, func(t *testing.T, _ *rig, p *phones, _ *Call) {
				if p.calling.Requests("INVITE")[0].GetHeader("Answer-Mode") == nil {
					t.Error("the agent's phone was not asked")
				}
				for _, r := range p.third.Requests("INVITE") {
					if r.GetHeader("Answer-Mode") != nil {
						t.Errorf("the other one was:\n%s", r)
					}
				}
			})}
		bc.run(t, siptest.NewNetwork(), true)
	})
}

// A loop of redirects ends, and so does a phone that knows ever another place.
func TestRedirectsWithoutEndAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		want     int
	}{
		{"to itself", "<sip:202@sipx.test>", 2},
		{"to many", strings.TrimPrefix(strings.Repeat(", <sip:202@sipx.test;n=%d>", 50), ", "), 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.to, "%d") {
				var n []any
				for i := range 50 {
					n = append(n, i)
				}
				tt.to = fmt.Sprintf(tt.to, n...)
			}
			synctest.Test(t, func(t *testing.T) {
				bc := bridgeCase{called: siptest.Script{Status: 302, Ringing: -1, RedirectTo: tt.to}, spec: forwarding, err: "302",
					during: after(2*time.Minute, func(t *testing.T, _ *rig, p *phones, _ *Call) {
						if n := len(p.called.Requests("INVITE")); n != tt.want {
							t.Errorf("%d INVITEs, want %d", n, tt.want)
						}
					})}
				bc.run(t, siptest.NewNetwork(), true)
			})
		})
	}
}

// Whoever is to be rung is asked about: both users, and the target of a transfer.
func TestForbiddenUsersAreNotRung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		bc := bridgeCase{hangUp: time.Minute, err: ErrHungUpByUser.Error(), third: &siptest.Script{},
			cfg: func(c *Config) {
				c.Allow = func(s *Spec, target string) error {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, s.Credentials.Username+" "+target)
					return deny203(target)
				}
			},
			during: after(5*time.Second, func(t *testing.T, r *rig, p *phones, _ *Call) {
				transferTo(t, r, "203", ErrForbidden)
				for _, s := range []Spec{
					spec(func(s *Spec) { s.Called, s.CalledUser = "203@sipx.test", "203@sipx.test" }),
					spec(func(s *Spec) { s.Calling, s.CallingUser = "203@sipx.test", "203@sipx.test" }),
				} {
					if _, err := r.sw.Place(t.Context(), s, Refer); !errors.Is(err, ErrForbidden) {
						t.Errorf("Place: %v", err)
					}
				}
				if n := r.sw.Stats().Refused[RefusedForbidden]; n != 3 || r.sw.Active() != 1 {
					t.Errorf("%d refusals counted, %d calls", n, r.sw.Active())
				}
				untouched(t, p.third)
			})}
		bc.run(t, siptest.NewNetwork(), true)
		mu.Lock()
		defer mu.Unlock()
		want := "200 201@sipx.test, 200 202@sipx.test, 200 203@sipx.test, 200 201@sipx.test, 200 203@sipx.test, 200 203@sipx.test"
		if got := strings.Join(asked, ", "); got != want {
			t.Errorf("asked about\n%s\nwant\n%s", got, want)
		}
	})
}

func deny203(target string) error {
	if strings.Contains(target, "203") {
		return errors.New("no 203")
	}
	return nil
}

// What a phone wants the other one to call is asked about as that one will
// read it.
func TestReferToIsLookedAtAsAWhole(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"<sip:203@sipx.test>", "sip:203@sipx.test"},
		{`"Eve" <sip:203@sipx.test;user=phone?Replaces=x>;method=INVITE`, "sip:203@sipx.test;user=phone?Replaces=x"},
		{"tel:1234;phone-context=+49900", "tel:1234;phone-context=+49900"},
		{"<sip:201@sipx.test>, <sip:203@sipx.test>", "<sip:201@sipx.test>, <sip:203@sipx.test>"},
		{"sip:203@sipx.test;user=phone", "sip:203@sipx.test;user=phone"},
		{"nonsense", "nonsense"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := siptest.NewNetwork()
			var asked string
			p := &rawPair{rig: newRig(t, n, "", func(c *Config) {
				c.Allow = func(_ *Spec, target string) error {
					if target == "201@10.0.0.2" || target == "202@10.0.0.3" {
						return nil
					}
					asked = target
					return errors.New("no")
				}
			}), a: rawUDP(t, n, phoneAddr), b: rawUDP(t, n, calledAddr)}
			defer p.stop()
			p.up()
			p.a.send(p.a.inDialog("REFER", 1, "Refer-To: "+tt.value+"\r\n", ""))
			if m := p.a.response1(603); m != nil && !strings.Contains(string(m.Raw()), `Reason: SIP;cause=603;text="Not Allowed By Policy"`) {
				t.Errorf("%s", m.Raw())
			}
			if asked != tt.want {
				t.Errorf("%s: asked about %s, want %s", tt.value, asked, tt.want)
			}
			p.hangUp()
			p.empty()
		})
	}
}

// Where no proxy stands between, a name that a phone gives leads neither back
// to us nor to what only this machine reaches.
func TestRedirectByNameToOurselvesIsNotFollowed(t *testing.T) {
	byHand(t, func(t *testing.T, p *rawPair) {
		c := &Call{sw: p.sw}
		l := &Leg{call: c, callee: (*userPhone)(c), dialogState: dialogState{dialog: dialog{target: "sip:x@10.0.0.1"}}}
		a := &attempt{leg: l, redirects: &redirection{}}
		if err := a.route(t.Context()); !errors.Is(err, transport.ErrOwn) {
			t.Errorf("routed to %v: %v", a.hops, err)
		}
		a.redirects = nil // as a client asks
		if err := a.route(t.Context()); err != nil {
			t.Error(err)
		}
		p.up()
		p.hangUp()
	})
}

// A redirection is followed by a call to a SIP URI and nothing else, whatever the
// Contact asks for besides.
func TestOfAContactOnlyWhomToCallIsTaken(t *testing.T) {
	for contact, want := range map[string]string{
		"<sip:203@sipx.test;method=REFER?Refer-To=%3Csip:0900@gw%3E>": "sip:203@sipx.test",
		"<sip:203@sipx.test?Route=%3Csip:gw%3E&From=x>":               "sip:203@sipx.test",
		"<sip:203@sipx.test; Method=MESSAGE ;user=phone>":             "", // a blank, which nobody reads alike
		"<sip:203@sipx.test;Method=MESSAGE;user=phone>":               "sip:203@sipx.test;user=phone",
		"<callto:0900>":                    "",
		"<h323:203@sipx.test>":             "",
		"<mailto:203@sipx.test>":           "",
		"<im:203@sipx.test>":               "",
		"<cid:203@sipx.test>":              "",
		"<tel:+499001234567>":              "",
		"<urn:service:sos>":                "",
		"callto:0900, <sip:203@sipx.test>": "sip:203@sipx.test",
	} {
		m, err := wire.Parse([]byte("SIP/2.0 302 Moved\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: x\r\nCSeq: 1 " +
			"INVITE\r\nContact: " + contact + "\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		var r redirection
		r.add(m)
		if got := strings.Join(r.open, " "); got != want {
			t.Errorf("%s leads to %q, want %q", contact, got, want)
		}
	}
}

package sipflow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// inboundCase is a call of 201 to us, and 202 whom we connect it to.
type inboundCase struct {
	name    string
	how     siptest.Calling
	caller  siptest.Script
	target  siptest.Script
	fork    *siptest.Script // a second phone of the target, which a proxy rings too
	giveUp  time.Duration   // the caller cancels
	call    string          // what comes of the call for the caller; "" when it is answered
	taken   string          // what Take's last word came to; "" for no error
	take    func(ctx context.Context, in *Incoming) error
	events  string // "" for any
	panics  bool
	loose   bool // two messages are sent at once, in either order
	during  func(t *testing.T, r *rig, caller, target *siptest.Phone)
	inbound func(*Inbound)
	config  func(*Config)
}

// connectTo202 is the usual Take.
func connectTo202(ctx context.Context, in *Incoming) error {
	return in.Connect(ctx, Destination{URI: uri202})
}

const (
	uri202     = "sip:202@10.0.0.3:5060"
	uri203     = "sip:203@10.0.0.4:5060"
	secondAddr = "10.0.0.4:5060"
)

// onHoldFirst answers the caller, reads a PIN of two digits, and connects it.
func onHoldFirst(ctx context.Context, in *Incoming) error {
	if err := in.AnswerHeld(ctx); err != nil {
		return err
	}
	for _, want := range "4#" {
		if d, err := in.Digit(ctx); err != nil || d != byte(want) {
			return errors.Join(err, in.Refuse(403, "Wrong PIN"))
		}
	}
	return connectTo202(ctx, in)
}

// digitsAt presses keys a while after the answer.
func digitsAt(at time.Duration, digits string) (do []siptest.Action) {
	for i, d := range digits {
		do = append(do, siptest.Action{After: at + time.Duration(i)*time.Second, Method: "INFO", ContentType: "application/dtmf-relay",
			Body: fmt.Sprintf("Signal=%c\r\nDuration=160\r\n", d)})
	}
	return do
}

func reliable183() []sip.Header {
	return []sip.Header{sip.NewHeader("Require", "100rel"), sip.NewHeader("RSeq", "77")}
}

// taken keeps what Take saw of a call.
type taken struct {
	mu     sync.Mutex
	calls  int
	err    error
	events []string
}

// events of Incoming.Observe as the tests write them.
func (k *taken) observe(e *Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch e.Kind {
	case Alerted:
		k.events = append(k.events, "alerted")
	case Answered:
		k.events = append(k.events, "answered")
	case Joined:
		k.events = append(k.events, "joined")
	case Ended:
		k.events = append(k.events, fmt.Sprintf("ended by %d, %d", e.By, e.Code))
	}
}

func (ic *inboundCase) run(t *testing.T, n *siptest.Network, strict bool) {
	n.Name(phoneAddr, "201")
	caller := siptest.NewPhone(n.Listen(phoneAddr), siptest.Account{User: "201", Password: "secret"}, ic.caller)
	defer caller.Close()
	second := n.Phone("203", secondAddr, siptest.Script{Ring: 2 * time.Second, HangUpAfter: 20 * time.Second})
	defer second.Close()
	target := n.Phone("202", calledAddr, ic.target)
	defer target.Close()
	if ic.fork != nil {
		fork := n.Phone("202b", forkAddr, *ic.fork)
		defer fork.Close()
		proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Open: true,
			Locations: map[string]string{"202": "sip:202@" + calledAddr + ", sip:202@" + forkAddr}})
		defer proxy.Close()
		defer func() {
			if !fork.OnHook() {
				t.Errorf("the further phone is not on hook: %v", fork.Log())
			}
		}()
	}
	k := &taken{}
	r := newRig(t, n, "", func(cfg *Config) {
		cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }, Trunk: func(*Incoming) (string, int) { return "t", 9 }}
		if ic.inbound != nil {
			ic.inbound(cfg.Inbound)
		}
		take := ic.take
		if take == nil {
			take = connectTo202
		}
		if ic.fork != nil {
			cfg.OutboundProxies = []string{"sip:" + proxyAddr}
			take = func(ctx context.Context, in *Incoming) error {
				return in.Connect(ctx, Destination{URI: "sip:202@sipx.test"})
			}
		}
		cfg.Inbound.Take = func(ctx context.Context, in *Incoming) error {
			in.Observe(k.observe)
			err := take(ctx, in)
			k.mu.Lock()
			defer k.mu.Unlock()
			k.calls++
			k.err = err
			return err
		}
		if ic.config != nil {
			ic.config(cfg)
		}
	})
	defer r.stop()
	r.faulty = ic.panics
	r.sw.limits.trunks["t"] = 8 // further calls of the trunk
	ctx := t.Context()
	if ic.giveUp > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, ic.giveUp)
		defer stop()
	}
	err := caller.CallAs(ctx, ic.how, "sip:room@10.0.0.1:5060")
	if strict || ic.call == "" && ic.fork == nil { // else a phone that picks up may not ring
		if (err == nil) != (ic.call == "") || err != nil && !strings.Contains(err.Error(), ic.call) {
			t.Errorf("the caller got %v, want %q", err, ic.call)
		}
	}
	if ic.during != nil {
		ic.during(t, r, caller, target)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	k.mu.Lock()
	if k.calls != 1 && !ic.panics {
		t.Errorf("%d calls were taken, want 1", k.calls)
	}
	if strict && !ic.panics && ((k.err == nil) != (ic.taken == "") || k.err != nil && !strings.Contains(k.err.Error(), ic.taken)) {
		t.Errorf("Take returned %v, want %q", k.err, ic.taken)
	}
	k.mu.Unlock()
	if got := strings.Join(k.events, ", "); strict && ic.events != "" && got != ic.events {
		t.Errorf("observed %s, want %s", got, ic.events)
	}
	for _, p := range []*siptest.Phone{caller, target, second} {
		if !p.OnHook() {
			t.Errorf("a phone is not on hook: %v", p.Log())
		}
	}
	r.empty()
	if n, _ := trunkCalls(r.sw, "t"); n != 8 {
		t.Errorf("%d calls count for the trunk, want the 8 of before", n)
	}
}

var inboundCases = []inboundCase{
	{name: "inbound-answered", caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second},
		events: "alerted, answered, joined, ended by 1, 200"},
	{name: "inbound-target-hangs-up", target: siptest.Script{Ring: 3 * time.Second, HangUpAfter: 20 * time.Second},
		events: "alerted, answered, joined, ended by 2, 200"},
	{name: "inbound-target-hangs-up-at-once", target: siptest.Script{HangUpAfter: time.Millisecond}},
	{name: "inbound-refused", call: "404", take: func(_ context.Context, in *Incoming) error { return in.Refuse(404, "Nobody\r\nX-Evil: 1") },
		events: "ended by 0, 404"},
	{name: "inbound-refused-by-error", call: "480", taken: "boom", take: func(context.Context, *Incoming) error { return errors.New("boom") }},
	{name: "inbound-redirected", call: "302", take: func(_ context.Context, in *Incoming) error { return in.Redirect("sip:203@sipx.test") }},
	{name: "inbound-cancelled-while-ringing", giveUp: 5 * time.Second, call: "deadline", taken: ErrCancelled.Error(),
		target: siptest.Script{NeverAnswer: true},
		events: "alerted, ended by 1, 487"},
	{name: "inbound-cancelled-while-thinking", giveUp: 5 * time.Second, call: "deadline", taken: ErrCancelled.Error(),
		take: func(ctx context.Context, in *Incoming) error { <-ctx.Done(); return context.Cause(ctx) }},
	{name: "inbound-answer-crosses-cancel", giveUp: 5 * time.Second, call: "deadline", taken: ErrCancelled.Error(),
		target: siptest.Script{NeverAnswer: true, AnswerOnCancel: true}},
	{name: "inbound-early-media", caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second,
		Ringing: 183, EarlyMedia: true}},
	{name: "inbound-delayed-offer", how: siptest.Calling{NoOffer: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second}},
	{name: "inbound-delayed-offer-without-answer", how: siptest.Calling{NoOffer: true, NoAnswer: true}, taken: errNoSDP.Error()},
	{name: "inbound-delayed-offer-reliable", how: siptest.Calling{NoOffer: true, Reliable: true},
		caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, Header: reliable183()}},
	{name: "inbound-delayed-offer-of-a-target-that-insists", how: siptest.Calling{NoOffer: true},
		caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, Header: reliable183()}},
	{name: "inbound-delayed-offer-of-a-target-that-takes-none", how: siptest.Calling{NoOffer: true},
		caller: siptest.Script{Media: siptest.Desk(), HangUpAfter: 20 * time.Second},
		target: siptest.Script{Media: siptest.NoLateOffer(), Ring: 3 * time.Second}},
	{name: "inbound-delayed-offer-of-a-target-that-takes-no-audio-of-ours", how: siptest.Calling{NoOffer: true},
		caller: siptest.Script{Media: siptest.SRTPOnly()}, target: siptest.Script{Media: noLate(siptest.SRTPOnly())}, call: "488", taken: "488"},
	{name: "inbound-delayed-offer-without-answer-to-ours", how: siptest.Calling{NoOffer: true, NoAnswer: true},
		target: siptest.Script{Media: siptest.NoLateOffer()}, taken: errNoSDP.Error()},
	{name: "inbound-gateways", caller: siptest.Script{Media: siptest.Gateway(), HangUpAfter: 20 * time.Second},
		target: siptest.Script{Media: siptest.Gateway(), Ring: 3 * time.Second}},
	{name: "inbound-gateways-delayed-offer", how: siptest.Calling{NoOffer: true},
		caller: siptest.Script{Media: siptest.Gateway(), HangUpAfter: 20 * time.Second}, target: siptest.Script{Media: siptest.Gateway()}},
	{name: "inbound-browsers", caller: siptest.Script{Media: siptest.Browser(), HangUpAfter: 20 * time.Second},
		target: siptest.Script{Media: siptest.Browser(), Ring: 3 * time.Second}},
	{name: "inbound-browser-calls-a-desk-phone", caller: siptest.Script{Media: siptest.Browser()},
		target: siptest.Script{Media: siptest.Desk()},
		call:   "488 One Phone Speaks WebRTC, the Other One RTP", taken: "nobody converts"},
	{name: "inbound-held-browser", take: onHoldFirst, caller: siptest.Script{Media: siptest.Browser()}, call: "488 The Call Cannot Be Held",
		taken: "488 The Call Cannot Be Held, its audio needs DTLS"},
	{name: "inbound-held-srtp", take: onHoldFirst, target: siptest.Script{Media: siptest.SRTPOnly(), HangUpAfter: 20 * time.Second},
		caller: siptest.Script{Media: siptest.SRTPOnly(), Do: digitsAt(time.Second, "4#")}},
	{name: "inbound-held-target-takes-no-late-offer", take: onHoldFirst, target: siptest.Script{Media: siptest.NoLateOffer(),
		HangUpAfter: 20 * time.Second},
		caller: siptest.Script{Media: siptest.Desk(), Do: digitsAt(time.Second, "4#")}},
	{name: "inbound-held-caller-holds-and-target-takes-no-late-offer", take: onHoldFirst,
		target: siptest.Script{Media: siptest.NoLateOffer()},
		caller: siptest.Script{Media: siptest.Desk(), HangUpAfter: 20 * time.Second, Do: append(digitsAt(5*time.Second, "4#"),
			siptest.Action{After: 500 * time.Millisecond, Method: "INVITE", Body: strings.Replace(held("10.0.0.2"), "40000", "40002", 1)})},
		during: func(t *testing.T, _ *rig, _, target *siptest.Phone) {
			time.Sleep(10 * time.Second)
			invites := target.Requests("INVITE")
			if len(invites) < 2 { // something was lost
				return
			}
			if offer := string(invites[1].Body()); !strings.Contains(offer, "m=audio 40002 ") || !strings.Contains(offer, "a=sendrecv\r\n") {
				t.Errorf("the target was offered\n%s", offer)
			}
		}},
	{name: "inbound-held-caller-refuses-the-offer", take: onHoldFirst, target: siptest.Script{Media: siptest.SRTPOptional(),
		HangUpAfter: 20 * time.Second},
		caller: siptest.Script{Media: siptest.Desk(), Do: digitsAt(time.Second, "4#")}},
	{name: "inbound-reliable", how: siptest.Calling{Reliable: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true}},
	{name: "inbound-reliable-target-forks", how: siptest.Calling{Reliable: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second, EarlyForks: 2}},
	{name: "inbound-reliable-both-ways", how: siptest.Calling{Reliable: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true, Header: reliable183()}},
	{name: "inbound-never-pracked", loose: true, how: siptest.Calling{Reliable: true, NoPRACK: true}, call: "504", taken: "504",
		target: siptest.Script{Ring: 50 * time.Second},
		take: func(ctx context.Context, in *Incoming) error {
			return in.Connect(ctx, Destination{URI: uri202, RingTime: time.Minute})
		}},
	{name: "inbound-never-acked", how: siptest.Calling{LoseACKs: 1000}, taken: errNoAck.Error(),
		target: siptest.Script{Ring: 3 * time.Second}},
	{name: "inbound-acked-late", how: siptest.Calling{LoseACKs: 3}, caller: siptest.Script{HangUpAfter: 20 * time.Second}},
	{name: "inbound-target-busy", call: "486", taken: "486", target: siptest.Script{Status: 486}, events: "alerted, ended by 2, 486"},
	{name: "inbound-target-busy-then-second", target: siptest.Script{Status: 486},
		events: "alerted, alerted, answered, joined, ended by 2, 200",
		take:   busyThenSecond},
	{name: "inbound-early-media-then-second", how: siptest.Calling{Reliable: true}, target: siptest.Script{Status: 486, Ringing: 183,
		EarlyMedia: true, Ring: time.Second}, take: busyThenSecond},
	{name: "inbound-target-overloaded", call: "500", taken: "503", target: siptest.Script{Status: 503, Ringing: -1}},
	{name: "inbound-target-challenges", call: "403", taken: "401",
		target: siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Status: 401, Realm: "other"}}},
	{name: "inbound-target-redirects", call: "480", taken: "302", target: siptest.Script{Status: 302, RedirectTo: "<sip:9@10.0.0.8>"}},
	{name: "inbound-target-does-not-answer", call: "480", taken: ErrNoAnswer.Error(), target: siptest.Script{NeverAnswer: true},
		events: "alerted, ended by 2, 480"},
	{name: "inbound-target-answers-without-sdp", call: "480", taken: errNoSDP.Error(), target: siptest.Script{NoSDP: true}},
	{name: "inbound-target-forks", caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second,
		EarlyForks: 2, Forks: 2}},
	{name: "inbound-held-digits-connected", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 2 * time.Second}, take: onHoldFirst,
		events: "answered, alerted, joined, ended by 1, 200"},
	{name: "inbound-held-without-an-offer", how: siptest.Calling{NoOffer: true}, caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"),
		HangUpAfter: 20 * time.Second}, take: onHoldFirst},
	{name: "inbound-held-wrong-digits", caller: siptest.Script{Do: digitsAt(3*time.Second, "5")}, take: onHoldFirst,
		events: "answered, ended by 0, 200"},
	{name: "inbound-held-caller-hangs-up", caller: siptest.Script{HangUpAfter: 5 * time.Second}, take: onHoldFirst, taken: ErrHungUp.Error(),
		events: "answered, ended by 1, 200"},
	{name: "inbound-held-target-busy", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#")}, target: siptest.Script{Status: 486},
		take: onHoldFirst, taken: "486"},
	{name: "inbound-held-caller-hangs-up-while-target-rings", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"),
		HangUpAfter: 10 * time.Second}, target: siptest.Script{NeverAnswer: true},
		take: onHoldFirst, taken: ErrHungUp.Error()},
	{name: "inbound-challenged", caller: siptest.Script{HangUpAfter: 20 * time.Second},
		inbound: withSecrets(Credentials{Username: "201", Password: "secret"})},
	{name: "inbound-hold-and-resume", caller: siptest.Script{HangUpAfter: 40 * time.Second},
		during: func(t *testing.T, _ *rig, caller, target *siptest.Phone) {
			time.Sleep(5 * time.Second)
			do(t, caller, 200, siptest.Action{Method: "INVITE", Body: held("10.0.0.2")})
			time.Sleep(3 * time.Second)
			do(t, caller, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(3 * time.Second)
			do(t, target, 200, siptest.Action{Method: "INVITE"})
			time.Sleep(3 * time.Second)
			do(t, caller, 200, siptest.Action{Method: "INFO", Body: "Signal=5\r\n", ContentType: "application/dtmf-relay"})
			do(t, target, 200, siptest.Action{Method: "UPDATE"})
		}},
	{name: "inbound-caller-is-replaced", events: "alerted, answered, joined, ended by 2, 200",
		during: func(t *testing.T, r *rig, caller, target *siptest.Phone) {
			replacedBy204(t, r, caller, siptest.Calling{})
			target.HangUp()
		}},
	{name: "inbound-target-is-replaced", events: "alerted, answered, joined, ended by 1, 200",
		during: func(t *testing.T, r *rig, caller, target *siptest.Phone) {
			replacedBy204(t, r, target, siptest.Calling{NoOffer: true})
			caller.HangUp()
		}},
	{name: "inbound-both-are-replaced", during: func(t *testing.T, r *rig, caller, target *siptest.Phone) {
		replacedBy204(t, r, target, siptest.Calling{})
		ids := caller.Calls()
		if len(ids) != 1 {
			return
		}
		replaces, uri, _ := caller.Replaces(ids[0])
		if err := target.Call(t.Context(), uri, sip.NewHeader("Replaces", replaces)); err != nil {
			t.Log(err)
		}
		time.Sleep(5 * time.Second)
		target.HangUp()
	}},
	{name: "inbound-serve-ends-while-ringing", loose: true, call: "503", taken: ErrStopped.Error(),
		target: siptest.Script{Ring: 20 * time.Second},
		take: func(ctx context.Context, in *Incoming) error {
			time.AfterFunc(3*time.Second, func() { in.call.sw.stopCalls() })
			return connectTo202(ctx, in)
		}},
	{name: "inbound-take-panics", call: "500", take: func(ctx context.Context, in *Incoming) error { panic("boom") }, taken: "never",
		panics: true},
}

// replacedBy204 has a further phone take another one's place. It hangs up when the
// call is over.
func replacedBy204(t *testing.T, r *rig, old *siptest.Phone, how siptest.Calling) {
	p := r.net.Phone("204", "10.0.0.5:5060", siptest.Script{})
	t.Cleanup(p.Close)
	time.Sleep(5 * time.Second)
	ids := old.Calls()
	if len(ids) != 1 {
		return
	}
	replaces, uri, err := old.Replaces(ids[0])
	if err == nil {
		err = p.CallAs(t.Context(), how, uri, sip.NewHeader("Replaces", replaces))
	}
	if err != nil {
		t.Log(err)
	}
	time.Sleep(5 * time.Second)
	if strictly(t) && (!old.OnHook() || p.Dialogs() != 1) {
		t.Errorf("the phone is not replaced: %v", p.Log())
	}
}

func busyThenSecond(ctx context.Context, in *Incoming) error {
	err := connectTo202(ctx, in)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Code == 486 {
		return in.Connect(ctx, Destination{URI: uri203})
	}
	return err
}

func withSecrets(c Credentials) func(*Inbound) {
	return func(cfg *Inbound) {
		cfg.Realm = "sipx.test"
		cfg.Admit = func(*Incoming) Admission { return Challenge }
		cfg.Secrets = func(user string) (Credentials, bool) { return c, user == c.Username }
	}
}

func TestInboundCalls(t *testing.T) {
	for _, ic := range inboundCases {
		t.Run(ic.name, func(t *testing.T) {
			name := ic.name
			if ic.loose {
				name = ""
			}
			flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { ic.run(t, n, true) })
		})
	}
}

// TestInboundCallsSurviveLoss loses each message of each case once: whatever
// comes of the call, no phone is left off hook and nothing is left behind.
func TestInboundCallsSurviveLoss(t *testing.T) {
	for _, ic := range inboundCases {
		t.Run(ic.name, func(t *testing.T) {
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { ic.run(t, n, false) })
		})
	}
}

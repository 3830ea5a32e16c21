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

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// inboundCase is a call of 201 to us, and 202 whom we connect it to.
type inboundCase struct {
	name    string
	how     siptest.Calling
	caller  siptest.Script
	target  siptest.Script
	giveUp  time.Duration // the caller cancels
	call    string        // what comes of the call for the caller; "" when it is answered
	taken   string        // what Take's last word came to; "" for no error
	take    func(ctx context.Context, in *Incoming) error
	during  func(t *testing.T, r *rig, caller, target *siptest.Phone)
	inbound func(*Inbound)
	config  func(*Config)
}

// connectTo202 is the usual Take.
func connectTo202(ctx context.Context, in *Incoming) error {
	return in.Connect(ctx, Destination{URI: "sip:202@sipx.test"})
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
	caller := n.Phone("201", phoneAddr, ic.caller)
	defer caller.Close()
	target := n.Phone("202", calledAddr, ic.target)
	defer target.Close()
	k := &taken{}
	r := newRig(t, n, calledAddr, func(cfg *Config) {
		cfg.Inbound = &Inbound{Admit: func(*Incoming) Admission { return Trusted }}
		if ic.inbound != nil {
			ic.inbound(cfg.Inbound)
		}
		take := ic.take
		if take == nil {
			take = connectTo202
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
	ctx := t.Context()
	if ic.giveUp > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, ic.giveUp)
		defer stop()
	}
	err := caller.CallAs(ctx, ic.how, "sip:room@10.0.0.1:5060")
	if strict || ic.call == "" {
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
	if k.calls != 1 {
		t.Errorf("%d calls were taken, want 1", k.calls)
	}
	if strict && ((k.err == nil) != (ic.taken == "") || k.err != nil && !strings.Contains(k.err.Error(), ic.taken)) {
		t.Errorf("Take returned %v, want %q", k.err, ic.taken)
	}
	k.mu.Unlock()
	for _, p := range []*siptest.Phone{caller, target} {
		if !p.OnHook() {
			t.Errorf("a phone is not on hook: %v", p.Log())
		}
	}
	r.empty()
}

var inboundCases = []inboundCase{
	{name: "inbound-answered", caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second}},
	{name: "inbound-target-hangs-up", target: siptest.Script{Ring: 3 * time.Second, HangUpAfter: 20 * time.Second}},
	{name: "inbound-target-hangs-up-at-once", target: siptest.Script{HangUpAfter: time.Millisecond}},
	{name: "inbound-refused", call: "404", take: func(_ context.Context, in *Incoming) error { return in.Refuse(404, "Nobody\r\nX-Evil: 1") }},
	{name: "inbound-refused-by-error", call: "480", taken: "boom", take: func(context.Context, *Incoming) error { return errors.New("boom") }},
	{name: "inbound-redirected", call: "302", take: func(_ context.Context, in *Incoming) error { return in.Redirect("sip:203@sipx.test") }},
	{name: "inbound-cancelled-while-ringing", giveUp: 5 * time.Second, call: "deadline", taken: ErrCancelled.Error(), target: siptest.Script{NeverAnswer: true}},
	{name: "inbound-early-media", caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true}},
	{name: "inbound-delayed-offer", how: siptest.Calling{NoOffer: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second}},
	{name: "inbound-reliable", how: siptest.Calling{Reliable: true}, caller: siptest.Script{HangUpAfter: 20 * time.Second}, target: siptest.Script{Ring: 3 * time.Second, Ringing: 183, EarlyMedia: true}},
	{name: "inbound-target-busy", call: "486", taken: "486", target: siptest.Script{Status: 486}},
	{name: "inbound-target-does-not-answer", call: "480", taken: ErrNoAnswer.Error(), target: siptest.Script{NeverAnswer: true}},
}

func TestInboundCalls(t *testing.T) {
	for _, ic := range inboundCases {
		t.Run(ic.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				ic.run(t, n, true)
				flowtest.Golden(t, ic.name, n.Ladder())
				if t.Failed() {
					t.Log(n.Ladder())
				}
			})
		})
	}
}

package sipflow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// askingFirst answers the caller with audio, reads a PIN of two digits, and goes on.
func askingFirst(next func(ctx context.Context, in *Incoming, end *Conversation) error) func(context.Context, *Incoming) error {
	return func(ctx context.Context, in *Incoming) error {
		keys := make(chan byte, 9)
		end := (&audio{}).conversation()
		end.Digit = func(key byte) { keys <- key }
		if err := in.Answer(ctx, end); err != nil {
			return err
		}
		for _, want := range "4#" {
			if key, err := waitFor(ctx, in, keys); err != nil || key != byte(want) {
				return errors.Join(err, in.Refuse(403, "Wrong PIN"))
			}
		}
		return next(ctx, in, end)
	}
}

// then202 connects the caller.
func then202(ctx context.Context, in *Incoming, _ *Conversation) error { return connectTo202(ctx, in) }

var askedCases = []inboundCase{
	{name: "inbound-asked-digits-connected", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: 20 * time.Second},
		target: siptest.Script{Ring: 2 * time.Second}, take: askingFirst(then202), events: "answered, alerted, joined, ended by 1, 200"},
	{name: "inbound-asked-target-hangs-up", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#")},
		target: siptest.Script{HangUpAfter: 20 * time.Second}, take: askingFirst(then202), events: "answered, alerted, joined, ended by 2, 200"},
	{name: "inbound-asked-without-an-offer", how: siptest.Calling{NoOffer: true}, caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"),
		HangUpAfter: 20 * time.Second}, take: askingFirst(then202)},
	{name: "inbound-asked-without-an-answer", how: siptest.Calling{NoOffer: true, NoAnswer: true}, take: askingFirst(then202),
		taken: errNoSDP.Error()},
	{name: "inbound-asked-wrong-digits", caller: siptest.Script{Do: digitsAt(3*time.Second, "5")}, take: askingFirst(then202),
		events: "answered, ended by 0, 200"},
	{name: "inbound-asked-caller-hangs-up", caller: siptest.Script{HangUpAfter: 5 * time.Second}, take: askingFirst(then202),
		taken: ErrHungUp.Error(), events: "answered, ended by 1, 200"},
	{name: "inbound-asked-caller-hangs-up-while-target-rings", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"),
		HangUpAfter: 10 * time.Second}, target: siptest.Script{NeverAnswer: true}, take: askingFirst(then202), taken: ErrHungUp.Error()},
	{name: "inbound-asked-target-busy", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#")}, target: siptest.Script{Status: 486},
		take: askingFirst(then202), taken: "486"},
	// The caller still has our media after a target that was busy: nobody invites it again.
	{name: "inbound-asked-again", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#5"), HangUpAfter: 30 * time.Second},
		target: siptest.Script{Status: 486}, take: askingFirst(func(ctx context.Context, in *Incoming, end *Conversation) error {
			if err := connectTo202(ctx, in); refusedBy(err, "INVITE") != 486 {
				return err
			}
			keys := make(chan byte, 9)
			end.Digit = func(key byte) { keys <- key }
			if err := in.Answer(ctx, end); err != nil {
				return err
			}
			if key, err := waitFor(ctx, in, keys); err != nil || key != '5' {
				return errors.Join(err, in.Refuse(403, "Wrong PIN"))
			}
			return in.Connect(ctx, Destination{URI: uri203})
		}), events: "answered, alerted, alerted, joined, ended by 2, 200"},
	// It does not have them any more after it was put on hold by itself meanwhile.
	{name: "inbound-asked-again-after-a-hold", caller: siptest.Script{HangUpAfter: 30 * time.Second, Do: append(digitsAt(3*time.Second, "4#"),
		siptest.Action{After: 8 * time.Second, Method: "INVITE", Body: held("10.0.0.2")})},
		target: siptest.Script{Ring: 10 * time.Second, Status: 486},
		take: askingFirst(func(ctx context.Context, in *Incoming, end *Conversation) error {
			if err := connectTo202(ctx, in); refusedBy(err, "INVITE") != 486 {
				return err
			}
			return in.Answer(ctx, end)
		})},
	{name: "inbound-asked-then-talks", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: 20 * time.Second},
		take:   askingFirst(func(ctx context.Context, in *Incoming, end *Conversation) error { return in.Converse(ctx, end) }),
		events: "answered, joined, ended by 1, 200"},
	{name: "inbound-asked-then-talks-to-another", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: 20 * time.Second},
		take: askingFirst(func(ctx context.Context, in *Incoming, _ *Conversation) error {
			return in.Converse(ctx, (&audio{}).conversation())
		}), events: "answered, joined, ended by 1, 200"},
	{name: "inbound-asked-holds-meanwhile", caller: siptest.Script{HangUpAfter: 30 * time.Second, Do: append([]siptest.Action{
		{After: 2 * time.Second, Method: "INVITE", Body: held("10.0.0.2")}, {After: 3 * time.Second, Method: "UPDATE"},
		{After: 3500 * time.Millisecond, Method: "REFER"}, {After: 3600 * time.Millisecond, Method: "OPTIONS"},
		{After: 4 * time.Second, Method: "INVITE"}}, digitsAt(5*time.Second, "4#")...)}, take: askingFirst(then202)},
	{name: "inbound-asked-never-acked", how: siptest.Calling{LoseACKs: 1000}, take: askingFirst(then202), taken: errNoAck.Error()},
	{name: "inbound-asked-reliable", how: siptest.Calling{Reliable: true}, caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"),
		HangUpAfter: 20 * time.Second}, take: askingFirst(then202)},
	{name: "inbound-asked-target-takes-no-late-offer", take: askingFirst(then202), target: siptest.Script{Media: siptest.NoLateOffer(),
		HangUpAfter: 20 * time.Second}, caller: siptest.Script{Media: siptest.Desk(), Do: digitsAt(time.Second, "4#")}},
	{name: "inbound-asked-no-codec", caller: siptest.Script{HangUpAfter: 5 * time.Second},
		take: func(ctx context.Context, in *Incoming) error {
			end := (&audio{offended: errors.New("no common codec")}).conversation()
			if err := in.Answer(ctx, end); refusedBy(err, "INVITE") != 488 {
				return err
			}
			return onHoldFirst(ctx, in)
		}, taken: ErrHungUp.Error()},
	{name: "inbound-asked-session", caller: siptest.Script{HangUpAfter: 100 * time.Second, Do: []siptest.Action{
		{After: 20 * time.Second, Method: "UPDATE", Header: session("90;refresher=uas")}}}, take: askingFirst(then202), taken: ErrHungUp.Error()},
	{name: "inbound-asked-serve-ends", loose: true, take: func(ctx context.Context, in *Incoming) error {
		time.AfterFunc(3*time.Second, func() { in.call.sw.stopCalls() })
		return askingFirst(then202)(ctx, in)
	}, taken: ErrStopped.Error()},
}

func TestCallersThatAreAskedFirst(t *testing.T) {
	for _, ic := range askedCases {
		t.Run(ic.name, func(t *testing.T) {
			name := ic.name
			if ic.loose {
				name = ""
			}
			flowtest.Ladder(t, name, func(t *testing.T, n *siptest.Network) { ic.run(t, n, true) })
		})
	}
}

// TestCallersThatAreAskedFirstSurviveLoss loses each message of each case once.
func TestCallersThatAreAskedFirstSurviveLoss(t *testing.T) {
	for _, ic := range askedCases {
		t.Run(ic.name, func(t *testing.T) {
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { ic.run(t, n, false) })
		})
	}
}

// What a caller presses is told to streams of events, unless it may be a PIN.
func TestAPINIsToldToNoStream(t *testing.T) {
	for _, secret := range []bool{true, false} {
		told := ""
		ic := inboundCase{name: "secret", caller: siptest.Script{Do: digitsAt(3*time.Second, "4#"), HangUpAfter: 10 * time.Second},
			take: func(ctx context.Context, in *Incoming) error {
				end := (&audio{}).conversation()
				end.Secret = secret
				return in.Converse(ctx, end)
			},
			during: func(_ *testing.T, r *rig, _, _ *siptest.Phone) {
				time.Sleep(8 * time.Second)
				told = r.stories.text()
			}}
		synctest.Test(t, func(t *testing.T) { ic.run(t, siptest.NewNetwork(), true) })
		if got := strings.Contains(told, "digit"); got == secret {
			t.Errorf("secret %v, and the events are\n%s", secret, told)
		}
	}
}

//go:build interop

package interop

import (
	"net"
	"regexp"
	"strconv"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// What a Linphone can do while it rings: send audio, and have its responses
// acknowledged (RFC 3262).
const (
	earlyMedia = "incoming_calls_early_media=1"
	reliable   = "100rel_support_level=2"
)

// A user has two phones, of two makes, that ring at once: either picks up, and the
// other stops.

func TestCalledHasTwoPhones(t *testing.T) {
	t.Parallel()
	for _, flow := range []string{"", byInvite} {
		t.Run("flow "+flow, func(t *testing.T) {
			t.Parallel()
			l := lab.StartForking(t)
			calling := l.Phone("201", lab.PhoneConfig{})
			desk := l.Phone("202", lab.PhoneConfig{Manual: true})
			soft := l.Linphone("202", 500, earlyMedia)
			s := l.Service()

			ring := func(n int) {
				t.Helper()
				s.Post(call201to202 + flow)
				desk.AwaitRinging()
				soft.AwaitNthRinging(n)
			}
			l.Run(t, "one picks up", func(t *testing.T) {
				ring(1)
				desk.Answer()
				desk.AwaitInCallWith("201")
				inCall(calling, desk)
				soft.AwaitEnded(1)
				desk.HangUp()
				calling.AwaitOnHook()
			})
			l.Run(t, "the other picks up", func(t *testing.T) {
				ring(2)
				soft.Answer()
				soft.AwaitInCallWith("201")
				desk.AwaitOnHook()
				calling.AwaitTone(soft.Tone, "202")
				soft.HangUp()
				calling.AwaitOnHook()
			})
			if flow == "" {
				return // a phone that was referred is by itself
			}
			l.Run(t, "nobody picks up", func(t *testing.T) {
				ring(3)
				calling.HangUp()
				soft.AwaitEnded(3)
				desk.AwaitOnHook()
				calling.AwaitOnHook()
			})
		})
	}
}

func TestCallingHasTwoPhones(t *testing.T) {
	t.Parallel()
	for flow, peer := range map[string]string{"": "202", byInvite: "201"} {
		t.Run("flow "+flow, func(t *testing.T) {
			t.Parallel()
			l := lab.StartForking(t)
			desk := l.Phone("201", lab.PhoneConfig{Manual: true})
			soft := l.Linphone("201", 500)
			called := l.Phone("202", lab.PhoneConfig{})
			s := l.Service()

			l.Run(t, "one picks up", func(t *testing.T) {
				s.Post(call201to202 + flow)
				desk.AwaitRinging()
				soft.AwaitRinging()
				desk.Answer()
				soft.AwaitEnded(1)
				inCall(desk, called)
				called.HangUp()
				desk.AwaitOnHook()
			})
			l.Run(t, "the other picks up", func(t *testing.T) {
				s.Post(call201to202 + flow)
				desk.AwaitRinging()
				soft.AwaitNthRinging(2)
				soft.Answer()
				desk.AwaitOnHook()
				soft.AwaitInCallWith(peer)
				called.AwaitTone(soft.Tone, "201")
				called.HangUp()
				soft.AwaitEnded(2)
			})
		})
	}
}

// Both phones of a user answer before either is told to stop: one is in the call,
// the other is hung up.
func TestTwoPhonesAnswerAtOnce(t *testing.T) {
	t.Parallel()
	l := lab.StartForking(t)
	calling := l.Phone("201", lab.PhoneConfig{})
	one := l.Phone("202", lab.PhoneConfig{})
	other := l.Phone("202", lab.PhoneConfig{Name: "202b", Tone: 700})
	s := l.Service()

	s.Post(call201to202 + byInvite)
	calling.AwaitInCallWith("201")
	one.AwaitNthCall(0)
	other.AwaitNthCall(0)
	kept := one
	l.Until("one of the phones is in the call, the other one is not", func() bool {
		a, b := one.Calls()[0].State, other.Calls()[0].State
		if a == "closed" {
			kept = other
		}
		return a == "closed" && b == "established" || a == "established" && b == "closed"
	})
	inCall(calling, kept)
	kept.HangUp()
	calling.AwaitOnHook()
	kept.AwaitOnHook()
}

// A phone that insists on PRACK gets it.
func TestCalledWantsPRACK(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Linphone("202", 500, reliable)
	s := l.Service()
	s.Post(call201to202 + byInvite)
	called.AwaitRinging()
	if _, err := l.Proxy.AwaitLine(0, regexp.MustCompile(`ladder: PRACK sip:202@`), lab.Patience); err != nil {
		t.Fatal(err)
	}
	called.Answer()
	called.AwaitInCallWith("201")
	calling.AwaitTone(called.Tone, "202")
	called.HangUp()
	calling.AwaitOnHook()
}

// The audio of a phone that rings is heard by who called, after PRACK.
func TestCallerHearsEarlyMedia(t *testing.T) {
	t.Parallel()
	sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
	l := lab.Start(t, map[string]string{"5000": sip})
	caller := l.Phone("201", lab.PhoneConfig{})
	called := l.Linphone("202", 500, earlyMedia, reliable)
	l.ServiceAt(sip, `dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  agent: "209"
  rules: [{id: one, numbers: ["5000"], action: transfer, transfer_to: "sip:202@sipx.test"}]`)
	caller.Dial("5000")
	called.AwaitRinging()
	caller.AwaitTone(called.Tone, "202")
	called.Answer()
	called.AwaitInCallWith("201")
	caller.AwaitTalk()
	called.HangUp()
	caller.AwaitOnHook()
}

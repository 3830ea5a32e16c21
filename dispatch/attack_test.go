package dispatch

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// A trunk that is known by address and digest is not known by digest alone.
func TestATrunksSecretIsNoUseFromElsewhere(t *testing.T) {
	owns := func(user, name string) bool { return true } // as for users that are none of ours
	for _, source := range []string{"10.0.0.2", "10.0.0.99"} {
		f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: says(busyAnswer), config: func(c *Config) {
			c.Owns = owns
			c.Trunks = []Trunk{{Name: "both", Sources: []string{source}, Username: "201", Credentials: sipflow.Credentials{Username: "201",
				Password: "secret"}}}
		}}
		h := f.run(t)
		if source == "10.0.0.2" {
			h.callerGot("486")
			continue
		}
		h.callerGot("403")
		h.told()
		h.decided(OutcomeForged)
	}
}

func TestTargetsAreBoundedThoughPINsAreAskedForInBetween(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", pin_check: webhook, decide: [transfer_failed]}`,
		script: siptest.Script{Do: keys(strings.Repeat("1#", 40))}, other: siptest.Script{Status: 486},
		hook: func(s *hookSaid) reply {
			if s.event == "pin_entered" {
				return reply{body: `{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`}
			}
			return reply{body: `{"room_name":"a","pin":"*"}`}
		}}
	h := f.run(t)
	if n := len(h.other.Requests("INVITE")); n != maxAttempts {
		t.Errorf("the target was called %d times", n)
	}
}

func TestACallThatCameByHereHasFewerTargets(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", decide: [transfer_failed]}`, other: siptest.Script{Status: 486},
		hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`)}
	for rounds, want := range []int{maxAttempts, maxAttempts / 2, 1, 1} {
		f.header = nil
		for range rounds {
			f.header = append(f.header, sip.NewHeader("X-Sipxrest-Via", "0123456789abcdef"))
		}
		h := f.run(t)
		h.callerGot("486")
		if n := len(h.other.Requests("INVITE")); n != want {
			t.Errorf("%d rounds: the target was called %d times, want %d", rounds, n, want)
		}
	}
}

func TestLimitsOfAUserHoldForNoTrunk(t *testing.T) {
	d, err := newDispatcher(t, "{id: r, action: hangup}", func(c *Config) {
		c.Trunks = []Trunk{{Name: "a", Username: "branch", Credentials: sipflow.Credentials{Username: "branch", Password: "x"}},
			{Name: "b", Username: "202"}}
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: map[string]string{"201": "201", "bob": "201", "202": "202"}[user], Password: "x"}, true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for username, want := range map[string]string{"201": "201", "bob": "201", "202": "", "branch": ""} {
		if got := d.Inbound("r").User(username); got != want {
			t.Errorf("%s: %q, want %q", username, got, want)
		}
	}
}

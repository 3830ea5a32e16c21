package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/go-cmp/cmp"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

const hookRule = `{id: r, url: "https://hooks.test/", events: [answered, ended, transfer_failed, target_failed]}`

func TestACallIsAnsweredByItsRoom(t *testing.T) {
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, room: siptest.Script{Ring: 3 * time.Second},
		hook: says(`{"room_name":"support","metadata":"m","attributes":{"a":"b"},"room_preset":"p","room_config":{"x":1},"krisp_enabled":true}`)}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	h.decided(OutcomeAnswer)
	invites := h.room.Requests("INVITE")
	if len(invites) != 1 || invites[0].Recipient.User != "support" {
		t.Fatalf("%v", invites)
	}
	answered, ended := h.of("answered"), h.of("ended")
	for _, m := range []map[string]any{answered, ended} {
		for k, want := range map[string]any{"metadata": "m", "attributes": map[string]any{"a": "b"}, "room_name": "support", "room_preset": "p",
			"room_config":   map[string]any{"x": 1.0},
			"krisp_enabled": true, "dispatch_action": "answer", "rule_id": "r", "trunk_id": "t1", "from_user": "201",
			"call_id": h.said[0]["call_id"]} {
			if !cmp.Equal(m[k], want) {
				t.Errorf("%s: %s is %v, want %v", m["event"], k, m[k], want)
			}
		}
	}
	if !strings.HasPrefix(answered["answered_at"].(string), "2000-01-01T00:00:03.00") || answered["sip_code"] != 200.0 {
		t.Errorf("%v", answered)
	}
	if ended["ended_by"] != "caller" || !about(ended["duration"], 20) || ended["sip_code"] != 200.0 ||
		!strings.HasPrefix(ended["ended_at"].(string), "2000-01-01T00:00:23.00") || ended["outcome"] != "connected" {
		t.Errorf("%v", ended)
	}
	if !strings.Contains(h.log.String(), "metadata=m") {
		t.Errorf("the log has not what was attached:\n%s", &h.log)
	}
}

func TestACallIsRefused(t *testing.T) {
	for answer, want := range map[string]string{
		`{"action":"hangup"}`: "603",
		`{"action":"reject","reject_status_code":486,"reject_reason":"On\r\nX-Evil: holiday"}`: "486 On X-Evil: holiday",
		`{"action":"reject","reject_status_code":503}`:                                         "503",
	} {
		f := flow{rules: hookRule, hook: says(answer)}
		h := f.run(t)
		h.callerGot(want)
		h.told("invite", "ended")
		h.decided(OutcomeHangup)
		if ended := h.of("ended"); ended["sip_code"] != float64(mustCode(t, want)) || ended["ended_by"] != "service" || ended["duration"] != 0.0 {
			t.Errorf("%v", ended)
		}
		for _, a := range h.caller.Answers() {
			if a.GetHeader("X-Evil") != nil {
				t.Error("a header came through the reason")
			}
		}
	}
}

func TestNoRuleIs404AtOnce(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", numbers: ["1"]}`, hook: says("")}
	h := f.run(t)
	h.callerGot("404")
	h.told()
	h.decided(OutcomeNoRule)
	if h.took > 100*time.Millisecond {
		t.Errorf("after %v", h.took)
	}
}

func TestATransferCallsItsTarget(t *testing.T) {
	f := flow{rules: hookRule, script: siptest.Script{HangUpAfter: 20 * time.Second}, other: siptest.Script{Ring: 3 * time.Second},
		hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4","destination_name":"Sales"}`)}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
	h.decided(OutcomeTransfer)
	if to := h.other.Requests("INVITE")[0].To(); to.DisplayName != "Sales" {
		t.Errorf("To %s", to)
	}
}

func TestATransferRingsAsLongAsItSays(t *testing.T) {
	f := flow{rules: hookRule, other: siptest.Script{NeverAnswer: true},
		hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4","transfer_ringing_timeout":"7s"}`)}
	h := f.run(t)
	h.callerGot("480")
	h.told("invite", "transfer_failed", "ended")
	if h.took < 7*time.Second || h.took > 8*time.Second {
		t.Errorf("after %v", h.took)
	}
	if m := h.of("transfer_failed"); m["sip_code"] != 408.0 || m["outcome"] != "no_answer" {
		t.Errorf("%v", m)
	}
	if len(h.other.Requests("CANCEL")) != 1 {
		t.Error("the target rings on")
	}
}

func TestTheTargetsFailureIsTheCallersFinalCode(t *testing.T) {
	f := flow{rules: hookRule, other: siptest.Script{Status: 486}, hook: says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`)}
	h := f.run(t)
	h.callerGot("486")
	h.told("invite", "transfer_failed", "ended")
	if m := h.of("transfer_failed"); m["sip_code"] != 486.0 || m["target"] != "sip:203@10.0.0.4" {
		t.Errorf("%v", m)
	}
	f = flow{rules: hookRule, room: siptest.Script{Status: 404}, hook: says(`{"room_name":"nowhere"}`)}
	h = f.run(t)
	h.callerGot("404")
	h.told("invite", "target_failed", "ended")
}

func TestTheWebhookMayNameAnotherTargetWhenOneFails(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", decide: [transfer_failed], events: [transfer_failed, ended]}`,
		script: siptest.Script{HangUpAfter: 5 * time.Second},
		other:  siptest.Script{Status: 486}, hook: func(s *hookSaid) reply {
			if s.event == "transfer_failed" {
				if s.fields["sip_code"] != 486.0 || s.fields["transfer_to"] != "sip:203@10.0.0.4" {
					return reply{code: 500}
				}
				return reply{body: `{"room_name":"box"}`}
			}
			return reply{body: `{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`}
		}}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "transfer_failed", "ended")
	if len(h.room.Requests("INVITE")) != 1 {
		t.Error("the room was not called")
	}

	// A webhook that always says the same does not go on for ever.
	f.hook = says(`{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`)
	h = f.run(t)
	h.callerGot("486")
	if n := len(h.other.Requests("INVITE")); n != maxAttempts {
		t.Errorf("the target was called %d times", n)
	}
}

func TestRedirectAnswers302(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", mode: redirect}`, hook: says(`{"action":"transfer","transfer_to":"tel:+49-301"}`)}
	h := f.run(t)
	h.callerGot("302")
	h.decided(OutcomeRedirect)
	answers := h.caller.Answers()
	if c := answers[len(answers)-1].Contact(); c == nil || c.Address.User != "+49301" || c.Address.Host != "10.0.0.3" {
		t.Errorf("Contact %v", c)
	}
}

// A number alone goes to the gateway, whose credentials nobody else gets, and not to the
// domain's proxies.
func TestANumberGoesToTheGateway(t *testing.T) {
	for _, c := range []struct{ name, gateway, want string }{
		{"a gateway", "sip:10.0.0.4:5060", "sip:+15551234@10.0.0.4:5060;user=phone"},
		{"none: the domain", "", "sip:+15551234@10.0.0.3;user=phone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: says(`{"action":"transfer","transfer_to":"+1 555 1234"}`),
				other: siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{sip.INVITE}, Realm: "anything"}},
				config: func(cfg *Config) {
					cfg.Gateway = Gateway{URI: c.gateway, Credentials: sipflow.Credentials{Username: "203",
						Password: "secret"}}
				}}
			f.during = func(h *hooked) { time.Sleep(3 * time.Second); h.caller.HangUp() }
			h := f.run(t)
			callee := h.room
			if c.gateway != "" {
				callee = h.other
			}
			got := callee.Requests("INVITE")
			if len(got) == 0 || got[len(got)-1].Recipient.String() != c.want {
				t.Errorf("called: %v, want %s", got, c.want)
			}
			if c.gateway != "" && got[len(got)-1].GetHeader("Proxy-Authorization") == nil {
				t.Error("the gateway got no credentials")
			}
			h.decided(OutcomeTransfer)
		})
	}
}

func TestTheFallbackIsTaken(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name  string
		hook  func(*hookSaid) reply
		after time.Duration
	}{
		{"status", func(*hookSaid) reply { return reply{code: 500} }, 0},
		{"no connection", func(*hookSaid) reply { return reply{err: boom} }, 0},
		{"no JSON", says("hello"), 0},
		{"unknown action", says(`{"action":"dance"}`), 0},
		{"too late", func(*hookSaid) reply { return reply{after: time.Minute, body: busyAnswer} }, webhookTime},
		{"room that cannot be", says(`{"room_name":"a@evil"}`), 0},
		{"target outside the policy", says(`{"action":"transfer","transfer_to":"sip:0900@10.0.0.4"}`), 0},
		{"header in the target", says(`{"action":"transfer","transfer_to":"sip:1@10.0.0.4\r\nX: y"}`), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: `{id: r, url: "https://hooks.test/", fallback: 486, events: [ended]}`, hook: c.hook, config: func(cfg *Config) {
				cfg.Allow = func(_, uri string) error {
					if strings.Contains(uri, "0900") {
						return boom
					}
					return nil
				}
			}}
			h := f.run(t)
			h.callerGot("486")
			h.decided(OutcomeFallback)
			if !strings.Contains(h.log.String(), "the fallback is taken") {
				t.Errorf("the log does not say so:\n%s", &h.log)
			}
			if h.took < c.after || h.took > c.after+time.Second {
				t.Errorf("after %v", h.took)
			}
			if len(h.room.Requests())+len(h.other.Requests()) != 0 {
				t.Error("somebody was called")
			}
		})
	}
	t.Run("default", func(t *testing.T) {
		f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: func(*hookSaid) reply { return reply{code: 500} }}
		f.run(t).callerGot("480")
	})
	t.Run("a target", func(t *testing.T) {
		f := flow{rules: `{id: r, url: "https://hooks.test/", fallback: {action: transfer, transfer_to: "sip:203@10.0.0.4"}}`,
			script: siptest.Script{HangUpAfter: time.Second},
			hook:   func(*hookSaid) reply { return reply{code: 500} }}
		h := f.run(t)
		h.callerGot("")
		if len(h.other.Requests("INVITE")) != 1 {
			t.Error("it was not called")
		}
	})
	t.Run("no such room", func(t *testing.T) {
		f := flow{rules: hookRule, hook: says(`{"room_name":"x"}`), config: func(c *Config) {
			c.RoomTarget, c.Rooms = "", map[string]string{"y": "sip:y@10.0.0.3"}
		}}
		h := f.run(t)
		h.callerGot("480")
		if !strings.Contains(h.log.String(), "there is no room") {
			t.Errorf("%s", &h.log)
		}
	})
}

func TestCancelAbortsTheWebhook(t *testing.T) {
	var aborted error
	f := flow{rules: hookRule, giveUp: 2 * time.Second, hook: func(s *hookSaid) reply {
		if s.event != "invite" {
			return reply{}
		}
		<-s.ctx.Done()
		aborted = context.Cause(s.ctx)
		return reply{err: aborted}
	}}
	h := f.run(t)
	h.callerGot("deadline")
	h.told("invite", "ended")
	h.decided(OutcomeCancelled)
	if !errors.Is(aborted, sipflow.ErrCancelled) {
		t.Errorf("the request was ended by %v", aborted)
	}
	answers := h.caller.Answers()
	last := 0
	for _, a := range answers {
		if a.CSeq().MethodName == sip.INVITE {
			last = a.StatusCode
		}
	}
	if ended := h.of("ended"); last != 487 || ended["sip_code"] != 487.0 || ended["ended_by"] != "caller" {
		t.Errorf("%d %v", last, ended)
	}
}

func TestARetransmittedInviteIsDecidedOnOnce(t *testing.T) {
	f := flow{rules: hookRule, hook: func(s *hookSaid) reply { return reply{after: 4 * time.Second, body: busyAnswer} }}
	h := f.run(t)
	h.callerGot("486")
	h.told("invite", "ended")
}

func TestMediaThatIsNotOfferedIs488(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"room_name":"x","media_encryption":"SRTP"}`)}
	h := f.run(t)
	h.callerGot("488")
	h.decided(OutcomeMedia)
}

func TestAStaticRuleAsksNobody(t *testing.T) {
	f := flow{rules: `- {id: any, action: hangup, reject_status_code: 486}
- {id: r, numbers: ["5000"], room_name: here, events: [ended], events_url: "https://hooks.test/e"}`,
		script: siptest.Script{HangUpAfter: time.Second}, hook: says("")}
	h := f.run(t)
	h.callerGot("")
	h.told("ended")
	if s := h.d.Stats(); s.AskedSum != 0 {
		t.Error("the webhook was asked")
	}
}

func TestHeadersThatTheRuleNamesAreTold(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", sip_headers: [X-Customer, x-none]}`, hook: says(busyAnswer),
		header: []sip.Header{sip.NewHeader("X-Customer", "7"), sip.NewHeader("X-Other", "8")}}
	h := f.run(t)
	h.callerGot("486")
	if got := h.said[0]["headers"]; !cmp.Equal(got, map[string]any{"X-Customer": "7"}) {
		t.Errorf("%v", got)
	}
}

func TestUsersCallInTheirOwnNameOnly(t *testing.T) {
	secrets := func(c *Config) {
		c.Trunks = []Trunk{{Name: "branch", Username: "201", Credentials: sipflow.Credentials{Username: "201", Password: "secret"}}}
	}
	f := flow{rules: `{id: r, url: "https://hooks.test/"}`, hook: says(busyAnswer), config: secrets}
	h := f.run(t)
	h.callerGot("486")
	if h.said[0]["trunk_id"] != "branch" {
		t.Errorf("%v", h.said[0])
	}
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: user, Password: "secret"}, true
		}
		c.Owns = func(user, name string) bool { return user == name }
	}
	h = f.run(t)
	h.callerGot("486")
	if h.said[0]["trunk_id"] != "" {
		t.Errorf("%v", h.said[0])
	}
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: user, Password: "secret"}, true
		}
		c.Owns = func(user, name string) bool { return false }
	}
	h = f.run(t)
	h.callerGot("403")
	h.told()
	h.decided(OutcomeForged)
	f.config = func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(string) (sipflow.Credentials, bool) { return sipflow.Credentials{}, false }
	}
	h = f.run(t)
	h.callerGot("40")
	h.told()
}

func TestShuttingDownWhileTheWebhookThinks(t *testing.T) {
	f := flow{rules: hookRule, hook: func(s *hookSaid) reply { return reply{after: 4 * time.Second, body: busyAnswer} }}
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		h := &hooked{t: t}
		caller := n.Phone("201", "10.0.0.2:5060", siptest.Script{})
		defer caller.Close()
		_, stop := f.start(t, n, h)
		got := make(chan error, 1)
		go func() { got <- caller.Call(t.Context(), "sip:5000@10.0.0.1:5060") }()
		time.Sleep(time.Second)
		stop()
		if err := <-got; err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Minute)
	})
}

// Five hundred calls whose webhook takes its time do not make another one wait.
func TestCallsDoNotWaitForTheWebhooksOfOthers(t *testing.T) {
	const calls = 500
	slow := 3 * time.Second
	f := flow{rules: `[{id: slow, url: "https://hooks.test/", numbers: [slow]}, {id: static, action: hangup, reject_status_code: 486}]`,
		hook: func(s *hookSaid) reply {
			return reply{after: slow, body: `{"action":"hangup","reject_status_code":606}`}
		}}
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		h := &hooked{t: t}
		_, stop := f.start(t, n, h)
		caller := n.Phone("201", "10.0.0.2:5060", siptest.Script{})
		defer caller.Close()
		start := time.Now()
		got := make(chan error, calls)
		for range calls {
			go func() { got <- caller.Call(t.Context(), "sip:slow@10.0.0.1:5060") }()
		}
		time.Sleep(time.Second)
		if asking := h.d.Stats().Asking; asking != calls {
			t.Errorf("%d webhooks are being asked", asking)
		}
		before := time.Now()
		if err := caller.Call(t.Context(), "sip:fast@10.0.0.1:5060"); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("%v", err)
		}
		if d := time.Since(before); d > 50*time.Millisecond {
			t.Errorf("a call waited for %v", d)
		}
		for range calls {
			if err := <-got; err == nil || !strings.Contains(err.Error(), "606") {
				t.Fatalf("%v", err)
			}
		}
		if d := time.Since(start); d > slow+time.Second {
			t.Errorf("all together they took %v", d)
		}
		time.Sleep(time.Minute)
		stop()
	})
}

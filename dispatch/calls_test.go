package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// told is a Calls that notes what it is told.
type told struct {
	mu    sync.Mutex
	ids   map[string]bool
	notes []string
}

func (c *told) note(id, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	c.ids[id] = true
	c.notes = append(c.notes, text)
}

func (c *told) Routed(id string, r Routed) {
	c.note(id, fmt.Sprintf("routed by %s: %s to %q, fallback %v, after %v", r.Rule, r.Decision, r.Target, r.Fallback, r.Took))
}

func (c *told) Refuses(id string, why Reason) { c.note(id, fmt.Sprintf("refuses: %d", why)) }

func TestWhatIsDecidedIsTold(t *testing.T) {
	boom := errors.New("boom")
	const busy = `{id: r, url: "https://hooks.test/", fallback: 486, events: [ended]}`
	users := func(c *Config) {
		c.Trunks = nil
		c.Secrets = func(user string) (sipflow.Credentials, bool) {
			return sipflow.Credentials{Username: user, Password: "secret"}, true
		}
		c.Owns = func(string, string) bool { return false }
	}
	for _, c := range []struct {
		name string
		flow flow
		want []string
	}{
		{"a room", flow{rules: hookRule, hook: func(*hookSaid) reply { return reply{after: time.Second, body: `{"room_name":"x"}`} },
			script: siptest.Script{HangUpAfter: time.Second}},
			[]string{`routed by r: answer to "sip:x@10.0.0.3", fallback false, after 1s`}},
		{"hang up", flow{rules: hookRule, hook: says(`{"action":"hangup"}`)},
			[]string{`routed by r: hangup to "", fallback false, after 0s`, "refuses: 0"}},
		{"no rule", flow{rules: `{id: r, url: "https://hooks.test/", numbers: ["1"]}`, hook: says("")}, []string{"refuses: 0"}},
		{"another's name", flow{rules: busy, hook: says(""), config: users}, []string{"refuses: 1"}},
		{"no decision", flow{rules: busy, hook: func(*hookSaid) reply { return reply{code: 500} }},
			[]string{`routed by r: hangup to "", fallback true, after 0s`, "refuses: 2"}},
		{"a policy", flow{rules: busy, hook: says(`{"action":"transfer","transfer_to":"sip:0900@10.0.0.4"}`),
			config: func(cfg *Config) { cfg.Allow = func(string, string) error { return boom } }},
			[]string{`routed by r: hangup to "", fallback true, after 0s`, "refuses: 3"}},
		{"media", flow{rules: hookRule, hook: says(`{"room_name":"x","media_encryption":"SRTP"}`)},
			[]string{`routed by r: answer to "sip:x@10.0.0.3", fallback false, after 0s`, "refuses: 4"}},
		{"a wrong PIN", flow{rules: hookRule, hook: says(`{"room_name":"x","pin":"1234"}`), script: siptest.Script{Do: keys("1#2#3#")}},
			[]string{`routed by r: answer to "sip:x@10.0.0.3", fallback false, after 0s`, "refuses: 5"}},
		{"302", flow{rules: `{id: r, action: transfer, transfer_to: "sip:203@10.0.0.4", mode: redirect}`, hook: says("")},
			[]string{`routed by r: transfer to "sip:203@10.0.0.4", fallback false, after 0s`, "refuses: 6"}},
		{"another target", flow{rules: `{id: r, url: "https://hooks.test/", decide: [transfer_failed]}`, other: siptest.Script{Status: 486},
			script: siptest.Script{HangUpAfter: time.Second},
			hook: func(said *hookSaid) reply {
				if said.event == "invite" {
					return reply{body: `{"action":"transfer","transfer_to":"sip:203@10.0.0.4"}`}
				}
				return reply{body: `{"room_name":"x"}`}
			}},
			[]string{`routed by r: transfer to "sip:203@10.0.0.4", fallback false, after 0s`,
				`routed by r: answer to "sip:x@10.0.0.3", fallback false, after 0s`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := &told{}
			config := c.flow.config
			c.flow.config = func(cfg *Config) {
				if config != nil {
					config(cfg)
				}
				cfg.Calls = calls
			}
			h := c.flow.run(t)
			for i, note := range calls.notes { // of the webhook, on a network without delay but for the phones
				before, after, ok := strings.Cut(note, ", after ")
				if took, err := time.ParseDuration(after); ok && err == nil {
					calls.notes[i] = before + ", after " + took.Truncate(time.Second).String()
				}
			}
			if !slices.Equal(calls.notes, c.want) {
				t.Errorf("told\n%s\nwant\n%s", strings.Join(calls.notes, "\n"), strings.Join(c.want, "\n"))
			}
			if len(calls.ids) != 1 {
				t.Errorf("by the ids %v", calls.ids)
			}
			for _, said := range h.said {
				if id, _ := said["call_id"].(string); !calls.ids[id] {
					t.Errorf("the webhook knows the call as %q", id)
				}
			}
		})
	}
}

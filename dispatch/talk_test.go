package dispatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

const talkNumber = "4271953862" // of a conversation

// withTalk gives a flow a Nextcloud, whose callers are answered.
func withTalk(calls *[]TalkCall) func(*Config) {
	const sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n"
	return func(cfg *Config) {
		cfg.CheckTalk = func(backend, language string) error {
			switch {
			case backend != "" && backend != "https://cloud.example/":
				return errors.New("backend: is no Nextcloud")
			case language != "" && language != "de":
				return errors.New("language: is none")
			}
			return nil
		}
		cfg.Talk = func(ctx context.Context, in *sipflow.Incoming, t TalkCall) error {
			*calls = append(*calls, t)
			if t.Token == "9999" {
				return &sipflow.StatusError{Method: "INVITE", Code: 404}
			}
			return in.Converse(ctx, &sipflow.Conversation{Offer: func() []byte { return []byte(sdp) },
				Answered: func([]byte, bool) error { return nil }, Reoffer: func([]byte) ([]byte, error) { return []byte(sdp), nil }})
		}
	}
}

func TestCallsLeadIntoTalk(t *testing.T) {
	for name, c := range map[string]struct {
		rule   string
		hook   string
		header []sip.Header
		want   TalkCall
		config func(*Config)
	}{
		"a menu":         {rule: `{id: r, action: transfer, transfer_to: "talk:"}`},
		"a conversation": {rule: `{id: r, action: transfer, transfer_to: "talk:` + talkNumber + `"}`, want: TalkCall{Token: talkNumber}},
		"a user":         {rule: `{id: r, action: transfer, transfer_to: "Talk:DIRECT"}`, want: TalkCall{Direct: true}},
		"with a Nextcloud and a language": {
			rule: `{id: r, action: transfer, transfer_to: "talk:", backend: "https://cloud.example/", language: de}`,
			want: TalkCall{Backend: "https://cloud.example/", Language: "de"}},
		"a webhook that may": {rule: `{id: r, url: "https://hooks.test/", backend: "https://cloud.example/"}`,
			hook: `{"action":"transfer","transfer_to":"talk:` + talkNumber + `"}`,
			want: TalkCall{Token: talkNumber, Backend: "https://cloud.example/"}},
		"a room": {rule: `{id: r, action: answer, room_name: standup}`, want: TalkCall{Token: talkNumber},
			config: func(cfg *Config) { cfg.Rooms = map[string]string{"standup": "talk:" + talkNumber} }},
		"the number that a trunk asserts": {rule: `{id: r, action: transfer, transfer_to: "talk:", default_region: DE}`,
			header: []sip.Header{sip.NewHeader("P-Asserted-Identity", `"A" <sip:030-55500200@carrier.example>`)},
			want:   TalkCall{Caller: "+493055500200", Vouched: true}},
		"a caller who is private": {rule: `{id: r, action: transfer, transfer_to: "talk:", default_region: DE}`,
			header: []sip.Header{sip.NewHeader("P-Asserted-Identity", `<sip:+493055500200@carrier.example>`),
				sip.NewHeader("Privacy", "id;critical")},
			want: TalkCall{Caller: "-"}},
		"an asserted name is no number": {rule: `{id: r, action: transfer, transfer_to: "talk:"}`,
			header: []sip.Header{sip.NewHeader("P-Asserted-Identity", `<sip:alice@carrier.example>`)}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []TalkCall
			talk := withTalk(&calls)
			f := flow{rules: c.rule, script: siptest.Script{HangUpAfter: 20 * time.Second}, header: c.header, hook: says(c.hook),
				config: func(cfg *Config) {
					talk(cfg)
					if c.config != nil {
						c.config(cfg)
					}
				}}
			h := f.run(t)
			h.callerGot("")
			want := c.want
			want.Trunk, want.Called = "t1", "5000"
			if strings.Contains(c.rule, "DE") {
				want.Called = "+495000"
			}
			switch want.Caller {
			case "":
				want.Caller = "201"
			case "-":
				want.Caller = ""
			}
			if len(calls) != 1 || calls[0] != want {
				t.Errorf("%+v, want %+v", calls, want)
			}
			h.keepsToItself(t)
		})
	}
}

// keepsToItself says that neither the log nor an event has the conversation's number.
func (h *hooked) keepsToItself(t *testing.T) {
	t.Helper()
	if bytes.Contains(h.log.Bytes(), []byte(talkNumber)) {
		t.Errorf("the log has the conversation:\n%s", &h.log)
	}
	for _, m := range h.said {
		if strings.Contains(fmt.Sprint(m), talkNumber) {
			t.Errorf("the webhook is told the conversation: %v", m)
		}
	}
}

// What of Talk is not reached is told as for any target, without its number.
func TestAConversationThatIsNotReached(t *testing.T) {
	var calls []TalkCall
	rule := strings.Replace(hookRule, "{id: r", `{id: r, backend: "https://cloud.example/"`, 1)
	f := flow{rules: rule, hook: says(`{"action":"transfer","transfer_to":"talk:9999"}`), config: withTalk(&calls)}
	h := f.run(t)
	h.callerGot("404")
	h.told("invite", "transfer_failed", "ended")
	if m := h.of("transfer_failed"); m["target"] != "talk:***" || m["transfer_to"] != "talk:***" {
		t.Errorf("%v", m)
	}
	if strings.Contains(h.log.String(), "9999") {
		t.Errorf("the log has the conversation:\n%s", &h.log)
	}
}

// A webhook opens Talk only where its rule says so: another's server shall not choose
// conversations where the operator thought of SIP addresses.
func TestAWebhookNeedsTheRulesLeaveForTalk(t *testing.T) {
	var calls []TalkCall
	f := flow{rules: hookRule, hook: says(`{"action":"transfer","transfer_to":"talk:` + talkNumber + `"}`), config: withTalk(&calls)}
	h := f.run(t)
	h.callerGot("480")
	h.decided(OutcomeFallback)
	if len(calls) != 0 || !strings.Contains(h.log.String(), "write backend") {
		t.Errorf("%v; %s", calls, &h.log)
	}
	h.keepsToItself(t)
}

// The fallback is the operator's: it may lead into Talk.
func TestAFallbackMayLeadIntoTalk(t *testing.T) {
	var calls []TalkCall
	f := flow{rules: `{id: r, url: "https://hooks.test/", fallback: {action: transfer, transfer_to: "talk:"}}`, hook: says("{"),
		script: siptest.Script{HangUpAfter: 20 * time.Second}, config: withTalk(&calls)}
	h := f.run(t)
	h.callerGot("")
	if len(calls) != 1 {
		t.Errorf("%v", calls)
	}
}

func TestTalkTargetsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		rule string
		talk bool
		want string
	}{
		{`{id: r, action: transfer, transfer_to: "talk:123"}`, true, "4 to 30 digits"},
		{`{id: r, action: transfer, transfer_to: "talk:` + strings.Repeat("1", 31) + `"}`, true, "4 to 30 digits"},
		{`{id: r, action: transfer, transfer_to: "talk:abcd"}`, true, "4 to 30 digits"},
		{`{id: r, action: transfer, transfer_to: "talk"}`, true, "write a sip:, sips: or tel: URI"},
		{`{id: r, action: transfer, transfer_to: "talk:"}`, false, "write dialout.servers and dialout.audio"},
		{`{id: r, action: transfer, transfer_to: "talk:", mode: redirect}`, true, "leave out mode: redirect"},
		{`{id: r, action: transfer, transfer_to: "talk:", backend: "https://other.example/"}`, true, "backend: is no Nextcloud"},
		{`{id: r, action: transfer, transfer_to: "talk:", language: xx}`, true, "language: is none"},
		{`{id: r, action: transfer, transfer_to: "sip:a@b", backend: "https://cloud.example/"}`, true, "are for targets in Nextcloud Talk"},
		{`{id: r, url: "https://hooks.test/", backend: "https://other.example/"}`, true, "backend: is no Nextcloud"},
		{`{id: r, url: "https://hooks.test/", backend: "https://cloud.example/"}`, false, "nobody can call into Nextcloud Talk"},
		{`{id: r, action: answer, room_name: standup, pin: "12"}`, true, "Talk asks for its own"},
		{`{id: r, action: answer, room_name: other}`, true, "has no place in a talk: target"},
	} {
		rules, err := ParseRules([]byte(c.rule), "rules.yaml")
		if err == nil {
			cfg := Config{Rules: rules}
			if c.talk {
				withTalk(new([]TalkCall))(&cfg)
				cfg.Rooms = map[string]string{"standup": "talk:" + talkNumber}
			}
			if strings.Contains(c.rule, "other}") {
				cfg.RoomTarget = "talk:{room}"
			}
			_, err = Check(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.rule, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), strings.Repeat("1", 31)) {
			t.Errorf("the error has the conversation: %v", err)
		}
	}
}

// Try tells where a call would lead, and that a webhook may not.
func TestTryingACallIntoTalk(t *testing.T) {
	for rule, want := range map[string]string{
		`{id: r, action: transfer, transfer_to: "talk:` + talkNumber + `"}`: "talk:" + talkNumber,
		`{id: r, action: transfer, transfer_to: "talk:direct"}`:             "talk:direct",
	} {
		rules, err := ParseRules([]byte(rule), "rules.yaml")
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Rules: rules}
		withTalk(new([]TalkCall))(&cfg)
		d, err := New(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		trial, err := d.Try(t.Context(), Call{FromUser: "201", ToUser: "5000"}, false)
		if err != nil || trial.URI != want {
			t.Errorf("%s: %q, %v", rule, trial.URI, err)
		}
		d.Close(t.Context())
	}
}

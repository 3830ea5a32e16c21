package dispatch

import (
	"context"
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/media/prompts"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// audio is that of a service with prompts of a language.
func audio(t *testing.T, language string) *Audio {
	t.Helper()
	set, err := prompts.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return &Audio{Prompts: set, Language: language}
}

// The digits that phones and trunks send by RFC 4733, or by INFO, or by both.
func TestAPINIsHeard(t *testing.T) {
	const answer = `{"room_name":"secret","pin":"12*4"}`
	for _, c := range []struct {
		name, digits string
		info         string
		right        bool
		after        time.Duration // when the caller is hung up
	}{
		{"right", "12*4#", "", true, 0},
		{"right, without #", "12*4", "", true, 0},
		{"right at the third time", "1#12*#12*4#", "", true, 0},
		{"by INFO", "", "12*4#", true, 0},
		{"by both", "12*4#", "12*4#", true, 0},
		{"wrong", "12*5#1#2#", "", false, 4200 * time.Millisecond},
		{"empty", "###", "", false, 2700 * time.Millisecond},
		{"none", "", "", false, 60500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := flow{rules: hookRule, hook: says(answer), script: siptest.Script{Do: keys(c.info)}, audio: audio(t, prompts.Tones),
				room: siptest.Script{HangUpAfter: 10 * time.Second}, during: func(h *hooked) { h.listens(); h.dials(c.digits) }}
			h := f.run(t)
			h.callerGot("")
			if called := len(h.room.Requests("INVITE")) > 0; called != c.right {
				t.Errorf("the room was called: %v", called)
			}
			if strings.Contains(h.log.String(), "12*4") {
				t.Error("the log has the PIN")
			}
			if c.right {
				h.told("invite", "answered", "ended")
				h.decided(OutcomeAnswer)
				return
			}
			h.told("invite", "ended")
			h.decided(OutcomePIN)
			if ended := h.of("ended"); !about(ended["duration"], c.after.Seconds()) || ended["ended_by"] != "service" {
				t.Errorf("%v", ended)
			}
		})
	}
}

// A tone asks for the PIN, a low one says that it was wrong, and ringing that it was right.
func TestACallerHearsWhatIsWanted(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"room_name":"secret","pin":"1234"}`), audio: audio(t, prompts.Tones),
		room: siptest.Script{Ring: 10 * time.Second, HangUpAfter: 10 * time.Second}, during: func(h *hooked) {
			h.listens()
			time.Sleep(3 * time.Second)
			h.hears("at first", 440)
			h.dials("12#")
			time.Sleep(3 * time.Second)
			h.hears("after a wrong PIN", 200, 440)
			h.dials("1234#")
			time.Sleep(6 * time.Second)
			h.hears("while the room rings", 425)
			time.Sleep(5 * time.Second)
			if h.ports.InUse() != 0 {
				h.t.Error("the caller is in the room, and the service still has audio")
			}
			h.far.since()
			time.Sleep(3 * time.Second)
			h.hears("in the room")
		}}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "answered", "ended")
}

func TestACallerHearsWords(t *testing.T) {
	var heard [2]time.Duration
	for i, language := range []string{"en", "de"} {
		f := flow{rules: hookRule, hook: says(`{"room_name":"secret","pin":"1234"}`), audio: audio(t, language), during: func(h *hooked) {
			h.listens()
			time.Sleep(8 * time.Second)
			for _, v := range h.far.since() {
				if v > 300 || v < -300 {
					heard[i] += time.Second / 16000
				}
			}
			h.caller.HangUp()
		}}
		h := f.run(t)
		h.callerGot("")
	}
	if heard[0] < time.Second || heard[1] < time.Second || heard[0] == heard[1] {
		t.Errorf("sound for %s", heard)
	}
}

// A wrong PIN is told before the caller is hung up, and who hangs up meanwhile is let go.
func TestTheLastWrongPINIsTold(t *testing.T) {
	f := flow{rules: hookRule, hook: says(`{"room_name":"secret","pin":"1234"}`), audio: audio(t, prompts.Tones), during: func(h *hooked) {
		h.listens()
		h.dials("1#2#3#")
		h.far.since()
		time.Sleep(2 * time.Second)
		h.hears("at last", 200)
		if !h.caller.OnHook() {
			h.t.Error("the caller is not hung up")
		}
	}}
	h := f.run(t)
	h.decided(OutcomePIN)
	f.audio, f.during = audio(t, "en"), func(h *hooked) {
		h.listens()
		h.dials("1#2#3#")
		time.Sleep(500 * time.Millisecond)
		h.caller.HangUp()
	}
	h = f.run(t)
	h.decided(OutcomePIN)
}

func TestTheWebhookMayCheckAPINThatIsHeard(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", pin_check: webhook, events: [ended]}`, audio: audio(t, "en"),
		hook: func(s *hookSaid) reply {
			switch {
			case s.event == "pin_entered" && s.fields["pin"] == "77":
				return reply{body: `{"room_name":"b"}`, after: 2 * time.Second}
			case s.event == "pin_entered":
				return reply{body: `{"room_name":"a","pin":"*"}`, after: 2 * time.Second}
			}
			return reply{body: `{"room_name":"a","pin":"*"}`}
		}, room: siptest.Script{HangUpAfter: 10 * time.Second},
		// The caller's phone is responded to while the webhook thinks.
		script: siptest.Script{Do: []siptest.Action{{After: 2 * time.Second, Method: "OPTIONS"}}},
		during: func(h *hooked) { h.listens(); h.dials("1#  77#") }}
	h := f.run(t)
	h.callerGot("")
	h.told("invite", "pin_entered", "pin_entered", "ended")
	if len(h.room.Requests("INVITE")) != 1 {
		t.Error("the room was not called")
	}
}

// A caller who hangs up while the webhook checks leaves nothing behind.
func TestACallerWhoHangsUpWhileAPINIsChecked(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", pin_check: webhook, events: [ended]}`, audio: audio(t, "en"),
		hook: func(s *hookSaid) reply {
			if s.event == "pin_entered" {
				return reply{body: `{"room_name":"b"}`, after: time.Minute}
			}
			return reply{body: `{"room_name":"a","pin":"*"}`}
		}, during: func(h *hooked) { h.listens(); h.dials("1#"); h.caller.HangUp() }}
	h := f.run(t)
	if ended := h.of("ended"); ended["ended_by"] != "caller" {
		t.Errorf("%v", ended)
	}
}

// Without a codec in common, or without ports, digits come by INFO as ever.
func TestAPINWithoutAudio(t *testing.T) {
	answer := says(`{"room_name":"a","pin":"12"}`)
	var taken *media.Session
	for name, f := range map[string]flow{
		"no codec": {script: siptest.Script{Media: siptest.Browser(), Do: keys("12#")}},
		"no ports": {script: siptest.Script{Do: keys("12#")}, config: func(c *Config) {
			var err error
			if taken, err = c.Audio.Ports.Open(media.Options{}); err != nil {
				t.Error(err)
			}
		}, during: func(*hooked) { taken.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			f.rules, f.hook, f.audio, f.room = hookRule, answer, audio(t, "en"), siptest.Script{HangUpAfter: 10 * time.Second}
			h := f.run(t)
			if name == "no ports" && len(h.room.Requests("INVITE")) != 1 {
				t.Error("the room was not called")
			}
			if !strings.Contains(h.log.String(), "digits of the PIN can come by INFO only") {
				t.Errorf("%s", &h.log)
			}
		})
	}
}

// A caller who encrypts its audio is answered so, and one who does not where it must is
// on hold.
func TestAPINIsHeardEncrypted(t *testing.T) {
	for name, c := range map[string]struct {
		media    siptest.Media
		security media.Security
		want     string
	}{
		"offered":      {siptest.SRTPOnly(), media.SRTPOffered, "RTP/SAVP 9"},
		"not offered":  {siptest.Desk(), media.SRTPOffered, "RTP/AVP 9"},
		"not required": {siptest.Desk(), media.SRTPRequired, "a=inactive"},
	} {
		t.Run(name, func(t *testing.T) {
			f := flow{rules: hookRule, hook: says(`{"room_name":"a","pin":"12"}`), audio: audio(t, "en"),
				script: siptest.Script{Media: c.media, Do: keys("12#")}, room: siptest.Script{Media: c.media, HangUpAfter: 10 * time.Second}}
			f.audio.Security = c.security
			h := f.run(t)
			h.callerGot("")
			answer := string(h.caller.Answers()[0].Body())
			if !strings.Contains(answer, c.want) || strings.Contains(answer, "RTP/SAVP 9") != strings.Contains(answer, "a=crypto:") {
				t.Errorf("the answer is\n%s", answer)
			}
			if len(h.room.Requests("INVITE")) == 0 {
				t.Error("the room was not called")
			}
		})
	}
}

// A room that fails, and a webhook that names another one with a PIN of its own.
func TestASecondPINIsHeard(t *testing.T) {
	f := flow{rules: `{id: r, url: "https://hooks.test/", decide: [target_failed]}`, audio: audio(t, "en"),
		config: func(c *Config) { c.Rooms = map[string]string{"a": "sip:203@10.0.0.4"} },
		hook: func(s *hookSaid) reply {
			if s.event == "target_failed" {
				return reply{body: `{"room_name":"b","pin":"34"}`}
			}
			return reply{body: `{"room_name":"a","pin":"12"}`}
		}, other: siptest.Script{Status: 486}, room: siptest.Script{HangUpAfter: 10 * time.Second},
		during: func(h *hooked) { h.listens(); h.dials("12#  34#") }}
	h := f.run(t)
	h.told("invite", "target_failed")
	if len(h.room.Requests("INVITE")) != 1 {
		t.Errorf("the room was not called: %s", &h.log)
	}
}

// After the PIN a caller may be connected with media of ours again: a user's device.
func TestAUserIsCalledAfterAPIN(t *testing.T) {
	called := ""
	f := flow{rules: `{id: r, numbers: ["5000"], action: answer, room_name: kim, pin: "12"}`, audio: audio(t, "en"),
		config: func(c *Config) {
			c.HasUsers, c.Rooms = true, map[string]string{"kim": "phone:kim"}
			c.Phone = func(ctx context.Context, in *sipflow.Incoming, name string, _ time.Duration) error {
				called = name
				ctx, stop := context.WithTimeout(ctx, 5*time.Second)
				defer stop()
				sdp := []byte("v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n")
				return in.Converse(ctx, &sipflow.Conversation{Offer: func() []byte { return sdp },
					Answered: func([]byte, bool) error { return nil }, Reoffer: func([]byte) ([]byte, error) { return sdp, nil }})
			}
		}, during: func(h *hooked) { h.listens(); h.dials("12#") }}
	h := f.run(t)
	h.callerGot("")
	if called != "kim" || len(h.caller.Requests("INVITE")) != 1 {
		t.Errorf("%q was called, and the caller invited again %d times", called, len(h.caller.Requests("INVITE")))
	}
}

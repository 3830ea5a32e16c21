package app

import (
	"context"
	"io"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk/talktest"
)

// inTalk is a service whose calls lead into Talk by a rule.
func inTalk(t *testing.T, rule string) (*service, *talktest.Lab) {
	t.Helper()
	lab, change := overTalk(t)
	lab.AddSFU()
	cfg := dispatching(t, "127.0.0.1:9", rule)
	change(&cfg)
	cfg.Dialout.RoomTarget = ""
	cfg.Dialout.Gateway.URI, cfg.Dialout.Gateway.DefaultNumber = "sip:127.0.0.1:9", "+493012345"
	a := &cfg.Dialout.Audio
	a.Enabled, a.Address, a.ICEPort, a.MediaAllow = true, "127.0.0.1", 0, []string{"127.0.0.0/8"}
	lab.Cloud.Set(conversation, func(v *talktest.Conversation) {
		v.SIP, v.PINs = 1, map[string]talktest.Person{"135": {ActorID: "alice"}}
	})
	s := start(t, cfg)
	s.log.WaitFor(t, "connected to the signaling server")
	return s, lab
}

const conversation = "42719"

// presses sends digits by INFO, one after the other.
func presses(t *testing.T, p *siptest.Phone, keys string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, key := range keys {
		r, err := p.Do(ctx, siptest.Action{Method: "INFO", Header: []sip.Header{sip.NewHeader("Content-Type", "application/dtmf-relay")},
			Body: "Signal=" + string(key) + "\r\nDuration=100\r\n"})
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v %v", r, err)
		}
	}
}

func (s *service) scrape(t *testing.T) string {
	t.Helper()
	resp, err := s.client.Get(s.MetricsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A caller by SIP enters number and PIN, is shown in the conversation, and leaves
// nothing there: neither when he hangs up nor when the service ends.
func TestACallThatComesInLeadsIntoTalk(t *testing.T) {
	s, lab := inTalk(t, `{id: talk, numbers: ["5000"], action: transfer, transfer_to: "talk:"}`)
	caller, _ := apptest.Phone(t, siptest.Script{})
	dials := func() {
		t.Helper()
		if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
			t.Fatal(err)
		}
		presses(t, caller, conversation+"#135#")
		lab.Until("the phone is shown", time.Minute, func() bool {
			return len(lab.Cloud.Phones(conversation)) == 1 && strings.Contains(strings.Join(lab.Messages(), "\n"), `"incall":{"incall":3}`)
		})
	}
	dials()
	caller.HangUp()
	lab.Until("the phone has left", time.Minute, func() bool { return len(lab.Cloud.Phones(conversation)) == 0 })
	s.log.WaitFor(t, "action=transfer transfer_to=talk:")
	soon(t, "no call is counted as in progress", func() bool {
		return strings.Contains(s.scrape(t), `sipxrest_dialin_calls_total{outcome="joined"} 1`) &&
			s.metric(`sipxrest_dispatch_decisions_total{decision="transfer"}`) == 1
	})
	text := s.scrape(t)
	for _, want := range []string{`sipxrest_dialin_calls_total{outcome="joined"} 1`, `sipxrest_dialin_calls_active{state="asked"} 0`,
		`sipxrest_dispatch_decisions_total{decision="transfer"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	if regexp.MustCompile(conversation + "|135#").MatchString(text) {
		t.Error("a metric has the conversation")
	}

	dials()
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	lab.Until("no bridge stays", time.Minute, func() bool { return lab.Bridges() == 0 })
	lab.Until("no phone stays", time.Minute, func() bool { return len(lab.Cloud.Phones(conversation)) == 0 })
	if line := regexp.MustCompile(".*(msg|error|transfer_to|target)=\\S*" + conversation + ".*").FindString(s.log.String()); line != "" {
		t.Errorf("the log has the conversation: %s", line)
	}
}

// What a caller enters wrong ends his call, and the log says that, but not what it was.
func TestAWrongPINIntoTalk(t *testing.T) {
	s, lab := inTalk(t, `{id: talk, action: transfer, transfer_to: "talk:`+conversation+`", language: de}`)
	caller, _ := apptest.Phone(t, siptest.Script{})
	if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
		t.Fatal(err)
	}
	presses(t, caller, "24680#24681#24682#")
	s.log.WaitFor(t, "what the caller entered is wrong")
	if len(lab.Cloud.Phones(conversation)) != 0 || strings.Contains(s.log.String(), "2468") {
		t.Errorf("he is in, or the log has what he entered:\n%s", s.log)
	}
	if strings.Contains(s.log.String(), "="+conversation) || strings.Contains(s.log.String(), "talk:"+conversation) {
		t.Errorf("the log has the conversation:\n%s", s.log)
	}
}

// Without audio there is no way into Talk, and the configuration says what is missing.
func TestCallsIntoTalkNeedAudio(t *testing.T) {
	_, change := overTalk(t)
	cfg := dispatching(t, "127.0.0.1:9", `{id: talk, action: transfer, transfer_to: "talk:"}`)
	change(&cfg)
	cfg.Dialout.Gateway.URI, cfg.Dialout.Gateway.DefaultNumber = "sip:127.0.0.1:9", "+493012345"
	if err := validates(cfg); err == nil || !strings.Contains(err.Error(), "write dialout.servers and dialout.audio") {
		t.Errorf("%v", err)
	}
}

func validates(cfg config.Config) error { return cfg.Validate() }

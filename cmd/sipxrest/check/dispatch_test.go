package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/media/prompts"
	"sipxrest/sipflow/siptest"
)

func TestCheckSaysWhatIsWrongWithWebhooks(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}
trusted: []
dns: {servers: ["%s"]}
dispatch:
  trunks: [{name: a, username: "999"}]
  agent: "998"
  rules: [{id: gone, url: "https://nowhere.test/"}]
`, proxy, apptest.NameServer(t)))
	ok, out := checked(t, file)
	if ok {
		t.Error("it finds no problem")
	}
	wants(t, out, "ok dispatch 1 rule, 1 trunk", `problem dispatch `+file+`:11: rule "gone": url: lookup nowhere.test`,
		"dispatch.agent: there is no user 998", "dispatch.trunks: there is no user 999")
}

// A proxy that challenges refuses the calls to rooms and targets of a service that has
// nobody's SIP password for them.
func TestCheckMissesTheAgentOfDispatch(t *testing.T) {
	_, proxy := apptest.Phone(t, siptest.Script{})
	const note = "note dispatch dispatch.agent is not set: where the proxy asks for a SIP password, calls to rooms and targets end with 403"
	for _, agent := range []string{"", "agent: \"201\""} {
		dir := t.TempDir()
		apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
		_, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:%s]}
trusted: []
dns: {servers: ["%s"]}
dispatch:
  rules: [{id: a, action: transfer, transfer_to: "sip:202@sipx.test"}]
  %s
`, proxy, apptest.NameServer(t), agent)))
		if said := strings.Contains(strings.Join(strings.Fields(out), " "), note); said != (agent == "") {
			t.Errorf("with %q it says\n%s", agent, out)
		}
	}
}

// What callers hear who are asked for a PIN, and where that goes.
func TestCheckListsThePrompts(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for _, tt := range []struct {
		listen, audio string
		want          []string
	}{
		{"udp:127.0.0.1:0", "rtp-ports: 24000-24099, language: de", []string{
			"ok dispatch callers who are asked for a PIN send audio to 127.0.0.1, ports 24000-24099: 50 calls at once, prompts in de",
			"ok dispatch prompts in de: 22 built in", "ok dispatch prompts in en: 22 built in"}},
		{"udp:127.0.0.1:0", "prompts: prompts", []string{
			"ok dispatch prompts in de: 22 built in",
			"ok dispatch prompts in en: 21 built in, and of " + filepath.Join(dir, "prompts") + " wrong-pin",
			"ok dispatch prompts in fr: 22 of " + filepath.Join(dir, "prompts")}},
		{"udp:0.0.0.0:0", "", []string{
			"note dispatch PINs can be entered by INFO only, which most telephones do not send: dispatch.audio.address: missing"}},
	} {
		for _, language := range []string{"en", "fr"} {
			if err := os.MkdirAll(filepath.Join(dir, "prompts", language), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		const silence = "RIFF\x2c\x00\x00\x00WAVEfmt " +
			"\x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x08\x00\x00\x00" +
			"\x01\x02\x01\x02\x01\x02\x01\x02"
		apptest.Write(t, filepath.Join(dir, "prompts", "en"), "wrong-pin.wav", silence)
		for _, name := range prompts.Names {
			apptest.Write(t, filepath.Join(dir, "prompts", "fr"), name+".wav", silence)
		}
		file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: [%q]}
dispatch:
  audio: {%s}
  rules: [{id: a, action: hangup}]
`, tt.listen, tt.audio))
		_, out := checked(t, file)
		wants(t, out, tt.want...)
	}
}

func TestTryDispatchNeedsNoCall(t *testing.T) {
	url, events := apptest.Webhook(t, `{"action":"reject","reject_status_code":486}`)
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
dispatch:
  trunks: [{name: a, sources: [192.0.2.1]}]
  rules: [{id: r, trunks: [a], url: %q, allow_http: true, allow_private: [127.0.0.1]}]
`, url))
	src := config.Source{File: file}
	trial, err := TryDispatch(t.Context(), src, DispatchTrial{From: "sip:+49301@c.test", To: "5000", Source: "192.0.2.1", Ask: true})
	if err != nil || trial.Decision == nil || trial.Decision.Code != 486 || trial.Call.FromHost != "c.test" ||
		trial.Call.ToHost != "sipx.test" {
		t.Errorf("%+v, %v", trial, err)
	}
	if m := apptest.NextEvent(t, events); m["from_user"] != "+49301" || m["trunk_id"] != "a" {
		t.Errorf("%v", m)
	}
	trial, err = TryDispatch(t.Context(), src, DispatchTrial{From: "1", To: "2", Source: "192.0.2.9", Ask: true})
	if err != nil || trial.Decision != nil || !trial.Prove {
		t.Errorf("%+v, %v", trial, err)
	}
	if _, err := TryDispatch(t.Context(), src, DispatchTrial{From: "1", To: "2", Source: "x"}); err == nil {
		t.Error("an address that is none is taken")
	}
}

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDispatchTryPrintsTheRuleTheRequestAndTheDecision(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{"action":"transfer","transfer_to":"tel:+49301","transfer_ringing_timeout":12}`))
	}))
	defer server.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"users.yaml": "- {user: \"201\", pin: \"1\"}\n",
		"sipxrest.yaml": `domain: sipx.test
users: [users.yaml]
dispatch:
  trunks: [{name: t1, sources: [192.0.2.1]}]
  rules:
  - {id: hook, name: The hook, trunks: [t1], url: "` + server.URL +
			`", allow_http: true, allow_private: [127.0.0.1], hmac_secret: 0123456789abcdef}
  - {id: static, numbers: ["300"], action: hangup, reject_status_code: 486, reject_reason: Closed}
  - {id: down, numbers: ["400"], url: "http://127.0.0.1:1", allow_http: true, allow_private: [127.0.0.1], fallback: 487}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := "--config=" + filepath.Join(dir, "sipxrest.yaml")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--from", "1", "--to", "2", "--trunk", "t1"}, exitOK, []string{"rule hook (The hook)", "sipxrest.yaml:6: this one",
			"2 is none of its numbers",
			"request POST " + server.URL, "X-Signature: [redacted]", `"to_user":"2"`, `"action":"transfer"`,
			"decision transfer: sip:+49301@sipx.test;user=phone is called, for at most 12s"}},
		{[]string{"--from", "1", "--to", "2", "--source", "192.0.2.1", "--dry-run"}, exitOK,
			[]string{"trunk t1", "decision that of the webhook, which was not asked"}},
		{[]string{"--from", "1", "--to", "300"}, exitOK, []string{"decision hangup: 486 Closed", "the call comes by no trunk"}},
		{[]string{"--from", "1", "--to", "300", "--trunk", "t1"}, exitOK,
			[]string{"hook (The hook)", "it fits, but another says more of the call"}},
		{[]string{"--from", "1", "--to", "400"}, exitFailed, []string{"failed webhook: ", "connection refused", "fallback hangup: 487"}},
		{[]string{"--from", "1", "--to", "2"}, exitFailed, []string{"404 Not Found: no rule is for the call"}},
		{[]string{"--from", "1", "--to", "2", "--source", "192.0.2.2"}, exitFailed, []string{"must prove who it is"}},
		{[]string{"--from", "1", "--to", "2", "--trunk", "t9"}, exitFailed, []string{`there is no trunk "t9"`}},
		{[]string{"--to", "2"}, exitUsage, []string{"--from"}},
	} {
		var out, errOut strings.Builder
		code := run(append([]string{"dispatch", "try", config}, c.args...), world{stdout: &out, stderr: &errOut})
		text := strings.Join(strings.Fields(out.String()+errOut.String()), " ")
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", c.args, code, c.code, &out, &errOut)
		}
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%v: it does not say %q:\n%s%s", c.args, w, &out, &errOut)
			}
		}
	}
	if asked != 1 {
		t.Errorf("the webhook was asked %d times", asked)
	}
}

// Nobody is called by a target in Talk: the caller is asked for digits first.
func TestDispatchTryTellsWhatTalkAsks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"users.yaml": "- {user: \"201\", pin: \"1\"}\n",
		"sipxrest.yaml": `domain: sipx.test
users: [users.yaml]
sip: {listen: ["udp:127.0.0.1:0"]}
dialout:
  servers: [{url: "https://signaling.example", secret: s, backends: [{url: "https://cloud.example/", sip-secret: s}]}]
  gateway: {uri: "sip:127.0.0.1:9", default-number: "+493012345"}
  audio: {address: 127.0.0.1}
dispatch:
  rules:
  - {id: menu, numbers: ["+49301"], action: transfer, transfer_to: "talk:"}
  - {id: one, numbers: ["+49302"], action: transfer, transfer_to: "talk:4271953862"}
  - {id: user, numbers: ["+49303"], action: transfer, transfer_to: "talk:direct"}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for to, want := range map[string]string{
		"+49301": "decision transfer: talk:, Nextcloud Talk: the caller is asked for a meeting ID and a PIN",
		"+49302": "decision transfer: talk:4271953862, Nextcloud Talk: the caller is asked for a PIN of that conversation",
		"+49303": "decision transfer: talk:direct, Nextcloud Talk: the caller reaches the user who has the called number, 404 if nobody has it",
	} {
		var out, errOut strings.Builder
		code := run([]string{"dispatch", "try", "--config=" + filepath.Join(dir, "sipxrest.yaml"), "--from", "1", "--to", to},
			world{stdout: &out, stderr: &errOut})
		if text := strings.Join(strings.Fields(out.String()), " "); code != exitOK || !strings.HasSuffix(text, want) {
			t.Errorf("%s: exit code %d\n%s%s", to, code, &out, &errOut)
		}
	}
}

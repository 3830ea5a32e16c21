package check

import (
	"fmt"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
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

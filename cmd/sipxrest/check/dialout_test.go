package check

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/sipflow/siptest"
)

func TestCheckOfTheWayToTelephones(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	_, proxy := apptest.Phone(t, siptest.Script{})
	_, mute := apptest.Phone(t, siptest.Script{Answers: map[sip.RequestMethod]int{"OPTIONS": -1}})
	for section, want := range map[string]string{
		"{gateway: {uri: 'sip:" + mute + "'}}": "problem gateway sip:" + mute + ": udp:" + mute +
			" does not answer OPTIONS",
		"{gateway: {uri: 'sip:" + proxy + "'}, agent: nobody}": "problem dialout sipxrest.yaml:6: dialout.agent: there " +
			"is no user nobody",
		"{gateway: {uri: 'sip:trunk:hunter2@gw.test'}}":                              "dialout.gateway.uri: holds a user: write it without",
		"{gateway: {uri: 'sip:127.0.0.1:99999'}}":                                    "dialout.gateway.uri: ",
		"{gateway: {uri: 'sip:" + proxy + "'}, limits: {user: 0}}":                   "dialout.limits.user: 0 is neither none nor without limit",
		"{gateway: {uri: 'sip:" + proxy + "'}, limits: {calls: 0}, ring-timeout: 0}": "dialout.ring-timeout: 0 is neither",
	} {
		file := apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:%s"]}
dialout: %s
`, proxy, section))
		ok, out := checked(t, file)
		if out = strings.ReplaceAll(out, dir+"/", ""); ok {
			t.Errorf("%s: no problem is found", section)
		}
		if wants(t, out, want); strings.Contains(out, "hunter2") {
			t.Errorf("the password is shown:\n%s", out)
		}
	}
}

func TestCheckNamesAddressesThatAreNotEncrypted(t *testing.T) {
	for address, want := range map[string]bool{
		"http://signaling.test/spreed": true, "http://192.0.2.1:8080/": true, "http://[2001:db8::1]/": true,
		"https://signaling.test/spreed": false, "http://127.0.0.1:8080/spreed": false, "http://[::1]/": false, "http://localhost/": false,
	} {
		if got := inTheClear(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	_, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+`
data-dir: data
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:127.0.0.1:1"]}
dialout:
  servers: [{url: "ws://signaling.invalid", secret: s, backends: [{url: "https://cloud.invalid", sip-secret: x}]}]
  gateway: {uri: "sip:127.0.0.1:1"}
  room-target: "sip:{token}@127.0.0.1"
`))
	wants(t, out, "note dialout http://signaling.invalid/spreed is not encrypted")
	if strings.Contains(out, "cloud.invalid/ is not encrypted") {
		t.Error(out)
	}
}

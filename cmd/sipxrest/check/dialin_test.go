package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

func TestCheckTellsWhoGetsIntoTalk(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	write := func(rest string) string {
		return apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+`
data-dir: data
sip: {listen: [udp:127.0.0.1:0], outbound-proxy: [sip:127.0.0.1:9]}
dialout:
  servers: [{url: "http://127.0.0.1:9", secret: s, backends: [{url: "http://127.0.0.1:9/", sip-secret: s}]}]
  gateway: {uri: "sip:127.0.0.1:9", default-number: "+493012345"}
  audio: {address: 127.0.0.1, media-allow: [127.0.0.0/8]}
`+rest)
	}
	_, out := checked(t, write("dialin: {tries: 4}\n"))
	wants(t, out, "note dialin nobody can call into Talk: there are no dispatch rules with transfer_to: talk:")

	if err := os.MkdirAll(filepath.Join(dir, "prompts", "de"), 0o700); err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, filepath.Join(dir, "prompts", "de"), "welcome.wav", "RIFF\x28\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"+
		"\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x04\x00\x00\x00\x00\x00\x00\x00")
	_, out = checked(t, write(`dialin: {language: de, prompts: prompts}
dispatch:
  rules:
    - {id: a, numbers: ["1"], action: transfer, transfer_to: "talk:"}
    - {id: b, numbers: ["2"], url: "https://127.0.0.1:9/", allow_private: [127.0.0.1], backend: "http://127.0.0.1:9/"}
    - {id: c, numbers: ["3"], action: hangup}
`))
	wants(t, out, "ok dialin 2 rules for calls into Talk; callers are spoken to in de, where the rule names no language",
		"ok dialin prompts: de (built in, but of the folder: welcome), en (built in)")

	// PINs of dispatch are asked for by the same prompts: what is wrong is said once.
	apptest.Write(t, filepath.Join(dir, "prompts", "de"), "welcome.wav", "MP3")
	_, out = checked(t, write(`dialin: {prompts: prompts}
dispatch:
  rules:
    - {id: a, numbers: ["1"], action: transfer, transfer_to: "talk:"}
`))
	if wants(t, out, "dialin.prompts: "); strings.Count(out, "welcome.wav") != 1 {
		t.Errorf("it is not said once:\n%s", out)
	}

	_, out = checked(t, write(""))
	if strings.Contains(out, "dialin") {
		t.Errorf("nobody asked for it:\n%s", out)
	}
}

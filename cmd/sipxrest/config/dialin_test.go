package config

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
)

// talkConfig has a Nextcloud, and whatever follows.
const talkConfig = apptest.Minimal + `dialout:
  servers: [{url: "https://signaling.example", secret: s, backends: [{url: "https://cloud.example/", sip-secret: s}]}]
  gateway: {uri: "sip:gateway.example", default-number: "+493012345"}
  audio: {address: 127.0.0.1, media-allow: [127.0.0.0/8]}
`

func TestDialinIsChecked(t *testing.T) {
	const two = `https://cloud.example/", sip-secret: s}, {url: "https://other.example/`
	several := strings.Replace(talkConfig, "https://cloud.example/", two, 1)
	rule := func(text string) string { return "dispatch: {rules: [" + text + "]}\n" }
	for _, c := range []struct{ text, want string }{
		{talkConfig + "dialin: {language: xx}\n", "dialin.language: there are no prompts in \"xx\""},
		{talkConfig + "dialin: {prompts: nowhere}\n", "dialin.prompts: "},
		{talkConfig + "dialin: {music: nowhere.wav}\n", "dialin.music: "},
		{talkConfig + "dialin: {tries: 0}\n", "dialin.tries: 0 is not between 1 and 10"},
		{talkConfig + "dialin: {time: 5s}\n", "dialin.time: 5s is not between"},
		{talkConfig + "dialin: {pause: 5m}\n", "dialin.pause: 5m0s is not between"},
		{talkConfig + "dialin: {wait: 0}\n", "dialin.wait: "},
		{talkConfig + "dialin: {start-calls: guests}\n", "dialin.start-calls: \"guests\" is unknown"},
		{talkConfig + "dialin: {consent: never}\n", "dialin.consent: \"never\" is unknown"},
		{talkConfig + "dialin: {allow-unmute: perhaps}\n", "dialin.allow-unmute"},
		{talkConfig + "dialin: {calls: 0}\n", "dialin.calls: 0 is not between 1 and 100000"},
		{apptest.Minimal + "dialin: {tries: 3}\n", "dialin.tries: nobody can call into Talk: write dialout.servers"},
		{apptest.Minimal + rule(`{id: r, action: transfer, transfer_to: "talk:"}`), "write dialout.servers and dialout.audio"},
		{several + rule(`{id: r, action: transfer, transfer_to: "talk:"}`),
			"backend: missing: name the Nextcloud, one of https://cloud.example/, https://other.example/"},
		{several + rule(`{id: r, action: transfer, transfer_to: "talk:", backend: "https://third.example/"}`),
			"backend: \"https://third.example/\" is no Nextcloud of dialout.servers"},
		{talkConfig + rule(`{id: r, action: transfer, transfer_to: "talk:", language: xx}`), "language: there are no prompts in \"xx\""},
	} {
		_, err := Load(Source{File: apptest.Write(t, t.TempDir(), "sipxrest.yaml", c.text)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v, want …%s…", strings.TrimPrefix(c.text, talkConfig), err, c.want)
		}
	}
	for _, text := range []string{
		talkConfig + "dialin: {language: de, tries: 5, time: 2m, pause: 3s, wait: 1h, start-calls: all, " +
			"consent: refuse, allow-unmute: false, calls: 7}\n",
		talkConfig + rule(`{id: r, action: transfer, transfer_to: "talk:", language: de, backend: "https://CLOUD.example"}`),
		several + rule(`{id: r, action: transfer, transfer_to: "talk:direct", backend: "https://other.example/"}`),
	} {
		if _, err := Load(Source{File: apptest.Write(t, t.TempDir(), "sipxrest.yaml", text)}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

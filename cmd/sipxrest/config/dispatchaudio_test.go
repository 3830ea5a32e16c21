package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/media/prompts"
)

// recording is a WAV file of half a second.
var recording = "RIFF\x64\x1f\x00\x00WAVEfmt " +
	"\x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x40\x1f\x00\x00" +
	string(bytes.Repeat([]byte{1, 20, 255, 235}, 2000))

// promptFiles makes a folder "prompts" with one prompt.
func promptFiles(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "prompts", "en"), 0o700); err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, filepath.Join(dir, "prompts", "en"), "welcome.wav", recording)
}

// dispatching is a configuration in which callers are dispatched, and more.
func dispatching(audio, more string) string {
	rule := "{id: a, action: hangup}"
	if strings.HasPrefix(more, "rule: ") {
		rule, more = "{id: a, action: hangup, "+strings.TrimPrefix(more, "rule: ")+"}", ""
	}
	return apptest.Minimal + "dispatch: {rules: [" + rule + "], audio: {" + audio + "}}\n" + more
}

// Without a word about it callers are heard wherever that can be.
func TestPINsAreHeardWhereAudioCanBeHad(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	for _, tt := range []struct {
		name, audio, more string
		on                bool
		address           string
		ports             [2]uint16
		allow             string
	}{
		{"every address", "", everyAddress, false, "", [2]uint16{}, ""},
		{"one address", "", "sip: {listen: ['udp:192.0.2.7:5060']}", true, "192.0.2.7", [2]uint16{20000, 20999}, ""},
		{"an external address", "", "sip: {external-address: 198.51.100.9}", true, "198.51.100.9", [2]uint16{20000, 20999}, ""},
		{"of its own", "address: 192.0.2.8, rtp-ports: 30000-30009, media-allow: [127.0.0.0/8]", "", true, "192.0.2.8",
			[2]uint16{30000, 30009}, "127.0.0.0/8"},
		{"off", "enabled: false, address: 192.0.2.8", "", false, "", [2]uint16{}, ""},
		{"phone.sip's", "", "phone: {enabled: true, plain-http: true, sip: {enabled: true, address: 192.0.2.9, rtp-ports: 40000-40099, " +
			"media-allow: [127.0.0.0/8]}}", true, "192.0.2.9", [2]uint16{40000, 40099}, "127.0.0.0/8"},
		{"phone.sip's ports", "media-allow: [169.254.0.0/16]", "phone: {enabled: true, plain-http: true, sip: {enabled: true, " +
			"address: 192.0.2.9, media-allow: [127.0.0.0/8]}}", true, "192.0.2.9", [2]uint16{20000, 20999}, "169.254.0.0/16 127.0.0.0/8"},
		{"dialout.audio's", "", talkAudio, true, "192.0.2.5", [2]uint16{26000, 26099}, "10.0.0.0/8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", dispatching(tt.audio, tt.more))})
			if err != nil {
				t.Fatal(err)
			}
			on, lacks := cfg.HasPINAudio(), cfg.LacksPINAudio() != nil
			if on != tt.on || tt.audio == "" && lacks == on || cfg.WantsPINAudio() != (tt.audio != "") {
				t.Errorf("on %v, lacks %v, wanted %v", on, cfg.LacksPINAudio(), cfg.WantsPINAudio())
			}
			if !tt.on {
				return
			}
			mc, err := cfg.PINMedia()
			if err != nil {
				t.Fatal(err)
			}
			var allow []string
			for _, p := range mc.Allow {
				allow = append(allow, p.String())
			}
			got := [2]uint16{mc.MinPort, mc.MaxPort}
			if mc.Address.String() != tt.address || got != tt.ports || strings.Join(allow, " ") != tt.allow {
				t.Errorf("%s, %v, allowed %v", mc.Address, got, allow)
			}
		})
	}
}

// everyAddress has sockets that say nothing of an address.
const everyAddress = "sip: {listen: ['udp:0.0.0.0:5060']}"

// talkAudio is a section dialout whose phones are in Talk's conversations.
const talkAudio = `dialout:
  gateway: {uri: "sip:gateway.example", default-number: "+4930123456"}
  servers: [{url: "wss://talk.example/", secret: "01234567890123456789", backends: [{url: "https://cloud.example/", ` +
	`sip-secret: "01234567890123456789"}]}]
  audio: {address: 192.0.2.5, rtp-ports: 26000-26099, media-allow: [10.0.0.0/8]}
`

func TestFaultsOfTheAudioForPINsNameTheKey(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	if err := os.MkdirAll(filepath.Join(dir, "bad", "en"), 0o700); err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, filepath.Join(dir, "bad", "en"), "welcome.wav", "MP3")
	for _, tt := range []struct{ audio, more, want string }{
		{"address: nowhere", "", `dispatch.audio.address: "nowhere" is no address`},
		{"enabled: true", everyAddress, "dispatch.audio.address: missing: the SIP sockets are bound to every address"},
		{"enabled: maybe", "", "dispatch.audio.enabled: "},
		{"address: 192.0.2.1, rtp-ports: 7-9", "", `dispatch.audio.rtp-ports: "7-9": write two ports`},
		{"media-allow: [x]", "", `dispatch.audio.media-allow: `},
		{"media-nat: [x]", "", `dispatch.audio.media-nat: `},
		{"srtp: perhaps", "", `dispatch.audio.srtp: "perhaps" is unknown`},
		{"address: 192.0.2.1, language: fr", "", `dispatch.audio.language: there are no prompts in "fr", only in de, en, tones`},
		{"address: 192.0.2.1, prompts: nowhere", "", `dispatch.audio.prompts: open `},
		{"address: 192.0.2.1, prompts: bad", "", filepath.Join("bad", "en", "welcome.wav") + ": "},
		{"address: 192.0.2.1", "rule: language: fr", `rule "a": language: there are no prompts in "fr"`},
		{"address: 192.0.2.6, rtp-ports: 26000-26099", talkAudio,
			"dispatch.audio.rtp-ports: 26000-26099 are those of another address, too, 192.0.2.5"},
		{"rtp-ports: 26050-26199", talkAudio, "dispatch.audio.rtp-ports: 26050-26199: some of them are those of others, 26000-26099"},
		{"rtp-ports: 20990-21009", talkAudio, "dispatch.audio.rtp-ports: one of them is dialout.audio.ice-port"},
	} {
		_, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", dispatching(tt.audio, tt.more))})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.audio, err, tt.want)
		}
	}
}

func TestARuleMayHaveALanguageOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	promptFiles(t, dir)
	text := dispatching("address: 192.0.2.1, language: de, prompts: prompts", "rule: language: tones")
	cfg, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", text)})
	if err != nil {
		t.Fatal(err)
	}
	set, language, err := cfg.PINPrompts()
	if err != nil || language != "de" || len(set.Own("en")) != 1 || set.Own("en")[0] != prompts.Welcome {
		t.Errorf("%v, %s, %v", set.Own("en"), language, err)
	}
}

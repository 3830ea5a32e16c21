package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/media"
	"sipxrest/talkroom"
)

const audioConfig = `
sip: {listen: ["udp:192.0.2.10:6050"]}
dialout:
  servers: [{url: "https://signaling.test", secret: s, backends: [{url: "https://cloud.test", sip-secret: x}]}]
  gateway: {uri: "sip:192.0.2.1"}
%s
`

func loadAudio(t *testing.T, section string) (Config, error) {
	t.Helper()
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	return Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(audioConfig, section))})
}

func TestSectionAudioHasDefaults(t *testing.T) {
	for _, section := range []string{"  audio:", "  audio: {}", "  audio: {codec: g722}"} {
		c, err := loadAudio(t, section)
		if err != nil {
			t.Fatalf("%s: %v", section, err)
		}
		mc, err := c.AudioMedia()
		if err != nil || mc.Address != netip.MustParseAddr("192.0.2.10") || mc.MinPort != 20000 || mc.MaxPort != 20999 ||
			len(mc.Allow)+len(mc.LatchFrom) > 0 {
			t.Errorf("%s: media %+v, %v", section, mc, err)
		}
		sc, err := c.SFU()
		if err != nil || sc.Address != mc.Address || sc.Port != 21000 || sc.External.IsValid() || len(sc.Servers) > 0 || sc.Loopback {
			t.Errorf("%s: media servers %+v, %v", section, sc, err)
		}
		if rc := c.Rooms(); rc.Codec != media.G722 || rc.Speakers != 6 || rc.Beep != talkroom.BeepPhones || rc.MaxRooms != 50 {
			t.Errorf("%s: rooms %+v", section, rc)
		}
		if d := c.DialoutConfig(); d.Audio == nil || d.RoomTarget != "" {
			t.Errorf("%s: dialout has no audio", section)
		}
	}
}

func TestSectionAudioIsTaken(t *testing.T) {
	c, err := loadAudio(t, `  audio: {address: 198.51.100.1, rtp-ports: 30000-30099, media-allow: [10.0.0.0/8], media-nat: [10.1.0.0/16],
    srtp: required, ice-port: 0, ice-address: 203.0.113.5,
    ice-servers: [{urls: ["turn:turn.test:3478"], secret: T}, {urls: ["stun:stun.test"]}], codec: pcma, speakers: 3, beep: none}
  limits: {rooms: 7}
phone:
  enabled: true
  plain-http: true
  sip: {enabled: true, address: 198.51.100.1, rtp-ports: 30000-30099, media-allow: [172.16.0.0/12]}`)
	if err != nil {
		t.Fatal(err)
	}
	mc, err := c.AudioMedia()
	if got := fmt.Sprint(mc.Address, mc.Listen, mc.MinPort, mc.MaxPort, mc.Allow, mc.LatchFrom, err); got !=
		"198.51.100.1 192.0.2.10 30000 30099 [10.0.0.0/8 172.16.0.0/12] [10.1.0.0/16] <nil>" {
		t.Errorf("media %s", got)
	}
	sc, err := c.SFU()
	if got := fmt.Sprintf("%v %v %v %v %v %v", sc.Address, sc.Port, sc.External, len(sc.Servers), sc.Servers[0].Secret, err); got !=
		"192.0.2.10 0 203.0.113.5 2 T <nil>" {
		t.Errorf("media servers %s", got)
	}
	if rc := c.Rooms(); rc.Codec != media.PCMA || rc.Speakers != 3 || rc.Beep != talkroom.BeepNone || rc.MaxRooms != 7 {
		t.Errorf("rooms %+v", rc)
	}
}

// Phones are in the conversation itself or joined with a conference: not both, and
// not neither. Each mistake is told by its key.
func TestMistakesOfSectionAudio(t *testing.T) {
	const room = `  room-target: "sip:{token}@conference.test"`
	const gateway = "  audio: {%s}\nphone: {enabled: true, plain-http: true, sip: {enabled: true, %s}}"
	for section, want := range map[string]string{
		"":                                               "dialout.room-target: missing: write dialout.audio,",
		room + "\n  audio: {speakers: 3}":                "dialout.room-target: dialout.audio has phones be in the conversation itself",
		"  audio: {address: nowhere}":                    `dialout.audio.address: "nowhere" is no address`,
		"  audio: {address: 0.0.0.0}":                    `dialout.audio.address: "0.0.0.0" is no address`,
		"  audio: {rtp-ports: 20000}":                    `dialout.audio.rtp-ports: "20000": write two ports`,
		"  audio: {media-allow: [ten]}":                  "dialout.audio.media-allow: ",
		"  audio: {media-nat: [10.0.0.0]}":               "",
		"  audio: {ice-port: 80}":                        "dialout.audio.ice-port: 80: write a port from 1024",
		"  audio: {ice-port: 20500}":                     "dialout.audio.ice-port: 20500 is one of rtp-ports",
		"  audio: {ice-address: nat}":                    `dialout.audio.ice-address: "nat" is no address`,
		`  audio: {ice-address: "2001:db8::1"}`:          "dialout.audio.ice-address: 2001:db8::1 is of another IP version",
		"  audio: {ice-servers: turn}":                   "dialout.audio.ice-servers: a list is expected here",
		"  audio: {ice-servers: [{url: x}]}":             "dialout.audio.ice-servers: ",
		"  audio: {ice-servers: [{secret: x}]}":          "dialout.audio.ice-servers: item 1: urls is missing",
		`  audio: {ice-servers: [{urls: ["turn:t"]}]}`:   "dialout.audio.ice-servers: item 1: a TURN server needs username and credential",
		`  audio: {ice-servers: [{urls: ["http://t"]}]}`: `dialout.audio.ice-servers: item 1: "http://t": write stun:`,
		`  audio: {ice-servers: [{urls: ["turn:t"], secret: hunter2, credential: x}]}`: "item 1: secret and credential",
		"  audio: {codec: opus}":                       "dialout.audio.codec: ",
		"  audio: {speakers: 0}":                       "dialout.audio.speakers: ",
		"  audio: {beep: loud}":                        "dialout.audio.beep: ",
		"  audio: {srtp: maybe}":                       "dialout.audio.srtp: ",
		"  audio: {loudness: 3}":                       "unknown key",
		"  audio: yes":                                 "dialout.audio is a section",
		"  audio: {codec: g722}\n  limits: {rooms: 0}": "dialout.limits.rooms: 0 is neither none nor without limit",
		fmt.Sprintf(gateway, "codec: g722", `rtp-ports: 20100-20200`):   "dialout.audio.rtp-ports: 20000-20999: some of them",
		fmt.Sprintf(gateway, "codec: g722", `rtp-ports: 21000-21100`):   "dialout.audio.ice-port: 21000 is one of phone.sip.rtp-ports",
		fmt.Sprintf(gateway, "address: 192.0.2.77", `guests: true`):     "dialout.audio.rtp-ports: phone.sip.rtp-ports are the same for another",
		fmt.Sprintf(gateway, "codec: g722", `rtp-ports: "30000-30100"`): "",
	} {
		_, err := loadAudio(t, section)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", section, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", section, err, want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("a secret is shown: %v", err)
		}
	}
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	_, err := Load(Source{File: apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal),
		Environ: []string{"SIPXREST_DIALOUT_AUDIO_CODEC=pcmu"}})
	if err == nil || !strings.Contains(err.Error(), "dialout.servers: missing: dialout.audio is for calls out of Talk") {
		t.Errorf("without Talk: %v", err)
	}
}

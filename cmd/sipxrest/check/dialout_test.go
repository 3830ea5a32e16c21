package check

import (
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk/talktest"
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

// What phones in Talk's conversations need is looked at.
func TestCheckOfAudioInTalk(t *testing.T) {
	dir := t.TempDir()
	apptest.Write(t, dir, "users.yaml", apptest.UsersYAML)
	_, proxy := apptest.Phone(t, siptest.Script{})
	for _, tt := range []struct {
		audio    string
		features []string // of the signaling server
		sealed   bool
		want     string
	}{
		{"ice-port: 0", []string{"mcu", "offer-codecs"}, false,
			"ok dialout phones are heard in Talk, by g722: they send audio to 127.0.0.1, ports 31000-31199"},
		{"ice-port: 0", []string{"mcu", "offer-codecs"}, false,
			"note dialout sipxrest.yaml:9: dialout.audio.address: 127.0.0.1 is reached from this machine only"},
		{"codec: pcma, ice-port: 0", []string{"mcu"}, false, "is too old for audio: it lacks offer-codecs (2.0.2)"},
		{"ice-port: 0", []string{"offer-codecs"}, false, "has no media server (mcu)"},
		{"ice-port: 0", []string{"mcu", "offer-codecs"}, true, "Talk encrypts calls end to end: telephones cannot take part"},
	} {
		lab := talktest.New(t)
		lab.Features = append(slices.DeleteFunc(lab.Features, func(f string) bool { return f == "mcu" || f == "offer-codecs" }), tt.features...)
		server := httptest.NewServer(lab)
		lab.Cloud.Listen(server.URL + "/nextcloud/")
		lab.Cloud.Encrypted = tt.sealed
		_, out := checked(t, apptest.Write(t, dir, "sipxrest.yaml", apptest.Minimal+fmt.Sprintf(`
data-dir: data
sip: {listen: ["udp:127.0.0.1:0"], outbound-proxy: ["sip:%s"]}
dialout:
  servers: [{url: "%s", secret: "%s", backends: [{url: "%s/nextcloud", sip-secret: "%s"}]}]
  gateway: {uri: "sip:%s"}
  audio: {address: 127.0.0.1, rtp-ports: 31000-31199, %s}
`, proxy, server.URL, talktest.Secret, server.URL, talktest.SIPSecret, proxy, tt.audio)))
		wants(t, strings.ReplaceAll(out, dir+"/", ""), tt.want)
		server.Close()
	}
}

// An address that was copied from an example is noticed, for calls by it are silent.
func TestCheckDoubtsTheAddressOfAudio(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("198.51.100.4")}
	for address, want := range map[string]string{
		"198.51.100.4": "",
		"127.0.0.1":    "127.0.0.1 is reached from this machine only, and Janus does not use it: write an address of one of its interfaces",
		"192.0.2.20": "192.0.2.20 is none of this machine's addresses (198.51.100.4): right only where a NAT leads " +
			"from there to here",
		"2001:db8::1": "2001:db8::1 is none of this machine's addresses (it has none of that kind): right only where a NAT leads " +
			"from there to here",
	} {
		if got := audioAddressDoubt(netip.MustParseAddr(address), own); got != want {
			t.Errorf("%s:\n got %s\nwant %s", address, got, want)
		}
	}
}

func TestCheckNoticesPortsOfAudioThatAreTaken(t *testing.T) {
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	for key, set := range map[string]func(*config.DialoutAudio){
		"dialout.audio.ice-port: another program has UDP port": func(a *config.DialoutAudio) { a.ICEPort = port },
		"dialout.audio.rtp-ports: no port of": func(a *config.DialoutAudio) {
			a.RTPPorts = fmt.Sprintf("%d-%d", port&^1, port|1)
		},
	} {
		cfg := config.Default()
		cfg.DataDir = t.TempDir()
		a := &cfg.Dialout.Audio
		a.Enabled, a.Address, a.RTPPorts, a.ICEPort = true, "127.0.0.1", "31000-31199", 0
		set(a)
		var b strings.Builder
		c := &checker{ctx: t.Context(), out: &b, bind: bind}
		c.audio(&cfg)
		wants(t, b.String(), key)
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

package app

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

const pinRule = "{id: r, action: answer, room_name: support, pin: '42'}"

func info(keys string) (do []siptest.Action) {
	for i, key := range keys {
		do = append(do, siptest.Action{After: time.Duration(i+1) * 100 * time.Millisecond, Method: "INFO",
			Body: fmt.Sprintf("Signal=%c\r\n", key), ContentType: "application/dtmf-relay"})
	}
	return do
}

// A caller who is asked for a PIN has audio without a word in the configuration. It is
// connected to the room's own.
func TestACallerWhoEntersAPINHasAudio(t *testing.T) {
	room, addr := apptest.Phone(t, siptest.Script{HangUpAfter: 300 * time.Millisecond})
	caller, _ := apptest.Phone(t, siptest.Script{Do: info("42#")})
	cfg := dispatching(t, addr, pinRule)
	cfg.Dispatch.Audio.MediaAllow = []string{"127.0.0.0/8"}
	s := start(t, cfg)
	if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
		t.Fatal(err)
	}
	answers := caller.Answers()
	answer := string(answers[len(answers)-1].Body())
	m := regexp.MustCompile(`(?m)^m=audio (\d+) RTP/AVP .*\b101\r$`).FindStringSubmatch(answer)
	if m == nil || !strings.Contains(answer, "telephone-event") {
		t.Fatalf("the answer is\n%s", answer)
	}
	if port, _ := strconv.Atoi(m[1]); port < 20000 || port > 20999 {
		t.Errorf("port %d", port)
	}
	s.log.WaitFor(t, "room=support")
	if n := len(room.Requests("INVITE")); n != 1 {
		t.Errorf("the room was called %d times", n)
	}
	soon(t, "no port is left open", func() bool { return s.pinAudio.Ports.InUse() == 0 })
	resp, err := s.client.Get(s.MetricsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	for _, want := range []string{`sipxrest_dispatch_rtp_ports{state="all"} 500`, `sipxrest_dispatch_rtp_ports{state="in_use"} 0`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

// Without audio a PIN is entered as ever: on hold, by INFO.
func TestAPINWithTheAudioSwitchedOff(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{HangUpAfter: 300 * time.Millisecond})
	caller, _ := apptest.Phone(t, siptest.Script{Do: info("42#")})
	cfg := dispatching(t, addr, pinRule)
	cfg.Dispatch.Audio.Enabled = false
	s := start(t, cfg)
	if err := call(t, caller, "sip:5000@"+s.sip()); err != nil {
		t.Fatal(err)
	}
	answers := caller.Answers()
	if answer := string(answers[len(answers)-1].Body()); !strings.Contains(answer, "a=inactive") {
		t.Errorf("the answer is\n%s", answer)
	}
	s.log.WaitFor(t, "room=support")
	if s.pinAudio != nil {
		t.Error("there is audio")
	}
}

// Who has the same ports shares them.
func TestPortsForPINsAreSharedWithSIPPhones(t *testing.T) {
	for ports, shared := range map[string]bool{"": true, "24000-24999": true, "25000-25099": false} {
		cfg, _, _ := withPhone(t)
		cfg.Phone.SIP = config.PhoneSIP{Enabled: true, SRTP: "offered", RTPPorts: "24000-24999", MediaAllow: []string{"127.0.0.0/8"}}
		cfg.Dispatch.RulesDir = t.TempDir()
		apptest.Write(t, cfg.Dispatch.RulesDir, "rules.yaml", pinRule)
		cfg.Dispatch.RoomTarget = "sip:{room}@sipx.test"
		cfg.Dispatch.Audio.RTPPorts = ports
		s := start(t, cfg)
		if got := s.pinAudio.Ports == s.phone.Gateway().Ports; got != shared {
			t.Errorf("%q: shared %v", ports, got)
		}
	}
}

// Ports that cannot be had end the start of a service that names them. One that does
// not starts as ever, with callers on hold.
func TestPortsForPINsThatAreTaken(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	taken, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port &^ 1 // the pair that it is of
	cfg := dispatching(t, addr, pinRule)
	log := apptest.NewLog()
	cfg = loadedAs(t, cfg, "dispatch.audio.rtp-ports", fmt.Sprintf("%d-%d", port, port+1))
	cfg.Dispatch.RulesDir = t.TempDir()
	apptest.Write(t, cfg.Dispatch.RulesDir, "rules.yaml", pinRule)
	cfg.Dispatch.RoomTarget = "sip:{room}@sipx.test"
	if _, err := New(cfg, slog.New(slog.NewTextHandler(log, nil))); err == nil ||
		!strings.Contains(err.Error(), "dispatch.audio.rtp-ports: media: no free RTP port") {
		t.Errorf("%v", err)
	}
	unnamed := dispatching(t, addr, pinRule)
	unnamed.Dispatch.Audio.RTPPorts = cfg.Dispatch.Audio.RTPPorts
	s := start(t, unnamed)
	s.log.WaitFor(t, "callers are on hold while they enter a PIN, and digits count by INFO only")
	if s.pinAudio != nil {
		t.Error("there is audio")
	}
}

// A bad prompt is found at the start.
func TestABadPromptEndsTheStart(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := dispatching(t, addr, pinRule)
	cfg.Dispatch.Audio.Prompts = t.TempDir()
	if err := os.Mkdir(filepath.Join(cfg.Dispatch.Audio.Prompts, "en"), 0o700); err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, filepath.Join(cfg.Dispatch.Audio.Prompts, "en"), "enter-pin.wav", "no sound")
	if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "enter-pin.wav: ") {
		t.Errorf("%v", err)
	}
}

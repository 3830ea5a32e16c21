package app

import (
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/event"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk/talktest"
)

// withAudio has phones be in conversations themselves.
func withAudio(c *config.Config) {
	c.Dialout.RoomTarget = ""
	a := &c.Dialout.Audio
	a.Enabled, a.Address, a.RTPPorts, a.ICEPort, a.MediaAllow = true, "127.0.0.1", "31000-31199", 0, []string{"127.0.0.0/8"}
}

// soon waits for what comes at once, unless the machine has much else to do.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// A signaling server without a media server is warned of before anybody calls, where
// telephones are to be heard in conversations.
func TestAServerWithoutMediaIsWarnedOf(t *testing.T) {
	const warning = "telephones are not heard in Talk, and hear nobody"
	for name, heard := range map[string]bool{"audio": true, "room-target": false} {
		t.Run(name, func(t *testing.T) {
			lab, change := overTalk(t)
			lab.Features = slices.DeleteFunc(lab.Features, func(f string) bool { return f == "mcu" })
			s := newTelephones(t, siptest.Script{}, func(c *config.Config) {
				change(c)
				if heard {
					withAudio(c)
				}
			})
			s.log.WaitFor(t, "connected to the signaling server")
			if heard {
				s.log.WaitFor(t, warning)
				s.log.WaitFor(t, "has no media server (mcu)")
			} else if strings.Contains(s.log.String(), warning) {
				t.Errorf("nobody is to be heard there\n%s", s.log)
			}
		})
	}
}

// A telephone that Talk calls is in the conversation itself. SIP, events and metrics
// tell of it as of others.
func TestATelephoneIsInTheConversationItself(t *testing.T) {
	lab, change := overTalk(t)
	lab.AddSFU()
	s := newTelephones(t, siptest.Script{}, func(c *config.Config) {
		change(c)
		withAudio(c)
	})
	s.log.WaitFor(t, "connected to the signaling server")
	const token = "4271953862"
	alice := lab.Cloud.Talk(token, "alice", talktest.ParticipantOptions{Sound: talktest.Tone600})
	defer alice.Leave()
	id, err := lab.Cloud.Dialout(token, telephone, talktest.Options(101))
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	sees := func(want ...string) {
		t.Helper()
		lab.Until(strings.Join(want, ", "), time.Minute, func() bool { return slices.Equal(alice.Calls(id), want) })
	}
	sees("accepted", "ringing", "connected")
	invites := s.gateway.Requests("INVITE")
	offer := string(invites[len(invites)-1].Body())
	if !strings.Contains(offer, "m=audio 31") || !strings.Contains(offer, "telephone-event") {
		t.Errorf("the phone is offered\n%s", offer)
	}
	if n := len(s.conference.Requests("INVITE")); n != 0 {
		t.Error("a conference is called as well")
	}
	alice.Expect(time.Minute) // the phone publishes: silence, for it sends nothing
	lab.Until("published", time.Minute, func() bool { n, _ := lab.Cloud.Published(token); return n == 2 })

	// Neither mute nor digits are SIP's.
	alice.Control(id, `{"type":"mute","audio":1}`)
	alice.Control(id, `{"type":"dtmf","digit":"5"}`)
	lab.Until("muted", time.Minute, func() bool { return lab.Cloud.Flags(token, id) == 1 })
	if n := len(s.gateway.Requests("INVITE")); n != len(invites) || len(s.gateway.Requests("INFO")) != 0 {
		t.Errorf("the phone got %d INVITEs after %d, and INFOs: %d", n, len(invites), len(s.gateway.Requests("INFO")))
	}
	for name, want := range map[string]float64{"sipxrest_talk_rooms": 1, "sipxrest_talk_phones": 1,
		`sipxrest_talk_media_total{result="connected"}`: 1, "sipxrest_talk_publish_seconds_count": 1, `sipxrest_talk_sources{state="heard"}`: 1} {
		s.becomes(name, want) // connections take their time
	}
	// Fewer participants are decoded on a machine that has too much to do, and that is said.
	if n := s.metric("sipxrest_talk_speakers"); n != 6 && !(n > 0 && n < 6 &&
		strings.Contains(s.log.String(), "clocks of conversations are late")) {
		t.Errorf("%v participants are decoded, want 6", n)
	}
	if s.metric("sipxrest_mix_late_seconds_count") < 1 {
		t.Error("no tick is counted")
	}
	s.log.WaitFor(t, "no RTP has come from the phone")
	s.gateway.HangUp()
	sees("accepted", "ringing", "connected", "cleared")
	lab.Until("left", time.Minute, func() bool { return lab.Cloud.BridgesIn(token) == 0 })
	soon(t, "no port is in use", func() bool { return s.talkPorts.InUse() == 0 })
	soon(t, "the call is told to have ended", func() bool { c, ok := s.bus.Call(id); return ok && c.End != nil })

	list, err := s.bus.CallEvents(id, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range list {
		told = append(told, string(e.Type))
	}
	want := []string{"call.created", "leg.dialing", "leg.ringing", "leg.answered", "call.connected", "leg.ended", "call.ended"}
	if !slices.Equal(told, want) {
		t.Errorf("events %q, want %q", told, want)
	}
	call, ok := s.bus.Call(id)
	if !ok || call.Kind != event.DialOut || call.Source != event.FromTalk || call.End == nil || call.End.Reason != "hung_up" ||
		call.End.By != "calling" {
		t.Errorf("the call is told as %+v, it ended %+v", call, call.End)
	}
}

// What cannot be bound is said by its key.
func TestPortsOfAudioThatAreTaken(t *testing.T) {
	_, change := overTalk(t)
	taken, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	even := port &^ 1
	for key, set := range map[string]func(*config.Config){
		"dialout.audio.ice-port": func(c *config.Config) { c.Dialout.Audio.ICEPort = port },
		"dialout.audio.rtp-ports": func(c *config.Config) {
			c.Dialout.Audio.RTPPorts = strconv.Itoa(even) + "-" + strconv.Itoa(even+1)
		},
		"dialout.audio.address": func(c *config.Config) { c.Dialout.Audio.Address = "0.0.0.0" },
	} {
		cfg := testConfig(t, "127.0.0.1:1")
		cfg.Dialout.Gateway.URI = "sip:127.0.0.1:1"
		change(&cfg)
		withAudio(&cfg)
		set(&cfg)
		a, err := New(cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

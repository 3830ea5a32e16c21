//go:build interop

package interop

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// webCall waits until two browsers in a call hear each other.
func webCall(a, b *lab.WebPhone) {
	a.AwaitTone(b.Tone, b.User)
	b.AwaitTone(a.Tone, a.User)
}

// The lab itself: without sipxrest, two browsers call each other through the proxy.
func TestBrowsersCallEachOtherThroughTheProxy(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t, nil)
	caller := l.WebPhone("203", 600, false)
	called := l.WebPhone("202", 800, false)
	caller.Dial("202")
	caller.AwaitInCallWith("202")
	called.AwaitInCallWith("203")
	webCall(caller, called)
	called.HangUp()
	caller.AwaitOnHook(1)
	called.AwaitOnHook(1)
}

// The calling browser refuses RTP's audio, which all phones are offered first, and is
// offered a browser's.
const refusesRTP = "INVITE 488 Not Acceptable Here"

func TestBrowsersAreReferred(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t, nil)
	calling := l.WebPhone("201", 600, true)
	called := l.WebPhone("202", 800, true)
	s := l.Service()
	s.Post(call201to202)
	calling.AwaitRinging()
	calling.Answer()
	called.AwaitRinging()
	called.Answer()
	calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	webCall(calling, called)
	s.AwaitStatus(call201to202, challenged, trying, ringing, refusesRTP, challenged, trying, ringing, "INVITE 200 OK",
		referred, "NOTIFY 180 Ringing") // at which the service leaves the call
	calling.HangUp()
	calling.AwaitOnHook(3) // two INVITEs of the service's, and the call to 202
	called.AwaitOnHook(1)
}

func TestBrowsersAreBridged(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t, nil)
	calling := l.WebPhone("201", 600, false)
	called := l.WebPhone("202", 800, false)
	s := l.Service()
	calls := 0
	post := func(t *testing.T) {
		t.Helper()
		calls++
		s.Post(call201to202 + byInvite)
		calling.AwaitInCallWith("201")
		called.AwaitInCallWith("201")
		webCall(calling, called)
	}
	over := func(t *testing.T) {
		t.Helper()
		calling.AwaitOnHook(2 * calls)
		called.AwaitOnHook(calls)
		s.AwaitDialogs(call201to202, "Terminated Dialog", "Terminated Dialog")
	}

	l.Run(t, "the called hangs up, after each has held", func(t *testing.T) {
		post(t)
		for _, phones := range [][2]*lab.WebPhone{{calling, called}, {called, calling}} {
			holding, held := phones[0], phones[1]
			holding.Hold()
			holding.AwaitSilence()
			held.AwaitSilence()
			holding.Resume()
			webCall(calling, called)
		}
		called.HangUp()
		over(t)
	})
	l.Run(t, "the calling hangs up", func(t *testing.T) {
		post(t)
		calling.HangUp()
		over(t)
	})
	l.Run(t, "the client hangs up", func(t *testing.T) {
		post(t)
		if a := s.Trusted("DELETE", call201to202); a.Code != 200 {
			t.Errorf("DELETE: %d %q", a.Code, a.Body)
		}
		over(t)
	})
}

// A browser speaks WebRTC, and a desk phone RTP: the status document or the log says
// so, and nobody is left in a call.
func TestBrowserAndDeskPhoneCannotTalk(t *testing.T) {
	t.Parallel()
	why := regexp.MustCompile(`call ended.*488 One Phone Speaks WebRTC, the Other One RTP`)
	l := lab.StartSecure(t, nil)
	desk := l.Phone("201", lab.PhoneConfig{})
	browser := l.WebPhone("202", 800, false)
	s := l.Service()
	const call202to201 = "/callcontroller/202/201"

	l.Run(t, "the called browser", func(t *testing.T) {
		s.Post(call201to202)
		s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 488 *")
		browser.AwaitOnHook(1)
		desk.AwaitOnHook()
	})
	l.Run(t, "the calling browser", func(t *testing.T) {
		s.Post(call202to201)
		s.AwaitStatus(call202to201, challenged, trying, ringing, refusesRTP, challenged, trying, ringing, "INVITE 200 OK",
			referred, "NOTIFY 488 *")
		browser.AwaitOnHook(4)
		desk.AwaitOnHook()
	})
	for path, calls := range map[string]int{call201to202: 1, call202to201: 2} {
		l.Run(t, path+byInvite, func(t *testing.T) {
			from, before := s.Mark(), len(browser.Calls())
			s.Post(path + byInvite)
			if _, err := s.AwaitLine(from, why, lab.Patience); err != nil {
				t.Error(err)
			}
			s.AwaitDialogs(path, "Terminated Dialog", "Terminated Dialog")
			browser.AwaitOnHook(before + calls)
			desk.AwaitOnHook()
		})
	}
}

// A browser calls a rule that leads to another one, and one with a PIN. There it is
// told why it gets no answer: it would have to be on hold while its user enters the
// digits, and a browser cannot be held here.
func TestBrowserCallsARule(t *testing.T) {
	t.Parallel()
	sip := net.JoinHostPort("127.0.0.1", strconv.Itoa(lab.Ports(t, 1)))
	l := lab.StartSecure(t, map[string]string{"5000": sip, "5001": sip})
	browser := l.WebPhone("201", 600, false)
	room := l.WebPhone("202", 800, false)
	l.ServiceAt(sip, `dispatch:
  trunks: [{name: kamailio, sources: [127.0.0.1]}]
  agent: "209"
  rooms: {support: "sip:202@sipx.test"}
  rules:
  - {id: open, numbers: ["5000"], action: answer, room_name: support}
  - {id: pin, numbers: ["5001"], action: answer, room_name: support, pin: "42"}`)
	browser.Dial("5000")
	room.AwaitInCallWith("201")
	webCall(browser, room)
	browser.HangUp()
	browser.AwaitOnHook(1)
	room.AwaitOnHook(1)

	browser.Dial("5001")
	if call := browser.AwaitOnHook(2); !strings.HasPrefix(call.Cause, "remote 488 The Call Cannot Be Held") {
		t.Errorf("the call ended with %q, want 488", call.Cause)
	}
}

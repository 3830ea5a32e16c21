//go:build interop

package interop

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The lab itself: without sipxrest, two phones call each other through the
// proxy, which challenges them.
func TestPhonesCallEachOtherThroughTheProxy(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	caller := l.Phone("203", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	caller.Dial("202")
	call := caller.AwaitInCallWith("202")
	called.AwaitInCallWith("203")
	caller.AwaitAudio()
	called.AwaitAudio()
	caller.AwaitHears(called)
	called.AwaitHears(caller)
	called.AwaitSounds([]float64{caller.Tone}, called.Tone)
	caller.Press("0123456789*#")
	l.Until("telephone events", func() bool { return called.Digits() == "0123456789*#" })
	called.HangUp()
	caller.AwaitClosed(call.ID)
	caller.AwaitOnHook()
	called.AwaitOnHook()
}

// What the phones tell when a call fails.
func TestPhonesTellWhyACallFailed(t *testing.T) {
	t.Parallel()
	port := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"240": net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	caller := l.Phone("203", lab.PhoneConfig{})
	manual := l.Phone("202", lab.PhoneConfig{Manual: true})
	for i, test := range []struct {
		name, user, reason string
		during             func()
	}{
		{name: "busy", user: "240", reason: "486 Busy Here"},
		{name: "unknown", user: "299", reason: "404 Not Found"},
		{name: "refuses", user: "202", reason: "486 ", during: func() { manual.AwaitRinging(); manual.HangUp() }},
		{name: "no answer", user: "202", reason: "", during: func() { manual.AwaitRinging(); caller.HangUp() }},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			if test.user == "240" {
				peer := l.SIPp("busy", port, 1)
				defer l.SIPpPassed(peer)
			}
			caller.Dial(test.user)
			call := caller.AwaitNthCall(i)
			if test.during != nil {
				test.during()
			}
			if call = caller.AwaitClosed(call.ID); !strings.HasPrefix(call.Reason, test.reason) {
				t.Errorf("closed with %q, want %q", call.Reason, test.reason)
			}
			caller.AwaitOnHook()
			manual.AwaitOnHook()
		})
	}
}

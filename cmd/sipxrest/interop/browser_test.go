//go:build interop

package interop

import (
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
	l := lab.StartSecure(t)
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

// A browser takes WebRTC's audio only, and a desk phone RTP's: the status document
// says so, and nobody is left in a call.
func TestBrowserAndDeskPhoneHaveNoCodecInCommon(t *testing.T) {
	t.Parallel()
	l := lab.StartSecure(t)
	desk := l.Phone("201", lab.PhoneConfig{})
	browser := l.WebPhone("202", 800, false)
	s := l.Service()
	s.Post(call201to202)
	s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 488 *")
	browser.AwaitOnHook(1)
	desk.AwaitOnHook()
}

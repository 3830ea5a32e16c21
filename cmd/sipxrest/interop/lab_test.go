//go:build interop

package interop

import (
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
	called.HangUp()
	caller.AwaitClosed(call.ID)
	caller.AwaitOnHook()
	called.AwaitOnHook()
}

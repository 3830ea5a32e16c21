//go:build interop

package interop

import (
	"regexp"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// What asks the phone to pick up passes the proxy, and the call goes on as any.
func TestAutoAnswerReachesThePhone(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service("call: {auto-answer: answer-mode}")

	s.Post(call201to202 + "?autoAnswer=true")
	call := calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	if _, err := calling.AwaitLine(0, regexp.MustCompile(`^Answer-Mode: Auto$`), lab.Patience); err != nil {
		t.Error(err)
	}
	called.HangUp()
	calling.AwaitClosed(call.ID)
	calling.AwaitOnHook()
	called.AwaitOnHook()
}

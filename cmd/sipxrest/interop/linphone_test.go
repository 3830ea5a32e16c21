//go:build interop

package interop

import (
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// Linphone is another make of phone than baresip: it puts our call on hold while
// it follows a REFER, and leaves the subscription active when it is over.

func TestLinphoneIsReferred(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Linphone("201", 500)
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()

	s.Post(call201to202)
	calling.AwaitRinging()
	calling.Answer()
	calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	called.AwaitTone(calling.Tone, "201")
	calling.AwaitEnded(1) // the service is out of the call
	s.AwaitStatus(call201to202, challenged, trying, ringing, "INVITE 200 Ok", "NOTIFY 100 Trying", "NOTIFY 200 *")
	called.AwaitAudio() // Linphone records its first call only
	called.HangUp()
	calling.AwaitEnded(2)
}

func TestLinphoneIsCalledByAReferredPhone(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Linphone("202", 500)
	s := l.Service()

	s.Post(call201to202)
	called.AwaitRinging()
	called.Answer()
	calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	calling.AwaitTone(called.Tone, "202")
	calling.AwaitClosed(calling.AwaitNthCall(0).ID)
	calling.AwaitTalk()
	called.HangUp()
	calling.AwaitOnHook()
	called.HasHeard(calling.Tone, "201")
}

// A Linphone says that the other phone has declined, and that the subscription
// is active: nobody may be left in a dead call.
func TestLinphoneReportsThatTheCalledDeclines(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Linphone("201", 500)
	called := l.Linphone("202", 600)
	s := l.Service("refer:", "  hangup-on: outcome")

	s.Post(call201to202)
	calling.AwaitRinging()
	calling.Answer()
	called.AwaitRinging()
	called.HangUp()
	calling.AwaitEnded(1)
	s.AwaitStatus(call201to202, challenged, trying, ringing, "INVITE 200 Ok", "NOTIFY 100 Trying", "NOTIFY 603 *")
}

func TestLinphoneIsBridged(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	phone := l.Linphone("201", 500)
	other := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()

	s.Post(call201to202 + byInvite)
	phone.AwaitRinging()
	phone.Answer()
	other.AwaitInCallWith("201")
	other.AwaitTone(phone.Tone, "201")
	other.AwaitTalk()
	s.AwaitDialogs(call201to202, "Confirmed Dialog", "Confirmed Dialog")
	phone.HangUp()
	other.AwaitOnHook()
	phone.HasHeard(other.Tone, "202")
}

func TestLinphoneIsBridgedAsTheCalledPhone(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	other := l.Phone("201", lab.PhoneConfig{})
	phone := l.Linphone("202", 500)
	s := l.Service()

	s.Post(call201to202 + byInvite)
	phone.AwaitRinging()
	phone.Answer()
	other.AwaitInCallWith("201")
	other.AwaitTone(phone.Tone, "202")
	other.AwaitTalk()
	other.HangUp()
	phone.AwaitEnded(1)
	phone.HasHeard(other.Tone, "201")
	s.AwaitDialogs(call201to202, "Terminated Dialog", "Terminated Dialog")
}

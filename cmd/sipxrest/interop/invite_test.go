//go:build interop

package interop

import (
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

const invite = "?sipMethod=INVITE"

func TestInviteConnectsTwoPhones(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := l.Service()

	s.Post(call201to202 + invite)
	first := calling.AwaitInCallWith("201") // the agent
	called.AwaitInCallWith("201")
	calling.AwaitAudio()
	called.AwaitAudio()
	calling.AwaitHears(called)
	called.AwaitHears(calling)
	s.AwaitDialogs(call201to202, "Confirmed Dialog", "Confirmed Dialog")
	if a := s.Trusted("POST", call201to202+invite); a.Code != 406 {
		t.Errorf("second POST while up: %d %q, want 406", a.Code, a.Body)
	}

	called.HangUp()
	calling.AwaitClosed(first.ID)
	calling.AwaitOnHook()
	called.AwaitOnHook()
	s.AwaitDialogs(call201to202, "Terminated Dialog", "Terminated Dialog")
	s.AwaitDialogs(call201to202) // 8 s later
}

func TestCalledRefusesAnInvite(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()

	s.Post(call201to202 + invite)
	called.AwaitRinging()
	called.HangUp()
	calling.AwaitOnHook()
	called.AwaitOnHook()
	s.Post(call201to202 + invite) // an ended call is no call in progress
	called.AwaitRinging()
	calling.HangUp() // while the other rings: cancelled
	called.AwaitOnHook()
	calling.AwaitOnHook()
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	target := l.Phone("203", lab.PhoneConfig{Manual: true})
	s := l.Service()

	if a := s.Trusted("POST", call201to202+"?action=transfer&target=203"); a.Code != 406 {
		t.Errorf("transfer without a call: %d %q, want 406", a.Code, a.Body)
	}
	s.Post(call201to202 + invite)
	calling.AwaitAudio()
	called.AwaitAudio()

	s.Post(call201to202 + "?action=transfer&target=203")
	target.AwaitRinging()
	target.HangUp() // refused: the call is as it was
	target.AwaitOnHook()
	calling.AwaitAudio()
	called.AwaitAudio()

	s.Post(call201to202 + "?action=transfer&target=203")
	target.AwaitRinging()
	target.Answer()
	calling.AwaitOnHook() // replaced
	target.AwaitAudio()
	called.AwaitHears(target)
	target.AwaitHears(called)
	target.HangUp()
	called.AwaitOnHook()
}

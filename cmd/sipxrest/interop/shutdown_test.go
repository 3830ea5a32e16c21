//go:build interop

package interop

import (
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

const call201to203 = "/callcontroller/201/203"

// A restart of the service leaves no phone in a call that nobody is in.
func TestTerminationHangsUp(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	manual := l.Phone("203", lab.PhoneConfig{Manual: true})
	terminate := func(s *lab.Service) {
		if err := s.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}

	l.Run(t, "while the calling phone rings", func(t *testing.T) {
		s := l.Service("drain: 200ms")
		s.Post("/callcontroller/203/201")
		call := manual.AwaitRinging()
		terminate(s)
		if err := s.Wait(lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		manual.AwaitClosed(call.ID)
		manual.AwaitOnHook()
	})
	l.Run(t, "while the called phone rings", func(t *testing.T) {
		s := l.Service("drain: 200ms")
		calls := len(calling.Calls())
		s.Post(call201to203)
		manual.AwaitRinging()
		s.AwaitStatus(call201to203, challenged, trying, ringing, answered, referred)
		terminate(s)
		if err := s.Wait(lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		calling.AwaitClosed(calling.AwaitNthCall(calls).ID)
		manual.HangUp() // the phones' own call is theirs to end
		calling.AwaitOnHook()
		manual.AwaitOnHook()
	})
	l.Run(t, "while the phones talk through it", func(t *testing.T) {
		s := l.Service("drain: 200ms")
		s.Post(call201to203 + byInvite)
		manual.AwaitRinging()
		manual.Answer()
		inCall(calling, manual)
		terminate(s)
		if err := s.Wait(lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		calling.AwaitOnHook()
		manual.AwaitOnHook()
	})
	l.Run(t, "at the second signal, whatever the drain limit", func(t *testing.T) {
		s := l.Service("drain: 1h")
		s.Post("/callcontroller/203/201")
		call := manual.AwaitRinging()
		terminate(s)
		s.AwaitDraining()
		terminate(s)
		if err := s.Wait(lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		manual.AwaitClosed(call.ID)
		manual.AwaitOnHook()
	})
	l.Run(t, "not a call that ends well within the drain limit", func(t *testing.T) {
		s := l.Service("drain: 1h")
		s.Post(call201to203)
		manual.AwaitRinging()
		terminate(s)
		s.AwaitDraining()
		if a := s.Trusted("POST", call201to203); a.Code != 503 {
			t.Errorf("a new call while draining: %d %q, want 503", a.Code, a.Body)
		}
		manual.Answer()
		calling.AwaitInCallWith("203")
		start := time.Now()
		if err := s.Wait(2 * lab.Patience); err != nil {
			t.Errorf("end of the service: %v", err)
		}
		t.Logf("the service ended %v after the answer", time.Since(start).Round(time.Millisecond))
		manual.AwaitInCallWith("201")
		manual.HangUp()
		calling.AwaitOnHook()
	})
}

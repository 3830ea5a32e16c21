//go:build interop

package interop

import (
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// A restart of the service leaves no phone in a call that nobody is in.
func TestTerminationHangsUp(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	manual := l.Phone("203", lab.PhoneConfig{Manual: true})

	for _, test := range []struct {
		name, path string
		up         func(s *lab.Service)
		referred   bool // the phones' own call stays
	}{
		{name: "while the calling phone rings", path: "/callcontroller/203/202",
			up: func(*lab.Service) { manual.AwaitRinging() }},
		{name: "while the called phone rings", path: "/callcontroller/201/203", referred: true,
			up: func(s *lab.Service) {
				manual.AwaitRinging()
				s.AwaitStatus("/callcontroller/201/203", challenged, trying, ringing, answered, referred)
			}},
		{name: "in an INVITE call", path: call201to202 + invite,
			up: func(s *lab.Service) { s.AwaitDialogs(call201to202, "Confirmed Dialog", "Confirmed Dialog") }},
		{name: "while the called phone rings in an INVITE call", path: "/callcontroller/201/203" + invite,
			up: func(*lab.Service) { manual.AwaitRinging() }},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			s := l.Service()
			calls := len(calling.Calls())
			s.Post(test.path)
			test.up(s)
			if err := s.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := s.Wait(lab.Patience); err != nil {
				t.Fatalf("end of the service: %v", err)
			}
			t.Logf("ended within %v", time.Since(start).Round(time.Millisecond))
			if test.referred {
				calling.AwaitClosed(calling.Calls()[calls].ID)
				manual.HangUp()
			}
			calling.AwaitOnHook()
			called.AwaitOnHook()
			manual.AwaitOnHook()
		})
	}
}

//go:build interop

package interop

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

const (
	byInvite   = "?sipMethod=INVITE"
	transferTo = "?action=transfer&target="
)

// inCall waits until both phones of a bridged call hear each other.
func inCall(a, b *lab.Phone) {
	a.AwaitAudio()
	b.AwaitAudio()
	a.AwaitHears(b)
	b.AwaitHears(a)
}

func TestInviteConnectsTwoPhones(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := l.Service()
	post := func() {
		t.Helper()
		s.Post(call201to202 + byInvite)
		calling.AwaitInCallWith("201") // the agent
		called.AwaitInCallWith("201")
	}
	over := func() {
		t.Helper()
		calling.AwaitOnHook()
		called.AwaitOnHook()
		s.AwaitDialogs(call201to202, "Terminated Dialog", "Terminated Dialog")
	}

	s.AwaitDialogs(call201to202)
	post()
	inCall(calling, called)
	s.AwaitDialogs(call201to202, "Confirmed Dialog", "Confirmed Dialog")
	if a := s.Trusted("POST", call201to202+byInvite); a.Code != 406 {
		t.Errorf("second POST while up: %d %q, want 406", a.Code, a.Body)
	}
	called.HangUp()
	over()
	post()
	calling.HangUp()
	over()
	post()
	if a := s.Trusted("DELETE", call201to202); a.Code != 200 || a.Body != "" {
		t.Errorf("DELETE: %d %q, want 200 without a body", a.Code, a.Body)
	}
	over()
	if a := s.Trusted("DELETE", call201to202); a.Code != 404 {
		t.Errorf("DELETE of an ended call: %d %q, want 404", a.Code, a.Body)
	}
	s.AwaitDialogs(call201to202) // 8 s later
}

func TestHoldAndResume(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()

	s.Post(call201to202 + byInvite)
	inCall(calling, called)
	for _, phones := range [][2]*lab.Phone{{calling, called}, {called, calling}} {
		holding, held := phones[0], phones[1]
		from := held.Mark()
		holding.Hold()
		if _, err := held.AwaitLine(from, regexp.MustCompile(`^a=sendonly`), lab.Patience); err != nil {
			t.Fatal(err)
		}
		holding.AwaitNothingHeard()
		from = held.Mark()
		holding.Resume()
		if _, err := held.AwaitLine(from, regexp.MustCompile(`^a=sendrecv`), lab.Patience); err != nil {
			t.Fatal(err)
		}
		holding.AwaitAudio()
		held.AwaitAudio()
	}
	called.HangUp()
	calling.AwaitOnHook()
}

func TestOnePhoneOfAnInviteFails(t *testing.T) {
	t.Parallel()
	busy := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"240": net.JoinHostPort("127.0.0.1", strconv.Itoa(busy))})
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()

	// An ended call is no call in progress: each is placed at once.
	l.Run(t, "called refuses", func(t *testing.T) {
		s.Post(call201to202 + byInvite)
		called.AwaitRinging()
		called.HangUp()
		calling.AwaitOnHook()
		called.AwaitOnHook()
	})
	l.Run(t, "calling hangs up while called rings", func(t *testing.T) {
		s.Post(call201to202 + byInvite)
		called.AwaitRinging()
		calling.HangUp()
		called.AwaitOnHook()
		calling.AwaitOnHook()
	})
	l.Run(t, "client hangs up while called rings", func(t *testing.T) {
		s.Post(call201to202 + byInvite)
		called.AwaitRinging()
		if a := s.Trusted("DELETE", call201to202); a.Code != 200 {
			t.Errorf("DELETE: %d %q", a.Code, a.Body)
		}
		called.AwaitOnHook()
		calling.AwaitOnHook()
	})
	l.Run(t, "called does not answer", func(t *testing.T) {
		from := calling.Mark()
		s.Post(call201to202 + byInvite + "&timeout=1")
		called.AwaitRinging()
		called.AwaitOnHook()
		calling.AwaitOnHook()
		if _, err := calling.AwaitLine(from, regexp.MustCompile(`^Reason: SIP ?; ?cause=408`), lab.Patience); err != nil {
			t.Error(err)
		}
	})
	l.Run(t, "called is busy", func(t *testing.T) {
		peer := l.SIPp("busy", busy, 1)
		from := calling.Mark()
		s.Post("/callcontroller/201/240" + byInvite)
		if _, err := calling.AwaitLine(from, regexp.MustCompile(`^Reason: SIP ?; ?cause=486`), lab.Patience); err != nil {
			t.Error(err)
		}
		calling.AwaitOnHook()
		l.SIPpPassed(peer)
	})
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	busy := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"240": net.JoinHostPort("127.0.0.1", strconv.Itoa(busy))})
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	target := l.Phone("203", lab.PhoneConfig{Manual: true})
	s := l.Service()

	if a := s.Trusted("POST", call201to202+transferTo+"203"); a.Code != 406 {
		t.Errorf("transfer without a call: %d %q, want 406", a.Code, a.Body)
	}
	s.Post(call201to202 + byInvite)
	inCall(calling, called)

	l.Run(t, "to a busy phone", func(t *testing.T) {
		peer := l.SIPp("busy", busy, 1)
		s.Post(call201to202 + transferTo + "240")
		l.SIPpPassed(peer)
		s.AwaitDialogs(call201to202, "Confirmed Dialog", "Confirmed Dialog", "Terminated Dialog")
		calling.AwaitAudio()
		called.AwaitAudio()
	})
	l.Run(t, "to one who answers", func(t *testing.T) {
		s.Post(call201to202 + transferTo + "203")
		target.AwaitRinging()
		target.Answer()
		calling.AwaitOnHook()
		inCall(target, called)
		s.AwaitDialogs("/callcontroller/203/202?agent=201", "Confirmed Dialog", "Confirmed Dialog") // 8 s later at most
		target.HangUp()
		called.AwaitOnHook()
	})
}

// The REFER of a phone goes through the bridge to the other one, which calls
// the target by itself.
func TestPhoneTransfersBlindly(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	target := l.Phone("203", lab.PhoneConfig{})
	s := l.Service()

	s.Post(call201to202 + byInvite)
	inCall(calling, called)
	calling.Transfer("203")
	calling.AwaitOnHook() // its NOTIFY said that it worked
	called.AwaitInCallWith("203")
	target.AwaitInCallWith("202")
	inCall(called, target)
	s.AwaitDialogs(call201to202, "Terminated Dialog", "Terminated Dialog") // the bridge is over
	target.HangUp()
	called.AwaitOnHook()
}

func TestCallingKnowsNoRefer(t *testing.T) {
	t.Parallel()
	port := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"205": net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	called := l.Phone("202", lab.PhoneConfig{})
	const call205to202 = "/callcontroller/205/202"

	l.Run(t, "and is bridged", func(t *testing.T) {
		s := l.Service()
		peer := l.SIPp("no_refer_bridged", port, 1)
		s.Post(call205to202)
		called.AwaitInCallWith("205")
		s.AwaitStatus(call205to202, challenged, trying, "INVITE 200 OK", "REFER 405 Method Not Allowed", challenged, trying, ringing, answered)
		called.HangUp()
		l.SIPpPassed(peer)
		called.AwaitOnHook()

		// The next time it is not asked.
		peer = l.SIPp("bridged_calling", port, 1)
		s.Post(call205to202)
		called.AwaitInCallWith("205")
		s.AwaitStatus(call205to202, challenged, trying, ringing, "INVITE 200 OK", challenged, trying, ringing, answered)
		called.HangUp()
		l.SIPpPassed(peer)
		called.AwaitOnHook()
	})
	l.Run(t, "and is hung up without the fallback", func(t *testing.T) {
		s := l.Service("refer: {fallback: false}")
		peer := l.SIPp("no_refer", port, 1)
		s.Post(call205to202)
		l.SIPpPassed(peer)
		s.AwaitStatus(call205to202, challenged, trying, "INVITE 200 OK", "REFER 405 Method Not Allowed")
	})
}

func TestTwentyBridgedCallsAtOnce(t *testing.T) {
	t.Parallel()
	const calls = 20
	callingPort, calledPort := lab.Ports(t, 1), lab.Ports(t, 1)
	routes := map[string]string{"205": net.JoinHostPort("127.0.0.1", strconv.Itoa(callingPort))}
	path := func(i int) string { return fmt.Sprintf("/callcontroller/205/%d", 300+i) }
	for i := range calls {
		routes[strconv.Itoa(300+i)] = net.JoinHostPort("127.0.0.1", strconv.Itoa(calledPort))
	}
	l := lab.StartWorkers(t, routes, 4)
	s := l.Service()
	calling, called := l.SIPp("bridged_calling", callingPort, calls), l.SIPp("bridged_called", calledPort, calls)
	for i := range calls {
		s.Post(path(i) + byInvite)
	}
	for i := range calls {
		s.AwaitDialogs(path(i), "Confirmed Dialog", "Confirmed Dialog")
	}
	for i := range calls {
		if a := s.Trusted("DELETE", path(i)); a.Code != 200 {
			t.Errorf("DELETE %s: %d %q", path(i), a.Code, a.Body)
		}
	}
	l.SIPpPassed(calling)
	l.SIPpPassed(called)
}

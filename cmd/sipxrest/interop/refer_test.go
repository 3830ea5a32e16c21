//go:build interop

package interop

import (
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// What Kamailio and baresip answer, in the words that they use.
const (
	challenged = "INVITE 407 Proxy Authentication Required"
	trying     = "INVITE 100 trying -- your call is important to us"
	ringing    = "INVITE 180 Ringing"
	answered   = "INVITE 200 Answering"
	referred   = "NOTIFY 100 Trying"
)

const call201to202 = "/callcontroller/201/202"

func TestReferConnectsTwoPhones(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := l.Service()

	s.Post(call201to202 + "?subject=Lunch")
	call := calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	calling.AwaitAudio()
	called.AwaitAudio()
	calling.AwaitHears(called)
	called.AwaitHears(calling)

	lines := s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 200 OK")
	first := calling.AwaitNthCall(0)
	for _, line := range lines {
		if line.CallID != first.ID {
			t.Errorf("line %v has Call-ID %s, the phone was called with %s", line, line.CallID, first.ID)
		}
	}
	calling.AwaitClosed(first.ID) // the service is out of the call
	if _, err := calling.AwaitLine(0, regexp.MustCompile(`^Subject: Lunch$`), lab.Patience); err != nil {
		t.Error(err)
	}
	called.HangUp()
	calling.AwaitClosed(call.ID)
	calling.AwaitOnHook()
	called.AwaitOnHook()
}

func TestCallOverTCPPhones(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{TCP: true})
	called := l.Phone("202", lab.PhoneConfig{TCP: true})
	s := l.Service()

	s.Post(call201to202)
	calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 200 OK")
	calling.AwaitClosed(calling.AwaitNthCall(0).ID)
}

func TestOutcomesOfTheCalledPhone(t *testing.T) {
	t.Parallel()
	busy := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"240": net.JoinHostPort("127.0.0.1", strconv.Itoa(busy))})
	calling := l.Phone("201", lab.PhoneConfig{})
	refusing := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()

	for _, test := range []struct {
		name, called string
		before       func() *lab.Process
		during       func()
		outcome      string
		reason       string // in our BYE to the calling phone
	}{
		{name: "busy", called: "240", outcome: "NOTIFY 486 Busy Here", reason: `^Reason: SIP ?; ?cause=486`,
			before: func() *lab.Process { return l.SIPp("busy", busy, 1) }},
		{name: "refuses", called: "202", outcome: "NOTIFY 486 *", reason: `^Reason: SIP ?; ?cause=486`,
			during: func() { refusing.AwaitRinging(); refusing.HangUp() }},
		{name: "unknown", called: "299", outcome: "NOTIFY 404 Not Found"},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			var peer *lab.Process
			if test.before != nil {
				peer = test.before()
			}
			from, calls := calling.Mark(), len(calling.Calls())
			path := "/callcontroller/201/" + test.called
			s.Post(path)
			if test.during != nil {
				test.during()
			}
			s.AwaitStatus(path, challenged, trying, ringing, answered, referred, test.outcome)
			calling.AwaitClosed(calling.AwaitNthCall(calls).ID)
			calling.AwaitOnHook()
			if test.reason != "" {
				if _, err := calling.AwaitLine(from, regexp.MustCompile(test.reason), lab.Patience); err != nil {
					t.Errorf("why we hang up: %v", err)
				}
			}
			if peer != nil {
				l.SIPpPassed(peer)
			}
		})
	}
}

func TestOutcomesOfTheCallingPhone(t *testing.T) {
	t.Parallel()
	busy := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"205": net.JoinHostPort("127.0.0.1", strconv.Itoa(busy))})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()

	l.Run(t, "busy", func(t *testing.T) {
		peer := l.SIPp("busy", busy, 1)
		s.Post("/callcontroller/205/202")
		s.AwaitStatus("/callcontroller/205/202", challenged, trying, "INVITE 486 Busy Here")
		l.SIPpPassed(peer)
	})
	l.Run(t, "unknown", func(t *testing.T) {
		s.Post("/callcontroller/209/202")
		s.AwaitStatus("/callcontroller/209/202", challenged, "INVITE 404 Not Found")
	})
	if calls := called.Calls(); len(calls) > 0 {
		t.Errorf("the called phone was called: %+v", calls)
	}
}

func TestNoAnswerIsCancelled(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	s := l.Service()

	posted := time.Now()
	s.Post(call201to202 + "?timeout=2")
	call := calling.AwaitRinging()
	if _, err := calling.AwaitLine(0, regexp.MustCompile(`^CANCEL sip:201`), lab.Patience); err != nil {
		t.Fatal(err)
	}
	if rang := time.Since(posted); rang < 2*time.Second {
		t.Errorf("cancelled after %v, want 2s", rang)
	}
	s.AwaitStatus(call201to202, challenged, trying, ringing, "INVITE 487 *")
	calling.AwaitClosed(call.ID)
	calling.AwaitOnHook()
}

func TestCallingRefuses(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	s := l.Service()

	s.Post(call201to202)
	calling.AwaitRinging()
	calling.HangUp()
	s.AwaitStatus(call201to202, challenged, trying, ringing, "INVITE 486 *")
	calling.AwaitOnHook()
}

// The REFER crosses the BYE of a user who hung up at once: the scenario of the
// phone wants its BYE answered, and no BYE of ours.
func TestCallingHangsUpWhenReferred(t *testing.T) {
	t.Parallel()
	port := lab.Ports(t, 1)
	l := lab.Start(t, map[string]string{"205": net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	called := l.Phone("202", lab.PhoneConfig{})
	s := l.Service()
	peer := l.SIPp("bye_on_refer", port, 1)

	s.Post("/callcontroller/205/202")
	l.SIPpPassed(peer)
	s.AwaitStatus("/callcontroller/205/202", challenged, trying, "INVITE 200 OK")
	if calls := called.Calls(); len(calls) > 0 {
		t.Errorf("the called phone was called: %+v", calls)
	}
}

func TestCallingHangsUpWhileCalledRings(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()

	l.Run(t, "the service's call", func(t *testing.T) {
		s.Post(call201to202)
		called.AwaitRinging()
		first := calling.AwaitNthCall(0).ID
		from := calling.Mark()
		calling.HangUpCall(first)
		calling.AwaitClosed(first)
		if _, err := calling.AwaitLine(from, regexp.MustCompile(`^CSeq: \d+ BYE$`), lab.Patience); err != nil {
			t.Fatal(err)
		}
		if _, err := calling.AwaitLine(from, regexp.MustCompile(`^SIP/2.0 200 OK$`), lab.Patience); err != nil {
			t.Errorf("our answer to BYE: %v", err)
		}
		// The call to the other phone is the phone's own, and goes on.
		called.Answer()
		calling.AwaitInCallWith("202")
		called.AwaitInCallWith("201")
		called.HangUp()
		calling.AwaitOnHook()
	})
	l.Run(t, "the call to the other phone", func(t *testing.T) {
		before := len(called.Calls())
		s.Post(call201to202)
		called.AwaitNthCall(before)
		calling.HangUp() // the current call is the newest
		called.AwaitOnHook()
		calling.AwaitOnHook() // the NOTIFY says that it failed: we hang up
	})
}

func TestSecondPostReplacesTheFirst(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()

	s.Post(call201to202)
	first := calling.AwaitRinging()
	s.Post(call201to202) // rings: cancelled
	calling.AwaitClosed(first.ID)
	second := calling.AwaitRinging()
	if second.ID == first.ID {
		t.Fatal("the first call rings on")
	}
	calling.Answer()
	called.AwaitRinging()
	s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred)

	s.Post(call201to202) // the calling phone is busy with what was asked for
	called.Answer()
	calling.AwaitInCallWith("202")
	s.AwaitStatus(call201to202, challenged, trying, ringing, answered, referred, "NOTIFY 200 OK")
	if calls := calling.Calls(); len(calls) != 3 { // service, service, to 202
		t.Errorf("the calling phone has had the calls %+v", calls)
	}
}

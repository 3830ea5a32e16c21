package sipflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// ladder runs a case whose ladder differs each time.
func ladder(t *testing.T, bc bridgeCase) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		bc.run(t, n, true)
		if t.Failed() {
			t.Log(n.Ladder())
		}
	})
}

// twoCalls are calls of agent 200's phone 201, which has two lines: with 202, and with 203.
type twoCalls struct {
	*rig
	agent, far, other *siptest.Phone
	a, b              *Call
}

func (w *twoCalls) join(t *testing.T, want any) {
	t.Helper()
	comesTo(t, unlessLost(w.net, want), func(ctx context.Context) error {
		_, err := w.sw.Join(ctx, w.a, w.b, Self)
		return err
	})
}

// talking checks who is in a call afterwards, if no message is lost.
func (w *twoCalls) talking(t *testing.T, agent int, far, other bool) {
	t.Helper()
	time.Sleep(5 * time.Second)
	if w.net.Drop != nil {
		return
	}
	if n := w.agent.Dialogs(); n != agent || w.far.OnHook() == far || w.other.OnHook() == other {
		t.Errorf("201 is in %d calls; 202 is on-hook: %t, 203: %t", n, w.far.OnHook(), w.other.OnHook())
	}
}

var joinCases = []struct {
	name string
	do   func(t *testing.T, w *twoCalls)
	told string
}{
	{"join", func(t *testing.T, w *twoCalls) {
		w.join(t, nil)
		w.talking(t, 0, true, true)
		if w.net.Drop == nil {
			<-w.b.Done()
		}
		w.far.HangUp()
	}, "t1 attended to 203@sipx.test, calling leaves, t1 completed"},
	{"join-far-of-the-other-hangs-up-then", func(t *testing.T, w *twoCalls) {
		w.join(t, nil)
		w.talking(t, 0, true, true)
		w.other.HangUp()
	}, "t1 attended to 203@sipx.test, calling leaves, t1 completed"},
	{"join-then-hold", func(t *testing.T, w *twoCalls) {
		w.join(t, nil)
		time.Sleep(time.Second)
		w.a.mustHold(t, CallingParty, true, unlessLost(w.net, nil)) // that is 203 by now
		w.a.mustHold(t, CallingParty, false, unlessLost(w.net, nil))
	}, ""},
	{"join-of-a-phone-on-hold", func(t *testing.T, w *twoCalls) {
		w.a.mustHold(t, CalledParty, true, unlessLost(w.net, nil))
		w.join(t, nil)
		w.talking(t, 0, true, true)
	}, "l2 held by client, t1 attended to 203@sipx.test, calling leaves, l2 resumed by client, t1 completed"},
	{"join-refused-by-the-first", func(t *testing.T, w *twoCalls) {
		w.far.SetScript(refusing)
		w.join(t, 488)
		w.talking(t, 2, true, true)
	}, "t1 attended to 203@sipx.test, calling leaves, t1 failed by called on l2 for 488"},
	{"join-refused-by-the-second", func(t *testing.T, w *twoCalls) {
		w.other.SetScript(refusing)
		w.join(t, 488)
		w.talking(t, 2, true, true)
	}, ""},
	{"join-first-hangs-up-meanwhile", func(t *testing.T, w *twoCalls) {
		w.far.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}})
		go func() { time.Sleep(time.Second); w.far.HangUp() }()
		w.join(t, ErrHungUp)
		w.talking(t, 1, false, true)
	}, ""},
	{"join-second-hangs-up-meanwhile", func(t *testing.T, w *twoCalls) {
		w.other.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}})
		go func() { time.Sleep(time.Second); w.other.HangUp() }()
		w.join(t, ErrHungUp)
		w.talking(t, 1, true, false)
	}, ""},
	{"join-agent-hangs-up-meanwhile", func(t *testing.T, w *twoCalls) {
		w.far.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}})
		go func() { time.Sleep(time.Second); w.agent.HangUp() }()
		w.join(t, "anything")
		time.Sleep(5 * time.Second)
		w.far.HangUp()
		w.other.HangUp()
	}, ""},
	{"join-client-hangs-the-other-up-meanwhile", func(t *testing.T, w *twoCalls) {
		w.far.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second}})
		go func() { time.Sleep(time.Second); w.b.HangUp(ErrHungUpByUser) }()
		w.join(t, ErrHungUpByUser)
		w.talking(t, 1, true, false)
	}, ""},
	{"join-first-is-silent", func(t *testing.T, w *twoCalls) {
		w.far.SetScript(siptest.Script{Reinvite: siptest.Reinvite{Silent: true}})
		w.join(t, ErrPhoneTimeout)
		w.join(t, ErrPhoneTimeout) // it waits for the first
		time.Sleep(time.Minute)
		w.talking(t, 1, false, true)
	}, ""},
	{"join-with-a-phone-that-took-the-others-place", func(t *testing.T, w *twoCalls) {
		second := w.net.Phone("204", "10.0.0.9:5070", siptest.Script{}) // as the proxy is one of ours
		t.Cleanup(second.Close)
		if ids := w.other.Calls(); len(ids) == 1 {
			replaces, uri, err := w.other.Replaces(ids[0])
			if err == nil {
				err = second.Call(t.Context(), uri, sip.NewHeader("Replaces", replaces))
			}
			if err != nil && w.net.Drop == nil {
				t.Error(err)
			}
		}
		time.Sleep(5 * time.Second)
		w.join(t, nil)
		w.talking(t, 0, true, false)
	}, ""},
	{"join-first-invites-us-meanwhile", func(t *testing.T, w *twoCalls) {
		w.other.SetScript(siptest.Script{Reinvite: siptest.Reinvite{After: 3 * time.Second, SDP: sdpOf(4711)}})
		go func() { // between two INVITEs of ours
			time.Sleep(time.Second)
			for _, id := range w.far.Calls() {
				w.far.DoIn(t.Context(), id, siptest.Action{Method: "INVITE"}) //nolint:errcheck // 491
			}
		}()
		w.join(t, nil)
		w.talking(t, 0, true, true)
	}, ""},
	{"join-a-call-with-itself", func(t *testing.T, w *twoCalls) {
		w.b = w.a
		w.join(t, ErrCannotJoin)
	}, ""},
}

func joinTwo(t *testing.T, n *siptest.Network, strict bool, do func(t *testing.T, w *twoCalls), told string) {
	w := &twoCalls{agent: n.Phone("201", phoneAddr, siptest.Script{}), far: n.Phone("202", calledAddr, siptest.Script{}),
		other: n.Phone("203", thirdAddr, siptest.Script{})}
	proxy := n.Proxy(proxyAddr, siptest.ProxyConfig{Domain: "sipx.test", Open: true, Locations: map[string]string{
		"201": "sip:201@" + phoneAddr, "202": "sip:202@" + calledAddr, "203": "sip:203@" + thirdAddr}})
	defer proxy.Close()
	for _, ph := range []*siptest.Phone{w.agent, w.far, w.other} {
		defer ph.Close()
	}
	w.rig = newRig(t, n, proxyAddr)
	defer func() {
		if err := w.shutdown(); err != nil && strict {
			t.Errorf("Serve: %v", err)
		}
	}()
	place := func(called string) *Call {
		c, err := w.sw.Place(t.Context(), spec(func(s *Spec) {
			s.Method, s.Key.Called, s.CalledUser = MethodInvite, called, called
		}), Invite)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	w.a = place("202@sipx.test")
	time.Sleep(5 * time.Second)
	w.b = place("203@sipx.test")
	a, b := w.a, w.b
	time.Sleep(5 * time.Second)
	do(t, w)
	time.Sleep(10 * time.Second)
	for _, c := range []*Call{a, b} {
		c.HangUp(ErrHungUpByUser)
		<-c.Done()
	}
	time.Sleep(time.Minute)
	for _, ph := range []*siptest.Phone{w.agent, w.far, w.other} {
		if !ph.OnHook() {
			t.Errorf("a phone is off-hook; it saw\n%s", strings.Join(ph.Log(), "\n"))
		}
	}
	if got := w.events(); strict && told != "" && got != told {
		t.Errorf("told:\n got %s\nwant %s", got, told)
	}
	w.empty()
}

// Two calls of one agent become one, message by message.
func TestJoin(t *testing.T) {
	for _, tc := range joinCases {
		t.Run(tc.name, func(t *testing.T) {
			flowtest.Ladder(t, tc.name, func(t *testing.T, n *siptest.Network) { joinTwo(t, n, true, tc.do, tc.told) })
		})
	}
}

// Likewise with each message lost once.
func TestJoinSurvivesLoss(t *testing.T) {
	for _, tc := range joinCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) { joinTwo(t, n, false, tc.do, "") })
		})
	}
}

package siptest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

// pair is two phones on a network, for tests in which 201 calls 202.
type pair struct {
	*siptest.Network
	caller, called *siptest.Phone
}

const target = "sip:202@10.0.0.3:5060"

func newPair(t *testing.T, n *siptest.Network, caller, called siptest.Script) *pair {
	p := &pair{n, n.Phone("201", "10.0.0.2:5060", caller), n.Phone("202", "10.0.0.3:5060", called)}
	t.Cleanup(func() { p.caller.Close(); p.called.Close() })
	return p
}

func (p *pair) check(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if !p.caller.OnHook() || !p.called.OnHook() {
		t.Errorf("off hook at the end: 201 %t, 202 %t", !p.caller.OnHook(), !p.called.OnHook())
	}
	if t.Failed() {
		t.Logf("201: %v\n202: %v\n%s", p.caller.Log(), p.called.Log(), p.Ladder())
	}
}

func inBubble(t *testing.T, caller, called siptest.Script, run func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, siptest.NewNetwork(), caller, called)
		run(t, p)
		p.check(t)
	})
}

func TestPhoneRingsAnswersAndHangsUp(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{Ring: 2 * time.Second, HangUpAfter: time.Minute}, func(t *testing.T, p *pair) {
		start := time.Now()
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start).Round(time.Second); d != 2*time.Second {
			t.Errorf("answered after %v", d)
		}
		time.Sleep(time.Second)
		if !p.caller.ConnectedTo(p.called) || !p.called.Acked() || p.caller.Dialogs() != 1 {
			t.Error("the phones are not connected")
		}
		time.Sleep(2 * time.Minute)
		flowtest.Golden(t, "call", p.Ladder())
	})
}

func TestPhoneReports(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{}, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		res, err := p.caller.Do(t.Context(), siptest.Action{Method: sip.REFER, Header: []sip.Header{
			sip.NewHeader("Refer-To", "<sip:203@10.0.0.4>"), sip.NewHeader("Contact", "<sip:201@10.0.0.2:5060>"),
		}})
		if err != nil || res.StatusCode != 202 {
			t.Fatalf("REFER: %v %v", res, err)
		}
		time.Sleep(4 * time.Second)
		p.caller.HangUp()
		time.Sleep(time.Minute)
		flowtest.Golden(t, "refer", p.Ladder())
	})
}

// Whatever single message is lost, the call comes up, REFER is reported, and
// both phones hang up in the end.
func TestCallSurvivesLossOfAnyMessage(t *testing.T) {
	flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) {
		p := newPair(t, n, siptest.Script{}, siptest.Script{Ring: time.Second})
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if !p.caller.ConnectedTo(p.called) {
			t.Error("the phones are not connected")
		}
		for _, a := range []siptest.Action{
			{Method: sip.REFER, Header: []sip.Header{
				sip.NewHeader("Refer-To", "<sip:203@10.0.0.4>"), sip.NewHeader("Contact", "<sip:201@10.0.0.2:5060>"),
			}},
			{Method: sip.INVITE},
			{Method: sip.INFO, Body: "Signal=1", ContentType: "application/dtmf-relay"},
		} {
			res, err := p.caller.Do(t.Context(), a)
			if err != nil || res.StatusCode >= 300 {
				t.Errorf("%s: %v %v", a.Method, res, err)
			}
		}
		time.Sleep(10 * time.Second)
		if got := len(p.caller.Requests(sip.NOTIFY)); got != 3 {
			t.Errorf("%d NOTIFYs, want 3", got)
		}
		p.called.HangUp()
		time.Sleep(time.Minute)
		p.check(t)
	})
}

func TestPhoneRefuses(t *testing.T) {
	for _, status := range []int{302, 404, 486, 603} {
		inBubble(t, siptest.Script{}, siptest.Script{Status: status, RedirectTo: "<sip:203@10.0.0.4>"}, func(t *testing.T, p *pair) {
			if err := p.caller.Call(t.Context(), target); !errors.Is(err, siptest.ErrRefused) {
				t.Errorf("%d: %v", status, err)
			}
			time.Sleep(time.Minute)
		})
	}
}

func TestPhoneIsCancelled(t *testing.T) {
	for name, script := range map[string]siptest.Script{
		"rings on":       {NeverAnswer: true},
		"answer crosses": {NeverAnswer: true, AnswerOnCancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, siptest.Script{}, script, func(t *testing.T, p *pair) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := p.caller.Call(ctx, target); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				time.Sleep(time.Minute)
				if n := len(p.called.Requests(sip.CANCEL)); n != 1 {
					t.Errorf("%d CANCELs", n)
				}
				if script.AnswerOnCancel != p.called.Acked() || script.AnswerOnCancel != (len(p.called.Requests(sip.BYE)) == 1) {
					t.Error("a crossing 200 must be acknowledged and hung up")
				}
			})
		})
	}
}

func TestPhoneIgnoresCancel(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{IgnoreCancel: true, Ring: 10 * time.Second}, func(t *testing.T, p *pair) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		p.caller.Call(ctx, target)
		time.Sleep(time.Minute)
		if !slices.Contains(p.called.Log(), "<- BYE") || !p.called.Acked() {
			t.Error("the late 200 must be acknowledged and hung up")
		}
	})
}

func TestForksAreAcknowledgedAndHungUp(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{EarlyForks: 2, Forks: 2}, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if p.called.Dialogs() != 1 || !p.called.Acked() || len(p.called.Requests(sip.BYE)) != 2 {
			t.Errorf("%d dialogs are left, BYEs %d", p.called.Dialogs(), len(p.called.Requests(sip.BYE)))
		}
		if l := p.Ladder(); !strings.Contains(l, "to-tag c") || strings.Contains(l, "to-tag d") {
			t.Error("180s and 200s do not have the same number of tags") // a, b, c early, then a and two new
		}
		p.caller.HangUp()
		time.Sleep(time.Minute)
	})
}

func TestUnacknowledgedAnswerIsRepeatedAndHungUp(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{LoseACKs: 1000}, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if p.called.Acked() || !slices.Contains(p.called.Log(), "no ACK for 32s") {
			t.Error("the phone did not miss its ACK")
		}
	})
}

func TestAnswerIsRepeatedAfterACK(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{RepeatAfterACK: 5 * time.Second, HangUpAfter: 10 * time.Second}, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		again := 0
		for _, l := range p.called.Log() {
			if l == "<- ACK again" {
				again++
			}
		}
		if again != 3 { // at 0.5, 1.5 and 3.5 s
			t.Errorf("%d further ACKs", again)
		}
	})
}

func TestChallenge(t *testing.T) {
	all := []sip.RequestMethod{sip.INVITE, sip.REFER, sip.BYE}
	for name, tt := range map[string]struct {
		challenge siptest.Challenge
		password  string
		refused   bool
		failures  int
	}{
		"407 MD5": {siptest.Challenge{Methods: all, Realm: "sipx.test", Password: "123", User: "201"}, "123", false, 0},
		"401 SHA-256": {siptest.Challenge{Methods: all, Status: 401, Algorithms: []string{"SHA-256", "MD5"}, Password: "123", User: "201"},
			"123", false, 0},
		"stale once":       {siptest.Challenge{Methods: all, StaleOnce: true, Password: "123", User: "201"}, "123", false, 0},
		"without qop":      {siptest.Challenge{Methods: all, NoQOP: true, Password: "123", User: "201"}, "123", false, 0},
		"wrong password":   {siptest.Challenge{Methods: all, Password: "123", User: "201"}, "124", true, 1},
		"refuses for ever": {siptest.Challenge{Methods: all, Always: true, Password: "123", User: "201"}, "123", true, 0},
		"unknown first": {siptest.Challenge{Methods: all, Password: "123", User: "201",
			Extra: []string{`Digest realm="x", nonce="y", algorithm=SHA-512-256`}}, "123", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := siptest.NewNetwork()
				caller := siptest.NewPhone(n.Listen("10.0.0.2:5060"), siptest.Account{User: "201", Password: tt.password}, siptest.Script{})
				called := n.Phone("202", "10.0.0.3:5060", siptest.Script{Challenge: tt.challenge})
				defer caller.Close()
				defer called.Close()
				err := caller.Call(t.Context(), target)
				if refused := errors.Is(err, siptest.ErrRefused); refused != tt.refused {
					t.Errorf("call: %v", err)
				}
				caller.HangUp()
				time.Sleep(time.Minute)
				if called.AuthFailures() != tt.failures || !called.OnHook() {
					t.Errorf("failures %d, log %v", called.AuthFailures(), called.Log())
				}
			})
		})
	}
}

func TestGlareIsRefused(t *testing.T) {
	script := siptest.Script{
		Reinvite: siptest.Reinvite{After: 2 * time.Second},
		Do:       []siptest.Action{{After: time.Second, Method: sip.INVITE}},
	}
	inBubble(t, siptest.Script{Reinvite: siptest.Reinvite{After: 2 * time.Second}}, script, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // 202's re-INVITE is pending
		res, err := p.caller.Do(t.Context(), siptest.Action{Method: sip.INVITE})
		if err != nil || res.StatusCode != 491 {
			t.Errorf("crossing re-INVITE: %v %v", res, err)
		}
		time.Sleep(5 * time.Second)
		if a := p.called.Answers(); len(a) != 1 || a[0].StatusCode != 200 {
			t.Errorf("202's own re-INVITE: %v", a)
		}
		p.caller.HangUp()
		time.Sleep(time.Minute)
	})
}

func TestFollowedReferConnectsThePhones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		boss := n.Phone("boss", "10.0.0.1:5060", siptest.Script{})
		a := n.Phone("201", "10.0.0.2:5060", siptest.Script{Refer: siptest.Refer{Follow: true}})
		b := n.Phone("202", "10.0.0.3:5060", siptest.Script{Ring: 2 * time.Second})
		if err := boss.Call(t.Context(), "sip:201@10.0.0.2:5060"); err != nil {
			t.Fatal(err)
		}
		if _, err := boss.Do(t.Context(), siptest.Action{Method: sip.REFER, Header: []sip.Header{
			sip.NewHeader("Refer-To", "<sip:202@10.0.0.3:5060?X-ConfPin=77>"), sip.NewHeader("Referred-By", "<sip:boss@10.0.0.1>"),
		}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		boss.HangUp()
		time.Sleep(5 * time.Second)
		if !a.ConnectedTo(b) || !boss.OnHook() {
			t.Errorf("not connected:\n%s", n.Ladder())
		}
		got := b.Requests(sip.INVITE)[0]
		if got.GetHeader("X-ConfPin") == nil || got.GetHeader("Referred-By") == nil {
			t.Errorf("INVITE without the header fields of the REFER: %s", got)
		}
		a.HangUp()
		time.Sleep(time.Minute)
		if !a.OnHook() || !b.OnHook() {
			t.Error("off hook")
		}
		flowtest.Golden(t, "follow", n.Ladder())
		a.Close()
		b.Close()
		boss.Close()
	})
}

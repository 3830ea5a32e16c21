package siptest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/sipflow/siptest"
	"sipxrest/sipflow/siptest/flowtest"
)

func TestRefusalSurvivesLossOfAnyMessage(t *testing.T) {
	flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) {
		p := newPair(t, n, siptest.Script{}, siptest.Script{Status: 486, Ring: time.Second})
		if err := p.caller.Call(t.Context(), target); !errors.Is(err, siptest.ErrRefused) {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		if n.Arrived() > 7 { // INVITE, 180, 486, ACK, and what one loss costs
			t.Errorf("%d messages: something is repeated for too long", n.Arrived())
		}
		p.check(t)
	})
}

func TestCancelSurvivesLossOfAnyMessage(t *testing.T) {
	flowtest.LoseEach(t, func(t *testing.T, n *siptest.Network) {
		p := newPair(t, n, siptest.Script{}, siptest.Script{NeverAnswer: true})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := p.caller.Call(ctx, target); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		p.check(t)
	})
}

// NOTIFYs must not overtake each other, even if one has to be repeated.
func TestReportsStayInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		lost := false
		n.Drop = func(p siptest.Packet) bool {
			if p.Method() == "NOTIFY" && !lost {
				lost = true
				return true
			}
			return false
		}
		p := newPair(t, n, siptest.Script{}, siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{
			{Line: "SIP/2.0 100 Trying"}, {Line: "SIP/2.0 200 OK", State: "terminated"},
		}}})
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if _, err := p.caller.Do(t.Context(),
			siptest.Action{Method: sip.REFER, Header: []sip.Header{sip.NewHeader("Refer-To", "<sip:203@10.0.0.4>")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		got := p.caller.Requests(sip.NOTIFY)
		if len(got) != 2 || string(got[0].Body()) != "SIP/2.0 100 Trying\r\n" || slices.Contains(p.caller.Log(), "-> 500 Server Internal Error") {
			t.Errorf("%v", p.caller.Log())
		}
		p.caller.HangUp()
		time.Sleep(time.Minute)
		p.check(t)
	})
}

func TestUnregisteredUserIsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := siptest.NewNetwork()
		o := newOffice(t, n, siptest.Script{}, siptest.Script{})
		if err := o.b.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := o.proxy.Location("202"); got != "sip:202@10.0.0.3:5060" {
			t.Errorf("202 is at %q", got)
		}
		if err := o.b.Unregister(t.Context()); err != nil || o.proxy.Location("202") != "" {
			t.Errorf("%v, 202 is still at %q", err, o.proxy.Location("202"))
		}
		if err := o.a.Call(t.Context(), "sip:202@sipx.test"); !errors.Is(err, siptest.ErrRefused) {
			t.Error(err)
		}
	})
}

func TestScriptChangesBetweenCalls(t *testing.T) {
	inBubble(t, siptest.Script{}, siptest.Script{Status: 486}, func(t *testing.T, p *pair) {
		if err := p.caller.Call(t.Context(), target); !errors.Is(err, siptest.ErrRefused) {
			t.Error(err)
		}
		p.called.SetScript(siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{sip.OPTIONS}}})
		if err := p.caller.Call(t.Context(), target); err != nil {
			t.Error(err)
		}
		res, err := p.caller.Do(t.Context(), siptest.Action{Method: sip.OPTIONS})
		if err != nil || res.StatusCode != 407 || !slices.Contains(p.caller.Log(), "<- 407 Proxy Authentication Required") {
			t.Errorf("%v %v", res, err)
		}
		p.caller.HangUp()
		time.Sleep(time.Minute)
	})
}

package api

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"sipxrest/event"
	"sipxrest/sipflow/siptest"
)

func TestPhonesAreHeldAndMuted(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		cr.refuses(NotConnected, "POST", "/v1/calls/"+id+"/actions/hold", "")
		cr.until(id, event.Connected)
		for _, c := range []struct {
			action, body, leg string
			held, muted       bool
		}{
			{"hold", ``, "called", true, false}, {"hold", `{"leg":"called"}`, "called", true, false},
			{"unhold", ``, "called", false, false}, {"unhold", `{"leg":"l2"}`, "called", false, false},
			{"mute", ``, "calling", false, true}, {"mute", `{"leg":"l1"}`, "calling", false, true},
			{"unmute", ``, "calling", false, false},
			{"mute", `{"leg":"called"}`, "called", false, true}, {"unmute", `{"leg":"called"}`, "called", false, false},
			{"hold", `{"leg":"calling"}`, "calling", true, false}, {"unhold", `{"leg":"calling"}`, "calling", false, false},
		} {
			before := legOf(cr.get(id), c.leg)
			want := before.Held != c.held || before.Muted != c.muted
			got, changed, _ := cr.act(id, c.action, c.body)
			if l := legOf(got, c.leg); l.Held != c.held || l.Muted != c.muted || changed != want {
				t.Errorf("%s %s: changed %v, want %v: %s", c.action, c.body, changed, want, inJSON(t, l))
			}
		}
		cr.refuses(InvalidRequest, "POST", "/v1/calls/"+id+"/actions/hold", `{"leg":"l9"}`)
		cr.refuses(InvalidRequest, "POST", "/v1/calls/"+id+"/actions/hold", `{"on":true}`)
		cr.refuses(NotFound, "POST", "/v1/calls/"+id+"/actions/pause", "")
		cr.refuses(ChangedMeanwhile, "POST", "/v1/calls/"+id+"/actions/hold", "", header("If-Match", `"1"`))
		cr.do(200, "POST", "/v1/calls/"+id+"/actions/hold", "", header("If-Match", etag(cr.get(id).Version)))
	})
}

// A phone that refuses, or says nothing, leaves the call as it was.
func TestAPhoneThatDoesNotObey(t *testing.T) {
	for code, script := range map[Code]siptest.Script{
		PhoneRefused: {Reinvite: siptest.Reinvite{Status: 488}, Answers: map[sip.RequestMethod]int{"INFO": 415}},
		PhoneTimeout: {Reinvite: siptest.Reinvite{Silent: true}, Answers: map[sip.RequestMethod]int{"INFO": -1}},
	} {
		t.Run(string(code), func(t *testing.T) {
			withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
				id := cr.call(usual)
				cr.until(id, event.Connected)
				cr.phones["202"].SetScript(script)
				began := time.Now()
				p := cr.refuses(code, "POST", "/v1/calls/"+id+"/actions/dtmf", `{"digits":"12#"}`, header("Idempotency-Key", "digits"))
				if p.Sent == nil || *p.Sent != 0 {
					t.Errorf("sent %v: %+v", p.Sent, p)
				}
				if took := time.Since(began); code == PhoneTimeout && took != actionTime {
					t.Errorf("it took %v", took)
				}
				if code == PhoneRefused && (p.SIP == nil || p.SIP.Code != 415 || !strings.Contains(p.Detail, "The phone of 202 refused: 415")) {
					t.Errorf("%+v", p)
				}
				p = cr.refuses(code, "POST", "/v1/calls/"+id+"/actions/hold", "")
				if c := cr.get(id); legOf(c, "called").Held || c.State != event.Connected && code == PhoneRefused {
					t.Errorf("%s: %s", p.Detail, inJSON(t, c))
				}
				// The same key gets the same answer: the digits are not sent again.
				infos := len(cr.phones["202"].Requests("INFO"))
				again := cr.do(p.Status, "POST", "/v1/calls/"+id+"/actions/dtmf", `{"digits":"12#"}`, header("Idempotency-Key", "digits"))
				if again.Header().Get("Idempotency-Replayed") != "true" || len(cr.phones["202"].Requests("INFO")) != infos {
					t.Errorf("again: %v %s", again.Header(), again.Body)
				}
			})
		})
	}
}

func TestARingingPhoneIsRedirected(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"202": {NeverAnswer: true}}}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		cr.until(id, event.Connecting)
		after(2 * time.Second)
		target := "/v1/calls/" + id + "/actions/redirect"
		cr.refuses(InvalidRequest, "POST", target, `{}`)
		cr.refuses(InvalidRequest, "POST", target, `{"to":"a;b"}`)
		cr.refuses(AlreadyAnswered, "POST", target, `{"to":"203","leg":"calling"}`)
		if got := cr.get(id); strings.Join(got.Actions, " ") != "hangup redirect" {
			t.Errorf("while it rings, the actions are %v", got.Actions)
		}
		cr.do(202, "POST", target, `{"to":"203"}`)
		c := cr.until(id, event.Connected)
		if cr.invites("203") != 1 || !cr.phones["202"].OnHook() {
			t.Errorf("203 got %d INVITEs: %s", cr.invites("203"), inJSON(t, c))
		}
		cr.refuses(AlreadyAnswered, "POST", target, `{"to":"202"}`)
	})
}

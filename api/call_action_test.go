package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/event"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
)

// result is the answer to an action.
func result(t *testing.T, w *httptest.ResponseRecorder) (c *event.Call, changed bool, sent int) {
	t.Helper()
	var r struct {
		event.Call
		Changed *bool `json:"changed"`
		Sent    int   `json:"sent"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || r.Changed == nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return &r.Call, *r.Changed, r.Sent
}

// act does an action as 201 and wants 200.
func (cr *callRig) act(id, action, text string) (c *event.Call, changed bool, sent int) {
	cr.t.Helper()
	return result(cr.t, cr.do(200, "POST", "/v1/calls/"+id+"/actions/"+action, text))
}

// A call is hung up in each state, and twice.
func TestACallIsHungUpInEachState(t *testing.T) {
	trying := siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 100 Trying"}}}}
	for name, c := range map[string]struct {
		setup  setup
		flow   string
		wait   time.Duration
		state  event.State
		reason string
	}{
		"calling": {setup{phones: map[string]siptest.Script{"201": {NeverAnswer: true}}}, "invite", 2 * time.Second, event.Calling,
			"client_hung_up"},
		"connecting": {setup{phones: map[string]siptest.Script{"202": {NeverAnswer: true}}}, "invite", 5 * time.Second,
			event.Connecting, "client_hung_up"},
		"connected": {setup{}, "invite", 5 * time.Second, event.Connected, "client_hung_up"},
		"calling by REFER": {setup{phones: map[string]siptest.Script{"201": {NeverAnswer: true}}}, "refer", 2 * time.Second, event.Calling,
			"client_hung_up"},
		"connecting by REFER": {setup{phones: map[string]siptest.Script{"201": trying}}, "refer", 5 * time.Second,
			event.Connecting, "client_hung_up"},
	} {
		t.Run(name, func(t *testing.T) {
			withCalls(t, c.setup, func(t *testing.T, cr *callRig) {
				id := cr.call(`{"calling":"201","called":"202","flow":"` + c.flow + `"}`)
				after(c.wait)
				if got := cr.get(id); got.State != c.state {
					t.Fatalf("the call is %s, not %s", got.State, c.state)
				}
				got, changed, _ := result(t, cr.do(200, "DELETE", "/v1/calls/"+id, "", header("X-Request-Id", "req-1")))
				if !changed {
					t.Errorf("changed is false: %s", inJSON(t, got))
				}
				end := cr.ended(id)
				if end.End.Reason != c.reason || end.End.By != "client" || end.End.Actor == nil || *end.End.Actor != (event.Actor{Type: "user",
					Name: "201", RequestID: "req-1"}) {
					t.Errorf("it ended %s", inJSON(t, end.End))
				}
				again, changed, _ := cr.act(id, "hangup", `{"reason":17}`)
				if changed || again.State != event.Ended || again.End == nil || again.Version != end.Version {
					t.Errorf("hung up again: changed %v, %s", changed, inJSON(t, again))
				}
				after(10 * time.Second)
				for user, p := range cr.phones {
					if !p.OnHook() {
						t.Errorf("the phone of %s is not on hook", user)
					}
				}
			})
		})
	}
}

// Nobody knows what becomes of an INVITE that nothing comes back for: the answer says
// so, and the end comes when it is given up.
func TestASilentPhoneIsGivenUp(t *testing.T) {
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Silent: true}}}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		after(2 * time.Second)
		if p := cr.refuses(PhoneTimeout, "DELETE", "/v1/calls/"+id, ""); p.Dialled != DialledYes {
			t.Errorf("%+v", p)
		}
		if end := cr.ended(id).End; end.Reason != "client_hung_up" || end.By != "client" {
			t.Errorf("it ended %s", inJSON(t, end))
		}
	})
}

// What the phones do alone nobody else can end.
func TestAReleasedCallIsNotInControl(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(`{"calling":"201","called":"202","flow":"refer"}`)
		c := cr.until(id, event.Released)
		for _, action := range []string{"hangup", "hold", "mute", "dtmf", "redirect"} {
			text := map[string]string{"dtmf": `{"digits":"1"}`, "redirect": `{"to":"203"}`}[action]
			p := cr.refuses(NotInControl, "POST", "/v1/calls/"+id+"/actions/"+action, text)
			if !strings.Contains(p.Detail, stamp(c.ReleasedAt)) || p.CallID != id {
				t.Errorf("%s: %+v", action, p)
			}
		}
		cr.refuses(NotInControl, "POST", "/v1/calls/"+id+"/transfers", `{"to":"203"}`)
		if got := cr.get(id); len(got.Actions) != 0 || got.Knowledge.Level != "setup" || got.FinalBy.IsZero() {
			t.Errorf("shown: %s", inJSON(t, got))
		}
	})
}

// A hang-up against the answer of the phone: whoever is first, the call ends once, the
// phone is on hook, and the end names who did it.
func TestHangUpAgainstAnswer(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	withCalls(t, setup{phones: map[string]siptest.Script{"201": {Ring: time.Second}, "202": {Ring: time.Second, HangUpAfter: time.Second}}},
		func(t *testing.T, cr *callRig) {
			by := map[string]int{}
			for i := range rounds {
				id := cr.call(fmt.Sprintf(`{"calling":"201","called":"202","id":"hang-up-against-%06d"}`, i))
				time.Sleep(time.Duration(i*4000/rounds) * time.Millisecond)
				request := fmt.Sprintf("req-%d", i)
				c, changed, _ := result(t, cr.do(200, "DELETE", "/v1/calls/"+id, "", header("X-Request-Id", request)))
				if c.State != event.Ended || c.End == nil {
					t.Fatalf("round %d: %s\n%s\n%s", i, cr.events(id), inJSON(t, c.Legs), cr.phones["202"].Log())
				}
				if mine := c.End.By == "client"; mine != changed || mine != (c.End.Actor != nil && c.End.Actor.RequestID == request) {
					t.Errorf("round %d: changed %v, %s", i, changed, inJSON(t, c.End))
				}
				by[c.End.By]++
				if list := cr.events(id); strings.Count(list, "call.ended") != 1 || !strings.HasSuffix(list, "call.ended") {
					t.Errorf("round %d: %s", i, list)
				}
				after(100 * time.Millisecond)
				for user, p := range cr.phones {
					if !p.OnHook() {
						t.Errorf("round %d: the phone of %s is not on hook", i, user)
					}
				}
			}
			if by["client"] == 0 || by["called"] == 0 {
				t.Errorf("both should have been first sometimes: %v", by)
			}
		})
}

func TestDigitsAreDialledOnce(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		cr.until(id, event.Connected)
		target := "/v1/calls/" + id + "/actions/dtmf"
		for text, pointer := range map[string]string{
			`{}`: "/digits", `{"digits":""}`: "/digits", `{"digits":"12x"}`: "/digits", `{"digits":"` + strings.Repeat("1", 33) + `"}`: "/digits",
			`{"digits":"1","as":"rtp"}`: "/as", `{"digits":"1","gap_ms":-1}`: "/gap_ms", `{"digits":"1","leg":"target"}`: "/leg",
		} {
			if p := cr.refuses(InvalidRequest, "POST", target, text); p.Errors[0].Pointer != pointer {
				t.Errorf("%s: %+v", text, p.Errors)
			}
		}
		began := time.Now()
		_, changed, sent := result(t, cr.do(200, "POST", target, `{"digits":"12#A","gap_ms":200}`, header("Idempotency-Key", "a")))
		if !changed || sent != 4 || time.Since(began) < 600*time.Millisecond {
			t.Errorf("changed %v, sent %d in %v", changed, sent, time.Since(began))
		}
		w := cr.do(200, "POST", target, `{"gap_ms":200,"digits":"12#A"}`, header("Idempotency-Key", "a"))
		if w.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("a replay: %v", w.Header())
		}
		if _, _, sent := result(t, w); sent != 4 {
			t.Errorf("a replay says sent %d", sent)
		}
		cr.refuses(IdempotencyMismatch, "POST", target, `{"digits":"9"}`, header("Idempotency-Key", "a"))
		cr.refuses(IdempotencyMismatch, "DELETE", "/v1/calls/"+id, "", header("Idempotency-Key", "a"))
		// Two at once: one dials, the other one is told so.
		var both sync.WaitGroup
		codes := make([]int, 2)
		for i := range codes {
			both.Go(func() {
				codes[i] = cr.ask("POST", target, as201, body(`{"digits":"5","as":"plain","leg":"calling"}`), header("Idempotency-Key", "b")).Code
			})
		}
		both.Wait()
		if codes[0]+codes[1] != 200+409 && codes[0]+codes[1] != 400 {
			t.Errorf("two at once got %v", codes)
		}
		infos := func(user string) (digits string) {
			for _, m := range cr.phones[user].Requests("INFO") {
				text := strings.TrimPrefix(string(m.Body()), "Signal=")
				digits += text[:1]
			}
			return digits
		}
		if got := infos("202") + " " + infos("201"); got != "12#A 5" {
			t.Errorf("the phones got %s", got)
		}
	})
}

// A party that is not the agent sees the call, and may hang up for himself.
func TestAPartyMayHangUpOnly(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		cr.until(id, event.Connected)
		as202 := asUser("202")
		if c := shownCall(t, cr.ask("GET", "/v1/calls/"+id, as202)); strings.Join(c.Actions, " ") != "hangup" {
			t.Errorf("the actions of 202 are %v", c.Actions)
		}
		for _, r := range [][3]string{
			{"POST", "/actions/hold", `{}`}, {"POST", "/actions/mute", `{}`}, {"POST", "/actions/dtmf", `{"digits":"1"}`}, {"POST",
				"/actions/redirect", `{"to":"203"}`},
			{"POST", "/transfers", `{"to":"203"}`}, {"PATCH", "", `{"tags":{"a":"b"}}`}, {"POST", "/actions/hangup", `{"leg":"calling"}`},
		} {
			p := problemOf(t, cr.ask(r[0], "/v1/calls/"+id+r[1], as202, body(r[2])))
			if p.Code != NotYourLeg {
				t.Errorf("%v: %s", r, p.Code)
			}
		}
		// To others there is no such call.
		for _, r := range [][2]string{{"GET", ""}, {"DELETE", ""}, {"POST", "/actions/hold"}, {"GET", "/transfers"}} {
			mine := cr.ask(r[0], "/v1/calls/"+id+r[1], asUser("203"), header("X-Request-Id", "r"))
			none := cr.ask(r[0], "/v1/calls/call_00000000000000000000"+r[1], asUser("203"), header("X-Request-Id", "r"))
			if mine.Code != 404 || strings.ReplaceAll(mine.Body.String(), id, "X") != strings.ReplaceAll(none.Body.String(),
				"call_00000000000000000000", "X") {
				t.Errorf("%v: %s, and of none %s", r, mine.Body, none.Body)
			}
		}
		w := cr.ask("POST", "/v1/calls/"+id+"/actions/hangup", as202, body(`{"leg":"called","reason":21}`))
		if c, changed, _ := result(t, w); !changed || c.End.By != "client" || c.End.Actor.Name != "202" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if got := cr.phones["201"].ByeReason(); got != `Q.850;cause=21;text="Call rejected"` {
			t.Errorf("201 was told %q", got)
		}
	})
}

// Calls of other doors are in the same lists; what they cannot do is said so.
func TestCallsOfOtherDoors(t *testing.T) {
	ends := &doorCalls{}
	withCalls(t, setup{api: func(c *Config) { c.Calls.Controls = map[event.Source]Controls{event.FromPhone: ends} }}, func(t *testing.T,
		cr *callRig) {
		ends.bus = cr.bus
		err := cr.bus.Begin(event.Request{ID: "websocket-call-0001", Created: event.Created{Kind: event.WebSocket, Source: event.FromPhone,
			Agent: "201@sipx.test", State: event.Calling,
			Legs: []event.Leg{{Role: event.RoleCalling, Address: "201@sipx.test"}, {Role: event.RoleDevice, Address: "202@sipx.test"}}}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c := cr.get("websocket-call-0001")
		if strings.Join(c.Actions, " ") != "hangup" {
			t.Errorf("its actions are %v", c.Actions)
		}
		for _, action := range []string{"hold", "unhold", "mute", "unmute", "dtmf", "redirect"} {
			p := cr.refuses(ActionUnsupported, "POST", "/v1/calls/"+c.ID+"/actions/"+action,
				map[string]string{"dtmf": `{"digits":"1","leg":"calling"}`, "redirect": `{"to":"203","leg":"calling"}`, "hold": `{"leg":"calling"}`,
					"unhold": `{"leg":"calling"}`, "mute": ``, "unmute": ``}[action])
			if !strings.Contains(p.Detail, "websocket calls") {
				t.Errorf("%s: %s", action, p.Detail)
			}
		}
		cr.refuses(ActionUnsupported, "POST", "/v1/calls/"+c.ID+"/transfers", `{"to":"203"}`)
		got, changed, _ := cr.act(c.ID, "hangup", "")
		if !changed || got.State != event.Ended {
			t.Errorf("hung up: %s", inJSON(t, got))
		}
		// The call of a key that is /callcontroller's is the same call.
		id := cr.call(usual)
		cr.until(id, event.Connected)
		if err := cr.sw.HangUp(context.Background(), sipflow.Key{Agent: "201@sipx.test", Calling: "201@sipx.test",
			Called: "202@sipx.test"}); err != nil {
			t.Error(err)
		}
		cr.ended(id)
	})
}

// doorCalls are the calls of another door.
type doorCalls struct{ bus *event.Bus }

func (d *doorCalls) EndCall(id string) bool {
	d.bus.Tell(id, event.CallEnded, "", event.Change{End: &event.End{Reason: "client_hung_up", By: "client"}})
	return true
}

//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// finalTime is how long the end of a call by REFER may take: phones that say no more
// are listened to for 32 s.
const finalTime = 45 * time.Second

// place places a call of 201 with 202 by the JSON API, and returns its id.
func place(t *testing.T, s *lab.Service, more string, headers ...string) string {
	t.Helper()
	a := s.V1("POST", "201", "/v1/calls", `{"calling":"201","called":"202"`+more+`}`, headers...)
	var c lab.CallInfo
	if err := json.Unmarshal([]byte(a.Body), &c); err != nil || a.Code != 201 {
		t.Fatalf("POST /v1/calls: %d %s", a.Code, a.Body)
	}
	return c.ID
}

// callNow is a call as the API shows it.
func callNow(t *testing.T, s *lab.Service, id string) lab.CallInfo {
	t.Helper()
	a := s.V1("GET", "201", "/v1/calls/"+id, "")
	var c lab.CallInfo
	if err := json.Unmarshal([]byte(a.Body), &c); err != nil || a.Code != 200 {
		t.Fatalf("GET %s: %d %s", id, a.Code, a.Body)
	}
	return c
}

// ended waits for the end of a call and checks its events as a whole: each has come
// once and in order, the only call.ended is the last, the page says the same as the
// stream, and the record as both.
func ended(t *testing.T, s *lab.Service, st *lab.Stream, id string) (kinds []string, last lab.CallInfo) {
	t.Helper()
	st.AwaitEvent(id, "call.ended", finalTime)
	var page struct {
		Data    []lab.Event `json:"data"`
		HasMore bool        `json:"has_more"`
	}
	a := s.V1("GET", "201", "/v1/calls/"+id+"/events?limit=1000", "")
	if err := json.Unmarshal([]byte(a.Body), &page); err != nil || a.Code != 200 || page.HasMore {
		t.Fatalf("events of %s: %d %s", id, a.Code, a.Body)
	}
	events := st.Events(id)
	legs := map[string]int{}
	for i, e := range events {
		kinds = append(kinds, e.String())
		if e.CallSeq != int64(i+1) || e.Data.Call == nil || e.Data.Call.Version != e.CallSeq {
			t.Errorf("event %d is %s, number %d, with the call %+v", i+1, e, e.CallSeq, e.Data.Call)
		}
		if i > 0 && e.Seq <= events[i-1].Seq {
			t.Errorf("event %d has seq %d behind %d", i+1, e.Seq, events[i-1].Seq)
		}
		if isLast := i == len(events)-1; e.Final != isLast || (e.Type == "call.ended") != isLast {
			t.Errorf("event %d of %d is %s, final %t", i+1, len(events), e, e.Final)
		}
		if e.Type == "leg.ended" {
			legs[e.Data.Leg]++
		}
	}
	if len(page.Data) != len(events) {
		t.Errorf("the page has %d events, the stream %d", len(page.Data), len(events))
	} else {
		for i := range events {
			if page.Data[i].ID != events[i].ID {
				t.Errorf("event %d is %s in the page, %s in the stream", i+1, page.Data[i].ID, events[i].ID)
			}
		}
	}
	last = *events[len(events)-1].Data.Call
	for _, l := range last.Legs {
		if legs[l.ID] != 1 || l.State != "ended" {
			t.Errorf("leg %s ended %d times, its state is %s", l.ID, legs[l.ID], l.State)
		}
	}
	if last.End == nil || last.State != "ended" {
		t.Fatalf("%+v", last)
	}
	sameRecord(t, s, last)
	return kinds, last
}

// sameRecord checks that the record of a call says what its last event has said.
func sameRecord(t *testing.T, s *lab.Service, c lab.CallInfo) {
	t.Helper()
	var record struct {
		CallID  string `json:"call_id"`
		Outcome string `json:"outcome"`
		Reason  string `json:"reason"`
		By      string `json:"ended_by"`
		Message string `json:"message"`
		TalkMS  *int64 `json:"talk_ms"`
	}
	a := s.V1("GET", "201", "/v1/cdrs/"+c.ID, "")
	if err := json.Unmarshal([]byte(a.Body), &record); err != nil || a.Code != 200 {
		t.Errorf("record of %s: %d %s", c.ID, a.Code, a.Body)
		return
	}
	said := fmt.Sprint(c.ID, c.End.Outcome, c.End.Reason, c.End.By, c.End.Message, milliseconds(c.TalkMS))
	if kept := fmt.Sprint(record.CallID, record.Outcome, record.Reason, record.By, record.Message, milliseconds(record.TalkMS)); kept != said {
		t.Errorf("the record says %s, the event %s", kept, said)
	}
}

func milliseconds(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

func expect(t *testing.T, c lab.CallInfo, outcome, reason, by string) {
	t.Helper()
	if e := c.End; e.Outcome != outcome || e.Reason != reason || e.By != by || e.Dialled != "yes" {
		t.Errorf("%+v, want %s, %s by %s", *e, outcome, reason, by)
	}
}

// bridged are the events of a call by INVITE that is talked on.
var bridged = []string{"call.created", "leg.dialing l1", "leg.ringing l1", "leg.answered l1", "call.connecting",
	"leg.dialing l2", "leg.ringing l2", "leg.answered l2", "call.connected"}

// begins checks how a call began, whatever the order of its last legs' ends.
func begins(t *testing.T, kinds, want []string) {
	t.Helper()
	if len(kinds) < len(want) || !slices.Equal(kinds[:len(want)], want) {
		t.Errorf("events %v, want first %v", kinds, want)
	}
}

func TestV1CallIsToldFromItsBeginningToItsEnd(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{AnswerDelay: time.Second})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := l.Service()
	st := s.Follow("201", "/v1/events")
	for _, test := range []struct {
		name, reason, by string
		hangUp           func(id string)
	}{
		{"the calling phone hangs up", "hung_up", "calling", func(string) { calling.HangUp() }},
		{"the called phone hangs up", "hung_up", "called", func(string) { called.HangUp() }},
		{"the client hangs up", "client_hung_up", "client", func(id string) {
			if a := s.V1("DELETE", "201", "/v1/calls/"+id, ""); a.Code != 200 {
				t.Errorf("DELETE: %d %s", a.Code, a.Body)
			}
		}},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			id := place(t, s, "")
			inCall(calling, called)
			if c := callNow(t, s, id); c.State != "connected" {
				t.Errorf("%+v", c)
			}
			test.hangUp(id)
			calling.AwaitOnHook()
			called.AwaitOnHook()
			kinds, last := ended(t, s, st, id)
			begins(t, kinds, bridged)
			if len(kinds) != len(bridged)+3 {
				t.Errorf("events %v", kinds)
			}
			expect(t, last, "completed", test.reason, test.by)
			if last.TalkMS == nil || *last.TalkMS <= 0 {
				t.Errorf("talked for %s ms", milliseconds(last.TalkMS))
			}
			if a := s.V1("DELETE", "201", "/v1/calls/"+id, ""); a.Code != 200 {
				t.Errorf("DELETE of an ended call: %d %s", a.Code, a.Body)
			}
		})
	}
}

func TestV1CallThatComesToNothing(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{Manual: true})
	s := l.Service()
	st := s.Follow("201", "/v1/events")

	l.Run(t, "the called phone refuses", func(t *testing.T) {
		id := place(t, s, "")
		called.AwaitRinging()
		called.HangUp()
		calling.AwaitOnHook()
		kinds, last := ended(t, s, st, id)
		begins(t, kinds, bridged[:7])
		expect(t, last, "busy", "busy", "called")
	})
	l.Run(t, "nobody answers", func(t *testing.T) {
		id := place(t, s, `,"timeout_ms":1000`)
		called.AwaitRinging()
		calling.AwaitOnHook()
		called.AwaitOnHook()
		_, last := ended(t, s, st, id)
		expect(t, last, "no_answer", "no_answer", "service")
	})
	l.Run(t, "the client hangs up while the called phone rings", func(t *testing.T) {
		id := place(t, s, "")
		called.AwaitRinging()
		if a := s.V1("POST", "201", "/v1/calls/"+id+"/actions/hangup", `{"reason":21}`); a.Code != 200 {
			t.Errorf("hangup: %d %s", a.Code, a.Body)
		}
		calling.AwaitOnHook()
		called.AwaitOnHook()
		_, last := ended(t, s, st, id)
		expect(t, last, "cancelled", "client_hung_up", "client")
	})
	l.Run(t, "the calling phone hangs up meanwhile", func(t *testing.T) {
		id := place(t, s, "")
		called.AwaitRinging()
		calling.HangUp()
		called.AwaitOnHook()
		_, last := ended(t, s, st, id)
		expect(t, last, "cancelled", "caller_gave_up", "calling")
	})
}

func TestV1CallByRefer(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{AnswerDelay: time.Second})
	s := l.Service()
	st := s.Follow("201", "/v1/events")

	id := place(t, s, `,"flow":"refer"`)
	calling.AwaitInCallWith("202")
	called.AwaitInCallWith("201")
	kinds, last := ended(t, s, st, id)
	begins(t, kinds, []string{"call.created", "leg.dialing l1", "leg.ringing l1", "leg.answered l1", "call.connecting", "leg.dialing l2"})
	if !slices.Contains(kinds, "call.released") || !slices.Contains(kinds, "leg.answered l2") || slices.Contains(kinds, "call.connected") {
		t.Errorf("events %v", kinds)
	}
	expect(t, last, "handed_over", "handed_over", "service")
	if last.TalkMS != nil {
		t.Errorf("nobody knows how long they talk, and %d ms are told", *last.TalkMS)
	}
	calling.AwaitTalk() // the phones are alone
	called.HangUp()
	calling.AwaitOnHook()
}

func TestV1CallsOfLinphone(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	phone := l.Phone("201", lab.PhoneConfig{})
	linphone := l.Linphone("202", 500)
	s := l.Service()
	st := s.Follow("201", "/v1/events")

	l.Run(t, "by INVITE", func(t *testing.T) {
		id := place(t, s, "")
		linphone.AwaitNthRinging(1)
		linphone.Answer()
		phone.AwaitInCallWith("201")
		phone.AwaitTone(linphone.Tone, "202")
		st.AwaitEvent(id, "call.connected", lab.Patience)
		linphone.HangUp()
		phone.AwaitOnHook()
		kinds, last := ended(t, s, st, id)
		begins(t, kinds, bridged)
		expect(t, last, "completed", "hung_up", "called")
	})
	l.Run(t, "by REFER", func(t *testing.T) {
		id := place(t, s, `,"flow":"refer"`)
		linphone.AwaitNthRinging(2)
		linphone.Answer()
		phone.AwaitInCallWith("202")
		kinds, last := ended(t, s, st, id)
		if !slices.Contains(kinds, "call.released") {
			t.Errorf("events %v", kinds)
		}
		expect(t, last, "handed_over", "handed_over", "service")
		phone.HangUp()
		linphone.AwaitEnded(2)
	})
}

// A crash of the service ends its calls for whoever follows them, once; and a client
// that asks again with its key never makes a phone ring twice.
func TestV1SurvivesAKill(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	called := l.Phone("202", lab.PhoneConfig{})

	for _, test := range []struct {
		name   string
		before func(st *lab.Stream, id string)
		after  func()
		state  string
	}{
		{"while the calling phone rings", func(st *lab.Stream, id string) {
			calling.AwaitRinging()
			st.AwaitEvent(id, "leg.ringing l1", lab.Patience)
		}, func() { calling.HangUp() }, "calling"},
		{"in talk", func(st *lab.Stream, id string) {
			calling.AwaitRinging()
			calling.Answer()
			inCall(calling, called)
			st.AwaitEvent(id, "call.connected", lab.Patience)
		}, func() { calling.HangUp(); called.HangUp() }, "connected"},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			rung, key := len(calling.Calls()), `Idempotency-Key: "`+test.name+`"`
			s := l.Service()
			st := s.Follow("201", "/v1/events")
			id := place(t, s, "", key)
			test.before(st, id)
			if n := l.Invites(s, "201"); n != 1 {
				t.Errorf("the phone has been sent %d INVITEs", n)
			}
			seen := st.Events(id)
			if now := seen[len(seen)-1].Data.Call; now.State != test.state {
				t.Fatalf("killed in state %s", now.State)
			}
			s.Kill(t)
			<-st.Done()

			s = l.Service()
			again := s.Follow("201", "/v1/events?after="+seen[len(seen)-1].ID)
			again.AwaitEvent(id, "call.ended", lab.Patience)
			whole := s.Follow("201", "/v1/events?after=oldest")
			_, last := ended(t, s, whole, id)
			if e := last.End; e.Outcome != "unknown" || e.Reason != "service_restarted" || e.By != "service" || e.Dialled != "unknown" {
				t.Errorf("%+v", *e)
			}
			rest := again.Events(id)
			for i, e := range rest {
				if e.CallSeq != int64(len(seen)+i+1) {
					t.Errorf("behind %d events comes number %d: %s", len(seen), e.CallSeq, e)
				}
			}
			for range 3 {
				a := s.V1("POST", "201", "/v1/calls", `{"calling":"201","called":"202"}`, key)
				var c lab.CallInfo
				if err := json.Unmarshal([]byte(a.Body), &c); err != nil || a.Code != 200 || c.ID != id || c.State != "ended" {
					t.Errorf("the same key again: %d %s", a.Code, a.Body)
				}
			}
			if a := s.V1("POST", "201", "/v1/calls", `{"calling":"201","called":"203"}`, key); a.Code != 422 {
				t.Errorf("the same key with another body: %d %s", a.Code, a.Body)
			}
			if n := l.Invites(s, "201"); n != 0 {
				t.Errorf("the new process has sent %d INVITEs", n)
			}
			if n := len(calling.Calls()); n != rung+1 {
				t.Errorf("the phone has been called %d times", n-rung)
			}
			test.after()
			calling.AwaitOnHook()
			called.AwaitOnHook()
			s.Stop()
		})
	}
}

// act does something to a call, which the phones must agree to.
func act(t *testing.T, s *lab.Service, path, body string, code int) {
	t.Helper()
	if a := s.V1("POST", "201", path, body); a.Code != code {
		t.Fatalf("POST %s %s: %d %s, want %d", path, body, a.Code, a.Body, code)
	}
}

func TestV1CallIsHeldTransferredAndRedirected(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{})
	called := l.Phone("202", lab.PhoneConfig{})
	target := l.Phone("203", lab.PhoneConfig{Manual: true})
	s := l.Service()
	st := s.Follow("201", "/v1/events")

	l.Run(t, "held, and transferred to one who answers", func(t *testing.T) {
		id := place(t, s, "")
		inCall(calling, called)
		st.AwaitEvent(id, "call.connected", lab.Patience)
		act(t, s, "/v1/calls/"+id+"/actions/hold", `{"leg":"called"}`, 200)
		st.AwaitEvent(id, "leg.held l2", lab.Patience)
		called.AwaitNothingHeard()
		act(t, s, "/v1/calls/"+id+"/actions/unhold", "", 200)
		st.AwaitEvent(id, "leg.resumed l2", lab.Patience)
		called.AwaitAudio()

		act(t, s, "/v1/calls/"+id+"/transfers", `{"to":"203"}`, 202)
		target.AwaitRinging()
		st.AwaitEvent(id, "transfer.ringing", lab.Patience)
		target.Answer()
		calling.AwaitOnHook()
		target.AwaitTalk() // the recording of 202 has more than one tone
		called.AwaitTalk()
		target.AwaitHears(called)
		st.AwaitEvent(id, "transfer.completed", lab.Patience)
		target.HangUp()
		called.AwaitOnHook()
		kinds, last := ended(t, s, st, id)
		if last.End.Outcome != "completed" || last.End.Reason != "hung_up" || last.TalkMS == nil || *last.TalkMS <= 0 {
			t.Errorf("%v: %+v", kinds, *last.End)
		}
	})
	l.Run(t, "transferred to one who refuses", func(t *testing.T) {
		id := place(t, s, "")
		st.AwaitEvent(id, "call.connected", lab.Patience)
		act(t, s, "/v1/calls/"+id+"/transfers", `{"to":"203"}`, 202)
		target.AwaitRinging()
		target.HangUp()
		st.AwaitEvent(id, "transfer.failed", lab.Patience)
		calling.AwaitAudio()
		called.AwaitAudio()
		calling.HangUp()
		called.AwaitOnHook()
		_, last := ended(t, s, st, id)
		expect(t, last, "completed", "hung_up", "calling")
	})
	l.Run(t, "redirected while it rings", func(t *testing.T) {
		a := s.V1("POST", "201", "/v1/calls", `{"calling":"201","called":"203"}`)
		var c lab.CallInfo
		if err := json.Unmarshal([]byte(a.Body), &c); err != nil || a.Code != 201 {
			t.Fatalf("%d %s", a.Code, a.Body)
		}
		target.AwaitRinging()
		st.AwaitEvent(c.ID, "leg.ringing l2", lab.Patience)
		act(t, s, "/v1/calls/"+c.ID+"/actions/redirect", `{"to":"202"}`, 202)
		target.AwaitOnHook()
		inCall(calling, called)
		called.HangUp()
		calling.AwaitOnHook()
		kinds, last := ended(t, s, st, c.ID)
		elsewhere := func(kind string) bool { return kind == "leg.redirected l2" || kind == "leg.dialing l3" }
		if last.End.Outcome != "completed" || !slices.ContainsFunc(kinds, elsewhere) {
			t.Errorf("%v: %+v", kinds, *last.End)
		}
	})
}

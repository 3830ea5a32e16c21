package api

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sipxrest/event"
	"sipxrest/sipflow/siptest"
)

// shownTransfer is the transfer in an answer.
func shownTransfer(t *testing.T, w *httptest.ResponseRecorder) *transferDocument {
	t.Helper()
	var d transferDocument
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d.Object != "transfer" {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return &d
}

// transfers begins a transfer of a call that is up.
func (cr *callRig) transfer(id, text string) *transferDocument {
	cr.t.Helper()
	w := cr.do(202, "POST", "/v1/calls/"+id+"/transfers", text)
	d := shownTransfer(cr.t, w)
	if got := w.Header().Get("Location"); got != "/v1/calls/"+id+"/transfers/"+d.ID {
		cr.t.Errorf("Location is %q", got)
	}
	return d
}

// finalOf is the one terminal event of a transfer.
func (cr *callRig) finalOf(id string) string {
	cr.t.Helper()
	var finals []string
	for name := range strings.SplitSeq(cr.events(id), ", ") {
		name, _, _ = strings.Cut(name, " ")
		if name == "transfer.completed" || name == "transfer.failed" || name == "transfer.cancelled" {
			finals = append(finals, name)
		}
	}
	if len(finals) != 1 {
		cr.t.Errorf("the terminal events are %v: %s", finals, cr.events(id))
		return ""
	}
	return finals[0]
}

// A transfer against whatever else may happen: it has exactly one terminal event, and
// when it fails the talk goes on.
func TestATransferEndsOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		target siptest.Script // of 203
		more   map[string]siptest.Script
		body   string
		during func(cr *callRig, id, tid string)
		final  string
		state  event.State // of the call afterwards
	}{
		{name: "blind", body: `{"to":"203"}`, target: siptest.Script{Ring: 2 * time.Second}, final: "transfer.completed", state: event.Connected},
		{name: "blind of the called", body: `{"to":"203","leaver":"called"}`, target: siptest.Script{Ring: 2 * time.Second},
			final: "transfer.completed", state: event.Connected},
		{name: "busy target", body: `{"to":"203"}`, target: siptest.Script{Status: 486}, final: "transfer.failed", state: event.Connected},
		{name: "silent target", body: `{"to":"203"}`, target: siptest.Script{Silent: true}, final: "transfer.failed", state: event.Connected},
		{name: "called off", body: `{"to":"203"}`, target: siptest.Script{NeverAnswer: true}, final: "transfer.cancelled", state: event.Connected,
			during: func(cr *callRig, id, tid string) { cr.do(200, "DELETE", "/v1/calls/"+id+"/transfers/"+tid, "") }},
		{name: "hang-up", body: `{"to":"203"}`, target: siptest.Script{NeverAnswer: true}, final: "transfer.cancelled", state: event.Ended,
			during: func(cr *callRig, id, _ string) { cr.do(200, "DELETE", "/v1/calls/"+id, "") }},
		{name: "who stays hangs up", body: `{"to":"203"}`, target: siptest.Script{NeverAnswer: true}, final: "transfer.failed",
			state: event.Ended,
			more:  map[string]siptest.Script{"202": {HangUpAfter: 8 * time.Second}}},
		{name: "attended, completed", body: `{"mode":"attended","to":"203"}`, final: "transfer.completed", state: event.Connected,
			during: func(cr *callRig, id, tid string) {
				after(3 * time.Second)
				cr.do(200, "POST", "/v1/calls/"+id+"/transfers/"+tid+"/complete", "")
			}},
		{name: "attended, called off", body: `{"mode":"attended","to":"203"}`, final: "transfer.cancelled", state: event.Connected,
			during: func(cr *callRig, id, tid string) {
				after(3 * time.Second)
				cr.do(200, "DELETE", "/v1/calls/"+id+"/transfers/"+tid, "")
			}},
		{name: "attended, target hangs up", body: `{"mode":"attended","to":"203"}`, target: siptest.Script{HangUpAfter: 5 * time.Second},
			final: "transfer.failed", state: event.Connected},
		{name: "attended, completed too early", body: `{"mode":"attended","to":"203"}`, target: siptest.Script{NeverAnswer: true},
			final: "transfer.cancelled", state: event.Connected,
			during: func(cr *callRig, id, tid string) {
				cr.refuses(NotConnected, "POST", "/v1/calls/"+id+"/transfers/"+tid+"/complete", "")
				cr.do(200, "DELETE", "/v1/calls/"+id+"/transfers/"+tid, "")
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			phones := map[string]siptest.Script{"203": c.target}
			for user, script := range c.more {
				phones[user] = script
			}
			withCalls(t, setup{phones: phones}, func(t *testing.T, cr *callRig) {
				id := cr.call(usual)
				cr.until(id, event.Connected)
				d := cr.transfer(id, c.body)
				if c.final != "transfer.failed" { // it may be over at once
					cr.refuses(TransferInProgress, "POST", "/v1/calls/"+id+"/transfers", `{"to":"203"}`)
				}
				if c.during != nil {
					c.during(cr, id, d.ID)
				}
				after(4 * time.Minute)
				final := cr.finalOf(id)
				call := cr.get(id)
				if final != c.final || call.State != c.state {
					t.Errorf("%s, and the call is %s: %s", final, call.State, cr.events(id))
				}
				d = shownTransfer(t, cr.do(200, "GET", "/v1/calls/"+id+"/transfers/"+d.ID, ""))
				if "transfer."+d.State != c.final || d.End == nil || d.End.Message == "" {
					t.Errorf("the transfer is %s", inJSON(t, d))
				}
				if complete := "/v1/calls/" + id + "/transfers/" + d.ID + "/complete"; c.final == "transfer.completed" {
					cr.do(200, "POST", complete, "") // it is so already
				} else {
					cr.refuses(TransferOver, "POST", complete, "")
				}
				if call.State == event.Connected {
					cr.do(200, "DELETE", "/v1/calls/"+id, "")
				}
			})
		})
	}
}

// A hang-up at any moment of a transfer leaves one terminal event, and one end.
func TestTransferAgainstHangUp(t *testing.T) {
	for i := range 20 {
		withCalls(t, setup{phones: map[string]siptest.Script{"203": {Ring: time.Second}}}, func(t *testing.T, cr *callRig) {
			id := cr.call(usual)
			cr.until(id, event.Connected)
			cr.transfer(id, `{"to":"203"}`)
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			cr.do(200, "DELETE", "/v1/calls/"+id, "")
			cr.ended(id)
			cr.finalOf(id)
			if list := cr.events(id); strings.Count(list, "call.ended") != 1 || !strings.HasSuffix(list, "call.ended") {
				t.Errorf("after %d00 ms: %s", i, list)
			}
		})
	}
}

func TestTransfersAreChecked(t *testing.T) {
	withCalls(t, setup{}, func(t *testing.T, cr *callRig) {
		id := cr.call(usual)
		target := "/v1/calls/" + id + "/transfers"
		cr.refuses(NotConnected, "POST", target, `{"to":"203"}`)
		cr.until(id, event.Connected)
		for text, pointer := range map[string]string{`{}`: "/to", `{"to":"a;b"}`: "/to", `{"to":"203","mode":"warm"}`: "/mode",
			`{"to":"203","leaver":"target"}`: "/leaver",
			`{"to":"203","with_call":"x"}`:   "/to", `{"mode":"blind","with_call":"x"}`: "/mode",
			fmt.Sprintf(`{"with_call":%q}`, id): "/with_call"} {
			if p := cr.refuses(InvalidRequest, "POST", target, text); p.Errors[0].Pointer != pointer {
				t.Errorf("%s: %+v", text, p.Errors)
			}
		}
		cr.refuses(CallNotFound, "POST", target, `{"with_call":"call_00000000000000000000"}`)
		cr.refuses(TransferNotFound, "GET", target+"/t1", "")
		cr.refuses(TransferNotFound, "DELETE", target+"/t1", "")
	})
}

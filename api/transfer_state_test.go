package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// connected has a call be talked on, as far as its events tell.
func (st *stage) connected() string {
	st.t.Helper()
	id := st.create()
	st.rings(id)
	st.bus.Tell(id, event.LegPickedUp, "l1", event.Change{})
	st.bus.Tell(id, event.CallConnecting, "", event.Change{})
	st.bus.Tell(id, event.LegDialled, "l2", event.Change{})
	st.bus.Tell(id, event.LegPickedUp, "l2", event.Change{})
	st.bus.Tell(id, event.CallConnected, "", event.Change{})
	st.settle()
	return id
}

// transferred tells of a transfer in each of some states.
func (st *stage) transferred(call, id string, states ...string) {
	st.t.Helper()
	types := map[string]event.Type{
		sipflow.TransferDialling: event.TransferStarted, sipflow.TransferRinging: event.TransferRinging,
		sipflow.TransferCompleted: event.TransferCompleted, sipflow.TransferCancelled: event.TransferCancelled,
		sipflow.TransferFailed: event.TransferFailed,
	}
	for _, state := range states {
		t := &event.Transfer{ID: id, Mode: "blind", Leaver: "calling", To: "203", State: state}
		if transferOver(state) {
			t.End = &event.TransferEnd{Reason: "busy", Message: "203 is busy."}
		}
		st.bus.Tell(call, types[state], "", event.Change{Transfer: t})
	}
	st.settle()
}

func TestTransfersAreShown(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		call := st.connected()
		at := "/v1/calls/" + call + "/transfers"
		st.transferred(call, "t1", sipflow.TransferDialling, sipflow.TransferRinging, sipflow.TransferFailed)
		st.transferred(call, "t2", sipflow.TransferDialling, sipflow.TransferCancelled)
		st.transferred(call, "t3", sipflow.TransferDialling, sipflow.TransferRinging)

		w := st.ask("GET", at, as("201"))
		var page list[transferDocument]
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Data) != 3 || page.HasMore ||
			page.Data[0].ID != "t3" || page.Data[2].State != "failed" {
			t.Errorf("%d %s: %v", w.Code, w.Body, err)
		}
		for _, c := range []struct {
			method, path string
			code         Code // "" for 200
		}{
			{"GET", "/t1", ""}, {"GET", "/t3", ""}, {"GET", "/t4", TransferNotFound},
			{"DELETE", "/t1", TransferOver}, {"POST", "/t2/complete", TransferOver}, {"DELETE", "/t4", TransferNotFound},
			{"DELETE", "/t2", ""}, // it is so already
		} {
			w := st.ask(c.method, at+c.path, as("201"))
			if c.code == "" && w.Code != http.StatusOK || c.code != "" && problemOf(t, w).Code != c.code {
				t.Errorf("%s %s: %d %s, want %s", c.method, c.path, w.Code, w.Body, c.code)
			}
		}
		if w := st.ask("POST", at, as("201"), body(`{"to":"203"}`)); problemOf(t, w).Code != TransferInProgress {
			t.Errorf("another transfer: %d %s", w.Code, w.Body)
		}
		st.transferred(call, "t3", sipflow.TransferCompleted)
		if w := st.ask("POST", at+"/t3/complete", as("201")); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestStatesInWhichNothingIsDone(t *testing.T) {
	inFakeTime(t, func(st *stage) {
		ringing, connected := st.create(), st.connected()
		st.rings(ringing)
		st.settle()
		for _, c := range []struct {
			call, path, body string
			code             Code
		}{
			{ringing, "/transfers", `{"to":"203"}`, NotConnected},
			{ringing, "/actions/hold", ``, NotConnected},
			{ringing, "/actions/dtmf", `{"digits":"1"}`, NotConnected},
			{connected, "/actions/redirect", `{"to":"203"}`, AlreadyAnswered},
			{connected, "/actions/whistle", ``, NotFound},
		} {
			if w := st.ask("POST", "/v1/calls/"+c.call+c.path, as("201"), body(c.body)); problemOf(t, w).Code != c.code {
				t.Errorf("%s %s: %d %s, want %s", c.path, c.body, w.Code, w.Body, c.code)
			}
		}
	})
}

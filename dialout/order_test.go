package dialout

import (
	"errors"
	"testing"
	"testing/synctest"

	"sipxrest/sipflow"
)

// Other resources call by the gateway, and share its limits.
func TestOtherResourcesCallByTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, func(c *Config) {
			c.Country, c.Limits = "DE", Limits{Calls: 3, User: 2}
			c.Gateway = Gateway{URI: "sip:gw.test", User: "trunk", Secret: "x", DefaultNumber: "+4930123456"}
		})
		for text, want := range map[string]string{"030 1234567": "+49301234567", "+49 30 1234567": "+49301234567", "nobody": "", "": "",
			" 4930": ""} {
			got, err := st.Number(text)
			if got != want || (err == nil) != (want != "") {
				t.Errorf("Number(%q) is %q, %v, want %q", text, got, err, want)
			}
		}
		for text, ok := range map[string]bool{"+4930123456": true, "030 123456": true, "+49999": false, "x\r\n": false} {
			if got, is := st.Caller(text); is != ok || ok && got != "+4930123456" {
				t.Errorf("Caller(%q) is %q, %v", text, got, is)
			}
		}
		d := st.Dialling("+49301234567")
		if d.Gateway != "sip:gw.test" || d.Number != "+49301234567" || d.Caller != "+4930123456" || d.Credentials.Username != "trunk" {
			t.Errorf("Dialling is %+v", d)
		}
		var leave []func()
		enter := func(agent string, want error, limit sipflow.Limit) {
			t.Helper()
			done, err := st.Enter(agent)
			var is *sipflow.LimitError
			if !errors.Is(err, want) || errors.As(err, &is) && is.Limit != limit {
				t.Fatalf("a call of %s: %v, want %v", agent, err, want)
			}
			if err == nil {
				leave = append(leave, done)
			}
		}
		enter("200", nil, 0)
		enter("200", nil, 0)
		enter("200", sipflow.ErrTooManyCalls, sipflow.LimitCallsPerAgent)
		enter("201", nil, 0)
		enter("202", sipflow.ErrTooManyCalls, sipflow.LimitCalls)
		for _, done := range leave {
			done()
		}
		if st.active != 0 || len(st.users) != 0 {
			t.Errorf("%d calls are left, of %v", st.active, st.users)
		}
		st.Stop()
		enter("200", sipflow.ErrDraining, 0)
	})
}

// A client of another resource hangs up as one of this does.
func TestACallIsEndedByItsID(t *testing.T) {
	alone(t, func(st *stage) {
		id := st.call()
		if st.EndCall("none") {
			t.Error("a call that there is not was ended")
		}
		if !st.EndCall(id) || st.EndCall(id) {
			t.Error("a call ends once")
		}
		l := st.one()
		l.mu.Lock()
		defer l.mu.Unlock()
		if !errors.Is(l.hungUp, errClient) {
			t.Errorf("the line was hung up for %v", l.hungUp)
		}
	})
}

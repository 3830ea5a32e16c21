package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"sipxrest/event"
	"sipxrest/sipflow"
)

// A check says what a create would be answered, and calls nobody.
func TestACheckSaysWhatACreateWouldGet(t *testing.T) {
	withCalls(t, setup{sip: func(c *sipflow.Config) {
		c.Allow = func(_ *sipflow.Spec, target string) error {
			if strings.HasPrefix(target, "0900") {
				return errors.New("premium")
			}
			return nil
		}
	}}, func(t *testing.T, cr *callRig) {
		check := func(text string, how ...func(*http.Request)) checkResult {
			t.Helper()
			var r checkResult
			w := cr.do(200, "POST", "/v1/check", text, how...)
			if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
				t.Fatalf("%s: %v", w.Body, err)
			}
			return r
		}
		failed := func(r checkResult) string {
			for _, s := range r.Steps {
				if s.OK != nil && !*s.OK {
					return s.Step + " " + s.Code
				}
			}
			return ""
		}
		running := `{"calling":"201","called":"203"}`
		cr.until(cr.call(running), event.Connected)
		before := cr.invites("201") + cr.invites("202")
		for _, c := range []struct {
			text, verdict, failed string
			code                  Code // that a create gets
		}{
			{usual, mayFail, "", ""},
			{`{"calling":"201"}`, willFail, "request invalid_request", InvalidRequest},
			{`{"calling":"201","called":"202","agent":"202"}`, willFail, "permission wrong_agent", WrongAgent},
			{`{"calling":"201","called":"0900123"}`, willFail, "policy policy_denied", PolicyDenied},
			{running, willFail, "conflict call_in_progress", CallInProgress},
			{`{"calling":"201","called":"203","on_conflict":"return"}`, mayFail, "", ""},
		} {
			r := check(c.text)
			if r.Verdict != c.verdict || failed(r) != c.failed {
				t.Errorf("%s: %s, %s: %s", c.text, r.Verdict, failed(r), inJSON(t, r.Steps))
			}
			if c.code != "" {
				cr.refuses(c.code, "POST", "/v1/calls", c.text)
			}
		}
		if r := check(`{"calling":"201","called":"202","flow":"refer"}`); r.Flow.Used != flowRefer || !strings.Contains(inJSON(t, r.Steps),
			"not known here") {
			t.Errorf("of REFER: %s", inJSON(t, r))
		}
		cr.refuses(MissingScope, "POST", "/v1/check", usual, cr.withKey("reader"))
		if after := cr.invites("201") + cr.invites("202"); after != before {
			t.Errorf("the checks sent %d INVITEs", after-before)
		}
		cr.sw.Drain()
		if r := check(usual); failed(r) != "limits draining" {
			t.Errorf("while draining: %s", inJSON(t, r))
		}
	})
}

package callcontroller

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"sipxrest/sipflow"
)

// told is a Calls that notes what it is told.
type told struct {
	n     int
	notes []string
}

func (c *told) Expect(a Asked) string {
	c.n++
	id := fmt.Sprintf("call_%d", c.n)
	c.notes = append(c.notes, fmt.Sprintf("expect %s: agent %s by %s, subject %q, request %q", id, a.Agent, a.Method, a.Subject,
		a.RequestID))
	return id
}

func (c *told) Forget(id string) { c.notes = append(c.notes, "forget "+id) }

func (c *told) HangsUp(id string, who Who) {
	c.notes = append(c.notes, fmt.Sprintf("%s is hung up by %s, trusted %v, request %q", id, who.Agent, who.Trusted, who.RequestID))
}

func TestCallsAreToldBesideTheRecords(t *testing.T) {
	calls := &told{}
	b := newBench(t, Config{Calls: calls}, nil)
	const call = "/callcontroller/201/202?agent=200"
	ask := func(method, target, request string) *httptest.ResponseRecorder {
		return b.do(method, target, "X-Request-Id", request)
	}
	id := func(w *httptest.ResponseRecorder) string { return strings.Join(w.Header()["Sipxrest-Call-Id"], ",") }
	if got := id(ask("GET", call, "")); got != "" {
		t.Errorf("a GET before the call names %q", got)
	}
	w := ask("POST", call+"&subject=hello", "r-1")
	if w.Code != 200 || id(w) != "call_1" || w.Body.Len() != 0 {
		t.Errorf("the POST: %d %q, call %q", w.Code, w.Body, id(w))
	}
	if got := b.last(t).ID; got != "call_1" {
		t.Errorf("the call is placed as %q", got)
	}
	for range 2 {
		if got := id(ask("GET", call, "")); got != "call_1" {
			t.Errorf("a GET names %q", got)
		}
	}
	b.fail = fmt.Errorf("place: %w", sipflow.ErrReferred) // a double click
	if w := ask("POST", call, "not fit"); w.Code != 200 || id(w) != "call_1" {
		t.Errorf("a double click: %d, call %q", w.Code, id(w))
	}
	b.fail = sipflow.ErrUnreachable
	if w := ask("POST", call+"&sipMethod=invite", strings.Repeat("x", 65)); w.Code != 502 || id(w) != "" {
		t.Errorf("a call that is not placed: %d, call %q", w.Code, id(w))
	}
	b.refuse = nil
	if w := ask("DELETE", call, "r-2"); w.Code != 200 || id(w) != "" {
		t.Errorf("the DELETE: %d, call %q", w.Code, id(w))
	}
	ask("DELETE", "/callcontroller/202/201?agent=200", "") // of no call
	want := []string{
		`expect call_1: agent 200@sipx.test by REFER, subject "hello", request "r-1"`,
		`expect call_2: agent 200@sipx.test by REFER, subject "", request ""`,
		`forget call_2`,
		`expect call_3: agent 200@sipx.test by INVITE, subject "", request ""`,
		`forget call_3`,
		`call_1 is hung up by 200, trusted true, request "r-2"`,
	}
	if !slices.Equal(calls.notes, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(calls.notes, "\n"), strings.Join(want, "\n"))
	}
}

func TestWithoutAnybodyToTellNothingIsNamed(t *testing.T) {
	b := newBench(t, Config{}, nil)
	for _, method := range []string{"POST", "GET", "DELETE"} {
		w := b.do(method, "/callcontroller/201/202?agent=200")
		if len(w.Header()["Sipxrest-Call-Id"]) != 0 {
			t.Errorf("%s names a call", method)
		}
	}
	if got := b.last(t).ID; got != "" {
		t.Errorf("the call is placed as %q", got)
	}
}

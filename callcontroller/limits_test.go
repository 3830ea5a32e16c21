package callcontroller

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"sipxrest/sipflow"
)

// Whoever meets a limit learns which one, and when to come again. It is logged
// by who knows how many others did.
func TestWhichLimitACallMeets(t *testing.T) {
	for _, tt := range []struct {
		err    *sipflow.LimitError
		status int
		text   string
		retry  string
	}{
		{&sipflow.LimitError{Limit: sipflow.LimitCalls, Most: 20000, Wait: 5 * time.Second}, 503,
			"Too many calls at once, try again later (limits.calls: 20000)", "5"},
		{&sipflow.LimitError{Limit: sipflow.LimitCallRate, Most: 100, Wait: 10 * time.Millisecond}, 503,
			"Too many calls per second, try again later (limits.call-rate: 100)", "1"},
		{&sipflow.LimitError{Limit: sipflow.LimitCallsPerAgent, Most: 100, Wait: 5 * time.Second}, 429,
			"Too many calls of this user at once, try again later (limits.calls-per-user: 100)", "5"},
		{&sipflow.LimitError{Limit: sipflow.LimitCallRatePerAgent, Most: 10, Wait: 1500 * time.Millisecond}, 429,
			"Too many calls of this user per second, try again later (limits.call-rate-per-user: 10)", "2"},
	} {
		var log bytes.Buffer
		b := newBench(t, Config{}, &log)
		b.fail = fmt.Errorf("place: %w", tt.err)
		b.refuse = b.fail
		for _, target := range []string{"/callcontroller/201/202", "/callcontroller/201/202?action=transfer&target=200"} {
			w := b.do("POST", target)
			if w.Code != tt.status || w.Body.String() != xmlError(fmt.Sprint(tt.status), tt.text) || w.Header().Get("Retry-After") != tt.retry {
				t.Errorf("%v: %d %v %s", tt.err, w.Code, w.Header(), w.Body)
			}
		}
		if log.Len() > 0 {
			t.Errorf("%v: a line for each: %s", tt.err, log.String())
		}
	}
}

// The limits of one user do not hold for who may name any.
func TestOnlyTrustedPeersAreBeyondAUsersLimits(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202")
	if !b.last(t).Trusted {
		t.Error("a trusted peer is held to the limits of a user")
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202", nil)
	r.RemoteAddr = "198.51.100.1:1"
	r.SetBasicAuth("201", "123")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if w.Code != 200 || b.placed() != 2 || b.last(t).Trusted {
		t.Errorf("%d %s; %d placed, trusted %v", w.Code, w.Body, b.placed(), b.last(t).Trusted)
	}
}

package callcontroller

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
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

// In an overload a call is refused before anybody asks who wants it; calls in
// progress go on.
func TestCallsAreRefusedInAnOverload(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.admit = func(string) error { return &sipflow.LimitError{Limit: sipflow.LimitOverload, Wait: time.Second} }
	for _, target := range []string{"/callcontroller/201/202", "/callcontroller/201/202?action=call",
		"/callcontroller/201/202?sipMethod=INVITE", "/callcontroller/nobody/202"} {
		w := b.do("POST", target)
		if w.Code != 503 || w.Body.String() != xmlError("503", "The service is overloaded, try again later") ||
			w.Header().Get("Retry-After") != "1" {
			t.Errorf("POST %s: %d %v %s", target, w.Code, w.Header(), w.Body)
		}
	}
	if len(b.specs) > 0 {
		t.Errorf("%d calls placed", len(b.specs))
	}
	b.refuse = nil
	for _, of := range []string{"POST /callcontroller/201/202?action=transfer&target=200", "GET /callcontroller/201/202",
		"DELETE /callcontroller/201/202"} {
		method, target, _ := strings.Cut(of, " ")
		if w := b.do(method, target); w.Code != 200 {
			t.Errorf("%s: %d %s", of, w.Code, w.Body)
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
	// Likewise for transfers, whoever has placed the call.
	b.do("POST", "/callcontroller/201/202?action=transfer&target=200")
	r.URL.RawQuery = "action=transfer&target=200"
	b.handler.ServeHTTP(httptest.NewRecorder(), r)
	if len(b.orders) != 2 || strings.HasSuffix(b.orders[0], "not trusted") || !strings.HasSuffix(b.orders[1], "not trusted") {
		t.Errorf("%q", b.orders)
	}
}

// size is what the texts of a record take, and adds up the bytes of its lines.
func size(t *testing.T, r *record) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, l := range r.lines {
		n += len(l.text)
	}
	if n != int(r.begun)+int(r.late) {
		t.Errorf("%d bytes are kept, %d and %d are counted", n, r.begun, r.late)
	}
	return n
}

// A phone whose NOTIFYs are long fills no more memory than others: of its lines
// the first and the last are kept.
func TestLongLinesAreBoundedByTheirBytes(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.do("POST", "/callcontroller/201/202")
	spec := b.last(t)
	for i := range 1000 {
		progress(spec, "NOTIFY", fmt.Sprintf("SIP/2.0 180 Ringing %04d\r\n%s", i, strings.Repeat("x", 2000)))
	}
	got := texts(b.do("GET", "/callcontroller/201/202").Body.String())
	if n := len(got); n < 6 || n > 8 || !strings.Contains(got[0], " 0000") || !strings.Contains(got[1], " 0001") ||
		!strings.Contains(got[2], fmt.Sprintf(" %04d", 1000-n+2)) || !strings.Contains(got[n-1], " 0999") {
		t.Errorf("%d lines are kept", n)
	}
	if n := size(t, b.records.find(spec.Key)); n > firstBytes+lastBytes {
		t.Errorf("%d bytes are kept", n)
	}
}

// All records together have a bound, too: finished ones are given up then, and
// those of calls in progress keep the latest. What is gone is not counted.
func TestAllRecordsTogetherAreBoundedByTheirBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{MaxRecordBytes: 100_000}, nil)
		long := "SIP/2.0 180 Ringing\r\n" + strings.Repeat("x", 500)
		var specs []sipflow.Spec
		for i := range 50 {
			b.do("POST", fmt.Sprintf("/callcontroller/201/%d?resultCacheTime=60", 1000+i))
			specs = append(specs, b.last(t))
		}
		for i := range 100 {
			for _, spec := range specs {
				progress(spec, "NOTIFY", fmt.Sprintf("%s %d", long, i))
			}
		}
		if n := b.Stats().Bytes; n > 50*(firstBytes+poorBytes)+100_000 {
			t.Errorf("50 calls take %d bytes", n)
		}
		if got := texts(b.do("GET", "/callcontroller/201/1049").Body.String()); len(got) < 7 || !strings.HasSuffix(got[len(got)-1], " 99") {
			t.Errorf("a call in progress has %d lines, or not the last", len(got))
		}
		// A call that is replaced, whose phone says more.
		b.do("POST", "/callcontroller/201/1000")
		progress(specs[0], "NOTIFY", long)
		end(specs[0])
		if got := texts(b.do("GET", "/callcontroller/201/1000").Body.String()); len(got) != 0 {
			t.Errorf("the new call has %d lines of the old one", len(got))
		}
		end(b.last(t))
		for _, spec := range specs[1:] {
			end(spec)
		}
		if n := b.Stats().Bytes; n > 100_000 {
			t.Errorf("finished calls take %d bytes", n)
		}
		if s := b.Stats(); s.GivenUp == 0 || s.Records == 0 {
			t.Errorf("%+v, want some given up, some kept", s)
		}
		time.Sleep(time.Minute + time.Second)
		b.records.sweep()
		if s := b.Stats(); s.Records != 0 || s.Bytes != 0 {
			t.Errorf("when all have expired: %+v", s)
		}
	})
}

// The bytes of a record count once under however many keys, and as long as one
// of them leads to it.
func TestTheBytesOfATransferredCallCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{}, nil)
		b.do("POST", "/callcontroller/201/202?resultCacheTime=60")
		spec := b.last(t)
		progress(spec, "INVITE", "SIP/2.0 180 Ringing")
		move := func(to string) {
			key := spec.Key
			key.Calling = to + "@sipx.test"
			spec.Observe(&sipflow.Event{Kind: sipflow.Moved, Key: key, At: time.Now()})
		}
		for i := range 20 {
			move(fmt.Sprint(300 + i%3)) // back to the first one's, too
			if n := b.Stats().Bytes; n != 19+int64(lineBytes) {
				t.Fatalf("after transfer %d: %d bytes", i+1, n)
			}
		}
		end(spec)
		time.Sleep(30 * time.Second)
		b.do("POST", "/callcontroller/201/202?resultCacheTime=60") // takes one of its keys
		if n := b.Stats().Bytes; n != 19+int64(lineBytes) {
			t.Errorf("%d bytes while another key leads to it", n)
		}
		time.Sleep(31 * time.Second)
		b.do("POST", "/callcontroller/301/202?agent=201") // takes one that has expired and is still there
		b.records.sweep()
		if s := b.Stats(); s.Bytes != 0 || s.Records != 2 {
			t.Errorf("in the end: %+v", s)
		}
	})
}

// A line takes more than its text, and short ones most of all: what is counted is
// what they take.
func TestShortLinesCountByWhatTheyTake(t *testing.T) {
	b := newBench(t, Config{MaxRecordBytes: 4000}, nil)
	b.do("POST", "/callcontroller/201/202")
	spec := b.last(t)
	for range 50 {
		progress(spec, "NOTIFY", "x")
	}
	if n := b.Stats().Bytes; n != 50*int64(1+lineBytes) || lineBytes < 48 {
		t.Errorf("50 lines of a byte take %d bytes", n)
	}
	for range 50 {
		progress(spec, "NOTIFY", "x")
	}
	if n := b.Stats().Bytes; n > 4000+poorBytes {
		t.Errorf("a call in progress takes %d bytes", n)
	}
	if n := len(texts(b.do("GET", "/callcontroller/201/202").Body.String())); n <= 50 {
		t.Errorf("%d lines are kept", n)
	}
	end(spec)
	if n := b.Stats().Bytes; n > 4000 {
		t.Errorf("a finished call takes %d bytes", n)
	}
}

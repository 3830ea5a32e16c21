package callcontroller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sipxrest/restauth"
	"sipxrest/sipflow"
)

func TestAnswers(t *testing.T) {
	long := strings.Repeat("a", 300)
	cut := strings.Repeat("a", 256) + "…"
	for _, tt := range []struct {
		name, method, target string
		status               int
		body                 string // of the XML document, "" for none
	}{
		{"post", "POST", "/callcontroller/201/202", 200, ""},
		{"post, trailing slash", "POST", "/callcontroller/201/202/", 200, ""},
		{"post refer, any case", "POST", "/callcontroller/201/202?sipMethod=ReFer", 200, ""},
		{"post, empty parameters count as absent", "POST", "/callcontroller/201/202?agent=&timeout=&sipMethod=&resultCacheTime=&action=&subject=&confpin=&target=&isForwardingAllowed=", 200, ""},
		{"post, unknown parameters", "POST", "/callcontroller/201/202?foo=bar&Timeout=-1&sipmethod=FOO&%zz=1&x=%zz", 200, ""},
		{"post, action in any case", "POST", "/callcontroller/201/202?action=CALL", 200, ""},
		{"get without a call", "GET", "/callcontroller/201/209", 200, emptyLines},
		{"get refer without a call", "GET", "/callcontroller/201/209?sipMethod=REFER", 200, emptyLines},
		{"get invite without a call", "GET", "/callcontroller/201/209?sipMethod=invite", 200, emptyDialogs},
		{"get any method without a call", "GET", "/callcontroller/201/209?sipMethod=foo", 200, emptyDialogs},
		{"get ignores the rest", "GET", "/callcontroller/201/209?timeout=abc&subject=%00&action=foo&confpin=%zz", 200, emptyLines},
		{"get by PIN-less caller, agent given", "GET", "/callcontroller/nobody/209?agent=202", 200, emptyLines},

		{"invite", "POST", "/callcontroller/201/202?sipMethod=Invite", 406, xmlError("406", "Call Setup Method Invite not supported")},
		{"unknown method", "POST", "/callcontroller/201/202?sipMethod=FOO", 406, xmlError("406", "Call Setup Method FOO not supported")},
		{"method with markup", "POST", "/callcontroller/201/202?sipMethod=%3Cb%3E%26", 406, xmlError("406", "Call Setup Method &lt;b&gt;&amp; not supported")},
		{"long method", "POST", "/callcontroller/201/202?sipMethod=" + long, 406, xmlError("406", "Call Setup Method "+cut+" not supported")},
		{"action", "POST", "/callcontroller/201/202?action=foo&sipMethod=FOO", 400, xmlError("400", "Bad parameter action = foo")},
		{"transfer without target", "POST", "/callcontroller/201/202?action=Transfer", 400, xmlError("400", "Need a transfer target parameter")},
		{"transfer, empty target", "POST", "/callcontroller/201/202?action=transfer&target=&sipMethod=FOO", 400, xmlError("400", "Need a transfer target parameter")},
		{"transfer, bad target", "POST", "/callcontroller/201/202?action=transfer&target=a%3Bb", 400, xmlError("400", "Bad parameter target = a;b")},
		{"transfer without a call", "POST", "/callcontroller/201/202?action=transfer&target=203", 406, xmlError("403", "Call not found.")},
		{"timeout negative", "POST", "/callcontroller/201/202?timeout=-1", 400, xmlError("400", "Bad parameter timeout = -1")},
		{"timeout no number", "POST", "/callcontroller/201/202?timeout=abc", 400, xmlError("400", "Bad parameter timeout = abc")},
		{"timeout fraction", "POST", "/callcontroller/201/202?timeout=1.5", 400, xmlError("400", "Bad parameter timeout = 1.5")},
		{"timeout exponent", "POST", "/callcontroller/201/202?timeout=1e9", 400, xmlError("400", "Bad parameter timeout = 1e9")},
		{"timeout too long", "POST", "/callcontroller/201/202?timeout=3601", 400, xmlError("400", "Bad parameter timeout = 3601")},
		{"timeout overflow", "POST", "/callcontroller/201/202?timeout=99999999999999999999", 400, xmlError("400", "Bad parameter timeout = 99999999999999999999")},
		{"timeout with a space", "POST", "/callcontroller/201/202?timeout=+5", 400, xmlError("400", "Bad parameter timeout =  5")},
		{"timeout, other digits", "POST", "/callcontroller/201/202?timeout=%D9%A3", 400, xmlError("400", "Bad parameter timeout = ٣")},
		{"timeout, bad escape", "POST", "/callcontroller/201/202?timeout=1%zz", 400, xmlError("400", "Bad parameter timeout = 1%zz")},
		{"timeout, first counts", "POST", "/callcontroller/201/202?timeout=-7&timeout=5", 400, xmlError("400", "Bad parameter timeout = -7")},
		{"timeout before cache time", "POST", "/callcontroller/201/202?resultCacheTime=-1&timeout=-1", 400, xmlError("400", "Bad parameter timeout = -1")},
		{"cache time negative", "POST", "/callcontroller/201/202?resultCacheTime=-1", 400, xmlError("400", "Bad parameter resultCacheTime = -1")},
		{"cache time too long", "POST", "/callcontroller/201/202?resultCacheTime=86401", 400, xmlError("400", "Bad parameter resultCacheTime = 86401")},
		{"cache time before action", "POST", "/callcontroller/201/202?action=transfer&resultCacheTime=x", 400, xmlError("400", "Bad parameter resultCacheTime = x")},
		{"subject with a line end", "POST", "/callcontroller/201/202?subject=a%0d%0aX-Evil:1%3C", 400, xmlError("400", "Bad parameter subject = a\r\nX-Evil:1&lt;")},
		{"subject with NUL", "POST", "/callcontroller/201/202?subject=a%00b", 400, xmlError("400", "Bad parameter subject = ab")},
		{"subject not UTF-8", "POST", "/callcontroller/201/202?subject=%C0%AF", 400, xmlError("400", "Bad parameter subject = \uFFFD\uFFFD")},
		{"subject too long", "POST", "/callcontroller/201/202?subject=" + long, 400, xmlError("400", "Bad parameter subject = "+cut)},
		{"subject, bad escape", "POST", "/callcontroller/201/202?subject=100%", 400, xmlError("400", "Bad parameter subject = 100%")},
		{"confpin with a line end", "POST", "/callcontroller/201/202?confpin=1%0a", 400, xmlError("400", "Bad parameter confpin = 1\n")},
		{"confpin too long", "POST", "/callcontroller/201/202?confpin=" + long[:65], 400, xmlError("400", "Bad parameter confpin = "+long[:65])},

		{"unknown agent", "POST", "/callcontroller/nobody/202?timeout=-1", 403, xmlError("403", "could not find credentials for nobody")},
		{"unknown agent, get", "GET", "/callcontroller/nobody/202", 403, xmlError("403", "could not find credentials for nobody")},
		{"unknown agent given", "POST", "/callcontroller/201/202?agent=no%20body", 403, xmlError("403", "could not find credentials for no body")},
		{"agent, wrong case", "POST", "/callcontroller/ALICE/202", 403, xmlError("403", "could not find credentials for ALICE")},
		{"agent of another domain", "POST", "/callcontroller/201@other.example/202", 403, xmlError("403", "could not find credentials for 201@other.example")},
		{"agent with markup", "POST", "/callcontroller/201/202?agent=%3Cb%3E%26x", 400, xmlError("400", "Bad parameter agent = &lt;b&gt;&amp;x")},
		{"agent, bad escape", "POST", "/callcontroller/201/202?agent=a%zz", 400, xmlError("400", "Bad parameter agent = a%zz")},
		{"agent not UTF-8", "POST", "/callcontroller/201/202?agent=%FC", 400, xmlError("400", "Bad parameter agent = \uFFFD")},
		{"calling user, malformed, is the agent", "POST", "/callcontroller/a%3Bb/202", 400, xmlError("400", "Bad parameter callingUser = a;b")},
		{"calling user, malformed, agent given", "GET", "/callcontroller/a%3Fb/202?agent=201", 400, xmlError("400", "Bad parameter callingUser = a?b")},
		{"called user, parameter", "POST", "/callcontroller/201/202;transport=tcp", 400, xmlError("400", "Bad parameter calledUser = 202;transport=tcp")},
		{"called user, header", "POST", "/callcontroller/201/202%40sipx.test%3FReplaces%3Dabc", 400, xmlError("400", "Bad parameter calledUser = 202@sipx.test?Replaces=abc")},
		{"called user, line end", "POST", "/callcontroller/201/a%0d%0aX-Evil:1", 400, xmlError("400", "Bad parameter calledUser = a\r\nX-Evil:1")},
		{"called user, markup, get", "GET", "/callcontroller/201/%3Cx%3E", 400, xmlError("400", "Bad parameter calledUser = &lt;x&gt;")},
		{"called user, port", "POST", "/callcontroller/201/x@10.3.0.21:5060", 400, xmlError("400", "Bad parameter calledUser = x@10.3.0.21:5060")},
		{"called user, long", "POST", "/callcontroller/201/" + long, 400, xmlError("400", "Bad parameter calledUser = "+cut)},
		{"called user, telephone context", "POST", "/callcontroller/201/tel:7042;phone-context=x", 400, xmlError("400", "Bad parameter calledUser = tel:7042;phone-context=x")},
		{"calling before called, and before timeout", "POST", "/callcontroller/@/@?agent=201&timeout=x", 400, xmlError("400", "Bad parameter callingUser = @")},

		{"put", "PUT", "/callcontroller/201/202", 405, xmlError("405", "Method PUT not allowed")},
		{"put, before the agent", "PUT", "/callcontroller/nobody/202", 405, xmlError("405", "Method PUT not allowed")},
		{"delete", "DELETE", "/callcontroller/201/202", 405, xmlError("405", "Method DELETE not allowed")},
		{"options", "OPTIONS", "/callcontroller/201/202", 405, xmlError("405", "Method OPTIONS not allowed")},
		{"trace", "TRACE", "/callcontroller/201/202", 405, xmlError("405", "Method TRACE not allowed")},
		{"unknown method of HTTP", "FOO", "/callcontroller/201/202", 405, xmlError("405", "Method FOO not allowed")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{}, nil)
			w := b.do(tt.method, tt.target)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("got %d %q\nwant %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			wantType, wantPlaced := "text/xml; charset=UTF-8", 0
			if tt.body == "" {
				wantType, wantPlaced = "", 1
			}
			if got := w.Header().Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type: %q, want %q", got, wantType)
			}
			if b.placed() != wantPlaced {
				t.Errorf("%d calls were placed, want %d", b.placed(), wantPlaced)
			}
			if got := w.Header().Get("Allow"); (got == "GET, HEAD, POST") != (tt.status == 405) {
				t.Errorf("Allow: %q", got)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=UTF-8"},
		{"HEAD", "/", 200, "text/html; charset=UTF-8"},
		{"POST", "/", 405, "text/plain; charset=utf-8"},
		{"GET", "/callcontroller", 404, ""},
		{"GET", "/callcontroller/", 404, ""},
		{"POST", "/callcontroller/201", 404, ""},
		{"POST", "/callcontroller/201/", 404, ""},
		{"POST", "/callcontroller//202", 404, ""},
		{"POST", "//callcontroller/201/202", 404, ""},
		{"POST", "/callcontroller/201/202/x", 404, ""},
		{"POST", "/callcontroller/201/202//", 404, ""},
		{"POST", "/callcontroller/../callcontroller/201/202", 404, ""},
		{"POST", "/CallController/201/202", 404, ""},
		{"POST", "/sipxconfig/rest/my/redirect/callcontroller/201", 404, ""},
		{"POST", "/sipxconfig/rest/my/redirect/callcontroller/201/202/x", 404, ""},
		{"GET", "/nothing", 404, ""},
	} {
		b := newBench(t, Config{}, nil)
		w := b.do(tt.method, tt.path)
		if w.Code != tt.status || tt.contentType != "" && w.Header().Get("Content-Type") != tt.contentType {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, w.Code, w.Header())
		}
		if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow %q", tt.method, tt.path, w.Header().Get("Allow"))
		}
		if b.placed() != 0 {
			t.Errorf("%s %s placed a call", tt.method, tt.path)
		}
	}
}

func TestCatalogueListsTheServices(t *testing.T) {
	b := newBench(t, Config{Services: []Service{{"/dialout", "USER", "<Dial> & out"}}}, nil)
	w := b.do("GET", "/")
	for _, want := range []string{"<b> URI Prefix : /callcontroller</b>", "LOCAL-AND-REMOTE", "<b> URI Prefix : /dialout</b>", "&lt;Dial&gt; &amp; out"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in %s", want, w.Body)
		}
	}
	head := b.do("HEAD", "/")
	if head.Body.Len() != 0 || head.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("HEAD: %v, %d bytes", head.Header(), head.Body.Len())
	}
}

func TestWhatAPostAsksFor(t *testing.T) {
	bob := sipflow.Credentials{Username: "201", HA1: "0cc175b9c0f1b6a831c399e269772661"}
	alice := sipflow.Credentials{Username: "200", Password: "secret200"}
	base := sipflow.Spec{
		Key:         sipflow.Key{Agent: "201@sipx.test", Calling: "201@sipx.test", Called: "202@sipx.test"},
		AgentName:   `Bob "B" Caller`,
		CallingUser: "201@sipx.test", CalledUser: "202@sipx.test",
		Timeout: 180 * time.Second, Credentials: bob,
	}
	with := func(change func(*sipflow.Spec)) sipflow.Spec { s := base; change(&s); return s }
	for _, tt := range []struct {
		target string
		want   sipflow.Spec
	}{
		{"201/202", base},
		{"201/202?callingParty=203&calledParty=204&target=x", base},
		{"bob/202", with(func(s *sipflow.Spec) { s.CallingUser = "bob@sipx.test" })},
		{"201@sipx.test/202@SIPX.test", with(func(s *sipflow.Spec) { s.CalledUser = "202@SIPX.test" })},
		{"201%40sipx.test/%32%30%32", base},
		{"sip:201/sip:202@sipx.test", base},
		{"201/alice", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "200@sipx.test", "alice@sipx.test" })},
		{"201/202?agent=alice", with(func(s *sipflow.Spec) {
			s.Key.Agent, s.AgentName, s.Credentials = "200@sipx.test", "Alice Agent", alice
		})},
		{"x@Other.example./555@10.3.0.21?agent=201", with(func(s *sipflow.Spec) {
			s.Key.Calling, s.CallingUser = "x@other.example", "x@Other.example."
			s.Key.Called, s.CalledUser = "555@10.3.0.21", "555@10.3.0.21"
		})},
		{"201/alice@other.example", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "alice@other.example", "alice@other.example" })},
		{"201/+15551234", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "+15551234@sipx.test", "+15551234@sipx.test" })},
		{"201/%2B1%2F5", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "+1%2F5@sipx.test", "+1%2F5@sipx.test" })},
		{"201/tel:+1-(555)-12.34", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "+15551234@sipx.test", "+15551234@sipx.test" })},
		{"201/*97", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "*97@sipx.test", "*97@sipx.test" })},
		{"201/%2397", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "%2397@sipx.test", "%2397@sipx.test" })},
		{"201/a%20b%22%2C%5B", with(func(s *sipflow.Spec) {
			s.Key.Called, s.CalledUser = "a%20b%22%2C%5B@sipx.test", "a%20b%22%2C%5B@sipx.test"
		})},
		{"201/100%25", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "100%25@sipx.test", "100%25@sipx.test" })},
		{"201/anna.m%C3%BCller", with(func(s *sipflow.Spec) {
			s.Key.Called, s.CalledUser = "anna.m%C3%BCller@sipx.test", "anna.m%C3%BCller@sipx.test"
		})},
		{"201/anna", with(func(s *sipflow.Spec) { s.Key.Called, s.CalledUser = "anna.m%C3%BCller@sipx.test", "anna@sipx.test" })},
		{"201/202?agent=j%23o", with(func(s *sipflow.Spec) {
			s.Key.Agent, s.AgentName, s.Credentials = "j%23o@sipx.test", "", sipflow.Credentials{Username: "j#o"}
		})},
		{"201/202?timeout=%2B5&timeout=-7", with(func(s *sipflow.Spec) { s.Timeout = 5 * time.Second })},
		{"201/202?timeout=-0", with(func(s *sipflow.Spec) { s.Timeout = 0 })},
		{"201/202?timeout=3600", with(func(s *sipflow.Spec) { s.Timeout = time.Hour })},
		{"201/202?subject=a%20b+c%2Bd;e%C3%BC", with(func(s *sipflow.Spec) { s.Subject = "a b c+d;eü" })},
		{"201/202?subj%65ct=x", with(func(s *sipflow.Spec) { s.Subject = "x" })},
		{"201/202?confpin=12%2634&isForwardingAllowed=TRUE", with(func(s *sipflow.Spec) { s.ConfPIN, s.ForwardingAllowed = "12&34", true })},
		{"201/202?isForwardingAllowed=1", base},
	} {
		t.Run(tt.target, func(t *testing.T) {
			b := newBench(t, Config{}, nil)
			if w := b.do("POST", "/callcontroller/"+tt.target); w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff(tt.want, b.last(t), cmpopts.IgnoreFields(sipflow.Spec{}, "Observe")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhyACallIsNotPlaced(t *testing.T) {
	for _, tt := range []struct {
		err        error
		status     int
		code, text string
		retry      string
	}{
		{fmt.Errorf("place: %w", sipflow.ErrUnreachable), 502, "502", "The SIP server of the calling user cannot be reached", ""},
		{context.DeadlineExceeded, 502, "502", "The SIP server of the calling user cannot be reached in time", ""},
		{sipflow.ErrTooManyCalls, 503, "503", "Too many calls at once, try again later", "5"},
		{sipflow.ErrDraining, 503, "503", "The service is shutting down, try again later", "5"},
		{errors.New("secret: /etc/passwd"), 500, "500", "The call could not be placed: an internal error, see the log of the service", ""},
	} {
		var log bytes.Buffer
		b := newBench(t, Config{}, &log)
		b.fail = tt.err
		w := b.do("POST", "/callcontroller/201/202")
		if w.Code != tt.status || w.Body.String() != xmlError(tt.code, tt.text) || w.Header().Get("Retry-After") != tt.retry {
			t.Errorf("%v: %d %v %s", tt.err, w.Code, w.Header(), w.Body)
		}
		if !strings.Contains(log.String(), tt.err.Error()) || strings.Contains(log.String(), bobHA1) {
			t.Errorf("%v: log %s", tt.err, log.String())
		}
		if w := b.do("GET", "/callcontroller/201/202"); w.Body.String() != emptyLines {
			t.Errorf("%v: a record: %s", tt.err, w.Body)
		}
	}
}

const bobHA1 = "0cc175b9c0f1b6a831c399e269772661"

func TestAPostWaitsAtMostFiveSecondsAndOutlivesItsClient(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.place = func(ctx context.Context, _ sipflow.Spec, _ sipflow.Flow) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > placeTimeout {
			t.Errorf("deadline %v %v", deadline, ok)
		}
		return ctx.Err()
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202", nil)
	gone, cancel := context.WithCancel(r.Context())
	cancel()
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r.WithContext(gone))
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestASecondInviteOfARunningCallIsRefused(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.flows[methodInvite] = b.flows[methodRefer]
	if w := b.do("POST", "/callcontroller/201/202?sipMethod=invite"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	first := b.last(t)
	w := b.do("POST", "/callcontroller/bob/202?sipMethod=InVite")
	if w.Code != 406 || w.Body.String() != xmlError("403", "Call in progress InVite not supported") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.do("GET", "/callcontroller/201/202"); w.Body.String() != emptyDialogs {
		t.Errorf("the document has not the form of the call's method: %s", w.Body)
	}
	end(first)
	if w := b.do("POST", "/callcontroller/201/202?sipMethod=invite"); w.Code != 200 {
		t.Errorf("after the call has ended: %d", w.Code)
	}
	if w := b.do("POST", "/callcontroller/201/202"); w.Code != 200 {
		t.Errorf("refer over invite: %d", w.Code)
	}
	if w := b.do("POST", "/callcontroller/201/202?sipMethod=invite"); w.Code != 200 {
		t.Errorf("invite over refer: %d", w.Code)
	}
}

func TestStrangersNeedThePINOfTheAgent(t *testing.T) {
	b := newBench(t, Config{}, nil)
	for _, tt := range []struct {
		name, peer, target, user, pin string
		status                        int
	}{
		{"nothing given", "198.51.100.1:1", "/callcontroller/201/202", "", "", 401},
		{"before the method", "198.51.100.1:1", "PUT /callcontroller/201/202", "", "", 401},
		{"unknown agent looks the same", "198.51.100.1:1", "/callcontroller/nobody/202", "", "", 401},
		{"malformed agent looks the same", "198.51.100.1:1", "/callcontroller/a%3Bb/202?agent=%zz", "", "", 401},
		{"wrong PIN", "198.51.100.1:1", "/callcontroller/201/202", "201", "1", 401},
		{"PIN of another", "198.51.100.1:1", "/callcontroller/201/202?agent=200", "201", "123", 401},
		{"own PIN", "198.51.100.1:1", "/callcontroller/201/202", "201", "123", 200},
		{"own PIN, by alias", "198.51.100.1:1", "/callcontroller/bob/202", "bob", "123", 200},
		{"agent's PIN", "198.51.100.1:1", "/callcontroller/201/202?agent=alice", "alice", "4711", 200},
		{"then the method", "198.51.100.1:1", "PUT /callcontroller/201/202", "201", "123", 405},
		{"trusted", trustedPeer, "/callcontroller/201/202", "", "", 200},
		{"the redirect trusts nobody", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202", "", "", 401},
		{"the redirect, own PIN", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202/", "201", "123", 200},
		{"the redirect, agent of another", trustedPeer, "/sipxconfig/rest/my/redirect/callcontroller/201/202?agent=200", "201", "123", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := b.placed()
			method, target, ok := strings.Cut(tt.target, " ")
			if !ok {
				method, target = "POST", tt.target
			}
			r := httptest.NewRequest(method, target, nil)
			r.RemoteAddr = tt.peer
			if tt.user != "" {
				r.SetBasicAuth(tt.user, tt.pin)
			}
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if placed := b.placed() > before; placed != (tt.status == 200) {
				t.Errorf("placed: %v", placed)
			}
		})
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202", nil)
	r.Header.Set("Origin", "https://evil.test")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a page of another site: %d", w.Code)
	}
}

// TestOverARealServer sends what only a server's own reader judges.
func TestOverARealServer(t *testing.T) {
	b := newBench(t, Config{}, nil)
	srv := httptest.NewServer(b.gate.Listener(restauth.TrustedOrPIN, false, b.Handler()))
	defer srv.Close()
	for _, tt := range []struct{ name, request, want string }{
		{"bad escape in the path", "POST /callcontroller/201/a%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 "},
		{"bytes beyond ASCII", "POST /callcontroller/201/m\xc3\xbcller HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"no length", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Content-Length: 0\r\n"},
		{"old protocol", "GET /callcontroller/201/202 HTTP/1.0\r\n\r\n", "Content-Length: 138\r\n"},
		{"whole URI", "GET http://x:6667/callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"form body is no parameter", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\ntimeout=-1", "HTTP/1.1 200 OK\r\n"},
		{"body that never comes", "POST /callcontroller/201/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n", "HTTP/1.1 200 OK\r\n"},
		{"head", "HEAD /callcontroller/201/209 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Content-Length: 138\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.request); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(got), tt.want) {
				t.Errorf("got %s", got)
			}
			if strings.HasPrefix(tt.request, "HEAD") && !strings.HasSuffix(string(got), "\r\n\r\n") {
				t.Errorf("a body for HEAD: %s", got)
			}
		})
	}
}

func TestManyPostsAtOnceLeaveOneRecord(t *testing.T) {
	b := newBench(t, Config{}, nil)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			b.do("POST", "/callcontroller/201/202")
			b.do("GET", "/callcontroller/201/202")
		})
	}
	wg.Wait()
	if b.placed() != 100 || b.records.cache.ItemCount() != 1 {
		t.Errorf("%d calls, %d records", b.placed(), b.records.cache.ItemCount())
	}
	for _, spec := range b.specs {
		wg.Go(func() {
			for range 20 {
				progress(spec, "INVITE", "SIP/2.0 180 Ringing")
				b.do("GET", "/callcontroller/201/202")
			}
			end(spec)
		})
	}
	wg.Wait()
	if got := texts(b.do("GET", "/callcontroller/201/202").Body.String()); len(got) != 20 {
		t.Errorf("%d lines, want those of one call", len(got))
	}
}

func BenchmarkPost(b *testing.B) {
	c := newBench(b, Config{}, nil)
	c.place = func(_ context.Context, spec sipflow.Spec, _ sipflow.Flow) error {
		spec.Observe(sipflow.Event{Kind: sipflow.Placed, Key: spec.Key})
		return nil
	}
	r := httptest.NewRequest("POST", "/callcontroller/201/202?sipMethod=REFER&agent=200&timeout=30&subject=Click%20to%20call", nil)
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		c.handler.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}

func BenchmarkGet(b *testing.B) {
	c := newBench(b, Config{}, nil)
	c.do("POST", "/callcontroller/201/202")
	for _, text := range []string{"SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"} {
		progress(c.last(b), "INVITE", text)
		progress(c.last(b), "NOTIFY", text)
	}
	r := httptest.NewRequest("GET", "/callcontroller/201/202", nil)
	w := &discard{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		c.handler.ServeHTTP(w, r)
	}
	if w.status != 200 {
		b.Fatal(w.status)
	}
}

// discard is a client that reads nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

package callcontroller

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sipxrest/sipflow"
)

func TestAnswers(t *testing.T) {
	long := strings.Repeat("a", 300)
	cut := strings.Repeat("a", 256) + "…"
	const notUTF8 = ": it is not UTF-8, write ä as %C3%A4 (encodeURIComponent)"
	for _, tt := range []struct {
		name, method, target string
		status               int
		body                 string // of the XML document, "" for none
	}{
		{"post", "POST", "/callcontroller/201/202", 200, ""},
		{"post, trailing slash", "POST", "/callcontroller/201/202/", 200, ""},
		{"post refer, any case", "POST", "/callcontroller/201/202?sipMethod=ReFer", 200, ""},
		{"post, empty parameters count as absent", "POST", "/callcontroller/201/202?agent=&timeout=&sipMethod=&resultCacheTime=&action=&" +
			"subject=&confpin=&target=&isForwardingAllowed=", 200, ""},
		{"post, unknown parameters", "POST", "/callcontroller/201/202?foo=bar&Timeout=-1&sipmethod=FOO&%zz=1&x=%zz", 200, ""},
		{"post, action in any case", "POST", "/callcontroller/201/202?action=CALL", 200, ""},
		{"get without a call", "GET", "/callcontroller/201/209", 200, emptyLines},
		{"get refer without a call", "GET", "/callcontroller/201/209?sipMethod=REFER", 200, emptyLines},
		{"get invite without a call", "GET", "/callcontroller/201/209?sipMethod=invite", 200, emptyDialogs},
		{"get any method without a call", "GET", "/callcontroller/201/209?sipMethod=foo", 200, emptyDialogs},
		{"get ignores the rest", "GET", "/callcontroller/201/209?timeout=abc&subject=%00&action=foo&confpin=%zz", 200, emptyLines},
		{"get by PIN-less caller, agent given", "GET", "/callcontroller/nobody/209?agent=202", 200, emptyLines},

		{"post invite, any case", "POST", "/callcontroller/201/202?sipMethod=InVite", 200, ""},
		{"unknown method", "POST", "/callcontroller/201/202?sipMethod=FOO", 406, xmlError("406", "Call Setup Method FOO not supported")},
		{"method with markup", "POST", "/callcontroller/201/202?sipMethod=%3Cb%3E%26", 406,
			xmlError("406", "Call Setup Method &lt;b&gt;&amp; not supported")},
		{"long method", "POST", "/callcontroller/201/202?sipMethod=" + long, 406, xmlError("406", "Call Setup Method "+cut+" not supported")},
		{"action", "POST", "/callcontroller/201/202?action=foo&sipMethod=FOO", 400, xmlError("400", "Bad parameter action = foo")},
		{"transfer without target", "POST", "/callcontroller/201/202?action=Transfer", 400, xmlError("400", "Need a transfer target parameter")},
		{"transfer, empty target", "POST", "/callcontroller/201/202?action=transfer&target=&sipMethod=FOO", 400,
			xmlError("400", "Need a transfer target parameter")},
		{"transfer, bad target", "POST", "/callcontroller/201/202?action=transfer&target=a%3Bb", 400,
			xmlError("400", "Bad parameter target = a;b")},
		{"transfer without a call", "POST", "/callcontroller/201/202?action=transfer&target=203", 406, xmlError("403", "Call not found.")},
		{"timeout negative", "POST", "/callcontroller/201/202?timeout=-1", 400, xmlError("400", "Bad parameter timeout = -1")},
		{"timeout no number", "POST", "/callcontroller/201/202?timeout=abc", 400, xmlError("400", "Bad parameter timeout = abc")},
		{"timeout fraction", "POST", "/callcontroller/201/202?timeout=1.5", 400, xmlError("400", "Bad parameter timeout = 1.5")},
		{"timeout exponent", "POST", "/callcontroller/201/202?timeout=1e9", 400, xmlError("400", "Bad parameter timeout = 1e9")},
		{"timeout too long", "POST", "/callcontroller/201/202?timeout=3601", 400, xmlError("400", "Bad parameter timeout = 3601")},
		{"timeout overflow", "POST", "/callcontroller/201/202?timeout=99999999999999999999", 400,
			xmlError("400", "Bad parameter timeout = 99999999999999999999")},
		{"timeout with a space", "POST", "/callcontroller/201/202?timeout=+5", 400, xmlError("400", "Bad parameter timeout =  5")},
		{"timeout, other digits", "POST", "/callcontroller/201/202?timeout=%D9%A3", 400, xmlError("400", "Bad parameter timeout = ٣")},
		{"timeout, bad escape", "POST", "/callcontroller/201/202?timeout=1%zz", 400, xmlError("400", "Bad parameter timeout = 1%zz")},
		{"timeout, first counts", "POST", "/callcontroller/201/202?timeout=-7&timeout=5", 400, xmlError("400", "Bad parameter timeout = -7")},
		{"timeout before cache time", "POST", "/callcontroller/201/202?resultCacheTime=-1&timeout=-1", 400,
			xmlError("400", "Bad parameter timeout = -1")},
		{"cache time negative", "POST", "/callcontroller/201/202?resultCacheTime=-1", 400, xmlError("400", "Bad parameter resultCacheTime = -1")},
		{"cache time too long", "POST", "/callcontroller/201/202?resultCacheTime=86401", 400,
			xmlError("400", "Bad parameter resultCacheTime = 86401")},
		{"cache time before action", "POST", "/callcontroller/201/202?action=transfer&resultCacheTime=x", 400,
			xmlError("400", "Bad parameter resultCacheTime = x")},
		{"subject with a line end", "POST", "/callcontroller/201/202?subject=a%0d%0aX-Evil:1%3C", 400,
			xmlError("400", "Bad parameter subject = a\r\nX-Evil:1&lt;")},
		{"subject with NUL", "POST", "/callcontroller/201/202?subject=a%00b", 400, xmlError("400", "Bad parameter subject = ab")},
		{"subject not UTF-8", "POST", "/callcontroller/201/202?subject=%C0%AF", 400,
			xmlError("400", "Bad parameter subject = \uFFFD\uFFFD"+notUTF8)},
		{"subject too long", "POST", "/callcontroller/201/202?subject=" + long, 400, xmlError("400", "Bad parameter subject = "+cut)},
		{"subject, bad escape", "POST", "/callcontroller/201/202?subject=100%", 400, xmlError("400", "Bad parameter subject = 100%")},
		{"confpin with a line end", "POST", "/callcontroller/201/202?confpin=1%0a", 400, xmlError("400", "Bad parameter confpin = 1\n")},
		{"confpin too long", "POST", "/callcontroller/201/202?confpin=" + long[:65], 400, xmlError("400", "Bad parameter confpin = "+long[:65])},

		{"unknown agent", "POST", "/callcontroller/nobody/202?timeout=-1", 403, xmlError("403", "could not find credentials for nobody")},
		{"unknown agent, get", "GET", "/callcontroller/nobody/202", 403, xmlError("403", "could not find credentials for nobody")},
		{"unknown agent given", "POST", "/callcontroller/201/202?agent=no%20body", 403,
			xmlError("403", "could not find credentials for no body")},
		{"agent, wrong case", "POST", "/callcontroller/ALICE/202", 403, xmlError("403", "could not find credentials for ALICE")},
		{"agent of another domain", "POST", "/callcontroller/201@other.example/202", 403,
			xmlError("403", "could not find credentials for 201@other.example")},
		{"agent with markup", "POST", "/callcontroller/201/202?agent=%3Cb%3E%26x", 400, xmlError("400", "Bad parameter agent = &lt;b&gt;&amp;x")},
		{"agent, bad escape", "POST", "/callcontroller/201/202?agent=a%zz", 400, xmlError("400", "Bad parameter agent = a%zz")},
		{"agent not UTF-8", "POST", "/callcontroller/201/202?agent=%FC", 400, xmlError("400", "Bad parameter agent = \uFFFD"+notUTF8)},
		{"calling user, malformed, is the agent", "POST", "/callcontroller/a%3Bb/202", 400, xmlError("400", "Bad parameter callingUser = a;b")},
		{"calling user, malformed, agent given", "GET", "/callcontroller/a%3Fb/202?agent=201", 400,
			xmlError("400", "Bad parameter callingUser = a?b")},
		{"called user, parameter", "POST", "/callcontroller/201/202;transport=tcp", 400,
			xmlError("400", "Bad parameter calledUser = 202;transport=tcp")},
		{"called user, header", "POST", "/callcontroller/201/202%40sipx.test%3FReplaces%3Dabc", 400,
			xmlError("400", "Bad parameter calledUser = 202@sipx.test?Replaces=abc")},
		{"called user, line end", "POST", "/callcontroller/201/a%0d%0aX-Evil:1", 400,
			xmlError("400", "Bad parameter calledUser = a\r\nX-Evil:1")},
		{"called user, markup, get", "GET", "/callcontroller/201/%3Cx%3E", 400, xmlError("400", "Bad parameter calledUser = &lt;x&gt;")},
		{"called user, port", "POST", "/callcontroller/201/x@10.3.0.21:5060", 400,
			xmlError("400", "Bad parameter calledUser = x@10.3.0.21:5060")},
		{"called user, long", "POST", "/callcontroller/201/" + long, 400, xmlError("400", "Bad parameter calledUser = "+cut)},
		{"called user, as escape() writes it", "POST", "/callcontroller/201/M%FCller", 400,
			xmlError("400", "Bad parameter calledUser = M\uFFFDller"+notUTF8)},
		{"called user, blanks only", "POST", "/callcontroller/201/%20%C2%A0", 400, xmlError("400", "Bad parameter calledUser = ")},
		{"called user, tab at its end", "POST", "/callcontroller/201/202%09", 400, xmlError("400", "Bad parameter calledUser = 202\t")},
		{"called user, telephone context", "POST", "/callcontroller/201/tel:7042;phone-context=x", 400,
			xmlError("400", "Bad parameter calledUser = tel:7042;phone-context=x")},
		{"calling before called, and before timeout", "POST", "/callcontroller/@/@?agent=201&timeout=x", 400,
			xmlError("400", "Bad parameter callingUser = @")},

		{"put", "PUT", "/callcontroller/201/202", 405, xmlError("405", "Method PUT not allowed")},
		{"put, before the agent", "PUT", "/callcontroller/nobody/202", 405, xmlError("405", "Method PUT not allowed")},
		{"delete without a call", "DELETE", "/callcontroller/201/202?timeout=abc", 404, xmlError("404", "Call not found.")},
		{"delete, unknown agent", "DELETE", "/callcontroller/nobody/202", 403, xmlError("403", "could not find credentials for nobody")},
		{"delete, bad user", "DELETE", "/callcontroller/201/a%3Bb", 400, xmlError("400", "Bad parameter calledUser = a;b")},
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
			if got := w.Header().Get("Allow"); (got == "GET, HEAD, POST, DELETE") != (tt.status == 405) {
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
	for _, want := range []string{"<b> URI Prefix : /callcontroller</b>", "LOCAL-AND-REMOTE", "<b> URI Prefix : /dialout</b>",
		"&lt;Dial&gt; &amp; out"} {
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
	base := sipflow.Spec{Admitted: true,
		Key:         sipflow.Key{Agent: "201@sipx.test", Calling: "201@sipx.test", Called: "202@sipx.test"},
		AgentName:   `Bob "B" Caller`,
		Method:      sipflow.MethodRefer,
		CallingUser: "201@sipx.test", CalledUser: "202@sipx.test",
		Trusted: true, Timeout: 180 * time.Second, Credentials: bob,
		Peer: netip.MustParseAddr("192.0.2.1"), // httptest's
	}
	with := func(change func(*sipflow.Spec)) sipflow.Spec { s := base; change(&s); return s }
	for _, tt := range []struct {
		target string
		want   sipflow.Spec
	}{
		{"201/202", base},
		{"201/202?sipMethod=invite", with(func(s *sipflow.Spec) { s.Method = sipflow.MethodInvite })},
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
			if diff := cmp.Diff(tt.want, b.last(t), cmpopts.IgnoreFields(sipflow.Spec{}, "Observe"),
				cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

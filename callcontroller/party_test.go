package callcontroller

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

func TestParties(t *testing.T) {
	for _, tt := range []struct{ in, wire, aor string }{
		{"201", "201@sipx.test", ""},
		{"201@Example.COM.", "201@Example.COM.", "201@example.com"},
		{"x@10.3.0.21", "x@10.3.0.21", ""},
		{"x@[2001:DB8::1]", "x@[2001:DB8::1]", "x@[2001:db8::1]"},
		{"x@a-b.c1", "x@a-b.c1", ""},
		{"SIP:201@h", "201@h", ""},
		{"sip", "sip@sipx.test", ""},
		{"tel:+44 ", "+44@sipx.test", ""},
		{"tel: 44", "", ""}, // was it a +?
		{" 202 ", "202@sipx.test", ""},
		{"\u00a0202\u2003", "202@sipx.test", ""},
		{"202 @h", "202@h", ""},
		{"sip: 202@h ", "202@h", ""},
		{" ", "", ""},
		{" @h", "", ""},
		{"202\t", "", ""},
		{"tel:+44-20.(7946)-0123", "+442079460123@sipx.test", ""},
		{"TEL:911", "911@sipx.test", ""},
		{"tel:*21#", "*21%23@sipx.test", ""},
		{"tel:", "", ""},
		{"tel:+", "", ""},
		{"tel:-.()", "", ""},
		{"tel:+*1", "", ""},
		{"tel:+1+1", "", ""},
		{"tel:+１２", "", ""}, // full-width digits
		{"tel:+1;ext=2", "", ""},
		{"tel:7042;phone-context=example.com", "", ""},
		{"tel:201@h", "", ""},
		{"sips:201@h", "", ""},
		{"http://h/", "", ""},
		{"mailto:x", "", ""},
		{"a%b,c\"d\\e[f]{g}|^`h i#j", "a%25b%2Cc%22d%5Ce%5Bf%5D%7Bg%7D%7C%5E%60h%20i%23j@sipx.test", ""},
		{"//-_.!~*'()&=+$", "%2F%2F-_.!~*'()&=+$@sipx.test", ""},
		{"müller", "m%C3%BCller@sipx.test", ""},
		{"%3f", "%253f@sipx.test", ""},
		{"", "", ""},
		{"@", "", ""},
		{"@h", "", ""},
		{"x@", "", ""},
		{"x@y@z", "", ""},
		{"sip:", "", ""},
		{"a:b@h", "", ""},
		{"a;b", "", ""},
		{"a?b", "", ""},
		{"<a>", "", ""},
		{"a\r\nb", "", ""},
		{"a\x00", "", ""},
		{"a\x7f", "", ""},
		{"a\u0085", "", ""},
		{"a\u202Eb", "", ""}, // right-to-left override
		{"a\u2028b", "", ""},
		{"a\xffb", "", ""},
		{"a\xc0\xafb", "", ""}, // overlong
		{strings.Repeat("a", 256), strings.Repeat("a", 256) + "@sipx.test", ""},
		{strings.Repeat("a", 257), "", ""},
		{"x@h:5060", "", ""},
		{"x@[::1]:5060", "", ""},
		{"x@::1", "", ""},
		{"x@[::1", "", ""},
		{"x@[]", "", ""},
		{"x@[1.2.3.4]", "", ""},
		{"x@[fe80::1%25eth0]", "", ""},
		{"x@[fe80::1%eth0]", "", ""},
		{"x@h;transport=tcp", "", ""},
		{"x@h?Replaces=y", "", ""},
		{"x@h h", "", ""},
		{"x@h/..", "", ""},
		{"x@h_h", "", ""},
		{"x@-h", "", ""},
		{"x@h-.de", "", ""},
		{"x@h..de", "", ""},
		{"x@.de", "", ""},
		{"x@.", "", ""},
		{"x@bücher.de", "", ""},
		{"x@2130706433", "", ""},
		{"x@0x7f.1", "", ""},
		{"x@127.1", "", ""},
		{"x@300.1.1.1", "", ""},
		{"x@1.2.3.04", "", ""},
		{"x@" + strings.Repeat("a", 64) + ".de", "", ""},
	} {
		p, ok := parseParty(tt.in, "sipx.test")
		if ok != (tt.wire != "") {
			t.Errorf("%q: %+v, %v", tt.in, p, ok)
			continue
		}
		if !ok {
			continue
		}
		if tt.aor == "" {
			tt.aor = tt.wire
		}
		if p.wire() != tt.wire || p.aor() != tt.aor {
			t.Errorf("%q: %s, %s; want %s, %s", tt.in, p.wire(), p.aor(), tt.wire, tt.aor)
		}
	}
}

// A number of the world stays one though its + was not escaped in a query, and
// blanks around a user, as they are pasted, are no part of him: neither in whom
// the phones call nor in the name of the call.
func TestBlanksAndThePlusOfUsers(t *testing.T) {
	for _, tt := range []struct{ target, agent, calling, called string }{
		{"201/202%20", "201@sipx.test", "201@sipx.test", "202@sipx.test"},
		{"%20201/%C2%A0202", "201@sipx.test", "201@sipx.test", "202@sipx.test"},
		{"201/+4930123456", "201@sipx.test", "201@sipx.test", "+4930123456@sipx.test"},
		{"201/%2B4930123456", "201@sipx.test", "201@sipx.test", "+4930123456@sipx.test"},
		{"201/202?agent=%20200%20", "200@sipx.test", "201@sipx.test", "202@sipx.test"},
		{"201/202?agent=200+", "200@sipx.test", "201@sipx.test", "202@sipx.test"},
		{"sip:201%20@sipx.test/202?agent=alice+", "200@sipx.test", "201@sipx.test", "202@sipx.test"},
	} {
		b := newBench(t, Config{}, nil)
		if w := b.do("POST", "/callcontroller/"+tt.target); w.Code != 200 {
			t.Errorf("%s: %d %s", tt.target, w.Code, w.Body)
			continue
		}
		if s := b.last(t); s.Key.Agent != tt.agent || s.CallingUser != tt.calling || s.CalledUser != tt.called || s.Key.Called != tt.called {
			t.Errorf("%s: %s has %s call %s, key %s", tt.target, s.Key.Agent, s.CallingUser, s.CalledUser, s.Key)
		}
	}
	for target, want := range map[string]string{
		"+4930123456":           "+4930123456@sipx.test",
		"%2B4930123456":         "+4930123456@sipx.test",
		"tel:+49-30-123456":     "+4930123456@sipx.test",
		"sip:+4930@pbx.example": "+4930@pbx.example",
		"%20+4930123456":        "+4930123456@sipx.test",
		"%20203+":               "203@sipx.test",
	} {
		b := newBench(t, Config{}, nil)
		b.refuse = nil
		w := b.do("POST", "/callcontroller/201/202?action=transfer&target="+target)
		if len(b.orders) != 1 || !strings.HasSuffix(b.orders[0], " by "+want) {
			t.Errorf("target=%s: %d %s, %q, want %s", target, w.Code, w.Body, b.orders, want)
		}
	}
	b := newBench(t, Config{}, nil)
	if w := b.do("POST", "/callcontroller/201/202?agent=+201"); w.Code != 403 || !strings.Contains(w.Body.String(), "credentials for +201<") {
		t.Errorf("an agent who is a number: %d %s", w.Code, w.Body)
	}
}

// FuzzParty checks that whatever a stranger writes, a SIP parser finds the
// same user and host in our URI and nothing else.
func FuzzParty(f *testing.F) {
	for _, s := range []string{"201", "bob@evil", "bob;transport=tcp", "bob?Route=x", "%3f", "sips:x", "tel:+1-2", "<>", `"a,b"`, "x@[::1]", "a\r\nb", "müller@h.de", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseParty(text, "sipx.test")
		if !ok {
			return
		}
		for _, wire := range []string{p.wire(), p.aor()} {
			var uri sip.Uri
			if err := sip.ParseUri("sip:"+wire, &uri); err != nil {
				t.Fatalf("%q: %q: %v", text, wire, err)
			}
			user, err := url.PathUnescape(uri.User)
			if err != nil || user != p.user || !utf8.ValidString(user) {
				t.Errorf("%q: %q: user %q, %v", text, wire, user, err)
			}
			if uri.Password != "" || uri.Port != 0 || len(uri.UriParams) > 0 || len(uri.Headers) > 0 || uri.Wildcard {
				t.Errorf("%q: %q: %+v", text, wire, uri)
			}
			if strings.ContainsAny(wire, "\r\n\t <>\"?;,\\") || len(wire) > 3*maxUser+254 {
				t.Errorf("%q: %q", text, wire)
			}
		}
		again, ok := parseParty(p.user+"@"+p.host, "other.test")
		if scheme := strings.ToLower(p.user); ok && again != p && !strings.HasPrefix(scheme, "sip:") && !strings.HasPrefix(scheme, "tel:") {
			t.Errorf("%q: %+v, read again %+v", text, p, again)
		}
	})
}

// FuzzRequest sends any target through the router and the gate.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"201/202?timeout=1", "a%2Fb/%00?subject=%0d%0a&confpin=%zz", "201/202?agent=%3Cb%3E&action=transfer&target=x"} {
		f.Add(s)
	}
	b := newBench(f, Config{}, nil)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := url.ParseRequestURI("/callcontroller/" + text); err != nil || strings.ContainsAny(text, " \r\n#") {
			return
		}
		for _, method := range []string{"GET", "POST"} {
			w := b.do(method, "/callcontroller/"+text)
			switch w.Code {
			case 200, 400, 403, 404, 406:
			default:
				t.Errorf("%s %q: %d %s", method, text, w.Code, w.Body)
			}
		}
		for _, spec := range b.specs {
			for _, s := range []string{spec.CallingUser, spec.CalledUser, spec.Subject, spec.ConfPIN, spec.AgentName, spec.Key.String()} {
				if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) {
					t.Errorf("%q: %q goes on the wire", text, s)
				}
			}
			end(spec)
		}
		b.specs = nil
	})
}

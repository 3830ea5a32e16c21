package order

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
		p, ok := ParseParty(tt.in, "sipx.test")
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
		if p.Wire() != tt.wire || p.AOR() != tt.aor {
			t.Errorf("%q: %s, %s; want %s, %s", tt.in, p.Wire(), p.AOR(), tt.wire, tt.aor)
		}
	}
}

// FuzzParty checks that whatever a stranger writes, a SIP parser finds the
// same user and host in our URI and nothing else.
func FuzzParty(f *testing.F) {
	for _, s := range []string{"201", "bob@evil", "bob;transport=tcp", "bob?Route=x", "%3f", "sips:x", "tel:+1-2", "<>", `"a,b"`, "x@[::1]",
		"a\r\nb", "müller@h.de", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := ParseParty(text, "sipx.test")
		if !ok {
			return
		}
		for _, wire := range []string{p.Wire(), p.AOR()} {
			var uri sip.Uri
			if err := sip.ParseUri("sip:"+wire, &uri); err != nil {
				t.Fatalf("%q: %q: %v", text, wire, err)
			}
			user, err := url.PathUnescape(uri.User)
			if err != nil || user != p.User || !utf8.ValidString(user) {
				t.Errorf("%q: %q: user %q, %v", text, wire, user, err)
			}
			if uri.Password != "" || uri.Port != 0 || len(uri.UriParams) > 0 || len(uri.Headers) > 0 || uri.Wildcard {
				t.Errorf("%q: %q: %+v", text, wire, uri)
			}
			if strings.ContainsAny(wire, "\r\n\t <>\"?;,\\") || len(wire) > 3*MaxUser+254 {
				t.Errorf("%q: %q", text, wire)
			}
		}
		again, ok := ParseParty(p.User+"@"+p.Host, "other.test")
		if scheme := strings.ToLower(p.User); ok && again != p && !strings.HasPrefix(scheme, "sip:") && !strings.HasPrefix(scheme, "tel:") {
			t.Errorf("%q: %+v, read again %+v", text, p, again)
		}
	})
}

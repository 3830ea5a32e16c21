package callcontroller

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// An international number stays one though its + was not escaped in a query.
// Blanks around a user, as people paste them, are no part of him: neither in
// whom the phones call nor in the name of the call.
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

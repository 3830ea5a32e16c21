package dialout

import (
	"strings"
	"testing"
)

func TestNumbersAreReadInTheirInternationalForm(t *testing.T) {
	for _, tt := range []struct{ text, country, want string }{
		{"+493055500200", "", "+493055500200"},
		{"+49 (30) 555-00200", "", "+493055500200"},
		{"+49 (0)30 55500200", "", "+493055500200"},
		{"030 55500200", "DE", "+493055500200"},
		{"00441632960123", "DE", "+441632960123"},
		{"030 55500200", "", ""},
		{"+49", "", ""},
		{"+0123456789", "", ""},
		{"+" + strings.Repeat("4", 200), "", ""},
		{"+4930555002001234567", "", ""},
		{"+49305550\r\nX: y", "", ""},
		{"+49 30 55500200 ext. 5", "", ""},
		{"+49305550;user=phone", "", ""},
		{"+49305550@evil.test", "", ""},
		{"+４９３０５５５００２００", "", ""},
		{"0800FLOWERS", "US", ""},
		{" 4930123456", "DE", ""}, // +4930…, or a number in Germany that begins so
		{" 4930123456", "", ""},
		{"+4930123456 ", "", "+4930123456"},
		{"", "DE", ""},
	} {
		got, why := parseNumber(tt.text, tt.country)
		if got != tt.want || (why == nil) != (tt.want != "") {
			t.Errorf("parseNumber(%q, %q) = %q, %v, want %q", tt.text, tt.country, got, why, tt.want)
		}
		if why != nil && why.code != badNumber {
			t.Errorf("%q: code %s", tt.text, why.code)
		}
	}
}

func TestCallersThatWouldInjectAreRefused(t *testing.T) {
	for caller, ok := range map[string]bool{"": true, "+493012345": true, "200": true, "+49\r\nX: y": false, "+49\n": false, "Bob": false,
		"+":                     false,
		strings.Repeat("1", 21): false, "<sip:x@y>": false, " 1": false} {
		if why := checkCaller(caller, false); (why == nil) != ok {
			t.Errorf("%q: %v, want ok %v", caller, why, ok)
		} else if why != nil && strings.ContainsAny(why.message, "\r\n<") {
			t.Errorf("%q is repeated: %q", caller, why.message)
		}
	}
	if checkCaller("+4930", true) == nil {
		t.Error("a caller and anonymous together are taken")
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		"sip:conf@pbx.test":                   "sip:conf@pbx.test",
		"sips:conf@pbx.test:5061":             "sips:conf@pbx.test:5061",
		"sip:1@[2001:db8::1];transport=tcp":   "sip:1@[2001:db8::1];transport=tcp",
		"conf@pbx.test":                       "sip:conf@pbx.test",
		"200":                                 "sip:200@sipx.test",
		"a%20b":                               "sip:a%20b@sipx.test",
		"sip:conf@pbx.test?Replaces=x":        "",
		"sip:conf@pbx.test\r\nX: y":           "",
		"<sip:conf@pbx.test>":                 "",
		"sip:conf":                            "",
		"sip:pbx.test":                        "",
		"http://pbx.test/":                    "",
		"tel:+4930":                           "",
		"sip:a%0d%0aX@pbx.test":               "",
		"sip:a%00@pbx.test":                   "",
		"a%0A":                                "",
		"sip:a%7F@pbx.test":                   "",
		"sip:a%20b%C3%A9@pbx.test":            "sip:a%20b%C3%A9@pbx.test",
		"conf@pbx.test@evil.test":             "",
		"sip:c@pbx.test;a=\"b\"":              "",
		"":                                    "",
		"sip:" + strings.Repeat("a", 400):     "",
		"sip:user:password@pbx.test":          "",
		"sip:{token}@pbx.test":                "",
		"sip:x@pbx.test;maddr=198.51.100.1 a": "",
	} {
		if got, err := targetURI(text, "sipx.test"); got != want || (err == nil) != (want != "") {
			t.Errorf("targetURI(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := targetURI("200", ""); err == nil {
		t.Error("a user without a domain is taken")
	}
	if got := roomTarget("sip:{token}@c.test;x={roomid}", "42"); got != "sip:42@c.test;x=42" {
		t.Error(got)
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"sip:conf@pbx.test", "200", "a@b", "sip:1@[::1]:5060;transport=tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		uri, err := targetURI(text, "sipx.test")
		if err == nil && (strings.ContainsAny(uri, "\r\n <>\"\x00") || !strings.Contains(uri, "@")) {
			t.Errorf("%q becomes %q", text, uri)
		}
		if number, why := parseNumber(text, "DE"); why == nil && !e164.MatchString(number) {
			t.Errorf("%q becomes %q", text, number)
		}
	})
}

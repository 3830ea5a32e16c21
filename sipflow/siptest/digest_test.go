package siptest

import (
	"fmt"
	"strings"
	"testing"
)

// The verifier judges the digest of others, so it must find each fault.
func TestVerifierFindsEachFault(t *testing.T) {
	for name, tt := range map[string]struct {
		change []string // old, new
		noQOP  bool
		method string
		want   string // part of the error, "" for none
	}{
		"correct":           {},
		"without qop":       {noQOP: true},
		"another method":    {method: "BYE", want: "response is wrong"},
		"another uri":       {change: []string{`uri="sip:a@b"`, `uri="sip:x@b"`}, want: "not the Request-URI"},
		"another realm":     {change: []string{`realm="r"`, `realm="q"`}, want: "realm is"},
		"unknown user":      {change: []string{`username="u"`, `username="v"`}, want: "unknown"},
		"foreign nonce":     {change: []string{`nonce="n"`, `nonce="m"`}, want: "never issued"},
		"changed cnonce":    {change: []string{`cnonce="`, `cnonce="x`}, want: "response is wrong"},
		"unknown hash":      {change: []string{`algorithm=MD5`, `algorithm=MD4`}, want: "unknown"},
		"qop dropped":       {change: []string{`qop=auth, `, ``}, want: "qop is"},
		"short nc":          {change: []string{`nc=00000001`, `nc=1`}, want: "response is wrong"},
		"Basic, not Digest": {change: []string{`Digest `, `Basic `}, want: "not digest"},
	} {
		t.Run(name, func(t *testing.T) {
			a := authenticator{realm: "r", noQOP: tt.noQOP, password: func(user string) (string, bool) { return "p", user == "u" }}
			value, err := answerChallenge(a.challenges("n", false), "u", "p", "INVITE", "sip:a@b")
			if err != nil {
				t.Fatal(err)
			}
			value = strings.NewReplacer(tt.change...).Replace(value)
			_, err = a.verify(value, firstOf(tt.method, "INVITE"), "sip:a@b")
			if got := fmt.Sprint(err); (tt.want == "") != (err == nil) || !strings.Contains(got, tt.want) {
				t.Errorf("%s: %v", value, err)
			}
			if err != nil || tt.noQOP {
				return
			}
			if _, err := a.verify(value, "INVITE", "sip:a@b"); err == nil {
				t.Error("the same nonce count passes twice")
			}
		})
	}
}

// The example of RFC 2617 §3.5.
func TestDigestResponse(t *testing.T) {
	got, err := digestResponse("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life", "GET", "/dir/index.html",
		"dcd98b7102dd2f0e8b11d0f600bfb0c093", "00000001", "0a4f113b", "auth")
	if err != nil || got != "6629fae49393a05397450978507c4ef1" {
		t.Errorf("%s %v", got, err)
	}
}

//go:build interop

package interop

import (
	"strings"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The commands that operators have in their scripts, with the real curl.
func TestCurlAuthenticates(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	s := l.Service()

	for _, test := range []struct {
		name string
		args []string
	}{
		{"Basic over TLS", []string{"-u", "201:123", s.Secure + call201to202}},
		{"Basic over TLS, by alias", []string{"-u", "bob:123", s.Secure + call201to202 + "?agent=bob"}},
		{"Digest over TLS", []string{"--digest", "-u", "201:123", s.Secure + call201to202}},
		{"any over TLS", []string{"--anyauth", "-u", "201:123", s.Secure + call201to202}},
		{"Digest over HTTP", []string{"--digest", "-u", "201:123", s.Plain + call201to202}},
		{"Digest over HTTP, with a query", []string{"--digest", "-u", "201:123", s.Plain + call201to202 + "?timeout=30&subject=a%20b"}},
		{"any over HTTP", []string{"--anyauth", "-u", "201:123", s.Plain + call201to202}},
		{"Digest over HTTP, with a body", []string{"--digest", "-u", "201:123", "-d", "x", s.Plain + call201to202}},
		{"trusted peer over TLS", []string{"--interface", lab.TrustedIP, s.Secure + call201to202}},
		{"trusted peer over HTTP", []string{"--interface", lab.TrustedIP, s.Internal + call201to202}},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			calls := len(calling.Calls())
			if a := s.Curl(append([]string{"-X", "POST"}, test.args...)...); a.Code != 200 || a.Body != "" {
				t.Fatalf("got %d %q, want 200 without a body", a.Code, a.Body)
			}
			calling.AwaitNthCall(calls)
			calling.HangUp()
			calling.AwaitOnHook()
		})
	}
}

func TestCurlIsRefused(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	calling := l.Phone("201", lab.PhoneConfig{Manual: true})
	s := l.Service()

	for _, test := range []struct {
		name string
		args []string
		code int
		body string // "": any
	}{
		{"no PIN over TLS", []string{s.Secure + call201to202}, 401, ""},
		{"no PIN over HTTP", []string{s.Plain + call201to202}, 401, ""},
		{"wrong PIN over TLS", []string{"-u", "201:124", s.Secure + call201to202}, 401, "pin mismatch"},
		{"wrong PIN by Digest", []string{"--digest", "-u", "201:124", s.Plain + call201to202}, 401, "pin mismatch"},
		{"unknown user", []string{"-u", "299:123", s.Secure + "/callcontroller/299/202"}, 401, "pin mismatch"},
		{"Basic over HTTP", []string{"-u", "201:123", s.Plain + call201to202}, 401, ""},
		{"other agent's PIN", []string{"-u", "202:123", s.Secure + call201to202}, 401, ""},
		{"trusted peer at the PIN listener", []string{"--interface", lab.TrustedIP, s.Plain + call201to202}, 401, ""},
		{"stranger at the trusted listener", []string{s.Internal + call201to202}, 403, ""},
		{"stranger who says he is inside", []string{"-H", "Host: 127.0.0.1:6667", "-H", "X-Forwarded-For: " + lab.TrustedIP,
			s.Secure + call201to202}, 401, ""},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			a := s.Curl(append([]string{"-X", "POST"}, test.args...)...)
			if a.Code != test.code || test.body != "" && a.Body != test.body {
				t.Errorf("got %d %q, want %d %q", a.Code, a.Body, test.code, test.body)
			}
		})
	}
	if calls := calling.Calls(); len(calls) > 0 {
		t.Errorf("the phone was called: %+v", calls)
	}
}

// A real registrar takes the password, and check knows the ports of the service
// that runs beside it.
func TestCheckTriesPasswordsAtTheProxyBesideTheService(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	l.Phone("201", lab.PhoneConfig{Manual: true})
	s := l.Service()
	for _, test := range []struct {
		name  string
		flags []string
		fine  bool
		want  []string
	}{
		{"right", []string{"--user", "201", "--user", "209"}, true, []string{"runs as process ", "which the running service has",
			"takes his SIP password; 1 phone registered", "takes his SIP password; 0 phones registered"}},
		{"another realm", []string{"--user", "201", "--realm", "elsewhere"}, false,
			[]string{`it asks for the realm "sipx.test", configured is "elsewhere": set realm: sipx.test`}},
		{"another domain", []string{"--domain", "sipx.tset"}, true,
			[]string{"answers OPTIONS for sip:sipx.tset with 403 Relaying denied: does it serve that domain?"}},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			out, fine := s.Command("check", nil, test.flags...)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %s:\n%s", want, out)
				}
			}
			if fine != test.fine {
				t.Errorf("no problem: %v:\n%s", fine, out)
			}
		})
	}
}

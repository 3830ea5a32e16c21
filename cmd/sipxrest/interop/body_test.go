//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"testing"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// The real curl sends bodies that nobody needs, and takes the reset of a stream
// for a failure though it has its answer: none may come, one request after the
// other, whatever the answer is.
func TestCurlSendsBodiesOverHTTP2(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	s := l.Service()
	big := filepath.Join(l.Dir, "big")
	if err := os.WriteFile(big, make([]byte, 3_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	const path = "/callcontroller/209/202" // nobody has 209's phone: the calls are over at once
	for _, test := range []struct {
		name  string
		times int
		code  int
		args  []string
	}{
		{"form", 200, 200, []string{"-d", "x=y", "--interface", lab.TrustedIP, s.Secure + path}},
		{"multipart form", 100, 200, []string{"-F", "foo=bar", "--interface", lab.TrustedIP, s.Secure + path}},
		{"a byte", 100, 200, []string{"-d", "x", "--interface", lab.TrustedIP, s.Secure + path}},
		{"no PIN", 50, 401, []string{"-d", "x", s.Secure + path}},
		{"unknown agent", 50, 403, []string{"-d", "x", "--interface", lab.TrustedIP, s.Secure + path + "?agent=299"}},
		{"unknown path", 50, 404, []string{"-d", "x", s.Secure + "/nowhere"}},
		{"another method", 50, 405, []string{"-X", "PUT", "-d", "x", s.Secure + "/"}},
		{"an escape that is none", 50, 400, []string{"-d", "x", s.Secure + path + "%u20AC"}},
		{"too long", 3, 413, []string{"--data-binary", "@" + big, s.Secure + path}},
	} {
		l.Run(t, test.name, func(t *testing.T) {
			for range test.times {
				if a := s.Curl(append([]string{"--http2"}, test.args...)...); a.Code != test.code {
					t.Fatalf("got %d %q, want %d", a.Code, a.Body, test.code)
				}
			}
		})
	}
}

// Versions of HTTP that are older than the server's TLS.
func TestCurlSpeaksEveryHTTP(t *testing.T) {
	t.Parallel()
	l := lab.Start(t, nil)
	s := l.Service()
	for _, version := range []string{"--http1.0", "--http1.1", "--http2"} {
		l.Run(t, version, func(t *testing.T) {
			for _, args := range [][]string{
				{s.Secure + "/"},
				{"-d", "x", "--interface", lab.TrustedIP, s.Secure + "/callcontroller/209/202"},
				{"-H", "Expect: 100-continue", "-d", "x", "--interface", lab.TrustedIP, s.Secure + "/callcontroller/209/202"},
			} {
				if a := s.Curl(append([]string{version}, args...)...); a.Code != 200 {
					t.Errorf("%v: %d %q", args, a.Code, a.Body)
				}
			}
			if a := s.Curl(version, "-d", "x", s.Secure+"/callcontroller/209/%u20AC"); a.Code != 400 {
				t.Errorf("an escape that is none: %d %q", a.Code, a.Body)
			}
		})
	}
}

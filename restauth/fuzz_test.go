package restauth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"sipxrest/internal/digest"
)

// FuzzUsers: a file with users is read or refused. Who is read can be named in
// a SIP message.
func FuzzUsers(f *testing.F) {
	for _, s := range []string{
		`- {user: "201", aliases: [bob, b.b], name: "Bob \"B\"", identity: 201@sipx.test, pin: "SECRET", sip-password: SECRET}`,
		"- user: 202\n  pin-hash: 0123456789abcdef0123456789abcdef\n- &a {user: x}\n- *a\n", "- {user: a, user: b}", "users: []",
		"--- []\n--- []\n",
		"201:sipx.test:0123456789abcdef0123456789abcdef\nx", "201:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n\r\x00:$2y$05$",
		"<items type=\"validusers\"><item><identity>sip:1@x</identity></item></items>", "\ufeff- {user: \"2\\n01\"}", "- {user: a, ha1: SECRET}",
		"- {user: a, pin: *SECRET}", "- {user: a, pin: &SECRET }", "- {user: a, pin: !SECRET }", "- {user: a, name: \"\\r\\nTo: x\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := func(name string, data []byte) ([]entry, error) { return readYAML(name, data, nil) }
		if kind := htKindOf("users", []byte(text)); kind != noHT {
			read = func(name string, data []byte) ([]entry, error) {
				entries, _, err := readHT(name, data, kind, "sipx.test")
				return entries, err
			}
		}
		if isXML("users.yaml", []byte(text)) {
			read = func(name string, data []byte) ([]entry, error) {
				entries, _, err := readXML(name, data)
				return entries, err
			}
		}
		entries, err := read("users.yaml", []byte(text))
		if err != nil && (entries != nil || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\r\x00")) {
			t.Fatalf("%d users, and %q", len(entries), err)
		}
		for _, e := range entries {
			for _, s := range append([]string{e.Name, e.Identity, e.DisplayName}, e.Aliases...) {
				if strings.ContainsAny(s, "\r\n\x00") || !utf8.ValidString(s) {
					t.Fatalf("%q goes on the wire", s)
				}
			}
			if e.Name == "" || strings.ContainsAny(e.Name, ":@<>\" ") {
				t.Fatalf("a user %q", e.Name)
			}
		}
	})
}

// FuzzOrigin: who is asking follows from header fields only where they count: a
// stranger is no trusted peer, whatever they say, and a foreign page is refused.
func FuzzOrigin(f *testing.F) {
	for _, s := range [][4]string{
		{"https://evil.example", "cross-site", "127.0.0.1", "sipx.test"}, {"null", "same-origin", "192.0.2.1, 10.0.0.1:99", "x"},
		{"http://example.com", "", "[::1]:80", "example.com"}, {"", "none", ",,", ""}, {"https://portal.example", "cross-site",
			"::ffff:127.0.0.1", "a:b"},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	g := newGate(f, Config{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, AllowedOrigins: []string{"https://portal.example"}})
	h := g.on(TrustedOrPIN, true)
	f.Fuzz(func(t *testing.T, origin, site, forwarded, host string) {
		r := request("POST", "/x")
		r.Host = host
		r.Header = http.Header{"Origin": {origin}, "Sec-Fetch-Site": {site}, "X-Forwarded-For": strings.Split(forwarded, "\n"),
			"Forwarded": {"for=" + forwarded}}
		res := do(h, r)
		if res.StatusCode != 401 && res.StatusCode != 403 && res.StatusCode != 421 {
			t.Errorf("a stranger is answered %s", res.Status)
		}
		if site == "cross-site" && origin != "https://portal.example" && res.StatusCode != 403 {
			t.Errorf("a foreign page is answered %s", res.Status)
		}
		if o := res.Header.Get("Access-Control-Allow-Origin"); o != "" && o != "https://portal.example" {
			t.Errorf("%q may read the answer", o)
		}
	})
}

// FuzzAuthorization: whatever stands in Authorization, only the PIN lets in.
func FuzzAuthorization(f *testing.F) {
	f.Add(`Digest username="201", realm="sipx.test", nonce="n", uri="/x", response="r", algorithm=MD5, qop=auth, nc=0000000a, cnonce="c"`)
	f.Add(`Digest a=`)
	f.Add(`digest username="\`)
	f.Add(`Basic MjAxOjEyMw==`)
	f.Add(`Digest ,,,`)
	g := newGate(f, Config{})
	h := g.on(TrustedOrPIN, true)
	f.Fuzz(func(t *testing.T, header string) {
		if c, err := digest.ParseAuthorization(header); err == nil {
			if count, err := c.Count(); err == nil && (c.Username == "" || c.URI == "" || c.QOP != "" && count == 0) {
				t.Errorf("incomplete: %+v", c)
			}
		}
		g.clock.advance(guessWindow)
		r := with(request("POST", "/x"), header)
		_, secret, _ := r.BasicAuth()
		if res := do(h, r); res.StatusCode != 401 && secret != "123" {
			t.Errorf("status %d", res.StatusCode)
		}
	})
}

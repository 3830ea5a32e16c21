package restauth

import (
	"net/http"
	"testing"
)

// Attack 8.
func TestForeignPagesAreRefused(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24"), Names: []string{"pbx.example"},
		AllowedOrigins: []string{"https://Portal.example:443", "http://intranet:8080"}})
	h := g.on(TrustedOrPIN, true)
	for _, c := range []struct {
		name, method, origin, site string
		status                     int
	}{
		{"no browser", "POST", "", "", 200},
		{"allowed page", "POST", "https://portal.example", "cross-site", 200},
		{"allowed page with a port", "DELETE", "http://intranet:8080", "", 200},
		{"foreign page", "POST", "https://evil.example", "", 403},
		{"foreign page deletes", "DELETE", "https://evil.example", "", 403},
		{"foreign page with an odd method", "MKCOL", "https://evil.example", "", 403},
		{"foreign page that claims otherwise", "POST", "https://evil.example", "same-origin", 403},
		{"allowed host, other scheme", "POST", "http://portal.example", "", 403},
		{"allowed host, other port", "POST", "https://portal.example:8443", "", 403},
		{"allowed host as a prefix", "POST", "https://portal.example.evil.example", "", 403},
		{"sandboxed page", "POST", "null", "", 403},
		{"form without Origin", "POST", "", "cross-site", 403},
		{"own page over plain HTTP", "POST", "http://pbx.example:6666", "cross-site", 403},
		{"typed in by the user", "POST", "", "none", 200},
		{"foreign page reads", "GET", "https://evil.example", "cross-site", 401}, // in vain: no CORS header
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(c.method, "/x")
			r.RemoteAddr = "192.0.2.9:1"
			r.Host = "pbx.example:6666"
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			res := do(h, r)
			wantStatus(t, res, c.status)
			allowed := ""
			if c.status == 200 {
				allowed = c.origin
			}
			if got := res.Header.Get("Access-Control-Allow-Origin"); got != allowed {
				t.Errorf("Access-Control-Allow-Origin %q, want %q", got, allowed)
			}
			if got := res.Header.Values("Vary"); len(got) != 1 || got[0] != "Origin" {
				t.Errorf("Vary %q", got)
			}
		})
	}
}

func TestForeignPageMayNotOpenAWebSocket(t *testing.T) {
	h := newGate(t, Config{AllowPinless: true}).on(PIN, true)
	r := request("GET", "/x?agent=203")
	r.Header.Set("Upgrade", "websocket")
	wantStatus(t, do(h, r), 200)
	r.Header.Set("Origin", "https://evil.example")
	wantStatus(t, do(h, r), 403)
}

// A page whose name leads to our address has our origin, in the browser of a
// trusted peer: it may ask, but has to know the PIN.
func TestSameOriginGrantsNoTrust(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24"), Names: []string{"*"}})
	for policy, status := range map[Policy]int{TrustedOrPIN: 401, TrustedOnly: 403} {
		r := request("POST", "/x")
		r.RemoteAddr = "192.0.2.9:1"
		r.Host = "rebound.example:6666"
		r.Header.Set("Origin", "https://rebound.example:6666")
		wantStatus(t, do(g.on(policy, true), r), status)
	}
	r := request("POST", "/x")
	r.Host = "pbx.example:6666"
	r.Header.Set("Origin", "https://pbx.example:6666")
	r.SetBasicAuth("201", "123")
	wantStatus(t, do(g.on(TrustedOrPIN, true), r), 200)
}

func TestPreflight(t *testing.T) {
	g := newGate(t, Config{AllowedOrigins: []string{"https://portal.example"}})
	reached := false
	h := g.Listener(PIN, true, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	status := 0
	ask := func(origin string) http.Header {
		r := request("OPTIONS", "/callcontroller/201/202")
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization")
		res := do(h, r)
		status = res.StatusCode
		return res.Header
	}
	got := ask("https://portal.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "https://portal.example",
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods":     "GET, HEAD, POST, PUT, DELETE",
		"Access-Control-Allow-Headers":     "Authorization, Content-Type, If-None-Match",
		"Access-Control-Expose-Headers":    "ETag, Retry-After, Sipxrest-Call-Id, WWW-Authenticate",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if reached {
		t.Error("a preflight went on to the service")
	}
	if got := ask("https://evil.example"); got.Get("Access-Control-Allow-Origin") != "" || status != 403 || reached {
		t.Errorf("a foreign page's preflight was answered %d: %v", status, got)
	}
}

package console

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// get asks the console by TLS.
func get(method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.TLS = &tls.ConnectionState{}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w.Result()
}

func TestOnlyItsOwnPathsAreTheConsoles(t *testing.T) {
	for path, want := range map[string]bool{"/console": true, "/console/": true, "/console/main.js": true,
		"/consoles": false, "/": false, "/v1/console": false} {
		if got := Owns(httptest.NewRequest("GET", path, nil)); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

func TestWhatTheConsoleAnswers(t *testing.T) {
	for _, test := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/console/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/console/", 200, "text/html; charset=utf-8"},
		{"GET", "/console/main.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/console/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/console/texts.json", 200, "application/json"},
		{"GET", "/console/icon.svg", 200, "image/svg+xml"},
		{"GET", "/console", 308, "text/plain; charset=utf-8"},
		{"GET", "/console/none.js", 404, "text/plain; charset=utf-8"},
		{"GET", "/console/../console.go", 404, "text/plain; charset=utf-8"},
		{"GET", "/console/page", 404, "text/plain; charset=utf-8"},
		{"POST", "/console/", 405, "text/plain; charset=utf-8"},
		{"DELETE", "/console", 405, "text/plain; charset=utf-8"},
	} {
		resp := get(test.method, test.path)
		h := resp.Header
		if resp.StatusCode != test.status || h.Get("Content-Type") != test.kind {
			t.Errorf("%s %s: %d %s", test.method, test.path, resp.StatusCode, h.Get("Content-Type"))
		}
		csp := h.Get("Content-Security-Policy")
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
			!strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s %s: %v", test.method, test.path, h)
		}
		if allow := h.Get("Allow"); test.status == 405 && allow != "GET, HEAD" {
			t.Errorf("%s %s: allowed is %q", test.method, test.path, allow)
		}
	}
	if to := get("GET", "/console").Header.Get("Location"); to != "console/" {
		t.Errorf("the console is said to be at %q", to)
	}
}

func TestABrowserAsksForAFileAgainAndGetsItOnce(t *testing.T) {
	first := get("GET", "/console/main.js")
	etag := first.Header.Get("ETag")
	if etag == "" || first.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("%v", first.Header)
	}
	for header, want := range map[string]int{etag: 304, `"other", W/` + etag: 304, "*": 304, `"other"`: 200} {
		if got := get("GET", "/console/main.js", "If-None-Match", header).StatusCode; got != want {
			t.Errorf("If-None-Match %s: %d", header, got)
		}
	}
	if other := get("GET", "/console/api.js").Header.Get("ETag"); other == etag {
		t.Error("two files have the same ETag")
	}
}

// PINs and keys are entered in the page, so it is never sent where they would be read
// on their way.
func TestThereIsNoConsoleWithoutTLS(t *testing.T) {
	w := httptest.NewRecorder()
	New().ServeHTTP(w, httptest.NewRequest("GET", "/console/", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "TLS") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

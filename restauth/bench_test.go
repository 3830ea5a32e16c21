package restauth

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func BenchmarkAuthorizeTrusted(b *testing.B) {
	g := newGate(b, Config{Trusted: prefix("192.0.2.0/24")})
	h := g.Listener(TrustedOrPIN, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Authorize(w, r, "201") }))
	r := request("POST", "/callcontroller/201/202")
	r.RemoteAddr = "192.0.2.9:1000"
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkAuthorizeDigest(b *testing.B) {
	g := newGate(b, Config{})
	h := g.on(PIN, false)
	r := request("POST", "/callcontroller/201/202?timeout=30")
	headers := make([]string, 4096)
	check := g.Listener(PIN, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Authorize(w, r, "201") }))
	check.(*listener).scope = h.(*listener).scope
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(headers) == 0 {
			b.StopTimer()
			nonce := challenged(b, h)
			for i := range headers {
				headers[i] = digestFor(r, nonce, i+1).String()
			}
			b.StartTimer()
		}
		check.ServeHTTP(w, with(r, headers[i%len(headers)]))
	}
}

// Each request is refused: the cost of a stranger's guess.
func BenchmarkAuthorizeChallenge(b *testing.B) {
	h := newGate(b, Config{}).on(PIN, false)
	r := request("POST", "/callcontroller/201/202")
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}

func TestTrustedPeerCostsFourAllocations(t *testing.T) {
	g := newGate(t, Config{Trusted: prefix("192.0.2.0/24")})
	h := g.Listener(TrustedOrPIN, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Authorize(w, r, "201") }))
	r := request("POST", "/callcontroller/201/202")
	r.RemoteAddr = "192.0.2.9:1000"
	w := httptest.NewRecorder()
	least := 1000.0 // of some tries: what other goroutines allocate meanwhile counts too
	for range 10 {
		least = min(least, testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }))
	}
	if least > 4 { // two of them are the agent, who is made of his packed form
		t.Errorf("%v allocations", least)
	}
}

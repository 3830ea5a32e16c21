package api

import (
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipxrest/event"
	"sipxrest/restauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(suite{m}) }

var update = flag.Bool("update", false, "rewrite the golden files")

const testDomain = "sipx.test"

const testUsers = `
- {user: "201", name: Bob Caller, aliases: [bob], pin: "123"}
- {user: "202", name: Alice Called, pin: "456"}
- {user: "203", name: Carol, pin: "789"}
`

// rig is an API behind a gate with listeners of every sort.
type rig struct {
	*API
	t     *testing.T
	users *restauth.Users
	gate  *restauth.Gate
	keys  map[string]string // texts by name

	pin, trusting, plain, strict http.Handler // listeners: PIN with TLS, trusted-or-pin with TLS, PIN without, trusted only
}

// testKeys are the keys of a rig: name, scopes, agents.
var testKeys = []Key{
	{Name: "crm", Scopes: []Scope{CallsRead, CallsWrite, EventsRead, UsersRead, CDRsRead, Check, WebhooksCall}, Agents: []string{"201"}},
	{Name: "all", Scopes: []Scope{Admin}, Agents: []string{"*"}},
	{Name: "reader", Scopes: []Scope{CallsRead, EventsRead}, Agents: []string{"*"}},
	{Name: "hooks", Scopes: []Scope{WebhooksManage}, Agents: []string{"*"}},
	{Name: "old", Scopes: []Scope{Admin}, Agents: []string{"*"}, Expires: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)},
	{Name: "office", Scopes: []Scope{Admin}, Agents: []string{"*"}, Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
}

func newRig(t *testing.T, bus *event.Bus, change ...func(*Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(file, []byte(testUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: testDomain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	gate, err := restauth.New(restauth.Config{Domain: testDomain, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		AllowedOrigins: []string{"https://portal.example"}, Refuse: Refuse, CORS: CORS}, users, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gate.Stop)
	st := &rig{t: t, users: users, gate: gate, keys: map[string]string{}}
	var kept []Key
	for _, k := range testKeys {
		text, made := NewKey(k.Name)
		k.SHA256 = made.SHA256
		st.keys[k.Name] = text
		kept = append(kept, k)
	}
	keys, err := OpenKeys("", kept)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Domain: testDomain, Keys: keys, RequestsPerUser: 1_000_000}
	for _, f := range change {
		f(&cfg)
	}
	st.API = New(cfg, bus, nil, users, gate, log)
	st.pin = gate.Listener(restauth.PIN, true, st.API)
	st.trusting = gate.Listener(restauth.TrustedOrPIN, true, st.API)
	st.plain = gate.Listener(restauth.PIN, false, st.API)
	st.strict = gate.Listener(restauth.TrustedOnly, true, st.API)
	return st
}

// Who asks.
func asUser(name string) func(*http.Request) {
	pins := map[string]string{"201": "123", "202": "456", "203": "789"}
	return func(r *http.Request) { r.SetBasicAuth(name, pins[name]) }
}

func asNobody(*http.Request) {}

func asTrusted(r *http.Request) { r.RemoteAddr = "192.0.2.9:1000" }

func (st *rig) withKey(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+st.keys[name]) }
}

// as JSON, of a request.
func body(text string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(text))
		r.ContentLength = int64(len(text))
		r.Header.Set("Content-Type", "application/json")
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// ask sends a request to the listener with PINs and TLS.
func (st *rig) ask(method, target string, how ...func(*http.Request)) *httptest.ResponseRecorder {
	return st.askAt(st.pin, method, target, how...)
}

func (st *rig) askAt(h http.Handler, method, target string, how ...func(*http.Request)) *httptest.ResponseRecorder {
	st.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr, r.Host = "198.51.100.7:1000", testDomain
	for _, f := range how {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	st.note(r, w)
	return w
}

// problem reads a problem, and looks at what every one has.
func problemOf(t *testing.T, w *httptest.ResponseRecorder) *Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	if w.Header().Get("Content-Type") != "application/problem+json" || p.Status != w.Code || p.RequestID == "" ||
		p.RequestID != w.Header().Get("X-Request-Id") || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	return &p
}

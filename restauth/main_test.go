package restauth

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testDomain = "sipx.test"
	testUsers  = `
- {user: "201", name: Bob Caller, aliases: [bob], pin: "123", sip-password: "123"}
- {user: "202", name: Alice Called, aliases: [alice], pin-hash: HASH}
- {user: "203", name: No Pin}
- {user: "204", name: Empty Pin, pin: ""}
- {user: "205", pin-hash: EMPTY}
`
	clearUsers = `
- {user: "201", aliases: [bob], pin: "123"}
- {user: "202", pin-hash-sha256: HASH256}
- {user: "203"}
`
)

// The hashes of the tests are computed here and not by the package.
func md5sum(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

func sha256sum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func writeUsers(t testing.TB, dir, yaml string) string {
	t.Helper()
	for old, hash := range map[string]string{
		"HASH256": sha256sum("202:sipx.test:456"), "HASH": md5sum("202:sipx.test:456"), "EMPTY": md5sum("205:sipx.test:"),
	} {
		yaml = regexp.MustCompile(old+`\b`).ReplaceAllString(yaml, hash)
	}
	file := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func loadUsers(t testing.TB, yaml string) *Users {
	t.Helper()
	users, err := LoadUsers(UsersConfig{Domain: testDomain, Files: []string{writeUsers(t, t.TempDir(), yaml)}})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// clock is a time that only the test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.offset.Load()))
}
func (c *clock) advance(d time.Duration)   { c.offset.Add(int64(d)) }
func prefix(text string) []netip.Prefix    { return []netip.Prefix{netip.MustParsePrefix(text)} }
func discard() *slog.Logger                { return slog.New(slog.DiscardHandler) }
func withUsers(yaml string) func(*harness) { return func(h *harness) { h.yaml = yaml } }

// harness is a gate with a fake clock.
type harness struct {
	*Gate
	clock *clock
	yaml  string
	log   *slog.Logger
}

func newGate(t testing.TB, cfg Config, options ...func(*harness)) *harness {
	t.Helper()
	h := &harness{clock: &clock{}, yaml: testUsers, log: discard()}
	for _, option := range options {
		option(h)
	}
	cfg.Domain = testDomain
	cfg.Now = h.clock.now
	gate, err := New(cfg, loadUsers(t, h.yaml), h.log)
	if err != nil {
		t.Fatal(err)
	}
	h.Gate = gate
	return h
}

// agentHandler authorizes for the agent= of the query, as the call
// controller does, and responds with who it was.
func (h *harness) agentHandler(authorize func(http.ResponseWriter, *http.Request, string) (*User, bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent := "201"
		if a := r.URL.Query().Get("agent"); a != "" {
			agent = a
		}
		user, ok := authorize(w, r, agent)
		switch {
		case !ok:
		case user == nil:
			fmt.Fprint(w, "no such agent")
		default:
			fmt.Fprint(w, "hello "+user.Name)
		}
	})
}

func (h *harness) on(p Policy, tls bool) http.Handler {
	return h.Listener(p, tls, h.agentHandler(h.Authorize))
}

// request is a request of 198.51.100.7, a stranger.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "198.51.100.7:40000"
	return r
}

func do(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func wantStatus(t testing.TB, res *http.Response, status int) {
	t.Helper()
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d; body %q", res.StatusCode, status, body(t, res))
	}
}

func wantBody(t testing.TB, res *http.Response, status int, text string) {
	t.Helper()
	wantStatus(t, res, status)
	if got := body(t, res); got != text {
		t.Fatalf("body %q, want %q", got, text)
	}
}

var nonceParam = regexp.MustCompile(`nonce="([^"]*)"`)

func nonceOf(t testing.TB, res *http.Response) string {
	t.Helper()
	m := nonceParam.FindStringSubmatch(res.Header.Get("WWW-Authenticate"))
	if m == nil {
		t.Fatalf("no nonce in %v", res.Header)
	}
	return m[1]
}

// challenged asks h for a nonce.
func challenged(t testing.TB, h http.Handler) string {
	t.Helper()
	res := do(h, request("GET", "/callcontroller/201/202"))
	wantStatus(t, res, 401)
	return nonceOf(t, res)
}

// proof is a Digest header whose parts a test may spoil before it is
// computed (the fields) or after (by replacing in the text).
type proof struct {
	user, pin, realm, nonce, method, uri string
	nc, cnonce, qop, algorithm           string
	ha1                                  string // instead of user, realm and pin
}

func digestFor(r *http.Request, nonce string, nc int) proof {
	return proof{
		user: "201", pin: "123", realm: testDomain, nonce: nonce, method: r.Method, uri: r.RequestURI,
		nc: fmt.Sprintf("%08x", nc), cnonce: "abcdef", qop: "auth",
	}
}

func (d proof) response() string {
	hash := md5sum
	if d.algorithm == "SHA-256" {
		hash = sha256sum
	}
	ha1 := d.ha1
	if ha1 == "" {
		ha1 = hash(d.user + ":" + d.realm + ":" + d.pin)
	}
	ha2 := hash(d.method + ":" + d.uri)
	if d.qop == "" {
		return hash(ha1 + ":" + d.nonce + ":" + ha2)
	}
	return hash(ha1 + ":" + d.nonce + ":" + d.nc + ":" + d.cnonce + ":" + d.qop + ":" + ha2)
}

func (d proof) String() string {
	text := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`,
		d.user, d.realm, d.nonce, d.uri, d.response())
	if d.qop != "" {
		text += fmt.Sprintf(`, qop=%s, nc=%s, cnonce="%s"`, d.qop, d.nc, d.cnonce)
	}
	if d.algorithm != "" {
		text += ", algorithm=" + d.algorithm
	}
	return text
}

// with is r with the Authorization header.
func with(r *http.Request, authorization string) *http.Request {
	r.Header.Set("Authorization", authorization)
	return r
}

package callcontroller

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipxrest/restauth"
	"sipxrest/sipflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const usersYAML = `
- {user: "200", name: Alice Agent, aliases: [alice], pin: "4711", sip-password: "secret200"}
- {user: "201", name: "Bob \"B\" Caller", aliases: [bob], pin: "123", ha1: "0cc175b9c0f1b6a831c399e269772661"}
- {user: "202", pin: "9"}
- {user: "j#o", pin: "9"}
- {user: "anna.müller", aliases: [anna], pin: "9"}
`

// trustedPeer is where httptest.NewRequest comes from.
const trustedPeer = "192.0.2.1:1234"

// bench is a controller behind a real router and gate, whose calls are
// recorded instead of placed.
type bench struct {
	*Controller
	gate    *restauth.Gate
	handler http.Handler // as on a listener with trusted-or-pin

	mu     sync.Mutex
	specs  []sipflow.Spec
	orders []string // "transfer KEY to KEY by TARGET", "hang up KEY"
	fail   error    // of the next calls
	refuse error    // of the next orders
}

func newBench(t testing.TB, cfg Config, log io.Writer) *bench {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(file, []byte(usersYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Domain = "sipx.test"
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: cfg.Domain, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	if log == nil {
		log = io.Discard
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	gate, err := restauth.New(restauth.Config{
		Domain:  cfg.Domain,
		Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")},
	}, users, logger)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Controller: New(cfg, nil, users, gate, logger), gate: gate, refuse: sipflow.ErrNoCall}
	b.admit = func(string) error { return nil }
	b.place = func(_ context.Context, spec sipflow.Spec, _ sipflow.Flow) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fail != nil {
			return b.fail
		}
		b.specs = append(b.specs, spec)
		spec.Observe(&sipflow.Event{Kind: sipflow.Placed, Key: spec.Key, At: time.Now()})
		return nil
	}
	ordered := func(what string) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.orders = append(b.orders, what)
		return b.refuse
	}
	b.transfer = func(_ context.Context, key, to sipflow.Key, target string, trusted bool) error {
		if !trusted {
			target += ", not trusted"
		}
		return ordered("transfer " + key.String() + " to " + to.String() + " by " + target)
	}
	b.hangUp = func(_ context.Context, key sipflow.Key) error { return ordered("hang up " + key.String()) }
	b.handler = gate.Listener(restauth.TrustedOrPIN, true, b.Handler())
	return b
}

// do sends a request as a trusted peer.
func (b *bench) do(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// last is the spec of the call that was placed last.
func (b *bench) last(t testing.TB) sipflow.Spec {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.specs) == 0 {
		t.Fatal("no call was placed")
	}
	return b.specs[len(b.specs)-1]
}

func (b *bench) placed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.specs)
}

// progress reports a line of the call of spec.
func progress(spec sipflow.Spec, method, text string) {
	spec.Observe(&sipflow.Event{Kind: sipflow.Progress, Key: spec.Key, At: time.Now(), CallID: "id@192.0.2.9", Method: method, Text: text})
}

func end(spec sipflow.Spec) {
	spec.Observe(&sipflow.Event{Kind: sipflow.Ended, Key: spec.Key, At: time.Now()})
}

func xmlError(code, text string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<processing-status xmlns="http://www.sipfoundry.org/sipX/schema/xml/call-status-00-00">
<error-flag>ERROR</error-flag>
<error-code>` + code + `</error-code>
<error-text>` + text + `</error-text>
</processing-status>
`
}

const (
	emptyLines = `<?xml version="1.0" encoding="UTF-8"?>
<status-lines xmlns="http://www.sipfoundry.org/sipX/schema/xml/call-status-00-00">
</status-lines>
`
	emptyDialogs = `<?xml version="1.0" encoding="UTF-8"?>
<dialogs xmlns="http://www.sipfoundry.org/sipX/schema/xml/call-status-00-00">
</dialogs>
`
)

// texts are the status-line texts of a document.
func texts(doc string) []string {
	var out []string
	for _, part := range strings.Split(doc, "<status-line>")[1:] {
		text, _, _ := strings.Cut(part, "</status-line>")
		out = append(out, text)
	}
	return out
}

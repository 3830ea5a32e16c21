package dialout

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"sipxrest/restauth"
	"sipxrest/talk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testUsers = `
- {user: "201", name: Bob Caller, aliases: [bob], pin: "123"}
- {user: "202", name: Alice Called, pin: "456"}
`

// stage is a Service whose SIP side the test plays.
type stage struct {
	*Service
	t    *testing.T
	log  *logText
	http http.Handler

	mu     sync.Mutex
	fail   error         // of the next calls
	stuck  chan struct{} // makes placing them last; set before there are any
	placed []*testLine
}

// testLine is a call that was placed.
type testLine struct {
	placement

	mu     sync.Mutex
	hungUp error
	digits string
	muted  []talk.Flags
	fail   error // of digits and mute
}

// A logText keeps what was logged.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func testGateway() Gateway { return Gateway{URI: "sip:gw.test"} }

// newStage makes a service without Talk, unless change adds it.
func newStage(t *testing.T, change func(*Config), more ...talk.Handler) *stage {
	t.Helper()
	cfg := Config{Gateway: testGateway(), Domain: "sipx.test", Target: "conference"}
	if change != nil {
		change(&cfg)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(file, []byte(testUsers), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: "sipx.test", Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	st := &stage{t: t, log: &logText{}}
	log := slog.New(slog.NewTextHandler(st.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	gate, err := restauth.New(restauth.Config{Domain: "sipx.test", Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, users, log)
	if err != nil {
		t.Fatal(err)
	}
	if st.Service, err = New(cfg, nil, users, gate, log); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Servers) > 0 {
		users := append([]talk.Handler{st.Signals()}, more...)
		client, err := talk.New(talk.Config{Servers: cfg.Servers, Dial: cfg.Dial, Handler: talk.Handlers(users...)}, log)
		if err != nil {
			t.Fatal(err)
		}
		st.Connect(client)
	}
	st.place = st.lift
	st.http = gate.Listener(restauth.TrustedOrPIN, true, st.Handler())
	return st
}

// lift takes the place of a switchboard.
func (st *stage) lift(ctx context.Context, o *placement) (*line, error) {
	if st.stuck != nil {
		select {
		case <-st.stuck:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fail != nil {
		return nil, st.fail
	}
	l := &testLine{placement: *o}
	st.placed = append(st.placed, l)
	return &line{
		hangUp: func(why error) {
			l.mu.Lock()
			l.hungUp = why
			l.mu.Unlock()
		},
		dtmf: func(_ context.Context, digit byte) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.digits += string(digit)
			return l.fail
		},
		mute: func(_ context.Context, f talk.Flags) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.muted = append(l.muted, f)
			return l.fail
		},
	}, nil
}

// one returns the only call that was placed.
func (st *stage) one() *testLine {
	st.t.Helper()
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.placed) != 1 {
		st.t.Fatalf("%d calls were placed, want 1:\n%s", len(st.placed), st.log)
	}
	return st.placed[0]
}

// lines are all calls that were placed so far.
func (st *stage) lines() []*testLine {
	synctest.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.placed)
}

func (l *testLine) rings()    { l.report(happening{kind: itRings}) }
func (l *testLine) connects() { l.report(happening{kind: itConnects}) }
func (l *testLine) ends(by party, err error) {
	l.report(happening{itEnds, ending{by: by, err: err}})
}

func (l *testLine) wasHungUp() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hungUp
}

// runs has the service run until the test's end, or the function's call.
func (st *stage) runs() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	connected, disconnect := context.WithCancel(context.Background())
	done, served := make(chan error, 1), make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	go func() {
		if st.client != nil {
			served <- st.client.Serve(connected)
		}
		close(served)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			err := <-done
			disconnect()
			if err = errors.Join(err, <-served); err != nil {
				st.t.Error(err)
			}
		})
	}
	st.t.Cleanup(stop)
	return stop
}

// ask sends a request as user 201; change may make it another's.
func (st *stage) ask(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "198.51.100.7:1000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.SetBasicAuth("201", "123")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	st.http.ServeHTTP(w, r)
	return w
}

func asAlice(r *http.Request)   { r.SetBasicAuth("202", "456") }
func asTrusted(r *http.Request) { r.Header.Del("Authorization"); r.RemoteAddr = "192.0.2.1:1" }
func asNobody(r *http.Request)  { r.Header.Del("Authorization") }

const callJSON = `{"type":"dialout","dialout":{"number":"+493055500200","options":{}}}`

// call has user 201 call a number and returns the call's id.
func (st *stage) call() string {
	st.t.Helper()
	w := st.ask("POST", "/dialout", callJSON)
	var e envelope
	if err := json.Unmarshal(w.Body.Bytes(), &e); w.Code != 200 || err != nil || e.Dialout.CallID == "" {
		st.t.Fatalf("POST: %d %s", w.Code, w.Body)
	}
	return e.Dialout.CallID
}

// statusOf returns what GET says of a call.
func (st *stage) statusOf(id string) string {
	st.t.Helper()
	synctest.Wait()
	w := st.ask("GET", "/dialout/"+id, "")
	return strings.TrimSpace(w.Body.String())
}

// data returns the lines of a stream that begin with data.
func data(r io.Reader) (list []string) {
	for s := bufio.NewScanner(r); s.Scan(); {
		if d, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			list = append(list, d)
		}
	}
	return list
}

package app

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sipxrest/api"
	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/sipflow/siptest"
)

// get asks as user 201, or with a key, and returns the answer with its body.
func (s *service) get(target, key string) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequest("GET", s.Addrs()[0]+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.SetBasicAuth("201", "123"); key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(text)
}

// A call by the call controller is in the stream, up to its end by the service's, and
// so is the end of the stream. What was told is there after a restart.
func TestAStreamTellsOfCallsByOtherDoorsUntilTheServiceEnds(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	cfg := watched(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	r, err := http.NewRequest("GET", s.Addrs()[0]+"/v1/events?include=change", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("201", "123")
	r.Header.Set("Accept", "text/event-stream")
	stream, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	next := func() (kind, data string) {
		t.Helper()
		for data == "" {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("the stream ended: %v\n%s", err, s.log)
			}
			if text, ok := strings.CutPrefix(line, "event: "); ok {
				kind = strings.TrimSpace(text)
			}
			data, _ = strings.CutPrefix(line, "data: ")
			if !strings.HasPrefix(line, "data: ") {
				data = ""
			}
		}
		return kind, data
	}
	if resp := s.do("POST", s.Addrs()[0]+apptest.CallPath, "201", "123"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	kind, data := next()
	if kind != "call.created" || !strings.Contains(data, `"source":"callcontroller"`) {
		t.Errorf("%s %s", kind, data)
	}
	for kind != "leg.ringing" {
		kind, data = next()
	}
	if open := s.metric("sipxrest_stream_open"); open != 1 {
		t.Errorf("%v streams are open", open)
	}
	if code, _ := s.watch("/readyz"); code != 200 {
		t.Errorf("/readyz: %d", code)
	}
	s.signals <- syscall.SIGTERM
	s.signals <- syscall.SIGTERM
	var kinds []string
	for kind != "stream.closing" {
		kind, data = next()
		kinds = append(kinds, kind)
	}
	if all := strings.Join(kinds, " "); !strings.HasPrefix(all, "system.draining") || !strings.HasSuffix(all, "call.ended stream.closing") ||
		!strings.Contains(data, `"retry_ms"`) {
		t.Errorf("%s %s", all, data)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

func TestWithoutTheAPINothingOfItRuns(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := watched(t, addr)
	cfg.API.Enabled = false
	s := start(t, cfg)
	for _, path := range []string{"/v1/me", "/v1/events", "/v1"} {
		if resp, text := s.get(path, ""); resp.StatusCode != 404 || strings.Contains(text, "problem") || resp.Header.Get("X-Request-Id") != "" {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "events.db")); err == nil {
		t.Error("there is a file with events")
	}
	if _, text := s.watch("/metrics"); strings.Contains(text, "sipxrest_api_") || strings.Contains(text, "sipxrest_events") {
		t.Error("metrics of the API are shown")
	}
	if s.bus != nil || s.api != nil {
		t.Error("it was opened")
	}
}

// A key that the command line makes is taken by the running service, and refused once
// it is revoked.
func TestKeysAreTakenAndRefusedWhileItRuns(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	text, k := api.NewKey("crm")
	k.Scopes, k.Agents = []api.Scope{api.CallsRead}, []string{"201"}
	if resp, body := s.get("/v1/me", text); resp.StatusCode != 401 {
		t.Errorf("%s %s", resp.Status, body)
	}
	file := s.cfg.KeysFile()
	change := func(f func([]api.Key) ([]api.Key, error)) {
		t.Helper()
		if err := api.ChangeKeys(file, f); err != nil {
			t.Fatal(err)
		}
	}
	until := func(code int) {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); ; {
			resp, body := s.get("/v1/me", text)
			if resp.StatusCode == code {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("%s %s", resp.Status, body)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	change(func(keys []api.Key) ([]api.Key, error) { return append(keys, k), nil })
	until(200)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	// A file that cannot be read changes nothing.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.log.WaitFor(t, "API keys stay as they were")
	until(200)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "api-keys.json") {
		t.Errorf("reload: %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	until(401)
}

// What a listener refuses before there is a request is a problem, too, under /v1.
func TestFaultsOfAListenerAreProblemsUnderTheAPI(t *testing.T) {
	s := startPlain(t)
	long := strings.Repeat("x", 70_000)
	for name, c := range map[string]struct{ request, code string }{
		"a long body": {"POST /v1/stream-tickets HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n" + long,
			"413 body_too_large"},
		"a long body of GET": {"GET /v1/me HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n" + long,
			"413 body_too_large"},
		"a long header": {"GET /v1/me HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n", "431 header_too_large"},
		"a bad escape":  {"GET /v1/calls/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400 invalid_request"},
		"no host":       {"GET /v1/me HTTP/1.1\r\n\r\n", "400 invalid_request"},
		"a bad chunk": {"POST /v1/stream-tickets?agent=201 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" +
			"Content-Type: application/json\r\n\r\nzz\r\n", "400 invalid_json"},
		"two lengths": {"GET /v1/me HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 invalid_request"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[1], "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		go func() { _, _ = io.WriteString(conn, c.request) }()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			conn.Close()
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		conn.Close()
		var p api.Problem
		if err := json.Unmarshal(text, &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" ||
			fmt.Sprint(resp.StatusCode, " ", p.Code) != c.code || p.RequestID == "" || p.RequestID != resp.Header.Get("X-Request-Id") {
			t.Errorf("%s: %s %v %s", name, resp.Status, resp.Header, text)
		}
	}
	// Other paths have their words as before.
	resp, err := s.client.Post(s.Addrs()[1]+apptest.CallPath, "text/plain", strings.NewReader(long))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 413 || !strings.Contains(string(text), "<") {
		t.Errorf("elsewhere: %s %s", resp.Status, text)
	}
}

// A handler that panics is our fault, in the words of the API, under the name that
// the log has.
func TestAPanicUnderTheAPIIsAProblem(t *testing.T) {
	log := apptest.NewLog()
	routes := web.Routes{{Owns: api.Owns, Fail: api.Fail}}
	h := web.Guard(routes, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "abc")
		panic("boom")
	}), slog.New(slog.NewTextHandler(log, nil)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v1/calls", nil))
	var p api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 500 || p.Code != api.InternalError || p.RequestID != "abc" ||
		p.Dialled != api.DialledUnknown || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Streams need no HTTP/1: over HTTP/2 they are the same, and end with the service.
func TestAStreamOverHTTP2(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	cfg := testConfig(t, addr)
	cfg.Trusted = nil
	s := start(t, cfg)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest("GET", s.Addrs()[0]+"/v1/events?after=oldest&type=system.started", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("201", "123")
	r.Header.Set("Accept", "text/event-stream")
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Proto, resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() && lines.Text() != "event: system.started" {
	}
	s.signals <- syscall.SIGTERM
	for lines.Scan() && lines.Text() != "event: stream.closing" {
	}
	if lines.Text() != "event: stream.closing" {
		t.Errorf("it ended with %q, %v", lines.Text(), lines.Err())
	}
}

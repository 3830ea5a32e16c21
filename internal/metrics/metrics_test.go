package metrics

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

func TestAScrapeShowsWhatFamiliesSay(t *testing.T) {
	r := New(Build{"v1", "abc", "go1"})
	calls := Counter("sipxrest_test_total", "Calls, by colour.", "colour")
	now := Gauge("sipxrest_test_now", "Calls now.")
	took := Seconds("sipxrest_test_seconds", "Time, in seconds.")
	r.Add([]*Family{calls, now, took}, func(v Values) {
		v.Count(calls, 3, "red")
		v.Set(now, 2)
		v.Times(took, []time.Duration{time.Second, time.Minute}, []uint64{4, 2, 1}, 90*time.Second)
	})
	code, body := get(t, r.Handler(func() []string { return nil }), "GET", "/metrics")
	for _, line := range []string{
		`sipxrest_test_total{colour="red"} 3`, "sipxrest_test_now 2",
		`sipxrest_test_seconds_bucket{le="1"} 4`, `sipxrest_test_seconds_bucket{le="60"} 6`, `sipxrest_test_seconds_bucket{le="+Inf"} 7`,
		"sipxrest_test_seconds_sum 90", "sipxrest_test_seconds_count 7",
		`sipxrest_build_info{goversion="go1",revision="abc",version="v1"} 1`, "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}
	if code != 200 || t.Failed() {
		t.Errorf("%d\n%s", code, body)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	var why []string
	h := New(Build{}).Handler(func() []string { return why })
	ask := func(method, path string, wantCode int, wantBody string) {
		t.Helper()
		if code, body := get(t, h, method, path); code != wantCode || body != wantBody {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, code, body, wantCode, wantBody)
		}
	}
	ask("GET", "/healthz", 200, "ok\n")
	ask("HEAD", "/healthz", 200, "")
	ask("GET", "/readyz", 200, "ready\n")
	why = []string{"draining", "no proxy answers"}
	ask("GET", "/readyz", 503, "draining\nno proxy answers\n")
	ask("HEAD", "/readyz", 503, "")
	ask("GET", "/healthz", 200, "ok\n")
	ask("GET", "/elsewhere", 404, "here are /metrics, /healthz and /readyz\n")
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "EVIL"} {
		ask(method, "/metrics", 405, "only GET and HEAD are answered here\n")
	}
}

func TestHTTPRequestsAreCountedByMethodAndCode(t *testing.T) {
	var n HTTP
	h := n.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(404)
		case "/early":
			w.WriteHeader(103)
			w.WriteHeader(201)
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(200)
		}
	}))
	for _, req := range [][2]string{{"GET", "/"}, {"GET", "/missing"}, {"GET", "/missing"}, {"POST", "/early"}, {"X-MADE-UP", "/"},
		{"GET", "/stream"}} {
		get(t, h, req[0], req[1])
	}
	r := New(Build{})
	r.AddHTTP(&n)
	_, body := get(t, r.Handler(nil), "GET", "/metrics")
	for _, line := range []string{
		`sipxrest_http_requests_total{code="200",method="GET"} 2`, `sipxrest_http_requests_total{code="404",method="GET"} 2`,
		`sipxrest_http_requests_total{code="201",method="POST"} 1`, `sipxrest_http_requests_total{code="200",method="other"} 1`,
		`sipxrest_http_request_duration_seconds_count{method="GET"} 3`, "sipxrest_http_requests_in_flight 0",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "MADE-UP") {
		t.Error("a client has made a label")
	}
	if problems, err := testutil.GatherAndLint(r.Gatherer()); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// Streams and WebSockets go through the counters as if those were not there.
func TestACountedAnswerCanBeFlushedAndHijacked(t *testing.T) {
	var n HTTP
	counted := n.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flush" {
			io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n\r\n")
		rw.Flush()
		c.Close()
	}))
	over := make(chan struct{}) // the server does not wait for connections that were taken over
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted.ServeHTTP(w, r)
		if r.URL.Path != "/flush" {
			close(over)
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/flush", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); line != "first\n" {
		t.Errorf("read %q before the end", line)
	}
	if now := n.now.Load(); now != 1 {
		t.Errorf("%d in flight", now)
	}
	cancel()
	resp.Body.Close()

	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, _ := io.ReadAll(c)
	c.Close()
	if !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
		t.Errorf("%q", answer)
	}
	http.DefaultClient.CloseIdleConnections()
	<-over
	if got := n.answers[0][101-minCode].Load(); got != 1 {
		t.Errorf("101 counted %d times", got)
	}
}

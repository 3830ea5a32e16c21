package app

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.yaml.in/yaml/v4"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow"
	"sipxrest/sipflow/siptest"
	"sipxrest/talk"
)

// watched is a configuration with a metrics listener.
func watched(t *testing.T, proxy string) config.Config {
	cfg := testConfig(t, proxy)
	cfg.Metrics.Listen = "127.0.0.1:0"
	return cfg
}

func (s *service) watch(path string) (int, string) {
	s.t.Helper()
	resp, err := s.client.Get(s.MetricsURL() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// metric is the value of one line of a scrape, -1 when it is not there.
func (s *service) metric(name string) float64 {
	s.t.Helper()
	_, body := s.watch("/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	return -1
}

// becomes waits until a metric has a value.
func (s *service) becomes(name string, want float64) {
	s.t.Helper()
	for until := time.Now().Add(time.Minute); s.metric(name) != want; {
		if time.Now().After(until) {
			s.t.Fatalf("%s is %v, want %v", name, s.metric(name), want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAScrapeTellsOfCalls(t *testing.T) {
	p, addr := apptest.Phone(t, siptest.Script{Ring: 20 * time.Millisecond,
		Refer: siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"}}}})
	s := start(t, watched(t, addr))
	api := s.Addrs()[1]
	if got := s.metric(`sipxrest_calls_total{flow="refer",outcome="connected"}`); got != 0 {
		t.Errorf("before any call %v were connected", got)
	}
	if resp := s.do("POST", api+apptest.CallPath); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	s.becomes(`sipxrest_calls_total{flow="refer",outcome="connected"}`, 1)
	p.SetScript(siptest.Script{Status: 486})
	other := strings.Replace(apptest.CallPath, "/202", "/203", 1) // the first one's phone has just been referred
	s.do("POST", api+other)
	s.becomes(`sipxrest_calls_total{flow="refer",outcome="busy"}`, 1)
	p.SetScript(siptest.Script{NeverAnswer: true})
	s.do("POST", api+other)
	s.becomes("sipxrest_calls_active", 1)
	s.do("DELETE", api+other)
	s.becomes(`sipxrest_calls_total{flow="refer",outcome="hung_up_by_client"}`, 1)
	s.becomes("sipxrest_calls_active", 0)
	s.do("GET", s.Addrs()[0]+apptest.CallPath, "201", "wrong")
	s.do("EVIL", api+apptest.CallPath+"?x={label=\"made-up\"}")

	for name, want := range map[string]float64{
		`sipxrest_calls_placed_total{flow="refer"}`:                3,
		`sipxrest_call_setup_seconds_count{flow="refer"}`:          1,
		`sipxrest_call_answer_seconds_count{flow="refer"}`:         1,
		`sipxrest_sip_transactions_started_total{method="INVITE"}`: 3,
		`sipxrest_sip_transactions_started_total{method="REFER"}`:  1,
		`sipxrest_http_requests_total{code="200",method="POST"}`:   3,
		`sipxrest_http_requests_total{code="401",method="GET"}`:    -1, // trusted
		`sipxrest_http_requests_total{code="405",method="other"}`:  1,
		`sipxrest_records`:     2,
		`sipxrest_users`:       1,
		`sipxrest_ready`:       1,
		`sipxrest_calls_limit`: 20000,
		`sipxrest_sip_timeouts_total{kind="request"}`:                       0,
		`sipxrest_sip_malformed_total{transport="udp"}`:                     0,
		`sipxrest_sip_messages_total{direction="in",transport="websocket"}`: -1,
	} {
		if got := s.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := s.metric("sipxrest_tls_certificate_expiry_timestamp_seconds"); got < float64(time.Now().Unix()) {
		t.Errorf("the certificate expires at %v", got)
	}
	if _, body := s.watch("/metrics"); strings.Contains(body, "made-up") || strings.Contains(body, "EVIL") || strings.Contains(body, "201@") {
		t.Error("what a client wrote is in the metrics")
	}
}

func TestFailedLoginsAreCountedByReason(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := watched(t, addr)
	cfg.Trusted = nil
	cfg.HTTP[1].Auth = "pin"
	s := start(t, cfg)
	s.do("GET", s.Addrs()[0]+apptest.CallPath)
	s.do("GET", s.Addrs()[0]+apptest.CallPath, "201", "wrong")
	s.do("GET", s.Addrs()[0]+apptest.CallPath, "201", "123")
	s.do("GET", s.Addrs()[1]+apptest.CallPath, "201", "123")
	for reason, want := range map[string]float64{"no_credentials": 1, "wrong_pin": 1, "basic_in_clear": 1, "stale_nonce": 0,
		"too_many_guesses": 0} {
		if got := s.metric(`sipxrest_auth_failures_total{reason="` + reason + `"}`); got != want {
			t.Errorf("%s: %v, want %v", reason, got, want)
		}
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	a, err := New(testConfig(t, addr), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	problems, err := testutil.GatherAndLint(a.newMetrics().Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestReadyUntilItDrains(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{NeverAnswer: true})
	s := start(t, watched(t, addr))
	if code, body := s.watch("/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	s.do("POST", s.Addrs()[1]+apptest.CallPath)
	s.signals <- syscall.SIGTERM
	s.log.WaitFor(t, "shutting down")
	if code, body := s.watch("/readyz"); code != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("/readyz while draining: %d %s", code, body)
	}
	if code, _ := s.watch("/healthz"); code != 200 {
		t.Errorf("/healthz while draining: %d", code)
	}
	if got := s.metric("sipxrest_draining"); got != 1 {
		t.Errorf("sipxrest_draining is %v", got)
	}
	s.HangUp()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// A single proxy that does not answer makes the service unready, and ready
// again when it does; the reason says which.
func TestNotReadyWhileNoProxyAnswers(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := watched(t, silent.LocalAddr().String())
	cfg.SIP.Health = config.Health{Interval: time.Hour, Timeout: 100 * time.Millisecond}
	s := start(t, cfg)
	s.becomes(`sipxrest_sip_hops{state="down"}`, 1)
	code, body := s.watch("/readyz")
	if code != 503 || !strings.Contains(body, silent.LocalAddr().String()) || !strings.Contains(body, "no answer within 100ms") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	s.becomes("sipxrest_ready", 0)
}

func TestOneProxyThatAnswersIsEnough(t *testing.T) {
	down := sipflow.HopState{Proxy: "sip:a", Failure: "no answer"}
	for _, tt := range []struct {
		name string
		hops []sipflow.HopState
		why  int
	}{
		{"none is checked", nil, 0},
		{"all are down", []sipflow.HopState{down, down}, 2},
		{"one is up", []sipflow.HopState{down, {Up: true}, down}, 0},
	} {
		if why := allDown(tt.hops); len(why) != tt.why {
			t.Errorf("%s: %q", tt.name, why)
		}
	}
}

func TestProbesAreNotOnTheMainListeners(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	s := start(t, watched(t, addr))
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if resp := s.do("GET", s.Addrs()[1]+path); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestNothingIsWatchedByDefault(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	s := start(t, testConfig(t, addr))
	if url := s.MetricsURL(); url != "" {
		t.Errorf("metrics at %s", url)
	}
}

// Who asks twice for the same call has one, and no refusal. Who asks for one that
// no proxy takes is counted where the alert looks.
func TestARepeatedCallIsNoRefusalAndAnUnreachableOneIsSeen(t *testing.T) {
	_, addr := apptest.Phone(t,
		siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"}}}})
	s := start(t, watched(t, addr))
	for range 2 {
		if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
		s.becomes(`sipxrest_calls_total{flow="refer",outcome="connected"}`, 1)
	}
	for _, reason := range []string{"unreachable", "draining", "too_many_calls", "in_progress", "forbidden", "other"} {
		if got := s.metric(`sipxrest_calls_refused_total{reason="` + reason + `"}`); got != 0 {
			t.Errorf("%v calls are refused, for %s", got, reason)
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := watched(t, closed.Addr().String()+";transport=tcp")
	cfg.SIP.Listen = append(cfg.SIP.Listen, "tcp:127.0.0.1:0")
	closed.Close()
	s = start(t, cfg)
	if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 502 {
		t.Fatal(resp.Status)
	}
	s.becomes(`sipxrest_calls_total{flow="refer",outcome="unreachable"}`, 1)
}

var metricName = regexp.MustCompile(`\bsipxrest_[a-z][a-z0-9_]+`)

// Every metric that the alert rules and the pages name is shown, its labels too.
func TestAlertRulesNameMetricsThatExist(t *testing.T) {
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg := watched(t, addr)
	cfg.Dialout.Gateway.URI = "sip:" + addr // what only some have is shown too
	cfg.Dialout.Servers = []talk.Server{{URL: "https://signaling.test", Secret: "s",
		Backends: []talk.BackendConfig{{URL: "https://cloud.test/", SIPSecret: "s"}}}}
	cfg.Dialout.Audio.Enabled, cfg.Dialout.Audio.Address, cfg.Dialout.Audio.ICEPort = true, "127.0.0.1", 0
	cfg.Dialout.Audio.MediaAllow = []string{"127.0.0.0/8"}
	cfg.Phone.Enabled = true
	cfg.Dispatch.RulesDir = t.TempDir()
	cfg.CDR.Postgres = "host=" + t.TempDir()                                 // nobody is there
	cfg.Cluster.NATS, cfg.Cluster.Node = []string{"nats://127.0.0.1:1"}, "a" // nor there
	a, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var n int
	shown := map[string]bool{}
	h := a.requests.Wrap(http.NotFoundHandler()) // so that there is one of each
	r, _ := http.NewRequest("GET", "/", nil)
	h.ServeHTTP(discard{}, r)
	families, err := a.newMetrics().Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]bool{}
	for _, f := range families {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			shown[f.GetName()+suffix] = true
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[fmt.Sprintf("%s=%q", l.GetName(), l.GetValue())] = true
			}
		}
	}
	files, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../../packaging/sipxrest.rules.yml", "../../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if n++; !shown[name] {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
		for _, m := range regexp.MustCompile(`sipxrest_[a-z0-9_]+\{([^}]*)\}`).FindAllStringSubmatch(string(text), -1) {
			for _, l := range regexp.MustCompile(`[a-z]+="[^"]*"`).FindAllString(m[1], -1) {
				if !labels[l] {
					t.Errorf("%s asks for %s, which is not there", file, l)
				}
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d metrics are named", n)
	}
}

// discard is an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// The rules have the form that Prometheus reads, and say what to do.
func TestAlertRulesAreComplete(t *testing.T) {
	text, err := os.ReadFile("../../../packaging/sipxrest.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var names []string
	unreachable := ""
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Expr == "" || r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" ||
				r.Annotations["description"] == "" {
				t.Errorf("incomplete: %+v", r)
			}
			if slices.Contains(names, r.Alert) {
				t.Errorf("%s is there twice", r.Alert)
			}
			names = append(names, r.Alert)
			if r.Alert == "SipxrestUnreachable" {
				unreachable = r.Expr
			}
		}
	}
	if len(names) < 5 {
		t.Errorf("%d alerts", len(names))
	}
	// Calls come to nothing in both ways when their proxies cannot be reached.
	for _, counter := range []string{`sipxrest_calls_refused_total{reason="unreachable"}`, `sipxrest_calls_total{outcome="unreachable"}`} {
		if !strings.Contains(unreachable, counter) {
			t.Errorf("SipxrestUnreachable does not look at %s: %s", counter, unreachable)
		}
	}
}

func TestAMetricsAddressThatIsTakenIsNamed(t *testing.T) {
	taken, addr := apptest.Phone(t, siptest.Script{})
	defer taken.Close()
	cfg := watched(t, addr)
	first := start(t, cfg)
	cfg = watched(t, addr)
	cfg.Metrics.Listen = strings.TrimPrefix(first.MetricsURL(), "http://")
	if a, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("%v", err)
		a.Close()
	}
}

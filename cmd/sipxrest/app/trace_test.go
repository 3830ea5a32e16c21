package app

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"sipxrest/cmd/sipxrest/apptest"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/sipflow/siptest"
)

// A call is one trace at the receiver, and what should not be in it is not.
func TestACallIsTraced(t *testing.T) {
	var mu sync.Mutex
	var names []string
	var all strings.Builder
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		all.WriteString(m.String())
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					names = append(names, s.Name)
				}
			}
		}
	}))
	defer receiver.Close()
	_, addr := apptest.Phone(t, siptest.Script{Challenge: siptest.Challenge{Methods: []sip.RequestMethod{"INVITE"}, Realm: "sipx.test",
		Password: "123"},
		Refer: siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"}}}})
	cfg := watched(t, addr)
	cfg.Trace.Endpoint = receiver.URL
	s := start(t, cfg)
	if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath+"?confpin=471147", "201", "secret-pin"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	s.becomes(`sipxrest_calls_total{flow="refer",outcome="connected"}`, 1)
	s.signals <- syscall.SIGTERM
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"POST /callcontroller/{calling}/{called}", "call", "INVITE", "REFER"} {
		if n := strings.Count(strings.Join(names, "\n")+"\n", want+"\n"); n != 1 {
			t.Errorf("%d spans %s in %q", n, want, names)
		}
	}
	for _, secret := range []string{"471147", "secret-pin", "Digest", "nonce"} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s is in the trace", secret)
		}
	}
}

// A receiver that is away is told of once; calls and the end go on as always.
func TestAReceiverThatIsAwayCostsNoCalls(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, addr := apptest.Phone(t,
		siptest.Script{Refer: siptest.Refer{Notify: []siptest.Notify{{Line: "SIP/2.0 200 OK", State: "terminated;reason=noresource"}}}})
	cfg := watched(t, addr)
	cfg.Trace.Endpoint = gone.URL
	s := start(t, cfg)
	for range 3 {
		if resp := s.do("POST", s.Addrs()[1]+apptest.CallPath); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	s.signals <- syscall.SIGTERM
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestTracingIsChecked(t *testing.T) {
	for endpoint, want := range map[string]string{"127.0.0.1:4318": "want the URL of an OTLP receiver",
		"http://u:p@x": "OTEL_EXPORTER_OTLP_HEADERS"} {
		cfg := testConfig(t, "127.0.0.1:5060")
		cfg.Trace.Endpoint = endpoint
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "trace.endpoint: "+want) && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	if _, err := config.Load(config.Source{Set: []config.Setting{{Flag: "--set", Key: "trace.sample", Value: "10"}}}); err == nil ||
		!strings.Contains(err.Error(), "0.1 for a tenth") {
		t.Errorf("%v", err)
	}
}

// Whoever has an outbound proxy may have a domain that is not in DNS.
func TestADomainThatIsNotInDNSBringsAdvice(t *testing.T) {
	cfg := testConfig(t, "192.0.2.7:5060")
	if got := adviceFor(&cfg); !strings.Contains(got, "trusted: [192.0.2.7]") {
		t.Error(got)
	}
	for _, proxy := range []string{"sip:127.0.0.1:5060", "sip:127.0.0.2", "sip:[::1]:5060", "sip:[::ffff:127.0.0.1]", "sip:localhost",
		"sip:0.0.0.0"} {
		// Everybody on the machine would be let in without a PIN.
		cfg.SIP.OutboundProxy = []string{proxy}
		if got := adviceFor(&cfg); !strings.Contains(got, "trusted: [192.0.2.1]") || !strings.Contains(got, "loopback") {
			t.Errorf("%s: %s", proxy, got)
		}
	}
	cfg.SIP.OutboundProxy = nil
	if got := adviceFor(&cfg); got != "" {
		t.Error(got)
	}
	_, addr := apptest.Phone(t, siptest.Script{})
	cfg = testConfig(t, addr)
	cfg.Trusted = []string{config.WordDomain}
	cfg.DNS.Servers = []string{"127.0.0.1:1"}
	log := apptest.NewLog()
	a, err := New(cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 3)
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(signals) }()
	log.WaitFor(t, "cannot be looked up")
	if !strings.Contains(log.String(), "trusted: [192.0.2.1]") { // the proxy is on loopback
		t.Errorf("no advice:\n%s", log)
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"sipxrest/sipflow"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// Where a time limit has ended a Close, the exporter goes on until it has
	// written what it was at. On a busy machine that takes longer than one look.
	var left error
	for range 60 {
		if left = goleak.Find(); left == nil {
			break
		}
	}
	if left != nil && code == 0 {
		fmt.Fprintln(os.Stderr, left)
		code = 1
	}
	os.Exit(code)
}

var key = sipflow.Key{Agent: "200@pbx.example", Calling: "201@pbx.example", Called: "202@pbx.example"}

// step is one event, so many seconds after the call was placed.
type step struct {
	at           int
	callID, what string // "INVITE SIP/2.0 180 Ringing"
}

// play has a POST place a call that goes through steps and ends with err.
func play(t *testing.T, tr *Tracer, header http.Header, method string, err error, steps ...step) {
	t.Helper()
	began := time.Now()
	var observe func(*sipflow.Event)
	passed := 0
	h := tr.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		observe = tr.Follow(r.Context(), method, func(*sipflow.Event) { passed++ })
		observe(&sipflow.Event{Kind: sipflow.Placed, Key: key, At: began})
	}), func(*http.Request) string { return "/callcontroller/{calling}/{called}" })
	r := httptest.NewRequest("POST", "/callcontroller/201/202?confpin=4711", nil)
	for name, values := range header {
		r.Header[name] = values
	}
	h.ServeHTTP(coded{httptest.NewRecorder()}, r)
	for _, s := range steps {
		what, text, _ := strings.Cut(s.what, " ")
		e := &sipflow.Event{Kind: sipflow.Progress, Key: key, At: began.Add(time.Duration(s.at) * time.Second), CallID: s.callID, Method: what,
			Text: text}
		if what == "DIALLED" {
			e.Kind, e.Dialog = sipflow.DialogChanged, &sipflow.Dialog{Remote: "sip:" + text, State: sipflow.Calling}
		}
		observe(e)
	}
	observe(&sipflow.Event{Kind: sipflow.Ended, Key: key, At: began.Add(time.Minute), Err: err})
	if passed != len(steps)+2 {
		t.Errorf("%d events were passed on, want %d", passed, len(steps)+2)
	}
}

type coded struct{ http.ResponseWriter }

func (coded) Code() int { return 200 }

func inMemory(options ...sdk.TracerProviderOption) (*Tracer, *tracetest.InMemoryExporter) {
	e := tracetest.NewInMemoryExporter()
	return newTracer("v1", append(options, sdk.WithSyncer(e))...), e
}

// ladder writes the spans as a tree: name, duration, attributes of interest.
func spansOf(t *testing.T, e *tracetest.InMemoryExporter) map[string]tracetest.SpanStub {
	t.Helper()
	byName := map[string]tracetest.SpanStub{}
	for _, s := range e.GetSpans() {
		name := s.Name
		for _, a := range s.Attributes {
			if a.Key == "sip.to" {
				name += " " + a.Value.AsString()
			}
		}
		if _, twice := byName[name]; twice {
			t.Errorf("span %s is there twice", name)
		}
		byName[name] = s
	}
	return byName
}

func attr(s tracetest.SpanStub, name string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

const post = "POST /callcontroller/{calling}/{called}"

func TestACallByReferIsOneTrace(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	play(t, tr, http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}, "REFER", nil,
		step{0, "a", "INVITE SIP/2.0 407 Proxy Authentication Required"}, step{1, "a", "INVITE SIP/2.0 180 Ringing"},
		step{4, "a", "INVITE SIP/2.0 200 OK"},
		step{5, "a", "NOTIFY SIP/2.0 100 Trying"}, step{6, "a", "NOTIFY SIP/2.0 180 Ringing"}, step{9, "a", "NOTIFY SIP/2.0 200 OK"},
		step{10, "a", "NOTIFY SIP/2.0 200 OK"})
	spans := spansOf(t, e)
	if len(spans) != 4 {
		t.Fatalf("%d spans: %v", len(spans), spans)
	}
	for _, tt := range []struct {
		name, parent string
		seconds      float64
		attr, want   string
	}{
		{"call", post, 60, "sipxrest.call.outcome", "connected"},
		{"INVITE 201@pbx.example", "call", 4, "sip.response.status_code", "200"},
		{"REFER", "call", 5, "sip.call_id", "a"},
	} {
		s := spans[tt.name]
		if took := s.EndTime.Sub(s.StartTime).Seconds(); took != tt.seconds {
			t.Errorf("%s takes %v s, want %v", tt.name, took, tt.seconds)
		}
		if s.Parent.SpanID() != spans[tt.parent].SpanContext.SpanID() {
			t.Errorf("%s is not beneath %s", tt.name, tt.parent)
		}
		if got := attr(s, tt.attr); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.name, tt.attr, got, tt.want)
		}
		if s.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is in another trace than the client's", tt.name)
		}
		if s.Status.Code == codes.Error {
			t.Errorf("%s failed", tt.name)
		}
	}
	if n := len(spans["INVITE 201@pbx.example"].Events); n != 3 {
		t.Errorf("INVITE has %d events, want 3", n)
	}
	if s := spans[post]; attr(s, "http.response.status_code") != "200" || attr(s, "http.route") == "" ||
		s.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("%+v", s)
	}
	for _, s := range e.GetSpans() {
		for _, a := range s.Attributes {
			if strings.Contains(a.Value.String(), "4711") {
				t.Errorf("%s shows the PIN of the conference in %s", s.Name, a.Key)
			}
		}
	}
}

func TestEachPhoneOfABridgedCallHasASpan(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	play(t, tr, nil, "INVITE", &sipflow.StatusError{Method: "INVITE", Code: 503, Reason: "Down"},
		step{0, "a", "DIALLED 201@pbx.example"}, step{2, "a", "INVITE SIP/2.0 200 OK"},
		step{2, "b", "DIALLED 202@pbx.example"}, step{3, "b", "INVITE SIP/2.0 180 Ringing"}, step{7, "b", "INVITE SIP/2.0 503 Down"})
	spans := spansOf(t, e)
	if s := spans["INVITE 202@pbx.example"]; s.EndTime.Sub(s.StartTime) != 5*time.Second || s.Status.Code != codes.Error ||
		attr(s, "error.type") != "503" {
		t.Errorf("%+v", s)
	}
	if s := spans["INVITE 201@pbx.example"]; s.Status.Code == codes.Error || s.EndTime.Sub(s.StartTime) != 2*time.Second {
		t.Errorf("%+v", s)
	}
	if s := spans["call"]; attr(s, "sipxrest.call.outcome") != "refused_5xx" || s.Status.Code != codes.Error ||
		!strings.Contains(s.Status.Description, "503 Down") {
		t.Errorf("%+v", s)
	}
}

// A busy phone is an outcome, no failure of the service.
func TestABusyPhoneIsNoFailure(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	play(t, tr, nil, "REFER", &sipflow.StatusError{Method: "INVITE", Code: 486, Reason: "Busy"}, step{1, "a", "INVITE SIP/2.0 486 Busy"})
	spans := spansOf(t, e)
	if s := spans["call"]; s.Status.Code == codes.Error || attr(s, "sipxrest.call.outcome") != "busy" {
		t.Errorf("%+v", s)
	}
	if s := spans["INVITE 201@pbx.example"]; attr(s, "error.type") != "486" {
		t.Errorf("%+v", s)
	}
}

func TestARefusedReferIsItsOwnSpan(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	play(t, tr, nil, "REFER", errors.New("x"), step{1, "a", "INVITE SIP/2.0 200 OK"}, step{3, "a", "REFER SIP/2.0 403 Forbidden"})
	if s := spansOf(t, e)["REFER"]; s.EndTime.Sub(s.StartTime) != 2*time.Second || attr(s, "error.type") != "403" {
		t.Errorf("%+v", s)
	}
}

// Phones may send what they like: spans and their events are bounded.
func TestWhatPhonesSendIsBounded(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	var steps []step
	for i := range 1000 {
		steps = append(steps, step{1, string(rune('a' + i)), "INVITE SIP/2.0 180 " + strings.Repeat("x", 1000)},
			step{1, "a", "INVITE SIP/2.0 180 x"},
			step{1, "a", "NOTIFY nonsense"}, step{1, "a", "NOTIFY SIP/2.0 x"})
	}
	play(t, tr, nil, "REFER", errors.New(strings.Repeat("é", 1000)), steps...)
	if n := len(e.GetSpans()); n > maxLegs+2 {
		t.Errorf("%d spans", n)
	}
	for _, s := range e.GetSpans() {
		if len(s.Events) > maxEvents {
			t.Errorf("%s has %d events", s.Name, len(s.Events))
		}
		if len(s.Status.Description) > maxValue {
			t.Errorf("%s: a description of %d bytes", s.Name, len(s.Status.Description))
		}
	}
}

func TestSampling(t *testing.T) {
	const sampled, not = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	for _, tt := range []struct {
		name, parent string
		share        float64
		want         bool
	}{
		{"all", "", 1, true},
		{"none", "", 0, false},
		{"a client asks for it", sampled, 1, true},
		{"a client cannot insist", sampled, 0, false},
		{"a client that does not want it", not, 1, false},
		{"a parent that cannot be read", "00-zz-", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := tracetest.NewInMemoryExporter()
			tr := newTracer("v1", sdk.WithSyncer(e), sdk.WithSampler(sampler(tt.share)))
			defer tr.Shutdown(t.Context())
			header := http.Header{}
			if tt.parent != "" {
				header.Set("Traceparent", tt.parent)
			}
			play(t, tr, header, "REFER", nil)
			if got := len(e.GetSpans()) > 0; got != tt.want {
				t.Errorf("kept %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOnlyPostsHaveASpan(t *testing.T) {
	tr, e := inMemory()
	defer tr.Shutdown(t.Context())
	h := tr.Wrap(http.NotFoundHandler(), func(*http.Request) string { return "" })
	for _, method := range []string{"GET", "HEAD", "DELETE", "EVIL"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/", nil))
	}
	if n := len(e.GetSpans()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

// receiver is an OTLP receiver.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []string
	header http.Header
	path   string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var m collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.header, r.path = req.Header, req.URL.Path
		for _, rs := range m.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					r.spans = append(r.spans, s.Name)
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func TestTracesReachAReceiver(t *testing.T) {
	r := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Scope=pbx")
	tr, err := New(t.Context(), Config{Endpoint: r.URL, Sample: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	play(t, tr, nil, "REFER", nil, step{1, "a", "INVITE SIP/2.0 200 OK"})
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spans) != 3 || r.path != "/v1/traces" || r.header.Get("X-Scope") != "pbx" {
		t.Errorf("%q came to %s with %v", r.spans, r.path, r.header)
	}
}

func TestTheEnvironmentMayNameTheReceiver(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		on   bool
	}{
		{"nothing", nil, false},
		{"a receiver", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true},
		{"one for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/x"}, true},
		{"disabled", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, false},
		{"no traces", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		tr, err := New(t.Context(), Config{Sample: 1, Getenv: func(name string) string { return tt.env[name] }}, slog.New(slog.DiscardHandler))
		if err != nil || (tr != nil) != tt.on {
			t.Errorf("%s: on %v, want %v (%v)", tt.name, tr != nil, tt.on, err)
		}
		tr.Shutdown(t.Context())
	}
}

// A receiver that swallows everything holds up neither calls nor, for long,
// the end of the program; what it does not take is dropped, and it is told once.
func TestAReceiverThatDoesNotAnswerHoldsNothingUp(t *testing.T) {
	stuck := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(stuck)
	tr, err := New(t.Context(), Config{Endpoint: s.URL, Sample: 1}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 2 * queue {
		play(t, tr, nil, "REFER", nil)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("calls were held up for %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	tr.Shutdown(ctx) //nolint:errcheck // it has nowhere to send to
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
}

type failing struct{ sdk.SpanExporter }

func (failing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return errors.New("refused") }

func TestALostReceiverIsToldOnce(t *testing.T) {
	var log strings.Builder
	q := &quiet{SpanExporter: failing{}, log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 5 {
		if err := q.ExportSpans(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "traces are lost"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
}

func TestAnEndpointIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"http://192.0.2.7:4318": "http://192.0.2.7:4318/v1/traces", "https://otel.example/": "https://otel.example/v1/traces",
		"http://otel.example/a/b": "http://otel.example/a/b",
		"192.0.2.7:4318":          "", "grpc://x:1": "", "http://u:secret@x": "", "http://x/?a=b": "", "": "",
	} {
		u, err := ParseEndpoint(text)
		if got := err == nil; got != (want != "") || got && u.String() != want {
			t.Errorf("%q: %v %v", text, u, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

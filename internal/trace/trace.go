// Package trace sends OpenTelemetry traces of calls: one for each, from the
// POST that asked for it (whose traceparent it continues, W3C Trace Context)
// to its end.
//
//	POST /callcontroller/{calling}/{called}    the HTTP request
//	└─ call                                    from its key to its last event
//	   ├─ INVITE                               until the phone answers; one for each phone
//	   └─ REFER                                from the answer to the outcome
//
// It watches sipflow's events and knows nothing that they do not tell: neither
// PINs nor SIP credentials are among them, and query strings are left out.
// Sending never holds anything up: what the receiver does not take in time is
// dropped.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otel "go.opentelemetry.io/otel/trace"
)

// Config says where traces go.
type Config struct {
	// Endpoint is the OTLP receiver's URL, "http://192.0.2.7:4318"; without a
	// path /v1/traces is added. Empty: that of OTEL_EXPORTER_OTLP_ENDPOINT or
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT.
	Endpoint string
	// Sample is the share of the traces that is kept, from 0 to 1. At 1,
	// OTEL_TRACES_SAMPLER may say otherwise. A client that does not sample its
	// own trace is obeyed; one that does decides nothing here, for anybody may
	// write so.
	Sample float64
	// Version is service.version.
	Version string
	// Getenv reads the environment; default os.Getenv. The exporter reads the
	// rest of OTEL_… (headers, certificates, timeouts) by itself.
	Getenv func(string) string
}

// Tracer makes the traces. Its methods may be called from any goroutine.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   otel.Tracer
}

// Bounds of one span, whatever phones send.
const (
	maxValue  = 256 // bytes of one attribute
	maxEvents = 64
	// queue bounds the spans that wait to be sent.
	queue = 4096
	// sendTime bounds one attempt to send.
	sendTime = 5 * time.Second
)

// New starts the exporter. It returns nil when neither cfg nor the
// environment names a receiver, or OTEL_SDK_DISABLED is true.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*Tracer, error) {
	// What is not taken is dropped soon: the next spans wait behind it.
	options, err := cfg.exporter(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: sendTime, MaxElapsedTime: 3 * sendTime})
	if options == nil {
		return nil, err
	}
	getenv := cfg.getenv()
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	more := []sdk.TracerProviderOption{sdk.WithBatcher(&quiet{SpanExporter: exporter, log: log}, sdk.WithMaxQueueSize(queue))}
	if cfg.Sample < 1 || getenv("OTEL_TRACES_SAMPLER") == "" {
		more = append(more, sdk.WithSampler(sampler(cfg.Sample)))
	}
	return newTracer(cfg.Version, more...), nil
}

// Probe sends the receiver nothing, and says why it does not take even that.
// named is false where there is none.
func Probe(ctx context.Context, cfg Config) (named bool, err error) {
	options, err := cfg.exporter(otlptracehttp.RetryConfig{})
	if options == nil {
		return err != nil, err
	}
	client := otlptracehttp.NewClient(options...)
	if err := client.Start(ctx); err != nil {
		return true, err
	}
	return true, errors.Join(client.UploadTraces(ctx, nil), client.Stop(ctx))
}

func (cfg *Config) getenv() func(string) string {
	if cfg.Getenv == nil {
		return os.Getenv
	}
	return cfg.Getenv
}

// exporter says how the receiver is reached; nothing without one.
func (cfg *Config) exporter(retry otlptracehttp.RetryConfig) ([]otlptracehttp.Option, error) {
	getenv := cfg.getenv()
	byEnv := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	if cfg.Endpoint == "" && !byEnv || strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	options := []otlptracehttp.Option{otlptracehttp.WithRetry(retry)}
	if getenv("OTEL_EXPORTER_OTLP_TIMEOUT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") == "" {
		options = append(options, otlptracehttp.WithTimeout(sendTime))
	}
	if cfg.Endpoint != "" {
		u, err := ParseEndpoint(cfg.Endpoint)
		if err != nil {
			return nil, err
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.String()))
	}
	return options, nil
}

// sampler keeps a share of the traces, whatever a client asks for, but none
// that it does not keep itself.
func sampler(share float64) sdk.Sampler {
	s := sdk.TraceIDRatioBased(share)
	return sdk.ParentBased(s, sdk.WithRemoteParentSampled(s))
}

func newTracer(version string, options ...sdk.TracerProviderOption) *Tracer {
	limits := sdk.NewSpanLimits()
	limits.AttributeValueLengthLimit, limits.EventCountLimit = maxValue, maxEvents
	about, err := resource.Merge(resource.NewSchemaless(attribute.String("service.name", "sipxrest"), attribute.String("service.version", version)),
		resource.Environment()) // OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
	if err != nil {
		about = resource.NewSchemaless(attribute.String("service.name", "sipxrest"))
	}
	p := sdk.NewTracerProvider(append(options, sdk.WithRawSpanLimits(limits), sdk.WithResource(about))...)
	return &Tracer{provider: p, tracer: p.Tracer("sipxrest")}
}

// ParseEndpoint reads the URL of a receiver.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want the URL of an OTLP receiver, such as http://192.0.2.7:4318") // url.Parse shows a password
	}
	if u.User != nil {
		return nil, errors.New("credentials do not belong into the URL: put them into OTEL_EXPORTER_OTLP_HEADERS, as Authorization=Basic%20…")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u, nil
}

// Shutdown sends what is left until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	return nil
}

// quiet logs once a minute that a receiver does not respond. It tells the SDK
// nothing, whose own log is the standard error.
type quiet struct {
	sdk.SpanExporter
	log  *slog.Logger
	told atomic.Int64 // when, in ns since 1970
}

const toldEvery = time.Minute

func (q *quiet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	if now, last := time.Now().UnixNano(), q.told.Load(); err != nil && now-last > int64(toldEvery) && q.told.CompareAndSwap(last, now) {
		q.log.Warn("traces are lost: the receiver of trace.endpoint does not take them", "error", err)
	}
	return nil
}

// Wrap makes the span of each POST. route names what is asked for without what
// the client wrote, as "/callcontroller/{calling}/{called}". The status code is
// told if the ResponseWriter has a method Code.
func (t *Tracer) Wrap(next http.Handler, route func(*http.Request) string) http.Handler {
	parent := propagation.TraceContext{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost { // clients that poll a call's status would fill the receiver
			next.ServeHTTP(w, r)
			return
		}
		where := route(r)
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		ctx := parent.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, strings.TrimSpace("POST "+where), otel.WithSpanKind(otel.SpanKindServer), otel.WithAttributes(
			attribute.String("http.request.method", "POST"), attribute.String("url.scheme", scheme),
			attribute.String("url.path", strings.ToValidUTF8(r.URL.Path, "\uFFFD")), attribute.String("network.peer.address", hostOf(r.RemoteAddr))))
		if where != "" {
			span.SetAttributes(attribute.String("http.route", where))
		}
		defer func() {
			if s, ok := w.(interface{ Code() int }); ok {
				span.SetAttributes(attribute.Int("http.response.status_code", s.Code()))
				if s.Code() >= 500 {
					span.SetAttributes(attribute.String("error.type", strconv.Itoa(s.Code())))
					span.SetStatus(codeError, "")
				}
			}
			span.End()
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return strings.Trim(addr[:i], "[]")
	}
	return addr
}

package trace

import (
	"context"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	otel "go.opentelemetry.io/otel/trace"

	"sipxrest/sipflow"
)

const codeError = codes.Error

// maxLegs bounds the phones of one call that have a span: transfers may bring
// any number.
const maxLegs = 16

// Follow returns an observer (sipflow.Spec.Observe) that makes the spans of a
// call beneath the span of ctx, and passes every event on to next. A call whose
// trace is not kept costs nothing further. method is that of sipflow.Spec.
func (t *Tracer) Follow(ctx context.Context, method string, next func(*sipflow.Event)) func(*sipflow.Event) {
	parent := otel.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return next
	}
	c := &call{tracer: t.tracer, parent: parent, next: next, method: method}
	return c.observe
}

// call watches one call. Events come one at a time.
type call struct {
	tracer otel.Tracer
	parent otel.Span
	next   func(*sipflow.Event)
	method string

	ctx  context.Context // with span; nil before Placed
	span otel.Span
	legs []*leg

	placed  time.Time
	calling string
}

// leg is one phone of the call.
type leg struct {
	callID string
	invite otel.Span
	code   int       // of the last final response
	last   time.Time // when it came
	up     bool      // it was 2xx, and the span has ended
	refer  otel.Span // nil before the first that is known of it
	over   bool      // the REFER's span has ended
}

func (c *call) observe(e *sipflow.Event) {
	if c.next != nil {
		c.next(e)
	}
	switch e.Kind {
	case sipflow.Placed:
		c.ctx, c.span = c.tracer.Start(otel.ContextWithSpan(context.Background(), c.parent), "call", otel.WithTimestamp(e.At),
			otel.WithAttributes(attribute.String("sipxrest.call.method", c.method), attribute.String("sipxrest.call.agent", e.Key.Agent),
				attribute.String("sipxrest.call.calling", e.Key.Calling), attribute.String("sipxrest.call.called", e.Key.Called)))
		c.parent, c.placed, c.calling = nil, e.At, e.Key.Calling
	case sipflow.Progress:
		if c.span != nil {
			c.progress(e)
		}
	case sipflow.DialogChanged:
		if c.span != nil && e.Dialog.State == sipflow.Calling {
			c.leg(e.CallID, strings.TrimPrefix(e.Dialog.Remote, "sip:"), e.At)
		}
	case sipflow.Moved:
		if c.span != nil {
			c.span.AddEvent("transferred", otel.WithTimestamp(e.At), otel.WithAttributes(attribute.String("sipxrest.call.calling", e.Key.Calling)))
		}
	case sipflow.Ended:
		if c.span != nil {
			c.end(e)
		}
	}
}

// leg finds the phone with that Call-ID; of a new one the span begins at at.
// nil means that there are too many.
func (c *call) leg(callID, party string, at time.Time) *leg {
	for _, l := range c.legs {
		if l.callID == callID {
			return l
		}
	}
	if len(c.legs) >= maxLegs {
		return nil
	}
	l := &leg{callID: strings.Clone(callID)}
	attrs := []attribute.KeyValue{attribute.String("network.protocol.name", "sip"), attribute.String("sip.call_id", l.callID)}
	if party != "" {
		attrs = append(attrs, attribute.String("sip.to", strings.Clone(party)))
	}
	_, l.invite = c.tracer.Start(c.ctx, "INVITE", otel.WithTimestamp(at), otel.WithSpanKind(otel.SpanKindClient), otel.WithAttributes(attrs...))
	c.legs = append(c.legs, l)
	return l
}

func (c *call) progress(e *sipflow.Event) {
	code := statusCode(e.Text)
	at, party := e.At, ""
	if len(c.legs) == 0 { // of a call by REFER: its INVITE is the first thing that happens
		at, party = c.placed, c.calling
	}
	l := c.leg(e.CallID, party, at)
	if l == nil || code == 0 {
		return
	}
	status := attribute.Int("sip.response.status_code", code)
	event := []otel.EventOption{otel.WithTimestamp(e.At), otel.WithAttributes(status)}
	switch e.Method {
	case "INVITE":
		if l.up {
			return
		}
		l.invite.AddEvent("response", event...)
		if code >= 200 {
			l.code, l.last = code, e.At
		}
		if l.up = code >= 200 && code < 300; l.up {
			l.invite.SetAttributes(status)
			l.invite.End(otel.WithTimestamp(e.At))
		}
	case "REFER", "NOTIFY":
		if l.over {
			return
		}
		if l.refer == nil {
			began := e.At
			if l.up {
				began = l.last
			}
			_, l.refer = c.tracer.Start(c.ctx, "REFER", otel.WithTimestamp(began), otel.WithSpanKind(otel.SpanKindClient),
				otel.WithAttributes(attribute.String("network.protocol.name", "sip"), attribute.String("sip.call_id", l.callID)))
		}
		name := "notification"
		if e.Method == "REFER" {
			name = "response"
		}
		l.refer.AddEvent(name, event...)
		if l.over = code >= 200; l.over {
			finish(l.refer, code, e.At)
		}
	}
}

// finish ends a span with the status code that its request came to.
func finish(s otel.Span, code int, at time.Time) {
	if code > 0 {
		s.SetAttributes(attribute.Int("sip.response.status_code", code))
	}
	if code >= 300 {
		s.SetAttributes(attribute.String("error.type", strconv.Itoa(code)))
		s.SetStatus(codeError, "")
	}
	s.End(otel.WithTimestamp(at))
}

func (c *call) end(e *sipflow.Event) {
	for _, l := range c.legs {
		if !l.up {
			at := l.last
			if l.code == 0 {
				at = e.At
			}
			finish(l.invite, l.code, at)
		}
		if l.refer != nil && !l.over {
			l.refer.End(otel.WithTimestamp(e.At))
		}
	}
	outcome := sipflow.OutcomeOf(e.Err)
	c.span.SetAttributes(attribute.String("sipxrest.call.outcome", outcome.String()))
	switch outcome {
	case sipflow.OutcomeFailed, sipflow.OutcomeTimeout, sipflow.OutcomeUnreachable, sipflow.OutcomeRefused5xx:
		c.span.SetAttributes(attribute.String("error.type", outcome.String()))
		text := e.Err.Error()
		c.span.SetStatus(codeError, strings.ToValidUTF8(text[:min(len(text), maxValue)], ""))
	}
	c.span.End(otel.WithTimestamp(e.At))
	c.span, c.legs, c.ctx = nil, nil, nil
}

// statusCode reads a status line; 0 is none.
func statusCode(line string) int {
	rest, ok := strings.CutPrefix(line, "SIP/2.0 ")
	if !ok || len(rest) < 3 {
		return 0
	}
	n, err := strconv.Atoi(rest[:3])
	if err != nil || n < 100 || n > 699 {
		return 0
	}
	return n
}

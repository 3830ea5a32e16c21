package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"sipxrest/internal/trace"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// watchConnections bounds the connections of metrics.listen: those who look
// are few.
const watchConnections = 64

// bindMetrics opens the listener of metrics.listen, if there is one. Its
// handlers are read-only and know no PIN: it belongs on an address that only
// the monitoring reaches.
func (a *App) bindMetrics() error {
	if a.cfg.Metrics.Listen == "" {
		return nil
	}
	socket, err := net.Listen("tcp", a.cfg.Metrics.Listen)
	if err != nil {
		return a.cfg.at("metrics.listen", fmt.Errorf("metrics.listen: %w", explainBind(err)))
	}
	a.watched = a.newListener(socket, nil, room{total: watchConnections, knows: a.trusts()},
		guarded(a.gate.Named(a.newMetrics().Handler(a.notReady)), a.log))
	return nil
}

// MetricsURL is where /metrics, /healthz and /readyz are; "" when they are not.
func (a *App) MetricsURL() string {
	if a.watched == nil {
		return ""
	}
	return a.watched.url
}

// allListeners are those of "http" and that of metrics.listen.
func (a *App) allListeners() []*listener {
	if a.watched == nil {
		return a.listeners
	}
	return append(a.listeners[:len(a.listeners):len(a.listeners)], a.watched)
}

// notReady lists why new calls should go elsewhere now.
func (a *App) notReady() []string {
	var why []string
	if !a.serving.Load() {
		why = append(why, "the service has not started yet, or has ended")
	}
	if a.sw.Draining() {
		why = append(why, "the service is shutting down: no new calls are taken")
	}
	return append(why, allDown(a.sw.Hops())...)
}

// allDown says of each server of the outbound proxies why it is down, if none
// of them is up and they are checked at all.
func allDown(hops []sipflow.HopState) (why []string) {
	for _, h := range hops {
		if h.Up {
			return nil
		}
		why = append(why, fmt.Sprintf("outbound proxy %s: %s does not take calls: %s", h.Proxy, h.Hop, h.Failure))
	}
	return why
}

// observed puts what watches requests around a handler, if anything does.
func (a *App) observed(h http.Handler) http.Handler {
	if a.tracer != nil {
		h = a.tracer.Wrap(h, route)
	}
	if a.tracer != nil || a.watched != nil { // the tracer reads the status code from it
		h = a.requests.Wrap(h)
	}
	return h
}

// startTracing starts the exporter of traces, if a receiver is named.
func (a *App) startTracing() (err error) {
	a.tracer, err = trace.New(context.Background(), trace.Config{Endpoint: a.cfg.Trace.Endpoint, Sample: a.cfg.Trace.Sample, Version: buildOf().version}, a.log)
	if err != nil {
		return a.cfg.at("trace.endpoint", fmt.Errorf("trace.endpoint: %w", err))
	}
	return nil
}

// traceWait is for what has not been sent yet, at the end.
const traceWait = 3 * time.Second

func (a *App) stopTracing() {
	ctx, cancel := context.WithTimeout(context.Background(), traceWait)
	defer cancel()
	if err := a.tracer.Shutdown(ctx); err != nil {
		a.log.Warn("some traces were not sent", "error", err)
	}
}

// follow is callcontroller's Follow; nil without traces.
func (a *App) follow() func(context.Context, string, func(*sipflow.Event)) func(*sipflow.Event) {
	if a.tracer == nil {
		return nil
	}
	return a.tracer.Follow
}

func failureName(i int) string { return restauth.Failure(i).String() }

// watching checks the sections "metrics" and "trace".
func (v *checks) watching() {
	if at := v.c.Metrics.Listen; at != "" {
		host, port, err := net.SplitHostPort(at)
		n, portErr := strconv.Atoi(port)
		switch {
		case err != nil || portErr != nil || n < 0 || n > 65535:
			v.check("metrics.listen", fmt.Errorf("%q: write host:port, such as 127.0.0.1:9100, or leave it empty for none", at))
		case host != "" && !isHost(host):
			v.check("metrics.listen", fmt.Errorf("%q is neither a host name nor an address", host))
		case n != 0 && slices.ContainsFunc(v.c.HTTP, func(l HTTPListener) bool { return sameSocket(l.Listen, at) }):
			v.check("metrics.listen", fmt.Errorf("%s is a listener of http already: choose another port", at))
		}
	}
	if v.c.Trace.Endpoint != "" {
		_, err := trace.ParseEndpoint(v.c.Trace.Endpoint)
		v.check("trace.endpoint", err)
	}
	if s := v.c.Trace.Sample; !(s >= 0 && s <= 1) {
		v.check("trace.sample", fmt.Errorf("%v is not a share: write a number from 0 to 1, such as 0.1 for a tenth", s))
	}
}

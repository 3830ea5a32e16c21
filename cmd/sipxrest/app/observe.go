package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"sipxrest/cmd/sipxrest/version"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/trace"
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
		return a.cfg.At("metrics.listen", fmt.Errorf("metrics.listen: %w", web.ExplainBind(err)))
	}
	a.watched = a.newListener(socket, nil, web.Room{Total: watchConnections, Knows: a.trusts()},
		web.Guard(a.routes, a.gate.Named(a.newMetrics().Handler(a.notReady)), a.log))
	a.add(feature{name: "metrics", stage: stageListeners, run: serving(a.watched)})
	return nil
}

// serving is a feature's run for a listener.
func serving(l *web.Listener) func(context.Context) error {
	return func(context.Context) error { return l.Serve() }
}

// MetricsURL is where /metrics, /healthz and /readyz are; "" when they are not.
func (a *App) MetricsURL() string {
	if a.watched == nil {
		return ""
	}
	return a.watched.URL
}

// allListeners are those of "http" and that of metrics.listen.
func (a *App) allListeners() []*web.Listener {
	if a.watched == nil {
		return a.listeners
	}
	return append(a.listeners[:len(a.listeners):len(a.listeners)], a.watched)
}

// crowded is the share of refused calls from which on others should get them.
const crowded = 0.1

// notReady lists why new calls should go elsewhere now.
func (a *App) notReady() []string {
	var why []string
	if !a.serving.Load() {
		why = append(why, "the service has not started yet, or has ended")
	}
	if a.sw.Draining() && (a.clustered == nil || !a.clustered.drained.Load()) {
		why = append(why, "the service is shutting down: no new calls are taken")
	}
	if a.clustered != nil {
		why = append(why, a.clustered.notOwner(&a.cfg.Cluster)...)
	}
	if a.overload != nil {
		if now := a.overload.State(); now.Closing && now.Share > crowded {
			why = append(why, fmt.Sprintf("overload: SIP messages wait for %v, and %.0f %% of new calls are refused", now.Delay.Round(time.Millisecond), 100*now.Share))
		}
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
		h = a.tracer.Wrap(h, routeName)
	}
	if a.tracer != nil || a.watched != nil { // the tracer reads the status code from it
		h = a.requests.Wrap(h)
	}
	return h
}

// openTracing starts the exporter of traces, if a receiver is named.
func (a *App) openTracing() (err error) {
	a.tracer, err = trace.New(context.Background(), trace.Config{Endpoint: a.cfg.Trace.Endpoint, Sample: a.cfg.Trace.Sample, Version: version.Current().Version}, a.log)
	if err != nil {
		return a.cfg.At("trace.endpoint", fmt.Errorf("trace.endpoint: %w", err))
	}
	a.add(feature{name: "traces", stage: stageBase, stop: a.stopTracing})
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

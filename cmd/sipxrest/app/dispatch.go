package app

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/sipflow"
)

// DispatchConfig completes the section's configuration with what only a service has:
// who may call whom, and the addresses of the domain's proxies.
func DispatchConfig(cfg *config.Config, d *Dialling, proxies func() []netip.Addr) dispatch.Config {
	dc := cfg.DispatchConfig()
	dc.CheckPolicy, dc.Allow = d.exists, d.allowTarget
	dc.Secrets, dc.Owns = d.secrets, d.owns
	dc.DomainAddrs = proxies
	return dc
}

// dispatchBy is what the running service dispatches by.
func (a *App) dispatchBy(cfg *config.Config) dispatch.Config {
	dc := DispatchConfig(cfg, a.dialling, a.peers.addresses)
	if a.bus != nil {
		dc.Calls = dispatchDoor{a.bus}
	}
	dc.Kept = a.cluster != nil
	dc.HasUsers, dc.Phone, dc.Audio = a.cfg.Phone.HasGateway(), a.takePhone, a.pinAudio // whatever is read again
	dc.CheckTalk, dc.Talk = a.cfg.CheckTalk(), a.takeTalk                               // likewise
	return dc
}

// openDispatch makes the dispatcher, if there is anything to dispatch.
func (a *App) openDispatch() error {
	if !a.cfg.Dispatch.InUse() {
		return nil
	}
	if err := a.openPINAudio(); err != nil {
		return err
	}
	d, err := dispatch.New(a.dispatchBy(&a.cfg), a.log)
	if err != nil {
		return err
	}
	a.dispatch, a.inbound, a.sipUser = d, d.Inbound(a.cfg.Realm), d.User
	a.known = append(a.known, d.Known)
	a.add(feature{
		name: "dispatch rules", stage: stageWebhooks, reads: true,
		run: func(ctx context.Context) error {
			if err := d.Watch(ctx, a.log); err != nil {
				a.log.Warn("changed dispatch rules are read only on SIGHUP", "error", err)
			}
			return nil
		},
		stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), eventsWait)
			defer cancel()
			d.Close(ctx)
		},
		reload: func(next *config.Config) error {
			if next == nil {
				return nil
			}
			if err := d.Reload(a.dispatchBy(next)); err != nil {
				return fmt.Errorf("dispatch: %w", err)
			}
			return nil
		},
		waits: func(next *config.Config) []string {
			if next.NeedsPeers() && !a.cfg.NeedsPeers() {
				return []string{"dispatch.trunks (sources: domain)"}
			}
			return nil
		},
		metrics: func(r *metrics.Registry) { addDispatchMetrics(r, d); a.addPINMetrics(r) },
	})
	return nil
}

// eventsWait is for events that have not been sent at the end.
const eventsWait = 5 * time.Second

// secrets are the SIP secrets of a user of ours.
func (d *Dialling) secrets(name string) (sipflow.Credentials, bool) {
	u, ok := d.users.Load().Lookup(name)
	if !ok || !u.HasSIPSecret() {
		return sipflow.Credentials{}, false
	}
	return u.SIP(), true
}

// owns reports whether a user may call in a name.
func (d *Dialling) owns(user, name string) bool {
	users := d.users.Load()
	u, ok := users.Lookup(user)
	other, known := users.Lookup(name)
	return ok && known && u.Name == other.Name
}

// allowTarget is dispatch.Config.Allow.
func (d *Dialling) allowTarget(name, target string) error {
	book := d.book.Load()
	if name == "" {
		name = book.Default()
	}
	if name == "" {
		return nil
	}
	return book.Check(name, target)
}

// trustedProxies are the domain's proxies where "trusted" has them. They are
// looked up for a trunk as well, which makes nobody trusted over HTTP.
func (a *App) trustedProxies() []netip.Addr {
	if !a.cfg.TrustsDomain() {
		return nil
	}
	return a.peers.addresses()
}

// addDispatchMetrics shows what became of calls that came in.
func addDispatchMetrics(r *metrics.Registry, dispatcher *dispatch.Dispatcher) {
	show(r, dispatcher.Stats, []family[dispatch.Stats]{
		{metrics.Counter("sipxrest_dispatch_decisions_total", "Inbound calls by what was decided: no_rule, answer, hangup, transfer, redirect, fallback (the webhook failed), media (488), cancelled, pin, forged.", "decision"),
			func(s dispatch.Stats, to values) { each[dispatch.Outcome](to, s.Decided[:]) }},
		{metrics.Gauge("sipxrest_dispatch_calls_active", "Inbound calls now."),
			func(s dispatch.Stats, to values) { to.gauge(s.Running) }},
		{metrics.Seconds("sipxrest_dispatch_webhook_seconds", "Time that webhooks took to decide, failures included, in seconds."),
			func(s dispatch.Stats, to values) {
				to.times(sipflow.Histogram{Bounds: s.Bounds, Buckets: s.Asked, Sum: s.AskedSum})
			}},
		{metrics.Gauge("sipxrest_dispatch_webhooks_active", "Webhooks that are being asked."),
			func(s dispatch.Stats, to values) { to.gauge(s.Asking) }},
		{metrics.Gauge("sipxrest_dispatch_events_queued", "Events for webhooks that wait, or are on their way."),
			func(s dispatch.Stats, to values) { to.gauge(s.Queued) }},
		{metrics.Counter("sipxrest_dispatch_events_total", "Events for webhooks, by what became of them: delivered, failed (given up), dropped (too many waited).", "result"),
			func(s dispatch.Stats, to values) {
				to.count(s.Sent, "delivered")
				to.count(s.Failed, "failed")
				to.count(s.Dropped, "dropped")
			}},
		{metrics.Gauge("sipxrest_dispatch_rules", "Dispatch rules."),
			func(s dispatch.Stats, to values) { to.gauge(s.Rules) }},
	})
}

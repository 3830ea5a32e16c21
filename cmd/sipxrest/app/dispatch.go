package app

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/restauth"
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

// inbound is what the running service dispatches by.
func (a *App) inbound(cfg *config.Config) dispatch.Config {
	dc := DispatchConfig(cfg, a.dialling, a.peers.addresses)
	dc.HasUsers, dc.Phone = a.cfg.Phone.HasGateway(), a.takePhone // whatever is read again
	return dc
}

// openDispatch makes the dispatcher, if there is anything to dispatch.
func (a *App) openDispatch() (err error) {
	if a.cfg.Dispatch.InUse() {
		a.dispatch, err = dispatch.New(a.inbound(&a.cfg), a.log)
	}
	return err
}

// reloadDispatch takes the rules, the trunks and the rooms of another
// configuration.
func (a *App) reloadDispatch(next *config.Config) error {
	if a.dispatch == nil {
		return nil
	}
	if err := a.dispatch.Reload(a.inbound(next)); err != nil {
		return fmt.Errorf("dispatch: %w", err)
	}
	return nil
}

// calls is what the switchboard does with calls that come in; nil for nothing.
func (a *App) calls() *sipflow.Inbound {
	if a.dispatch == nil {
		return nil
	}
	return a.dispatch.Inbound(a.cfg.Realm)
}

// secrets are the SIP secrets of a user of ours.
func (d *Dialling) secrets(name string) (sipflow.Credentials, bool) {
	u, ok := d.users.Load().Lookup(name)
	if !ok || !u.HasSIPSecret() {
		return sipflow.Credentials{}, false
	}
	return credentials(u), true
}

func credentials(u *restauth.User) sipflow.Credentials {
	return sipflow.Credentials{Username: u.Name, Password: u.SIPPassword, HA1: u.SIPHA1, HA1SHA256: u.SIPHA1SHA256}
}

// owns says whether a user may call in a name.
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

// known says who is no stranger to the SIP limits: trusted peers, and trunks.
func (a *App) known() func(netip.Addr) bool {
	trusted := a.peers.known(config.Prefixes(a.cfg.Trusted))
	if a.dispatch == nil {
		return trusted
	}
	return func(addr netip.Addr) bool { return a.dispatch.Known(addr) || trusted(addr) }
}

// eventsWait is for events that have not been sent at the end.
const eventsWait = 5 * time.Second

func (a *App) closeDispatch() {
	if a.dispatch == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), eventsWait)
	defer cancel()
	a.dispatch.Close(ctx)
}

// addDispatchMetrics shows what became of calls that came in.
func (a *App) addDispatchMetrics(r *metrics.Registry) {
	if a.dispatch == nil {
		return
	}
	var (
		decided = metrics.Counter("sipxrest_dispatch_decisions_total", "Inbound calls by what was decided: no_rule, answer, hangup, transfer, redirect, fallback (the webhook failed), media (488), cancelled, pin, forged.", "decision")
		active  = metrics.Gauge("sipxrest_dispatch_calls_active", "Inbound calls now.")
		asked   = metrics.Seconds("sipxrest_dispatch_webhook_seconds", "Time that webhooks took to decide, failures included, in seconds.")
		asking  = metrics.Gauge("sipxrest_dispatch_webhooks_active", "Webhooks that are being asked.")
		queue   = metrics.Gauge("sipxrest_dispatch_events_queued", "Events for webhooks that wait, or are on their way.")
		events  = metrics.Counter("sipxrest_dispatch_events_total", "Events for webhooks, by what became of them: delivered, failed (given up), dropped (too many waited).", "result")
		rules   = metrics.Gauge("sipxrest_dispatch_rules", "Dispatch rules.")
	)
	r.Add([]*metrics.Family{decided, active, asked, asking, queue, events, rules}, func(v metrics.Values) {
		s := a.dispatch.Stats()
		for o, n := range s.Decided {
			v.Count(decided, n, dispatch.Outcome(o).String())
		}
		v.Set(active, float64(s.Running))
		v.Times(asked, s.Bounds, s.Asked, s.AskedSum)
		v.Set(asking, float64(s.Asking))
		v.Set(queue, float64(s.Queued))
		v.Count(events, s.Sent, "delivered")
		v.Count(events, s.Failed, "failed")
		v.Count(events, s.Dropped, "dropped")
		v.Set(rules, float64(s.Rules))
	})
}

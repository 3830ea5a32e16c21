// Package app puts the service together: it starts every part, serves, reloads
// and shuts down. It knows all the others, and a test can start it in-process.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"sipxrest/callcontroller"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/internal/trace"
	webphone "sipxrest/phone"
	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// App is the whole service. New binds every socket, Run serves.
type App struct {
	cfg config.Config
	log *slog.Logger

	users      *restauth.Users
	resolver   *resolve.Resolver
	peers      domainPeers
	sw         *sipflow.Switchboard
	dialling   *Dialling
	controller *callcontroller.Controller
	dialout    *dialout.Service     // nil without
	dispatch   *dispatch.Dispatcher // nil without
	phone      *webphone.Service    // nil without
	phoneStore *webphone.Store      // nil without
	gate       *restauth.Gate

	requests metrics.HTTP
	tracer   *trace.Tracer // nil without
	watched  *web.Listener // metrics.listen; nil without
	control  *web.Listener // the control socket; nil without
	serving  atomic.Bool   // Run has started everything and has not ended

	listeners    []*web.Listener
	certificates []*web.Certificate // every one in use, once
	ownCert      *web.Certificate   // the self-signed one, if in use
	roots        *web.Authorities   // that SIP peers are verified with

	certificateStates []string // of their files, as New read them

	reloads reloads

	now     chan struct{} // closed by HangUp
	nowOnce sync.Once
}

// New checks the configuration, reads the users and the certificates and
// binds every socket. Its error names the key at fault. An App that is not
// run must be closed.
func New(cfg config.Config, log *slog.Logger) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: log, now: make(chan struct{})}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	a.certificateStates = fileStates(a.certificateFiles())
	return a, nil
}

func (a *App) open() (err error) {
	cfg, log := a.cfg, a.log
	if a.dialling, err = NewDialling(&cfg, log); err != nil {
		return err
	}
	if a.users, err = LoadUsers(&cfg, a.dialling); err != nil {
		return err
	}
	if a.resolver, err = NewResolver(&cfg); err != nil {
		return err
	}
	secure, err := a.openSIPTLS()
	if err != nil {
		return err
	}
	a.gate, err = restauth.New(restauth.Config{
		Realm:          cfg.Realm,
		Domain:         cfg.Domain,
		Trusted:        config.Prefixes(cfg.Trusted),
		DomainAddrs:    a.trustedProxies,
		ReverseProxies: config.Prefixes(cfg.ReverseProxies),
		AllowPinless:   cfg.AllowPinless,
		AllowedOrigins: cfg.AllowedOrigins,
		Names:          cfg.OurNames(),
	}, a.users, log)
	if err != nil {
		return err
	}
	if err = a.openDispatch(); err != nil {
		return err
	}
	if a.sw, err = NewSwitchboard(&cfg, a.resolver, secure, a.completeSIP, log); err != nil {
		return err
	}
	autoAnswer, err := sipflow.ParseAutoAnswer(cfg.Call.AutoAnswer)
	if err != nil {
		return err
	}
	a.peers.advice = adviceFor(&cfg)
	if err := a.startTracing(); err != nil {
		return err
	}
	if err := a.openDialout(); err != nil {
		return err
	}
	if err := a.openPhone(); err != nil {
		return err
	}
	a.controller = callcontroller.New(callcontroller.Config{
		Follow:          a.follow(),
		AutoAnswer:      autoAnswer,
		Domain:          cfg.Domain,
		Timeout:         cfg.Call.Timeout,
		ResultCacheTime: cfg.Call.ResultCacheTime,
		MaxRecords:      cfg.Limits.Records,
		MaxRecordBytes:  int64(cfg.Limits.RecordBytes),
		Services:        a.services(),
	}, a.sw, a.users, a.gate, log)
	if err := a.bindMetrics(); err != nil {
		return err
	}
	if err := a.bindHTTP(a.gate, a.routes()); err != nil {
		return err
	}
	a.openControl()
	return nil
}

// completeSIP adds to the switchboard's configuration who may call whom, who is
// known, and what becomes of calls that come in.
func (a *App) completeSIP(sc *sipflow.Config) {
	sc.Allow = a.dialling.allow
	if name := a.cfg.SIP.Health.User; name != "" {
		sc.HealthUser = func() sipflow.Account { return a.dialling.Account(name) }
	}
	sc.WebSocket.OurName = a.gate.OurName
	sc.Limits.Known = a.known()
	sc.Inbound = a.calls()
}

// LoadUsers reads the users and makes them known to who says whom they may call.
func LoadUsers(cfg *config.Config, d *Dialling) (*restauth.Users, error) {
	users, err := restauth.LoadUsers(restauth.UsersConfig{Domain: cfg.Domain, Realm: cfg.Realm, Files: cfg.Users, CheckPolicy: d.exists})
	if err != nil {
		return nil, cfg.At("users", err)
	}
	d.users.Store(users)
	return users, nil
}

// NewResolver answers a resolver for the transports and the address families
// that the service can send with.
func NewResolver(cfg *config.Config) (*resolve.Resolver, error) {
	rc := resolve.Config{Network: "ip"}
	v4, v6 := false, false
	for _, l := range cfg.SIPListen() {
		transport, addr, _ := strings.Cut(l, ":")
		rc.Transports = append(rc.Transports, transport)
		if ap, err := netip.ParseAddrPort(addr); err == nil {
			v6 = v6 || ap.Addr().Is6()
			v4 = v4 || ap.Addr().Is4() || ap.Addr().IsUnspecified() // [::] takes both
		}
	}
	switch {
	case v4 && !v6:
		rc.Network = "ip4"
	case v6 && !v4:
		rc.Network = "ip6"
	}
	for _, s := range cfg.DNS.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			s = netip.AddrPortFrom(a, 53).String()
		}
		rc.Servers = append(rc.Servers, s)
	}
	return resolve.New(rc)
}

// NewSwitchboard opens the SIP sockets. complete adds to the switchboard's
// configuration what only a service has; nil adds nothing.
func NewSwitchboard(cfg *config.Config, r *resolve.Resolver, secure sipflow.TLS, complete func(*sipflow.Config), log *slog.Logger) (*sipflow.Switchboard, error) {
	sc := sipflow.Config{
		Listen:          cfg.SIPListen(),
		OutboundProxies: cfg.SIP.OutboundProxy,
		Realm:           cfg.Realm,
		ExternalAddress: cfg.SIP.ExternalAddress,
		NAT:             cfg.SIP.NAT,
		TLS:             secure,
		WebSocket:       sipflow.WebSocket{AllowedOrigins: cfg.AllowedOrigins, Path: cfg.SIP.WSPath},
		HealthInterval:  cfg.SIP.Health.Interval,
		HealthTimeout:   cfg.SIP.Health.Timeout,
		HangUpOn:        sipflow.HangUpOn(cfg.Refer.HangUpOn),
		Fallback:        cfg.Refer.Fallback,
		FollowRedirects: cfg.Call.FollowRedirects,
		LogCalls:        cfg.Log.Calls,
		Resolver:        r,
		MaxCalls:        cfg.Limits.Calls,
		Limits:          sipLimits(&cfg.Limits),
		UserAgent:       cmp.Or(cfg.SIP.UserAgent, "sipxrest"),
	}
	if complete != nil {
		complete(&sc)
	}
	sw, err := sipflow.New(sc, log)
	if err != nil {
		key, _, _ := strings.Cut(err.Error(), " ") // sipflow's errors begin with the key
		return nil, cfg.At(key, web.ExplainBind(err))
	}
	return sw, nil
}

// Addrs answers the bound addresses: the HTTP listeners as URLs in the order
// of the configuration, then the SIP sockets as "udp:127.0.0.1:6050".
func (a *App) Addrs() []string {
	var out []string
	for _, l := range a.listeners {
		out = append(out, l.URL)
	}
	return append(out, a.sw.Addrs()...)
}

// Run serves until ctx ends, then drains: new calls are refused, those in
// progress may end by themselves until the drain limit or HangUp, then they
// are hung up. It returns when everything has ended, with an error only if a
// part failed.
func (a *App) Run(ctx context.Context) error {
	tuneGC()
	p := newParts()
	calls, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	service, stop := context.WithCancel(context.Background())
	defer stop()

	if a.watched != nil {
		p.start("metrics", a.watched.Serve)
	}
	if a.control != nil {
		p.start("control", a.control.Serve)
	}
	p.start("SIP", func() error { return a.sw.Serve(calls) })
	phones, endPhones := context.WithCancel(context.Background())
	defer endPhones()
	if a.dialout != nil {
		p.start("dialout", func() error { return a.dialout.Run(phones) })
	}
	if a.phone != nil {
		p.start("phone", func() error { return a.phone.Run(service) })
	}
	p.start("processors", func() error { tuneProcs(service); return nil })
	p.start("call records", func() error { a.controller.Run(service); return nil })
	p.read(service, "users", func() error {
		if err := a.users.Watch(service, a.log); err != nil {
			a.log.Warn("changed users are read only on SIGHUP", "error", err)
		}
		return nil
	})
	p.read(service, "certificates", func() error {
		if err := a.watchCertificates(service, a.log); err != nil {
			a.log.Warn("changed certificates are read only on SIGHUP", "error", err)
		}
		return nil
	})
	if a.dispatch != nil {
		p.read(service, "dispatch rules", func() error {
			if err := a.dispatch.Watch(service, a.log); err != nil {
				a.log.Warn("changed dispatch rules are read only on SIGHUP", "error", err)
			}
			return nil
		})
	}
	if a.cfg.NeedsPeers() {
		first := make(chan struct{})
		p.start("trusted peers", func() error {
			a.peers.refresh(service, a.resolver, a.cfg.Domain, a.log, first)
			return nil
		})
		// A trusted peer's request right after the start should not be refused;
		// DNS that does not answer should not keep the others waiting.
		waitFor(first, 500*time.Millisecond)
	}
	for _, l := range a.listeners {
		p.start("HTTP", l.Serve)
	}
	a.serving.Store(true)
	defer a.serving.Store(false)
	a.greet()

	var failed error
	select {
	case failed = <-p.failed:
		a.log.Error("a part of the service failed, shutting down", "error", failed)
	case <-ctx.Done():
		a.drain(p)
	}
	notify(daemon.SdNotifyStopping)
	a.sw.Drain()
	hangUp()
	p.wait("SIP")
	if a.dialout != nil { // what became of its calls is still to be said
		endPhones()
		p.wait("dialout")
	}
	a.closeDispatch()
	if a.phone != nil { // its sockets are no requests to the servers any more
		a.phone.Shutdown()
	}
	a.shutdownHTTP()
	stop()
	p.waitAll()
	a.closePhone()
	a.gate.Stop()
	a.resolver.Close()
	a.stopTracing()
	select {
	case err := <-p.failed: // a call could not be hung up
		failed = errors.Join(failed, err)
	default:
	}
	a.log.Info("sipxrest has ended")
	return failed
}

// greet says that the service serves, where, and what should be better.
func (a *App) greet() {
	warnings := append(a.users.Warnings(), a.cfg.Warnings()...)
	if why := a.cfg.LacksSecret(a.users, "sip.health.user", a.cfg.SIP.Health.User); why != "" {
		warnings = append(warnings, why)
	}
	for _, w := range warnings {
		a.log.Warn(w)
	}
	if url := a.MetricsURL(); url != "" {
		a.log.Info("metrics and health", "url", url)
	}
	notify(daemon.SdNotifyReady + "\nSTATUS=" + a.status(nil))
	a.log.Info("sipxrest serves", "addresses", a.Addrs(), "domain", a.cfg.Domain, "users", a.users.Len(),
		"config", a.cfg.From(), "version", strings.TrimPrefix(version.String(), "sipxrest "))
}

// stopWait is for what comes after draining: hanging up, and closing.
const stopWait = 60 * time.Second

// drain refuses new calls and waits for those in progress.
func (a *App) drain(p *parts) {
	// So long may calls go on: systemd's own limit is for a service that does not say.
	notify(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d\nSTATUS=Takes no new calls; those in progress may go on for %v",
		daemon.SdNotifyStopping, (a.cfg.Drain + stopWait).Microseconds(), a.cfg.Drain))
	a.sw.Drain()
	if a.dialout != nil {
		a.dialout.Stop() // Talk asks another bridge
	}
	if a.phone != nil {
		a.phone.Drain()
	}
	a.log.Info("shutting down: no new calls are taken", "calls", a.activeCalls(), "drain", a.cfg.Drain)
	limit := time.NewTimer(a.cfg.Drain)
	defer limit.Stop()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for a.activeCalls() > 0 {
		select {
		case <-look.C:
			continue
		case <-limit.C:
			a.log.Warn("calls are still in progress at the drain limit and are hung up", "calls", a.activeCalls())
		case <-a.now:
			a.log.Warn("calls in progress are hung up at once", "calls", a.activeCalls())
		case err := <-p.failed:
			a.log.Error("a part of the service failed while draining", "error", err)
		}
		return
	}
}

// HangUp ends the draining: calls in progress are hung up at once.
func (a *App) HangUp() { a.nowOnce.Do(func() { close(a.now) }) }

// Close releases what New took. It is for an App that is not run.
func (a *App) Close() {
	a.closeHTTP()
	if a.sw != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.sw.Serve(ended) // closes the sockets
	}
	a.closeDispatch()
	if a.resolver != nil {
		a.resolver.Close()
	}
	a.closePhone()
	a.stopTracing()
}

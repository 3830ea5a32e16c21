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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"sipxrest/api"
	"sipxrest/callcontroller"
	"sipxrest/cluster"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/dialin"
	"sipxrest/dialout"
	"sipxrest/dispatch"
	"sipxrest/event"
	"sipxrest/internal/capture"
	"sipxrest/internal/fault"
	"sipxrest/internal/metrics"
	"sipxrest/internal/overload"
	"sipxrest/internal/trace"
	"sipxrest/media"
	"sipxrest/media/prompts"
	webphone "sipxrest/phone"
	"sipxrest/resolve"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/talk"
	"sipxrest/talkroom"
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
	gate       *restauth.Gate
	tracer     *trace.Tracer // nil without
	messages   *capture.Ring // nil: SIP messages are not kept

	// features are the parts, in the order in which they start.
	features []feature
	// These are what features need of others that a service may be without. They
	// are written before the first of them runs.
	dispatch  *dispatch.Dispatcher         // nil without
	inbound   *sipflow.Inbound             // what becomes of calls that come in; nil: nothing
	known     []func(netip.Addr) bool      // who is no stranger to the SIP limits
	sipUser   func(username string) string // the user of a digest user name; "" for a trunk's
	phone     *webphone.Service            // nil without
	rooms     *talkroom.Rooms              // conversations of Talk with phones; nil without
	talkPorts *media.Ports                 // of those phones; nil without
	signals   signals                      // who uses Talk's signaling servers
	talk      *talk.Client                 // of those; nil without
	ports     []portRange                  // for audio
	pinAudio  *dispatch.Audio              // of callers who enter a PIN; nil without
	dialout   *dialout.Service             // nil without
	dialin    *dialin.Service              // nil without
	prompts   *prompts.Set                 // what callers are told; nil before somebody needs it
	cluster   *cluster.Node                // nil: a single node
	bus       *event.Bus                   // nil without anybody who reads events
	outbox    *event.Outbox                // nil likewise
	api       *api.API                     // nil without
	services  []callcontroller.Service     // lines of the page at /

	clustered *clustered // what a node has beside that; nil likewise

	overload *overload.Gate // lets calls in while messages are handled in time; nil: all
	routes   web.Routes
	requests metrics.HTTP
	watched  *web.Listener // metrics.listen; nil without
	control  *web.Listener // the control socket; nil without
	accept   chan struct{} // closed once every part runs
	serving  atomic.Bool   // Run has started everything and has not ended

	listeners    []*web.Listener
	certificates []*web.Certificate // every one in use, once
	ownCert      *web.Certificate   // the self-signed one, if in use
	// certificateUses is what each is for: "http", "sip".
	certificateUses map[*web.Certificate][]string
	roots           *web.Authorities // that SIP peers are verified with

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
	a := &App{cfg: cfg, log: log, now: make(chan struct{}), accept: make(chan struct{}), sipUser: func(string) string { return "" }}
	if most := cfg.Limits.MessageDelay; most > 0 {
		a.overload = overload.New(most, overload.Goroutines())
	}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// open makes every part, each after those that it needs.
func (a *App) open() error {
	for _, open := range []func() error{
		a.openUsers, a.openResolver, a.openCluster, a.openCertificates, a.openGate, a.openPeers, a.openEvents, a.openOutbox, a.openDispatch, a.openSIP, a.openTracing,
		a.openAPI, a.openConsole, a.openCDRs, a.openRooms, a.openDialout, a.openDialin, a.openPhone, a.openTalk, a.openController, a.openElsewhere, a.openListeners,
	} {
		if err := open(); err != nil {
			return err
		}
	}
	a.addOverloadMetrics()
	a.add(feature{name: "processors", stage: stageBase, run: func(ctx context.Context) error { tuneProcs(ctx); return nil }})
	return nil
}

func (a *App) openUsers() (err error) {
	if a.dialling, err = NewDialling(&a.cfg, a.log); err != nil {
		return err
	}
	if a.users, err = LoadUsers(&a.cfg, a.dialling); err != nil {
		return err
	}
	a.add(feature{name: "users", stage: stageBase, reads: true, reload: a.dialling.reload, metrics: a.addUserMetrics, run: func(ctx context.Context) error {
		if err := a.users.Watch(ctx, a.log); err != nil {
			a.log.Warn("changed users are read only on SIGHUP", "error", err)
		}
		return nil
	}})
	return nil
}

func (a *App) openResolver() (err error) {
	if a.resolver, err = NewResolver(&a.cfg); err != nil {
		return err
	}
	a.add(feature{name: "DNS", stage: stageBase, stop: a.resolver.Close, metrics: a.addDNSMetrics})
	return nil
}

func (a *App) openGate() (err error) {
	rc := restauth.Config{
		Realm:          a.cfg.Realm,
		Domain:         a.cfg.Domain,
		Trusted:        config.Prefixes(a.cfg.Trusted),
		DomainAddrs:    a.trustedProxies,
		ReverseProxies: config.Prefixes(a.cfg.ReverseProxies),
		AllowPinless:   a.cfg.AllowPinless,
		AllowedOrigins: a.cfg.AllowedOrigins,
		Names:          a.cfg.OurNames(),
	}
	if a.cfg.API.Enabled {
		rc.Refuse, rc.CORS = api.Refuse, api.CORS
	}
	if a.cluster != nil {
		rc.Others = a.cluster
	}
	if a.gate, err = restauth.New(rc, a.users, a.log); err != nil {
		return err
	}
	a.add(feature{name: "gate", stage: stageBase, stop: a.gate.Stop, metrics: a.addGateMetrics})
	return nil
}

func (a *App) openSIP() error {
	a.openMessages()
	secure, err := a.sipTLS()
	if err != nil {
		return err
	}
	if a.sw, err = NewSwitchboard(&a.cfg, a.resolver, secure, a.completeSIP, a.log, a.observers()...); err != nil {
		return err
	}
	a.add(feature{name: "SIP", stage: stageSIP, run: a.sw.Serve, drain: a.sw.Drain, active: a.sw.Active, stop: a.sw.Drain, metrics: a.addSIPMetrics,
		abandon: func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = a.sw.Serve(ended) // closes the sockets
		}})
	return nil
}

func (a *App) openController() error {
	autoAnswer, err := sipflow.ParseAutoAnswer(a.cfg.Call.AutoAnswer)
	if err != nil {
		return err
	}
	cc := callcontroller.Config{
		Follow:          a.follow(),
		AutoAnswer:      autoAnswer,
		Domain:          a.cfg.Domain,
		Timeout:         a.cfg.Call.Timeout,
		ResultCacheTime: a.cfg.Call.ResultCacheTime,
		MaxRecords:      a.cfg.Limits.Records,
		MaxRecordBytes:  int64(a.cfg.Limits.RecordBytes),
		Services:        a.services,
		Asked:           web.AskedEarly,
		Calls:           a.controllerCalls(),
	}
	if a.cluster != nil {
		cc.Elsewhere = a.cluster
	}
	a.controller = callcontroller.New(cc, a.sw, a.users, a.gate, a.log)
	a.add(feature{name: "call records", stage: stageBase, metrics: a.addRecordMetrics, run: func(ctx context.Context) error { a.controller.Run(ctx); return nil }})
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
	sc.Limits.Known = func(addr netip.Addr) bool {
		return slices.ContainsFunc(a.known, func(known func(netip.Addr) bool) bool { return known(addr) })
	}
	sc.Inbound = a.inbound
	sc.Overload = a.overload
	a.keepCalls(sc)
	a.shareCalls(sc)
	if a.messages != nil {
		sc.Watch = a.keepMessage
	}
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

// NewResolver returns a resolver for the transports and the address families
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
// configuration what only a service has; nil adds nothing. observe are told what
// happens to calls.
func NewSwitchboard(cfg *config.Config, r *resolve.Resolver, secure sipflow.TLS, complete func(*sipflow.Config), log *slog.Logger, observe ...func(*sipflow.Event)) (*sipflow.Switchboard, error) {
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
	sw, err := sipflow.New(sc, log, observe...)
	if err != nil {
		var at *fault.Fault
		if errors.As(err, &at) {
			return nil, cfg.At(at.Key, web.ExplainBind(err))
		}
		return nil, web.ExplainBind(err)
	}
	return sw, nil
}

// Addrs returns the bound addresses: the HTTP listeners as URLs in the order
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
	for _, f := range a.features {
		p.start(f)
	}
	for _, f := range a.features {
		if f.ready != nil {
			waitFor(f.ready, readyWait)
		}
	}
	close(a.accept)
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
	p.end()
	select {
	case err := <-p.failed: // a call could not be hung up
		failed = errors.Join(failed, err)
	default:
	}
	a.log.Info("sipxrest has ended")
	return failed
}

// readyWait is how long clients wait for a part that is not ready.
const readyWait = 500 * time.Millisecond

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
	a.drainAll()
	a.log.Info("shutting down: no new calls are taken", "calls", a.activeCalls(), "drain", a.cfg.Drain)
	handing, stop := context.WithCancel(context.Background())
	handed := a.handOver(handing)
	defer func() {
		stop()
		<-handed
	}()
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
	for _, f := range slices.Backward(a.features) {
		switch {
		case f.abandon != nil:
			f.abandon()
		case f.stop != nil:
			f.stop()
		}
	}
}

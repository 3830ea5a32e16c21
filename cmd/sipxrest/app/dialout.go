package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/callcontroller"
	"sipxrest/dialout"
	"sipxrest/internal/metrics"
	"sipxrest/internal/setting"
	"sipxrest/policy"
	"sipxrest/resolve"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// Dialout is the section "dialout": calls to the telephone network, for
// Nextcloud Talk and for clients that POST /dialout. Without it there is
// neither.
type Dialout struct {
	// Servers are Talk's signaling servers and the Nextclouds behind them.
	Servers []talk.Server
	// CA is a PEM file of the authorities that those are verified with. Empty:
	// those of the system.
	CA string
	// Gateway is the way to the telephone network.
	Gateway dialout.Gateway
	// RoomTarget is the SIP URI of a conversation's conference, with {token}.
	RoomTarget string
	// Target is the SIP URI or user that a phone is joined to when a client names
	// none.
	Target string
	// Agent is the user of ours on whose behalf Talk calls.
	Agent string
	// RingTimeout is how long a phone rings.
	RingTimeout time.Duration
	// Country is that of numbers without a country code. Empty: dial.country.
	Country string
	// DTMF is how digits are sent, "relay" or "plain".
	DTMF   string
	Limits dialout.Limits
}

// defaultDialout holds when nothing is set.
func defaultDialout() Dialout {
	return Dialout{RingTimeout: time.Minute, DTMF: string(dialout.DTMFRelay), Limits: dialout.Limits{Calls: 100, Room: 20, User: 10}}
}

// inUse says whether anything is set that has calls made.
func (d *Dialout) inUse() bool {
	return len(d.Servers) > 0 || d.Gateway != (dialout.Gateway{}) || d.RoomTarget != "" || d.Target != "" || d.Agent != ""
}

// keys answers the section's keys.
func (d *Dialout) keys() []key {
	return []key{
		{"dialout.servers", true, servers(&d.Servers)},
		{"dialout.ca", false, path(&d.CA)},
		{"dialout.gateway.uri", false, text(&d.Gateway.URI)},
		{"dialout.gateway.user", false, text(&d.Gateway.User)},
		{"dialout.gateway.secret", false, text(&d.Gateway.Secret)},
		{"dialout.gateway.realm", false, text(&d.Gateway.Realm)},
		{"dialout.gateway.domain", false, text(&d.Gateway.Domain)},
		{"dialout.gateway.default-number", false, text(&d.Gateway.DefaultNumber)},
		{"dialout.room-target", false, text(&d.RoomTarget)},
		{"dialout.target", false, text(&d.Target)},
		{"dialout.agent", false, text(&d.Agent)},
		{"dialout.ring-timeout", false, duration(&d.RingTimeout)},
		{"dialout.country", false, text(&d.Country)},
		{"dialout.dtmf", false, text(&d.DTMF)},
		{"dialout.limits.calls", false, number(&d.Limits.Calls)},
		{"dialout.limits.room", false, number(&d.Limits.Room)},
		{"dialout.limits.user", false, number(&d.Limits.User)},
	}
}

// servers reads the items of "dialout.servers".
func servers(p *[]talk.Server) field {
	const shape = "{url: https://signaling.example, secret: …, backends: [{url: https://cloud.example/, sip-secret: …}]}"
	return field{p, func(v value) error {
		if v.node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]talk.Server, 0, len(v.node.Content))
		for _, item := range v.node.Content {
			var s talk.Server
			err := section(item, "write the server as "+shape, []key{
				{"url", false, text(&s.URL)}, {"secret", false, text(&s.Secret)}, {"backends", true, backends(&s.Backends)}})
			if err != nil {
				return err
			}
			list = append(list, s)
		}
		*p = list
		return nil
	}}
}

func backends(p *[]talk.BackendConfig) field {
	const shape = "{url: https://cloud.example/, sip-secret: …}"
	return field{p, func(v value) error {
		if v.node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]talk.BackendConfig, 0, len(v.node.Content))
		for _, item := range v.node.Content {
			var b talk.BackendConfig
			err := section(item, "write the Nextcloud as "+shape, []key{{"url", false, text(&b.URL)}, {"sip-secret", false, text(&b.SIPSecret)}})
			if err != nil {
				return err
			}
			list = append(list, b)
		}
		*p = list
		return nil
	}}
}

// section sets the keys of an item of a list.
func section(item *yaml.Node, hint string, keys []key) error {
	n := setting.Follow(item)
	if n.Kind != yaml.MappingNode {
		return &lineError{item.Line, errors.New(hint)}
	}
	w := walk{keys: keys}
	w.mapping("", n)
	if len(w.errs) > 0 {
		return w.errs[0]
	}
	return nil
}

// dialoutConfig is the section as its package wants it.
func (c *Config) dialoutConfig() dialout.Config {
	d := &c.Dialout
	cfg := dialout.Config{
		Servers: d.Servers, UserAgent: strings.Replace(Version(), " ", "/", 1), Gateway: d.Gateway,
		RoomTarget: d.RoomTarget, Target: d.Target, Agent: d.Agent, Domain: c.Domain,
		RingTimeout: d.RingTimeout, Country: d.Country, DTMF: dialout.DTMF(d.DTMF), Limits: d.Limits,
		Dir: filepath.Join(c.DataDir, "dialout"),
	}
	if cfg.Country == "" {
		cfg.Country = c.Dial.Country
	}
	return cfg
}

// dialout checks the section.
func (v *checks) dialout() {
	d := &v.c.Dialout
	if !d.inUse() {
		return
	}
	for key, unset := range map[string]bool{"ring-timeout": d.RingTimeout == 0, "limits.calls": d.Limits.Calls == 0,
		"limits.room": d.Limits.Room == 0, "limits.user": d.Limits.User == 0} {
		if unset { // which its package takes as the default
			v.check("dialout."+key, errors.New("0 is neither none nor without limit: leave the key out for the default"))
		}
	}
	for _, e := range flatten(v.c.dialoutConfig().Check()) {
		var fault *dialout.Fault
		if !errors.As(e, &fault) {
			continue // nil
		}
		key := fault.Key
		switch {
		case key == "country" && d.Country == "":
			continue // dial.country is said elsewhere
		case key != "data-dir":
			key = "dialout." + key
		}
		v.check(key, fault.Err)
	}
	if t, err := proxyTarget(d.Gateway.URI); err == nil {
		if transport, ok := listensFor(v.c, t); !ok {
			v.check("dialout.gateway.uri", fmt.Errorf("%q: sip.listen has no %s socket: add %s:ADDRESS:PORT to it", d.Gateway.URI, transport, transport))
		}
	}
}

// openDialout makes the service for the section, if there is one.
func (a *App) openDialout() error {
	if !a.cfg.Dialout.inUse() {
		return nil
	}
	cfg := a.cfg.dialoutConfig()
	cfg.Allow = a.dialling.allowCall
	var err error
	if cfg.TLS, err = dialoutTLS(&a.cfg); err != nil {
		return err
	}
	if a.dialout, err = dialout.New(cfg, a.sw, a.users, a.gate, a.log); err != nil {
		var fault *dialout.Fault
		if errors.As(err, &fault) && fault.Key != "data-dir" {
			return a.cfg.at("dialout."+fault.Key, fmt.Errorf("dialout.%w", err))
		}
		return a.cfg.at("data-dir", err)
	}
	return nil
}

// dialoutTLS verifies signaling servers and Nextclouds.
func dialoutTLS(cfg *Config) (*tls.Config, error) {
	roots := &authorities{file: cfg.Dialout.CA}
	if err := roots.reload(); err != nil {
		return nil, cfg.at("dialout.ca", fmt.Errorf("dialout.ca: %w", err))
	}
	return &tls.Config{RootCAs: roots.pool(), MinVersion: tls.VersionTLS12}, nil
}

// allowCall is dialout.Config.Allow.
func (d *dialling) allowCall(agent, target string) error {
	name := d.of(agent, "")
	if name == "" {
		return nil
	}
	err := d.book.Load().Check(name, target)
	var why *policy.Refusal
	if errors.As(err, &why) {
		d.log.Info("dialling refused", "agent", agent, "target", why.Target, "policy", why.Policy, "rule", why.Rule, "reason", err)
	}
	return err
}

// handler answers every resource.
func (a *App) handler() http.Handler {
	calls := a.controller.Handler()
	if a.dialout == nil {
		return calls
	}
	phones := a.dialout.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dialout.Owns(r) {
			phones.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}

// route names the resource that r asks for.
func route(r *http.Request) string {
	if name := dialout.Route(r); name != "" {
		return name
	}
	return callcontroller.Route(r)
}

// services are the lines of the page at / beside that of the call controller.
func (a *App) services() []callcontroller.Service {
	if a.dialout == nil {
		return nil
	}
	return []callcontroller.Service{{Prefix: dialout.Prefix, Security: "LOCAL-AND-REMOTE",
		Description: "Calls to the telephone network. POST a JSON document with the number to " + dialout.Prefix +
			"; GET " + dialout.Prefix + "/{callid} tells how the call fares, /events below it streams that, DELETE hangs it up."}}
}

// addDialoutMetrics shows what calls to the telephone network came to.
func (a *App) addDialoutMetrics(r *metrics.Registry) {
	if a.dialout == nil {
		return
	}
	var (
		calls   = metrics.Counter("sipxrest_dialout_calls_total", "Calls to the telephone network that are over, by who asked for them (talk, rest) and what they came to. refused: never begun.", "source", "outcome")
		active  = metrics.Gauge("sipxrest_dialout_calls_active", "Calls to the telephone network in progress, or being verified.")
		links   = metrics.Gauge("sipxrest_dialout_connections", "Connections to Talk's signaling servers, one for each Nextcloud, by state (up, down).", "state")
		streams = metrics.Gauge("sipxrest_dialout_event_streams", "Clients that read the events of a call to the telephone network.")
		notes   = metrics.Counter("sipxrest_dialout_journal_failures_total", "Calls that could not be noted in data-dir, or whose note could not be removed.")
	)
	r.Add([]*metrics.Family{calls, active, links, streams, notes}, func(v metrics.Values) {
		s := a.dialout.Stats()
		for from := range s.Calls {
			for o, n := range s.Calls[from] {
				v.Count(calls, n, dialout.Source(from).String(), dialout.Outcome(o).String())
			}
		}
		v.Set(active, float64(s.Active))
		v.Set(links, float64(s.Connected), "up")
		v.Set(links, float64(s.Down), "down")
		v.Set(streams, float64(s.Subscribers))
		v.Count(notes, s.JournalFailures)
	})
}

// probeTime bounds the probe of a signaling server.
const probeTime = 15 * time.Second

// dialout tries the signaling servers and the Nextclouds.
func (c *checker) dialout(cfg *Config) {
	d := &cfg.Dialout
	if !d.inUse() {
		return
	}
	secure, err := dialoutTLS(cfg)
	if err != nil {
		c.say(levelProblem, "dialout", "%v", err)
		return
	}
	if d.Agent != "" {
		c.dialoutAgent(cfg)
	}
	if len(d.Servers) == 0 {
		c.say(levelOK, "dialout", "for clients that POST %s; Talk is not served (dialout.servers)", dialout.Prefix)
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, probeTime)
	defer cancel()
	for _, p := range talk.Probe(ctx, talk.Config{Servers: d.Servers, TLS: secure}) {
		for _, address := range []string{p.Server, p.Backend} {
			if inTheClear(address) {
				c.say(levelNote, "dialout", "%s is not encrypted: who is on the way sees every call, and what we prove ourselves with: write it as https://", address)
			}
		}
		if p.Err != nil {
			c.say(levelProblem, "dialout", "%s for %s: %v", p.Server, p.Backend, p.Err)
		} else {
			c.say(levelOK, "dialout", "%s (version %s) takes us as a bridge for %s", p.Server, p.Version, p.Backend)
		}
	}
}

// inTheClear reports whether a server's address, which was checked, is of plain
// HTTP beyond this machine.
func inTheClear(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err != nil || !a.IsLoopback()
}

func (c *checker) dialoutAgent(cfg *Config) {
	d, err := newDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // said above
	}
	users, err := loadUsers(cfg, d)
	if err != nil {
		return
	}
	switch u, ok := users.Lookup(cfg.Dialout.Agent); {
	case !ok:
		c.say(levelProblem, "dialout", "%s: there is no user %s", cfg.Origin("dialout.agent"), cfg.Dialout.Agent)
	case !u.HasSIPSecret() && len(cfg.Dialout.Servers) > 0:
		c.say(levelNote, "dialout", "%s: user %s has no SIP password, so challenges on the way to dialout.room-target cannot be answered", cfg.Origin("dialout.agent"), u.Name)
	}
}

// gateway asks the gateway for its OPTIONS.
func (c *checker) gateway(cfg *Config, sw *sipflow.Switchboard, resolver *resolve.Resolver) {
	if !cfg.Dialout.inUse() {
		return
	}
	uri := cfg.Dialout.Gateway.URI
	if slices.Contains(cfg.SIP.OutboundProxy, uri) {
		return // asked above
	}
	hops, err := c.hops(resolver, uri)
	if err != nil {
		c.say(levelProblem, "gateway", "%s: %v", cfg.Origin("dialout.gateway.uri"), err)
		return
	}
	var asked []finding
	for _, hop := range hops {
		asked = append(asked, c.options(sw, uri, hop))
	}
	c.sayEach("gateway", asked)
}

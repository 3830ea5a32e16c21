package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sipxrest/dispatch"
	"sipxrest/internal/metrics"
	"sipxrest/policy"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// Dispatch is the section "dispatch": what becomes of calls that come in.
// Without it they are answered 404.
type Dispatch struct {
	// Rules say who decides; RulesDir is a folder with more of them.
	Rules    []dispatch.Rule
	RulesDir string
	// Trunks are who may send calls without being a user of ours.
	Trunks []dispatch.Trunk
	// DigestAlgorithms are those that callers are challenged by, in this order.
	DigestAlgorithms []string
	// Rooms are SIP URIs by the name of a room, RoomTarget is that of any other,
	// with {room}.
	Rooms      map[string]string
	RoomTarget string
	// Agent is the user of ours whose SIP password answers challenges on the way
	// to rooms and targets.
	Agent string
}

// inUse says whether calls that come in are dispatched.
func (d *Dispatch) inUse() bool { return len(d.Rules) > 0 || d.RulesDir != "" || len(d.Trunks) > 0 }

// keys answers the section's keys.
func (d *Dispatch) keys() []key {
	return []key{
		{"dispatch.rules", true, dispatchRules(&d.Rules)},
		{"dispatch.rules-dir", false, path(&d.RulesDir)},
		{"dispatch.trunks", true, trunks(&d.Trunks)},
		{"dispatch.digest-algorithms", true, texts(&d.DigestAlgorithms)},
		{"dispatch.rooms", true, words(&d.Rooms, `{lobby: "sip:lobby@conference.example"}`)},
		{"dispatch.room-target", false, text(&d.RoomTarget)},
		{"dispatch.agent", false, text(&d.Agent)},
	}
}

// dispatchRules reads the items of "dispatch.rules".
func dispatchRules(p *[]dispatch.Rule) field {
	return field{p, func(v value) error {
		rules, err := dispatch.ReadRules(v.node, "", v.dir)
		if all := flatten(err); err != nil && len(all) > 0 {
			var fault *dispatch.Fault
			if errors.As(all[0], &fault) {
				return &lineError{fault.Line, fault.Err}
			}
			return all[0]
		}
		*p = rules
		return nil
	}}
}

// trunks reads the items of "dispatch.trunks".
func trunks(p *[]dispatch.Trunk) field {
	const shape = "{name: carrier, sources: [192.0.2.7]}"
	return field{p, func(v value) error {
		if v.node.Kind != yaml.SequenceNode {
			return errors.New("a list is expected here, such as [" + shape + "]")
		}
		list := make([]dispatch.Trunk, 0, len(v.node.Content))
		for _, item := range v.node.Content {
			var t dispatch.Trunk
			err := section(item, "write the trunk as "+shape, []key{{"name", false, text(&t.Name)}, {"sources", true, texts(&t.Sources)},
				{"from-hosts", true, texts(&t.FromHosts)}, {"username", false, text(&t.Username)}, {"password", false, text(&t.Credentials.Password)},
				{"max-calls", false, number(&t.MaxCalls)}})
			if err != nil {
				return err
			}
			if t.Credentials.Password != "" {
				t.Credentials.Username = t.Username
			}
			list = append(list, t)
		}
		*p = list
		return nil
	}}
}

// dispatchConfig is the section as its package wants it, without what only a
// running service has.
func (c *Config) dispatchConfig() dispatch.Config {
	d := &c.Dispatch
	cfg := dispatch.Config{
		Rules: slices.Clone(d.Rules), RulesDir: d.RulesDir, Trunks: d.Trunks, Algorithms: d.DigestAlgorithms, Rooms: d.Rooms, RoomTarget: d.RoomTarget, Domain: c.Domain,
		Region: strings.ToUpper(c.Dial.Country), ExtensionDigits: c.Dial.ExtensionDigits, Agent: d.Agent,
		UserAgent: "sipxrest/" + buildOf().version, Resolver: webResolver(c.DNS.Servers),
		Phone: (&App{}).takePhone(c), // says only that there are users
	}
	if cfg.ExtensionDigits == 0 {
		cfg.ExtensionDigits = 5
	}
	where, _ := c.cutOrigin("dispatch.rules")
	for i := range cfg.Rules {
		if cfg.Rules[i].File == "" {
			cfg.Rules[i].File = where
		}
	}
	return cfg
}

// cutOrigin is the file, or whatever else, in which a key was set.
func (c *Config) cutOrigin(key string) (file string, ok bool) {
	o := c.origin[key]
	if i := strings.LastIndexByte(o, ':'); i > 0 && strings.Trim(o[i+1:], "0123456789") == "" {
		return o[:i], true
	}
	if o == "" {
		return key, false
	}
	return o, true
}

// webResolver looks webhooks up at dns.servers; nil where the system does.
func webResolver(servers []string) *net.Resolver {
	if len(servers) == 0 {
		return nil
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		for _, s := range servers {
			if a, e := netip.ParseAddr(s); e == nil {
				s = netip.AddrPortFrom(a, 53).String()
			}
			if conn, err = (&net.Dialer{}).DialContext(ctx, network, s); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}}
}

// dispatch checks the section.
func (v *checks) dispatch() {
	if !v.c.Dispatch.inUse() {
		return
	}
	cfg := v.c.dispatchConfig()
	if book, err := policy.New(v.c.policyConfig(nil)); err == nil {
		cfg.CheckPolicy = book.Exists
	}
	if _, err := dispatch.Check(cfg); err != nil {
		for _, e := range flatten(err) {
			var fault *dispatch.KeyFault
			if errors.As(e, &fault) {
				v.check("dispatch."+fault.Key, fault.Err)
				continue
			}
			v.errs = append(v.errs, e) // it says where
		}
	}
}

// inbound completes the section's configuration with what a running service
// has.
func (a *App) inbound(cfg *Config) dispatch.Config {
	dc := cfg.dispatchConfig()
	dc.CheckPolicy = a.dialling.exists
	dc.Allow = a.dialling.allowTarget
	dc.DomainAddrs = a.peers.addresses
	dc.Secrets = a.sipSecrets
	dc.Owns = a.owns
	dc.Phone = a.takePhone(&a.cfg) // of the running service, whatever is read again
	return dc
}

// openDispatch makes the dispatcher, if there is anything to dispatch.
func (a *App) openDispatch() (err error) {
	if a.cfg.Dispatch.inUse() {
		a.dispatch, err = dispatch.New(a.inbound(&a.cfg), a.log)
	}
	return err
}

// reloadDispatch takes the rules, the trunks and the rooms of another
// configuration.
func (a *App) reloadDispatch(next *Config) error {
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

// sipSecrets are those of a user of ours.
func (a *App) sipSecrets(name string) (sipflow.Credentials, bool) {
	u, ok := a.users.Lookup(name)
	if !ok || !u.HasSIPSecret() {
		return sipflow.Credentials{}, false
	}
	return credentials(u), true
}

func credentials(u *restauth.User) sipflow.Credentials {
	return sipflow.Credentials{Username: u.Name, Password: u.SIPPassword, HA1: u.SIPHA1, HA1SHA256: u.SIPHA1SHA256}
}

// owns says whether a user may call in a name.
func (a *App) owns(user, name string) bool {
	u, ok := a.users.Lookup(user)
	other, known := a.users.Lookup(name)
	return ok && known && u.Name == other.Name
}

// allowTarget is dispatch.Config.Allow.
func (d *dialling) allowTarget(name, target string) error {
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
	if !trustsDomain(&a.cfg) {
		return nil
	}
	return a.peers.addresses()
}

// known says who is no stranger to the SIP limits: trusted peers, and trunks.
func (a *App) known() func(netip.Addr) bool {
	trusted := a.peers.known(prefixes(a.cfg.Trusted))
	if a.dispatch == nil {
		return trusted
	}
	return func(addr netip.Addr) bool { return a.dispatch.Known(addr) || trusted(addr) }
}

// needsPeers says whether the addresses of the domain's proxies are asked for.
func needsPeers(cfg *Config) bool {
	return trustsDomain(cfg) || cfg.Dispatch.domainTrunk()
}

// domainTrunk says whether the domain's proxies are a trunk's sources.
func (d *Dispatch) domainTrunk() bool {
	return slices.ContainsFunc(d.Trunks, func(t dispatch.Trunk) bool { return slices.Contains(t.Sources, wordDomain) })
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

// dispatch tells what becomes of calls that come in.
func (c *checker) dispatch(cfg *Config) {
	d := &cfg.Dispatch
	if !d.inUse() {
		return
	}
	dc := cfg.dispatchConfig()
	n, err := dispatch.Check(dc)
	switch {
	case err != nil:
		c.say(levelProblem, "dispatch", "%v", err)
		return
	case n == 0:
		c.say(levelNote, "dispatch", "there are no rules, so calls that come in are answered 404: write some into dispatch.rules or %s", cmp.Or(d.RulesDir, "dispatch.rules-dir"))
		return
	}
	c.say(levelOK, "dispatch", "%s, %s", count(n, "rule"), count(len(d.Trunks), "trunk"))
	if len(d.Trunks) == 0 {
		c.say(levelNote, "dispatch", "there are no trunks, so only users with a SIP password can call in: name who sends calls in dispatch.trunks")
	}
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for _, problem := range dispatch.Probe(ctx, dc) {
		c.say(levelProblem, "dispatch", "%v", problem)
	}
	c.dispatchUsers(cfg)
}

// dispatchUsers looks for the users that the section names.
func (c *checker) dispatchUsers(cfg *Config) {
	dl, err := newDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // said above
	}
	users, err := loadUsers(cfg, dl)
	if err != nil {
		return
	}
	need := func(key, name string) {
		if why := cfg.lacksSecret(users, key, name); why != "" {
			c.say(levelProblem, "dispatch", "%s", why)
		}
	}
	need("dispatch.agent", cfg.Dispatch.Agent)
	for _, t := range cfg.Dispatch.Trunks {
		if t.Username != "" && t.Credentials == (sipflow.Credentials{}) {
			need("dispatch.trunks", t.Username)
		}
	}
}

// DispatchTrial is a call to try: who calls whom, from where.
type DispatchTrial struct {
	From, To, Trunk, Source string
	// Ask sends the webhook.
	Ask bool
}

// TryDispatch tells what would become of a call, by the configuration of src.
func TryDispatch(ctx context.Context, src Source, t DispatchTrial) (*dispatch.Trial, error) {
	cfg, err := Load(src)
	if err != nil {
		return nil, err
	}
	if !cfg.Dispatch.inUse() {
		return nil, errors.New("there is nothing to try: dispatch.rules and dispatch.rules-dir are not set")
	}
	quiet := slog.New(slog.DiscardHandler)
	a := &App{cfg: cfg, log: quiet}
	if a.dialling, err = newDialling(&cfg, quiet); err != nil {
		return nil, err
	}
	if a.users, err = loadUsers(&cfg, a.dialling); err != nil {
		return nil, err
	}
	if t.Source != "" && cfg.Dispatch.domainTrunk() {
		if err := a.lookUpPeersOnce(ctx); err != nil {
			return nil, fmt.Errorf("the addresses of the domain's proxies (sources: domain): %w", err)
		}
	}
	call := dispatch.Call{Trunk: t.Trunk, SIPCallID: "try", At: time.Now()}
	call.FromUser, call.FromHost = userAndHost(t.From, cfg.Domain)
	call.ToUser, call.ToHost = userAndHost(t.To, cfg.Domain)
	if t.Source != "" {
		source, err := netip.ParseAddr(t.Source)
		if err != nil {
			return nil, fmt.Errorf("--source: %.80q is not an address", t.Source)
		}
		call.Source = netip.AddrPortFrom(source, 5060)
	}
	d, err := dispatch.New(a.inbound(&cfg), quiet)
	if err != nil {
		return nil, err
	}
	defer d.Close(ctx)
	return d.Try(ctx, call, t.Ask)
}

func (a *App) lookUpPeersOnce(ctx context.Context) error {
	r, err := newResolver(&a.cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	list, err := lookUpPeers(ctx, r, a.cfg.Domain)
	if err == nil {
		a.peers.current.Store(&list)
	}
	return err
}

// userAndHost reads a number, user@host or a SIP or tel URI as an INVITE would
// have it.
func userAndHost(text, domain string) (user, host string) {
	for _, scheme := range []string{"sips:", "sip:", "tel:"} {
		text = strings.TrimPrefix(text, scheme)
	}
	user, host, at := strings.Cut(text, "@")
	host, _, _ = strings.Cut(host, ";")
	if !at {
		host = domain
	}
	return user, host
}

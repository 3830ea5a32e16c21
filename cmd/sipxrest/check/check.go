// Package check tries out what a configuration says, without a service or beside a
// running one: Run tells what would not work, TryDispatch what would become of a
// call that comes in, TryPolicy who may dial what.
package check

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/web"
	"sipxrest/internal/setting"
	"sipxrest/internal/trace"
	"sipxrest/resolve"
	"sipxrest/sipflow"
)

// Levels of a finding.
const (
	levelOK      = "ok"
	levelNote    = "note"
	levelWarning = "warning" // the service works, but something does not
	levelProblem = "problem"
)

// optionsWait is how long a proxy may take to answer OPTIONS.
const optionsWait = 4 * time.Second

// A finding is one thing that Check has to say.
type finding struct {
	Level string `json:"level"`
	About string `json:"about"`
	Text  string `json:"text"`
}

// A checker collects findings and prints each as it comes.
type checker struct {
	ctx      context.Context
	out      io.Writer
	json     bool
	wait     time.Duration // for an answer to OPTIONS
	bind     func(network, address string) (io.Closer, error)
	tried    []string // users whose SIP passwords are tried
	as       string   // user of the service, whose permissions count when root checks
	anyone   bool     // who checks need not be root; for tests
	problems int
	warnings int

	held, unbound map[string]bool // sockets, "tcp::6666": of the running service; that serve cannot open
}

func (c *checker) say(level, about, format string, args ...any) {
	f := finding{level, about, fmt.Sprintf(format, args...)}
	switch level {
	case levelProblem:
		c.problems++
	case levelWarning:
		c.warnings++
	}
	if c.json {
		_ = json.NewEncoder(c.out).Encode(f)
		return
	}
	fmt.Fprintf(c.out, "%-8s %-13s %s\n", f.Level, f.About, f.Text)
}

// Options say what Check does beyond what the configuration asks for.
type Options struct {
	JSON bool // print objects
	// Users are those whose SIP passwords are tried at the proxies.
	Users []string
	// ServiceUser is the system's user as whom the service runs: whether it may
	// read the files is said when root checks. Empty: "sipxrest".
	ServiceUser string
}

// Run tries out what a configuration says and prints what it finds, one
// finding a line. The service may be running meanwhile. It reports whether there
// was no problem.
func Run(ctx context.Context, src config.Source, out io.Writer, opts Options) bool {
	c := &checker{ctx: ctx, out: out, json: opts.JSON, wait: optionsWait, bind: bind, tried: opts.Users, as: cmp.Or(opts.ServiceUser, "sipxrest")}
	return c.run(src)
}

func (c *checker) run(src config.Source) bool {
	cfg, err := config.Load(src)
	if err != nil {
		for _, e := range config.Flatten(err) {
			c.say(levelProblem, "configuration", "%v", e)
		}
	} else {
		c.say(levelOK, "configuration", "domain %s, realm %s, from %s", cfg.Domain, cfg.Realm, cfg.From())
		for _, w := range cfg.Warnings() {
			c.say(levelNote, "configuration", "%s", w)
		}
		c.permissions(&cfg)
		c.users(&cfg)
		c.sockets(&cfg)
		c.listeners(&cfg)
		c.network(&cfg)
		c.traces(&cfg)
		c.dialout(&cfg)
		c.cdr(&cfg)
		c.dispatch(&cfg)
		c.dialin(&cfg)
		c.webhooks(&cfg)
		c.phone(&cfg)
		c.api(&cfg)
		c.cluster(&cfg)
	}
	if !c.json {
		summary := "No problem found"
		if c.problems > 0 {
			summary = count(c.problems, "problem")
		}
		if c.warnings > 0 {
			summary += ", " + count(c.warnings, "warning")
		}
		fmt.Fprintf(c.out, "\n%s.\n", summary)
	}
	return c.problems == 0
}

func (c *checker) users(cfg *config.Config) {
	d, err := app.NewDialling(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return // Load has told it
	}
	users, err := app.LoadUsers(cfg, d)
	if err != nil {
		c.say(levelProblem, "users", "%v", err)
		return
	}
	if users.Len() == 0 {
		c.say(levelProblem, "users", "%s: there are no users in %s, so nobody can call", cfg.Origin("users"), cfg.UsersFrom())
		return
	}
	c.say(levelOK, "users", "%s in %s", count(users.Len(), "user"), cfg.UsersFrom())
	for _, file := range cfg.UserFiles() {
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
			c.say(levelNote, "users", "everybody on this machine can read the secrets in %s: chmod o-r, and let the service's group read it", file)
		}
	}
	for _, w := range users.Warnings() {
		c.say(levelNote, "users", "%s", w)
	}
	var noPIN, noSecret someNames
	for u := range users.All() {
		if !u.HasPIN() {
			noPIN.add(u.Name)
		}
		if !u.HasSIPSecret() {
			noSecret.add(u.Name)
		}
	}
	switch {
	case noPIN.count == 0:
	case cfg.AllowPinless:
		c.say(levelNote, "users", "%s without a PIN, in whose name everybody can call (allow-pinless): %s", count(noPIN.count, "user"), noPIN)
	default:
		c.say(levelNote, "users", "%s without a PIN, in whose name only trusted peers can call: %s", count(noPIN.count, "user"), noPIN)
	}
	if why := cfg.LacksSecret(users, "sip.health.user", cfg.SIP.Health.User); why != "" {
		c.say(levelProblem, "users", "%s", why)
	}
	defer c.policy(cfg, d, users)
	if noSecret.count > 0 {
		c.say(levelNote, "users", "%s without a SIP password, whose calls fail where the proxy asks for one: %s", count(noSecret.count, "user"), noSecret)
	}
}

// maxNamed is how many users a finding names.
const maxNamed = 5

// someNames counts users and keeps the first names.
type someNames struct {
	count int
	first []string
}

func (n *someNames) add(name string) {
	if n.count++; n.count <= maxNamed {
		n.first = append(n.first, name)
	}
}

func (n someNames) String() string {
	text := strings.Join(n.first, ", ")
	if more := n.count - len(n.first); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// listeners tries the addresses and the certificates.
func (c *checker) listeners(cfg *config.Config) {
	for i, l := range cfg.HTTP {
		about := fmt.Sprintf("listener %d", i+1)
		if l.TLS != nil {
			c.certificate(cfg, about, cfg.Origin("http"), l.Listen, *l.TLS, c.clientNames(cfg, l.Listen))
		} else if !c.unbound["tcp:"+l.Listen] {
			c.say(levelOK, about, "%s: plain HTTP, auth %s%s", l.Listen, l.Auth, c.heldNow("tcp", l.Listen))
		}
	}
}

// certificate says what a listener's certificate is like. One that is for none of
// the names is of no use to who verifies it.
func (c *checker) certificate(cfg *config.Config, about, key, listen string, t config.TLS, names []string) {
	if t.Cert == "" {
		names = nil // nobody verifies it
		t.Cert, t.Key = web.SelfSignedFiles(cfg.DataDir)
		if _, err := os.Stat(t.Cert); err != nil {
			if c.dataDir(cfg) {
				c.say(levelOK, about, "%s: a self-signed certificate will be made in %s%s", listen, cfg.DataDir, orStateDir(cfg))
			}
			return
		}
	}
	cert, err := web.ReadCertificate(t.Cert, t.Key)
	if err != nil {
		c.say(levelProblem, about, "%s: %v", key, err)
		return
	}
	end := cert.Leaf().NotAfter
	switch left := time.Until(end); {
	case left < 0:
		c.say(levelProblem, about, "%s: certificate %s has expired on %s: renew it", listen, t.Cert, end.Format(time.DateOnly))
	case left < 30*24*time.Hour:
		c.say(levelNote, about, "%s: certificate %s expires on %s", listen, t.Cert, end.Format(time.DateOnly))
	default:
		c.say(levelOK, about, "%s: certificate %s until %s, SHA-256 %s%s", listen, t.Cert, end.Format(time.DateOnly), cert.Fingerprint(), c.heldNow("tcp", listen))
	}
	if len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return cert.Leaf().VerifyHostname(name) == nil }) {
		c.say(levelWarning, about, "%s: certificate %s is for %s: who verifies it and calls this machine %s refuses it", key, t.Cert, namesOf(cert.Leaf()), setting.OrList(names))
	}
}

// namesOf are those that a certificate is for.
func namesOf(leaf *x509.Certificate) string {
	names := slices.Clone(leaf.DNSNames)
	for _, a := range leaf.IPAddresses {
		names = append(names, a.String())
	}
	switch {
	case len(names) == 0 && leaf.Subject.CommonName != "":
		return fmt.Sprintf("no name, but the common name %q, which is not looked at any more", leaf.Subject.CommonName)
	case len(names) == 0:
		return "no name"
	case len(names) > maxNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

// clientNames are those by which clients probably call a listener.
func (c *checker) clientNames(cfg *config.Config, listen string) []string {
	names := []string{cfg.Domain}
	if h, err := os.Hostname(); err == nil && config.IsHost(h) {
		names = append(names, h)
	}
	for _, name := range cfg.HTTPNames {
		if name != "*" {
			names = append(names, name)
		}
	}
	if host, _, err := net.SplitHostPort(listen); err == nil && !config.EveryAddress(host) {
		return append(names, host)
	}
	return append(names, config.OwnAddresses()...)
}

// peerNames are those by which SIP peers reach us: by the domain (RFC 5922 §7.1),
// or as Via and Contact say.
func peerNames(cfg *config.Config) []string {
	names := []string{cfg.Domain}
	if h := cfg.SIP.ExternalAddress; h != "" && h != "auto" {
		names = append(names, h)
	}
	for _, l := range cfg.SIPListen() {
		_, address, _ := strings.Cut(l, ":")
		if host, _, err := net.SplitHostPort(address); err == nil && !config.EveryAddress(host) && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	return names
}

// canSend reports whether the address is there, on another port: that is enough to
// ask the proxies.
func canSend(network, host string, bind func(network, address string) (io.Closer, error)) bool {
	socket, err := bind(network, net.JoinHostPort(host, "0"))
	if err == nil {
		socket.Close()
	}
	return err == nil
}

// orStateDir returns what the data directory is when systemd starts the
// service, but not when an operator runs check: there is no file that tells.
func orStateDir(cfg *config.Config) string {
	if cfg.DataDir != "data" || cfg.IsSet("data-dir") {
		return ""
	}
	return " (started by systemd: in " + config.SystemDataDir + "; set data-dir to be sure)"
}

// dataDir reports whether a certificate can be put into the data directory.
func (c *checker) dataDir(cfg *config.Config) bool {
	dir := cfg.DataDir
	for {
		info, err := os.Stat(dir)
		if err == nil {
			if !info.IsDir() || !writable(dir) {
				c.say(levelProblem, "data-dir", "%s: %s cannot be written to: make it this user's, or choose another", cfg.Origin("data-dir"), dir)
				return false
			}
			return true
		}
		parent := filepath.Dir(dir) // serve makes what is missing
		if parent == dir {
			return true
		}
		dir = parent
	}
}

// network checks DNS, the proxies and the trusted peers.
func (c *checker) network(cfg *config.Config) {
	// Port 0: the service may hold the configured ones.
	probe := *cfg
	probe.SIP.Listen = nil
	probe.SIP.Health.Interval = 0 // each server is asked once, below
	for _, l := range cfg.SIPListen() {
		transport, address, _ := strings.Cut(l, ":")
		if host, _, _ := net.SplitHostPort(address); c.unbound[config.NetworkOf(transport)+":"+address] && !canSend(config.NetworkOf(transport), host, c.bind) {
			return // told
		}
		probe.SIP.Listen = append(probe.SIP.Listen, l[:strings.LastIndexByte(l, ':')]+":0")
	}
	resolver, err := app.NewResolver(&probe)
	if err != nil {
		c.say(levelProblem, "DNS", "%v", err)
		return
	}
	defer resolver.Close()
	c.proxies(&probe, resolver)
	c.trusted(cfg, resolver)
}

func (c *checker) proxies(cfg *config.Config, resolver *resolve.Resolver) {
	secure, err := c.sipTLS(cfg)
	if err != nil {
		c.say(levelProblem, "SIP", "%v", err)
		return
	}
	sw, err := app.NewSwitchboard(cfg, resolver, secure, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		c.say(levelProblem, "SIP", "%v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sw.Serve(ctx) }()
	defer func() { cancel(); <-ended }()
	a := &agent{sw: sw, tls: secure, realm: cfg.Realm}
	who := c.askers(cfg)
	if cfg.SIP.ExternalAddress != "auto" {
		a.external = cfg.SIP.ExternalAddress
	}

	uris := cfg.SIP.OutboundProxy
	if len(uris) == 0 {
		uris = []string{"sip:" + cfg.Domain}
	}
	var asked []finding
	var serving []server
	var denied []string
	for _, uri := range uris {
		hops, err := c.hops(resolver, uri)
		if err != nil {
			switch {
			case errors.Is(err, resolve.ErrNoAnswer):
				c.say(levelProblem, "DNS", "%v: the name servers do not answer: set dns.servers, or correct resolv.conf", err)
			case len(cfg.SIP.OutboundProxy) == 0:
				c.say(levelProblem, "DNS", "%v: the proxies of the domain cannot be found: correct domain, set sip.outbound-proxy, or add SRV records to DNS", err)
			default:
				c.say(levelProblem, "DNS", "%s: %v", cfg.Origin("sip.outbound-proxy"), err)
			}
			continue
		}
		for _, hop := range hops {
			f, not := c.options(a, uri, hop, who.health)
			if asked = append(asked, f); f.Level == levelOK {
				serving = append(serving, server{uri, hop})
			}
			if not != "" {
				denied = append(denied, not)
			}
		}
	}
	c.sayEach("proxy", asked)
	for _, text := range denied {
		c.say(levelWarning, "proxy", "%s: %s", cfg.Origin("sip.health.user"), text)
	}
	c.domain(cfg, a, serving, who)
	c.accounts(cfg, a, serving)
	c.gateway(cfg, a, resolver)
}

// sipTLS returns how the service would secure its connections. A certificate
// that it would make is made for the check alone.
func (c *checker) sipTLS(cfg *config.Config) (sipflow.TLS, error) {
	roots, err := web.ReadAuthorities(cfg.SIP.TLS.CA)
	if err != nil {
		return sipflow.TLS{}, fmt.Errorf("%s: %w", cfg.Origin("sip.tls.ca"), err)
	}
	if !cfg.EncryptedSIP() {
		return app.NewSIPTLS(cfg, nil, roots), nil
	}
	t := config.TLS{Cert: cfg.SIP.TLS.Cert, Key: cfg.SIP.TLS.Key}
	c.certificate(cfg, "SIP", cfg.Origin("sip.tls.cert"), "TLS", t, peerNames(cfg))
	if t.Cert == "" {
		t.Cert, t.Key = web.SelfSignedFiles(cfg.DataDir)
	}
	cert, err := web.ReadCertificate(t.Cert, t.Key)
	if err != nil { // said above, or none has been made yet
		if cert, err = web.TemporaryCertificate(cfg.CertificateNames()); err != nil {
			return sipflow.TLS{}, err
		}
	}
	return app.NewSIPTLS(cfg, cert, roots), nil
}

func (c *checker) hops(resolver *resolve.Resolver, uri string) ([]resolve.Hop, error) {
	target, err := config.ProxyTarget(uri)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	return resolver.Hops(ctx, target)
}

// options asks a SIP server whether it serves, in the name of as. What it has against
// him is in denied.
func (c *checker) options(a *agent, uri string, hop resolve.Hop, as sipflow.Account) (f finding, denied string) {
	ctx, cancel := context.WithTimeout(c.ctx, c.wait)
	defer cancel()
	level, text := levelProblem, ""
	found, err := c.ask(ctx, a, server{uri, hop}, sipflow.Probe{Method: "OPTIONS", As: as})
	switch {
	case err != nil && ctx.Err() != nil:
		text = fmt.Sprintf("does not answer OPTIONS within %v: is it running, and does a firewall let SIP through both ways?", c.wait)
	case err != nil:
		return finding{Level: level, Text: fmt.Sprintf("%s: %v: %v", uri, hop, err)}, ""
	case found.Code >= 500 && found.Code < 600:
		text = fmt.Sprintf("answers OPTIONS with %d %s: it does not serve", found.Code, found.Reason)
	default:
		level, text = levelOK, fmt.Sprintf("answers OPTIONS with %d %s", found.Code, found.Reason)
		if as.Address != "" && found.Denied != "" {
			denied = fmt.Sprintf("%s: %v does not take %s, in whose name it is asked: %s", uri, hop, as.Address, found.Denied)
		}
	}
	return finding{Level: level, Text: fmt.Sprintf("%s: %v %s", uri, hop, text)}, denied
}

// sayEach tells of servers of which one is enough: those that do not serve are a
// warning then.
func (c *checker) sayEach(about string, servers []finding) {
	serves := slices.ContainsFunc(servers, func(f finding) bool { return f.Level == levelOK })
	for _, f := range servers {
		if serves && f.Level == levelProblem {
			f.Level = levelWarning
			f.Text += "; calls go to the others"
		}
		c.say(f.Level, about, "%s", f.Text)
	}
}

// traces asks the receiver of traces whether it takes them.
func (c *checker) traces(cfg *config.Config) {
	where := cfg.Trace.Endpoint
	if where == "" {
		where = "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.wait)
	defer cancel()
	switch named, err := trace.Probe(ctx, trace.Config{Endpoint: cfg.Trace.Endpoint}); {
	case err != nil:
		c.say(levelWarning, "trace", "%s: %s: the receiver does not take traces, which are lost; calls go on: %v", cfg.Origin("trace.endpoint"), where, err)
	case named:
		c.say(levelOK, "trace", "%s takes traces", where)
	}
}

func (c *checker) trusted(cfg *config.Config, resolver *resolve.Resolver) {
	var peers []string
	for _, s := range cfg.Trusted {
		if s != config.WordDomain {
			peers = append(peers, s)
			continue
		}
		list, err := app.LookUpPeers(c.ctx, resolver, cfg.Domain)
		switch {
		case err != nil:
			c.say(levelNote, "trusted", "domain: %v: nobody is trusted for it", err)
		case len(list) == 0:
			c.say(levelNote, "trusted", "domain: all proxies of %s are on this machine: loopback is not trusted unless you list 127.0.0.0/8", cfg.Domain)
		default:
			peers = append(peers, addressList(list)+" (domain)")
		}
	}
	if len(peers) == 0 {
		c.say(levelOK, "trusted", "nobody: every caller needs a PIN")
		return
	}
	c.say(levelOK, "trusted", "no PIN is asked of %s", strings.Join(peers, ", "))
}

func addressList(list []netip.Addr) string {
	text := make([]string, len(list))
	for i, a := range list {
		text[i] = a.String()
	}
	return strings.Join(text, ", ")
}

// count counts things in words.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// writable reports whether a file can be made in dir.
func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return false
	}
	f.Close()
	return os.Remove(f.Name()) == nil
}

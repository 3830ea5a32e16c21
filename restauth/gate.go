package restauth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
)

// Config is what a Gate decides by.
type Config struct {
	Realm  string // of Digest and Basic; default: Domain
	Domain string // the SIP domain

	// Trusted are the networks whose peers need no PIN on a listener with
	// TrustedOrPIN and are let in by TrustedOnly.
	Trusted []netip.Prefix
	// DomainAddrs returns the addresses of the domain's SIP proxies, which
	// are trusted like Trusted, but not loopback addresses: those every
	// process of the host has. It is called for requests, so it reads memory
	// alone. nil: none.
	DomainAddrs func() []netip.Addr

	// ReverseProxies are the peers whose X-Forwarded-For counts. They are
	// never trusted themselves: what they pass on is not theirs.
	ReverseProxies []netip.Prefix

	// AllowPinless lets everybody in as a user without a PIN, as sipXrest did.
	AllowPinless bool

	// AllowedOrigins are the browser pages, as scheme://host[:port], that
	// may call from another site.
	AllowedOrigins []string

	// Names are hosts by which browsers may call, beside addresses, localhost,
	// the domain, its subdomains and the hosts of AllowedOrigins; "*" is any.
	Names []string

	// Refuse responds to a request that a listener refuses before anybody knows
	// whose it is, and reports whether it has: resources with documents of their
	// own do. nil: none.
	Refuse func(w http.ResponseWriter, r *http.Request, v *Verdict) bool
	// CORS is what pages of other sites may do at the resource that r asks for;
	// nil, or if it returns nil: what is usual.
	CORS func(r *http.Request) *CORS

	// Others are the other nodes of a cluster, which take nonces of this one; nil: there
	// are none.
	Others Others

	// Now tells the time; default: time.Now.
	Now func() time.Time
}

// Gate decides who gets in. Its methods may be called from any goroutine.
type Gate struct {
	cfg     Config
	users   *Users
	log     *slog.Logger
	origins map[string]bool
	names   names
	nonces  *digest.Nonces
	crypter *crypter
	guesses *limit.Failures
	// wrongPINs are logged a line for many: guessing must not fill the disk.
	wrongPINs limit.Log[guess]
	// Likewise pages by their origin, browsers by the name that they call by, and
	// peers: whoever set up the page or the peer looks for the reason in the log.
	foreignPages limit.Log[limit.Page]
	foreignNames limit.Log[limit.Page]
	untrusted    limit.Log[netip.Addr]
	decoy        string // in place of the PIN of a user who has none
	listener     atomic.Int64
	stats        gateStats
}

// New makes the gate in front of users. An error names the field of cfg.
func New(cfg Config, users *Users, log *slog.Logger) (*Gate, error) {
	if users == nil {
		return nil, errors.New("gate: no users")
	}
	if cfg.Realm == "" {
		cfg.Realm = cfg.Domain
	}
	if cfg.Realm == "" {
		return nil, errors.New("realm: missing: set realm or domain")
	}
	if strings.ContainsFunc(cfg.Realm, unicode.IsControl) {
		return nil, errors.New("realm: has control characters")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := &Gate{cfg: cfg, users: users, log: log, guesses: NewGuesses(), nonces: digest.NewNonces(cfg.Now()), crypter: newCrypter()}
	g.wrongPINs.Say = func(refused uint64, some []guess) {
		who := make([]string, len(some))
		for i, w := range some {
			who[i] = w.agent + " by " + w.peer.String()
		}
		log.Info("refused wrong PINs", "refused", refused, "agents", who)
	}
	g.foreignPages.Say = func(refused uint64, some []limit.Page) {
		log.Info("refused requests of pages of other sites: add them to allowed-origins if they may call", "refused", refused, "pages", some)
	}
	g.foreignNames.Say = func(refused uint64, some []limit.Page) {
		log.Info("refused browsers that call by another's name: add it to http-names if it is ours", "refused", refused, "names", some)
	}
	g.untrusted.Say = func(refused uint64, some []netip.Addr) {
		log.Info("refused peers on a listener with auth: trusted: add them to trusted if they may call", "refused", refused, "peers", some)
	}
	g.origins = make(map[string]bool, len(cfg.AllowedOrigins))
	for _, text := range cfg.AllowedOrigins {
		origin, err := ParseOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("allowed-origins: %w", err)
		}
		g.origins[origin] = true
	}
	var err error
	if g.names, err = newNames(&cfg); err != nil {
		return nil, fmt.Errorf("http-names: %w", err)
	}
	var decoy [16]byte
	rand.Read(decoy[:]) // never fails
	g.decoy = hex.EncodeToString(decoy[:])
	return g, nil
}

// maxGuessName bounds what the log tells of an agent, in bytes.
const maxGuessName = 80

// guess is a wrong PIN as the log tells of it.
type guess struct {
	peer  netip.Addr
	agent string
}

// Stop ends the log lines that are still to come.
func (g *Gate) Stop() {
	g.wrongPINs.Stop()
	g.foreignPages.Stop()
	g.foreignNames.Stop()
	g.untrusted.Stop()
}

// listener is what a request's listener decides about it.
type listener struct {
	gate   *Gate
	policy Policy
	tls    bool
	scope  string // binds nonces to the listener and the realm
	next   http.Handler
}

// strictest is the listener of a request that came through none.
var strictest = &listener{policy: PIN, scope: "0"}

type listenerKey struct{}

// Listener is the handler of one listener, for its policy and with tls if it
// speaks TLS. It refuses cross-site requests and browsers that call by a name
// which is not ours, and responds to CORS preflights; the rest goes to h, whose
// calls to Authorize then know the listener. Nonces
// that one listener issued are not good on another.
func (g *Gate) Listener(p Policy, tls bool, h http.Handler) http.Handler {
	scope := g.scopeOf(strconv.FormatInt(g.listener.Add(1), 10), p, tls)
	return &listener{gate: g, policy: p, tls: tls, scope: scope, next: h}
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.gate.crossSite(w, r) || l.misnamed(w, r) {
		return
	}
	l.next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), listenerKey{}, l)))
}

func listenerOf(r *http.Request) *listener {
	if l, ok := r.Context().Value(listenerKey{}).(*listener); ok {
		return l
	}
	return strictest
}

// Authorize reports whether r may act as the agent, who is named by a user name
// or an alias. If not, it has responded: 401 with a challenge, 403 on a
// listener for trusted peers, or 429 after too many wrong PINs.
//
// A nil user with true means a trusted peer that named an agent who does not
// exist. To others an unknown agent looks like a wrong PIN.
func (g *Gate) Authorize(w http.ResponseWriter, r *http.Request, agentText string) (*User, bool) {
	v := g.Judge(r, agentText)
	return v.let(w)
}

// AuthorizeSelf is Authorize for resources of the user himself: on every
// listener he has to prove who he is, because a peer that is trusted to place
// calls for anybody is not thereby anybody. A listener for trusted peers
// refuses the others none the less. With true the user is never nil.
func (g *Gate) AuthorizeSelf(w http.ResponseWriter, r *http.Request, agentText string) (*User, bool) {
	v := g.JudgeSelf(r, agentText)
	return v.let(w)
}

// Trusts reports whether Authorize lets r act for any agent without a PIN.
func (g *Gate) Trusts(r *http.Request) bool {
	if listenerOf(r).policy == PIN {
		return false
	}
	_, trusted := g.peer(r)
	return trusted
}

// Address is the address that a request comes from: of a reverse proxy's, that
// of the client it names, if it names one.
func (g *Gate) Address(r *http.Request) netip.Addr {
	addr, _ := g.peer(r)
	return addr
}

// peer is the address that a request comes from, and whether it is trusted.
func (g *Gate) peer(r *http.Request) (addr netip.Addr, trusted bool) {
	// The server wrote RemoteAddr; over a Unix socket there is no address,
	// and the zero one is in no network.
	socket, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr = socket.Addr().Unmap().WithZone("")
	if limit.Within(g.cfg.ReverseProxies, addr) {
		client, ok := g.forwardedFor(r)
		if !ok {
			return addr, false
		}
		addr = client
	}
	// A page may have any name lead to our address, so that it has our
	// origin: only pages that we know may use the trust in their browser.
	if origin := r.Header.Get("Origin"); origin != "" && !g.origins[origin] {
		return addr, false
	}
	return addr, g.trusts(addr)
}

func (g *Gate) trusts(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	if limit.Within(g.cfg.Trusted, addr) {
		return true
	}
	if g.cfg.DomainAddrs == nil || addr.IsLoopback() {
		return false
	}
	for _, proxy := range g.cfg.DomainAddrs() {
		if proxy.Unmap().WithZone("") == addr {
			return true
		}
	}
	return false
}

// forwardedFor is the right-most address of X-Forwarded-For that is not a
// reverse proxy: whatever stands to the left of it, its client made up.
func (g *Gate) forwardedFor(r *http.Request) (netip.Addr, bool) {
	lines := r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; rest != ""; {
			item := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, item = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			addr, ok := parseForwarded(strings.TrimSpace(item))
			if !ok {
				return netip.Addr{}, false
			}
			if !limit.Within(g.cfg.ReverseProxies, addr) {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

// parseForwarded reads an address, which some proxies give with a port.
func parseForwarded(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// refuse responds to a request that a listener refuses.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, v *Verdict) {
	if g.cfg.Refuse == nil || !g.cfg.Refuse(w, r, v) {
		plain(w, v.Status, v.Text)
	}
}

// plain responds with a short text.
func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may be gone
}

// Package resolve finds where requests for a SIP URI go: RFC 3263 with NAPTR
// (RFC 3403), SRV (RFC 2782) and A/AAAA look-ups. Its cache keeps every record
// set for its TTL, and it remembers the servers that failed lately.
//
// A [Resolver] never trusts the size or sense of what comes back: record sets,
// alias chains, the cache, look-ups in flight and the result are all bounded.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds on what one domain can make us do.
const (
	maxHops     = 16   // hops in one result
	maxSteps    = 8    // SRV look-ups for one target
	maxNAPTR    = 32   // records kept of one set
	maxSRV      = 64   // records kept of one set
	maxAddrs    = 16   // addresses kept of one name
	maxAliases  = 8    // length of a CNAME chain
	maxFlights  = 1024 // names being looked up at a time
	maxSockets  = 64   // queries on the wire at a time
	maxAvoided  = 1024 // hops remembered as failed
	maxTrusted  = 256  // addresses returned by Addresses
	maxHostName = 240  // leaves room for "_sips._tcp." within 253 (RFC 1035 §2.3.4)

	retryAfter  = 5 * time.Second        // how long a look-up that failed is not repeated
	grace       = 200 * time.Millisecond // how long other servers are waited for once one is known
	maxLookup   = 10 * time.Second       // one look-up over all servers and attempts
	udpSize     = 1232                   // EDNS0 buffer that is not fragmented (RFC 9715)
	recheckFile = 5 * time.Second        // how often /etc/hosts and /etc/resolv.conf are looked at
)

// Config of a Resolver. The zero value works: it asks the system's name servers
// and sends UDP and TCP.
type Config struct {
	// Servers are the name servers as host:port, host numeric, asked in this
	// order. Default: those of ResolvConf, which is read again when it changes.
	Servers []string

	// Transports are those the service can send: udp, tcp, tls, ws, wss, the
	// preferred one first. The order decides when a domain has SRV records and
	// no NAPTR records. Default: udp, tcp.
	Transports []string

	// Network restricts hops to one address family: ip (default), ip4, ip6.
	// With ip, a server's IPv4 addresses come before its IPv6 addresses.
	Network string

	Timeout  time.Duration // of one query to one server; default 1 s
	Attempts int           // rounds over all servers; default 2

	MinTTL      time.Duration // a shorter TTL counts as this; default 5 s
	MaxTTL      time.Duration // a longer TTL counts as this; default 1 h
	NegativeTTL time.Duration // upper bound for "no such record" (RFC 2308 §5); default 1 min
	StaleFor    time.Duration // expired answers serve this long while no server answers; default 30 s
	MaxEntries  int           // record sets in the cache; default 4096

	AvoidFor time.Duration // how long Failed puts a hop to the end; default 30 s

	// Hosts gives addresses of names, before HostsFile and DNS.
	Hosts map[string][]netip.Addr

	HostsFile  string // default /etc/hosts, read again when it changes
	ResolvConf string // default /etc/resolv.conf

	// Now is the clock for TTLs and AvoidFor. Default: time.Now.
	Now func() time.Time

	// Exchange sends one query to one server and returns its answer. It must
	// return once ctx is done. Default: UDP, then TCP if the answer is truncated.
	Exchange func(ctx context.Context, query *dns.Msg, server string) (*dns.Msg, error)
}

// Resolver resolves Hops and Addresses. It is safe for concurrent use.
type Resolver struct {
	transports []string
	network    string
	timeout    time.Duration
	attempts   int
	minTTL     time.Duration
	maxTTL     time.Duration
	negTTL     time.Duration
	staleFor   time.Duration
	now        func() time.Time
	exchange   func(ctx context.Context, query *dns.Msg, server string) (*dns.Msg, error)

	fixedHosts  map[string][]netip.Addr // immutable
	hostsFile   *watched[map[string][]netip.Addr]
	fixedServer []string // immutable; nil: resolvConf
	resolvConf  *watched[[]string]
	down        downList

	cache   cache
	avoided avoided
	sockets chan struct{} // one token per query on the wire
	stats   lookupStats

	ctx     context.Context // of all flights; cancelled by Close
	cancel  context.CancelFunc
	running sync.WaitGroup // flights

	mu      sync.Mutex
	flights map[key]*flight // guarded by mu
	closed  bool            // guarded by mu
}

// New checks cfg and returns a Resolver. It asks nothing yet. Call Close when
// it is no longer needed.
func New(cfg Config) (*Resolver, error) {
	r := &Resolver{
		now:      cfg.Now,
		network:  cfg.Network,
		attempts: cfg.Attempts,
		sockets:  make(chan struct{}, maxSockets),
		flights:  map[key]*flight{},
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.exchange = cfg.Exchange
	if r.exchange == nil {
		r.exchange = exchangeUDPThenTCP
	}
	var errs []error
	duration := func(name string, value, def time.Duration) time.Duration {
		if value < 0 {
			errs = append(errs, fmt.Errorf("resolver: %s is %v, it cannot be negative", name, value))
		}
		if value == 0 {
			return def
		}
		return value
	}
	r.timeout = duration("Timeout", cfg.Timeout, time.Second)
	r.minTTL = duration("MinTTL", cfg.MinTTL, 5*time.Second)
	r.maxTTL = duration("MaxTTL", cfg.MaxTTL, time.Hour)
	r.negTTL = duration("NegativeTTL", cfg.NegativeTTL, time.Minute)
	r.staleFor = duration("StaleFor", cfg.StaleFor, 30*time.Second)
	r.avoided.keep = duration("AvoidFor", cfg.AvoidFor, 30*time.Second)
	if r.minTTL > r.maxTTL {
		errs = append(errs, fmt.Errorf("resolver: MinTTL %v is more than MaxTTL %v", r.minTTL, r.maxTTL))
	}
	if r.attempts == 0 {
		r.attempts = 2
	}
	if r.attempts < 0 || r.attempts > 10 {
		errs = append(errs, fmt.Errorf("resolver: Attempts is %d, give 1 to 10", cfg.Attempts))
	}
	r.cache.max = cfg.MaxEntries
	if r.cache.max == 0 {
		r.cache.max = 4096
	}
	if r.cache.max < 0 {
		errs = append(errs, fmt.Errorf("resolver: MaxEntries is %d, it cannot be negative", cfg.MaxEntries))
	}
	if !slices.Contains([]string{"", "ip", "ip4", "ip6"}, r.network) {
		errs = append(errs, fmt.Errorf("resolver: Network is %q, give ip, ip4 or ip6", cfg.Network))
	}
	for _, t := range cfg.Transports {
		t = strings.ToLower(t)
		if serviceOf(t) == "" {
			errs = append(errs, fmt.Errorf("resolver: Transports has %q, give udp, tcp, tls, ws or wss", t))
		}
		if !slices.Contains(r.transports, t) {
			r.transports = append(r.transports, t)
		}
	}
	if len(r.transports) == 0 {
		r.transports = []string{"udp", "tcp"}
	}
	for _, s := range cfg.Servers {
		server, err := serverAddress(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("resolver: Servers has %q, give a numeric host:port: %w", s, err))
		}
		r.fixedServer = append(r.fixedServer, server)
	}
	r.fixedHosts = map[string][]netip.Addr{}
	for name, addrs := range cfg.Hosts {
		host, _, err := parseHost(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("resolver: Hosts has %w", err))
		}
		for _, a := range addrs {
			if !usable(a) {
				errs = append(errs, fmt.Errorf("resolver: Hosts gives %s the address %v, which no server can have", name, a))
			}
		}
		r.fixedHosts[host] = addrs
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r.hostsFile = newWatched(cmp.Or(cfg.HostsFile, "/etc/hosts"), parseHostsFile)
	r.resolvConf = newWatched(cmp.Or(cfg.ResolvConf, "/etc/resolv.conf"), parseResolvConf)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends the look-ups in flight and returns once they are gone. Later
// look-ups of names that are not cached fail.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
}

// serverAddress checks a name server's address; the port defaults to 53.
func serverAddress(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(a.String(), "53"), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", err
	}
	if a.Port() == 0 {
		return "", errors.New("port 0")
	}
	return net.JoinHostPort(a.Addr().String(), strconv.Itoa(int(a.Port()))), nil
}

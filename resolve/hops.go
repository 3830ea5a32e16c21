package resolve

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// step is one SRV look-up and the transport that its servers are reached by.
type step struct {
	transport string
	key       key
	pending   pending
}

// server is where a step leads.
type server struct {
	transport string
	host      string
	addr      netip.Addr // valid if host is an address
	port      uint16
}

// Hops returns where to send a request for t, in the order to try, at most 16:
// RFC 3263 §4. Servers of equal rank come in random order by their weights
// (RFC 2782), so a caller keeps to one result within a transaction and its
// failover. Hops that Failed was called for are last.
//
// Without ctx's end it takes at most some seconds; once one server is known the
// others are waited for 200 ms only. The error says in words which look-up
// failed, and is one of the Err values of this package or the cause of ctx's end.
func (r *Resolver) Hops(ctx context.Context, t Target) ([]Hop, error) {
	hops, err := r.hops(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("resolve %v: %w", t, err)
	}
	return r.avoided.last(hops, r.now()), nil
}

func (r *Resolver) hops(ctx context.Context, t Target) ([]Hop, error) {
	host, addr, err := parseHost(t.Host)
	if err != nil {
		return nil, err
	}
	if t.Port < 0 || t.Port > 65535 {
		return nil, fmt.Errorf("%w: port %d", ErrTarget, t.Port)
	}
	named, err := r.transport(t)
	if err != nil {
		return nil, err
	}
	fallback := named
	if fallback == "" {
		if fallback, err = r.implied(t.Secure); err != nil {
			return nil, err
		}
	}
	direct := server{fallback, host, addr, uint16(t.Port)}
	if t.Port == 0 {
		direct.port = defaultPort(fallback)
	}
	if addr.IsValid() { // most targets within a call
		return []Hop{{direct.transport, netip.AddrPortFrom(addr, direct.port), host}}, nil
	}
	return r.lookUp(ctx, t, named, direct)
}

// lookUp is for a target whose host is a name. direct is the name itself at
// the port that t says or implies.
func (r *Resolver) lookUp(ctx context.Context, t Target, named string, direct server) ([]Hop, error) {
	host := direct.host
	if t.Port != 0 {
		return r.locate(ctx, host, []server{direct})
	}

	// Our own transports' SRV records are asked for together with NAPTR: most
	// domains have no NAPTR records, and this saves them a round trip.
	var own, byNAPTR [maxSteps]step
	steps := own[:0]
	for _, transport := range r.transports {
		if named == "" && (!t.Secure || encrypted(transport)) || named == transport {
			k := key{serviceOf(transport), host, dns.TypeSRV}
			steps = append(steps, step{transport, k, r.ask(k)})
		}
	}
	var found [maxHops]server
	if named == "" {
		offered := r.offered(ctx, host, byNAPTR[:0], func(transport string) bool {
			return r.sends(transport) && (!t.Secure || encrypted(transport))
		})
		servers, exist, err := r.serversOf(ctx, offered, found[:0])
		if len(servers) > 0 {
			return r.locate(ctx, host, servers)
		}
		if exist {
			return nil, err
		}
	}
	servers, exist, err := r.serversOf(ctx, steps, found[:0])
	if len(servers) > 0 {
		return r.locate(ctx, host, servers)
	}
	if exist {
		return nil, err
	}
	// Not knowing whether there are SRV records, the domain's own address would
	// be a guess, unless the operator gave it.
	if err != nil && len(r.inHosts(host)) == 0 {
		return nil, err
	}
	hops, err := r.locate(ctx, host, []server{direct})
	if err != nil {
		return nil, fmt.Errorf("no SRV record, and %w", err)
	}
	return hops, nil
}

// offered appends to steps what host's NAPTR records lead to, in their order,
// each SRV name once. Without an answer within two queries' time the domain
// counts as having none: there are firewalls that drop NAPTR queries.
func (r *Resolver) offered(ctx context.Context, host string, steps []step, want func(transport string) bool) []step {
	k := key{"", host, dns.TypeNAPTR}
	p := r.ask(k)
	if !p.settled() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*r.timeout)
		defer cancel()
	}
	for _, n := range r.wait(ctx, k, p).naptr {
		if !want(n.transport) || len(steps) == maxSteps {
			continue
		}
		if !slices.ContainsFunc(steps, func(s step) bool { return s.key == n.srv && s.transport == n.transport }) {
			steps = append(steps, step{n.transport, n.srv, r.ask(n.srv)})
		}
	}
	return steps
}

// serversOf appends to servers those of the steps' SRV records, in the order to
// try. exist says that there are SRV records, even if they say "no such service".
// err is why there are no servers, nil if the domain simply has no SRV records.
func (r *Resolver) serversOf(ctx context.Context, steps []step, servers []server) (_ []server, exist bool, err error) {
	var buf [8]srv
	patience := patience{ctx: ctx}
	defer patience.end()
	for _, s := range steps {
		if len(servers) > 0 && !s.pending.settled() {
			patience.shorten()
		}
		a := r.wait(patience.ctx, s.key, s.pending)
		switch {
		case a.off:
			exist = true
			err = a.err
		case a.failed && !exist:
			err = a.err
		}
		for _, v := range appendWeighted(buf[:0], a.srv, rand.IntN) {
			exist = true
			next := server{s.transport, v.host, v.addr, v.port}
			if len(servers) < maxHops && !slices.Contains(servers, next) {
				servers = append(servers, next)
			}
		}
	}
	return servers, exist, err
}

// patience is how long a series of look-ups is waited for: as long as ctx, and
// once there is something to go on with no longer than grace.
type patience struct {
	ctx    context.Context
	all    bool // wait for everything
	cancel context.CancelFunc
}

func (p *patience) shorten() {
	if p.cancel == nil && !p.all {
		p.ctx, p.cancel = context.WithTimeout(p.ctx, grace)
	}
}

func (p *patience) end() {
	if p.cancel != nil {
		p.cancel()
	}
}

// locate returns the hops of servers, in their order.
func (r *Resolver) locate(ctx context.Context, name string, servers []server) ([]Hop, error) {
	var buf [maxHops]addresses
	lookups := buf[:len(servers)]
	for i, s := range servers {
		r.askAddresses(&lookups[i], s.host, s.addr, r.network)
	}
	hops := make([]Hop, 0, min(maxHops, len(servers)+1))
	var errs error
	patience := patience{ctx: ctx}
	defer patience.end()
	for i, s := range servers {
		if len(hops) > 0 && !lookups[i].settled() {
			patience.shorten()
		}
		err := r.waitAddresses(&patience, &lookups[i], s.host, r.network, func(a netip.Addr) {
			hop := Hop{s.transport, netip.AddrPortFrom(a, s.port), name}
			if len(hops) < maxHops && !slices.Contains(hops, hop) {
				hops = append(hops, hop)
			}
		})
		if err != nil && errs == nil {
			errs = err
		}
	}
	if len(hops) > 0 {
		return hops, nil
	}
	if errs == nil {
		errs = fmt.Errorf("%s: %w: its addresses are not of the configured network %s", name, ErrNoRecord, r.network)
	}
	return nil, errs
}

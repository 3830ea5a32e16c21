package app

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/resolve"
)

// domainPeers are the addresses for which the word "domain" stands in
// "trusted": those of the domain's SIP proxies.
type domainPeers struct {
	current atomic.Pointer[[]netip.Addr]
	advice  string // what to do when DNS does not know them; "" when that is plain
}

// adviceFor is for a service that reaches its proxy without the domain's DNS
// records, so that nobody misses them but the word "domain".
func adviceFor(cfg *config.Config) string {
	if len(cfg.SIP.OutboundProxy) == 0 {
		return ""
	}
	host := "192.0.2.1"
	if t, err := config.ProxyTarget(cfg.SIP.OutboundProxy[0]); err == nil {
		// Not loopback: that would let in everybody on this machine.
		if a, err := netip.ParseAddr(t.Host); err == nil && !a.Unmap().IsLoopback() && !a.IsUnspecified() {
			host = t.Host
		}
	}
	return "calls do not need it, for sip.outbound-proxy is set: put the addresses whose requests need no PIN into trusted, such as trusted: [" +
		host + "] (loopback only where everybody on this machine may call without one), or write trusted: [] if there are none"
}

// openPeers keeps the addresses of the domain's proxies current, if anything needs
// them.
func (a *App) openPeers() error {
	a.peers.advice = adviceFor(&a.cfg)
	a.known = append(a.known, a.peers.known(config.Prefixes(a.cfg.Trusted)))
	if !a.cfg.NeedsPeers() {
		return nil
	}
	// A trusted peer's request right after the start should not be refused; DNS
	// that does not answer should not keep the others waiting.
	first := make(chan struct{})
	a.add(feature{name: "trusted peers", stage: stageBase, ready: first, run: func(ctx context.Context) error {
		a.peers.refresh(ctx, a.resolver, a.cfg.Domain, a.log, first)
		return nil
	}})
	return nil
}

const (
	// peersEvery is how often the addresses are asked for; the resolver's cache
	// answers until their TTL is over.
	peersEvery = 15 * time.Second
	// peersKept is how long addresses stay trusted while DNS does not answer.
	peersKept = time.Hour
)

// addresses returns the addresses, nil before they are known.
func (p *domainPeers) addresses() []netip.Addr {
	if list := p.current.Load(); list != nil {
		return *list
	}
	return nil
}

// refresh keeps the addresses current until ctx ends. It closes first after
// the first attempt.
func (p *domainPeers) refresh(ctx context.Context, r *resolve.Resolver, domain string, log *slog.Logger, first chan<- struct{}) {
	tick := time.NewTicker(peersEvery)
	defer tick.Stop()
	var known time.Time
	failing := false
	for {
		list, err := LookUpPeers(ctx, r, domain)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			known = time.Now()
			if failing || !slices.Equal(list, p.addresses()) {
				log.Info("SIP proxies of the domain", "domain", domain, "addresses", list)
			}
			failing = false
			p.current.Store(&list)
		default:
			if !failing {
				attrs := []any{"domain", domain, "error", err}
				if p.advice != "" {
					attrs = append(attrs, "advice", p.advice)
				}
				log.Warn("the domain's SIP proxies cannot be looked up: without a PIN only the other trusted peers are let in", attrs...)
			}
			failing = true
			if time.Since(known) > peersKept {
				p.current.Store(nil)
			}
		}
		if first != nil {
			close(first)
			first = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// LookUpPeers asks DNS for the addresses of the domain's proxies. Loopback is
// left out: DNS must not make every program on this machine trusted.
func LookUpPeers(ctx context.Context, r *resolve.Resolver, domain string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all, err := r.Addresses(ctx, domain)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); !a.IsLoopback() {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), nil
}

// LookUpOnce is lookUpPeers for a command, which has no resolver.
func LookUpOnce(ctx context.Context, cfg *config.Config) ([]netip.Addr, error) {
	r, err := NewResolver(cfg)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return LookUpPeers(ctx, r, cfg.Domain)
}

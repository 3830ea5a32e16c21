package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Addresses returns every address of domain's SIP servers over all transports,
// sent by us or not, sorted: the peers that are the domain's proxies. The
// addresses of the domain itself count only if it has no SRV records at all; if
// the SRV look-ups fail, an error is returned rather than a guess.
// Loopback addresses are not left out.
func (r *Resolver) Addresses(ctx context.Context, domain string) ([]netip.Addr, error) {
	addrs, err := r.addressesOf(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("addresses of the SIP servers of %s: %w", printable(domain), err)
	}
	return addrs, nil
}

func (r *Resolver) addressesOf(ctx context.Context, domain string) ([]netip.Addr, error) {
	host, addr, err := parseHost(domain)
	if err != nil {
		return nil, err
	}
	var steps []step
	if !addr.IsValid() {
		for _, s := range services {
			k := key{s.service, host, dns.TypeSRV}
			steps = append(steps, step{s.transport, k, r.ask(k)})
		}
		steps = append(steps, r.offered(ctx, host, nil, func(string) bool { return true })...)
	}
	hosts := map[string]netip.Addr{}
	exist, failed := false, error(nil)
	for _, s := range steps {
		a := r.wait(ctx, s.key, s.pending)
		exist = exist || a.off
		if a.failed {
			failed = a.err
		}
		for _, v := range a.srv {
			if exist = true; len(hosts) < maxSRV {
				hosts[v.host] = v.addr
			}
		}
	}
	if !exist {
		if failed != nil && len(r.inHosts(host)) == 0 {
			return nil, failed
		}
		hosts[host] = addr
	}
	lookups := make(map[string]*addresses, len(hosts))
	for h, a := range hosts {
		lookups[h] = new(addresses)
		r.askAddresses(lookups[h], h, a, "ip")
	}
	var all []netip.Addr
	for h, l := range lookups {
		err := r.waitAddresses(&patience{ctx: ctx, all: true}, l, h, "ip", func(a netip.Addr) { all = append(all, a) })
		if err != nil && failed == nil {
			failed = err
		}
	}
	if len(all) == 0 && failed != nil {
		return nil, failed
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	return all[:min(len(all), maxTrusted)], nil
}

// addresses is the look-up of one host, both families.
type addresses struct {
	literal netip.Addr   // valid if the host is an address
	fixed   []netip.Addr // of the hosts file
	v4, v6  pending
	ask4    bool
	ask6    bool
}

func (r *Resolver) askAddresses(a *addresses, host string, addr netip.Addr, network string) {
	if addr.IsValid() {
		a.literal = addr
		return
	}
	if a.fixed = r.inHosts(host); len(a.fixed) > 0 {
		return
	}
	if network != "ip6" {
		a.ask4, a.v4 = true, r.ask(key{"", host, dns.TypeA})
	}
	if network != "ip4" {
		a.ask6, a.v6 = true, r.ask(key{"", host, dns.TypeAAAA})
	}
}

func (a *addresses) settled() bool { return a.v4.settled() && a.v6.settled() }

// waitAddresses calls each for every address, IPv4 first. If there is none it
// returns why.
func (r *Resolver) waitAddresses(patience *patience, a *addresses, host, network string, each func(netip.Addr)) error {
	fits := func(addr netip.Addr) bool {
		return network == "" || network == "ip" || addr.Is4() == (network == "ip4")
	}
	if a.literal.IsValid() {
		if fits(a.literal) {
			each(a.literal)
		}
		return nil
	}
	for _, addr := range a.fixed {
		if fits(addr) {
			each(addr)
		}
	}
	if len(a.fixed) > 0 {
		return nil
	}
	var err4, err6 error
	if a.ask4 {
		got := r.wait(patience.ctx, key{"", host, dns.TypeA}, a.v4)
		for _, addr := range got.addrs {
			each(addr)
		}
		err4 = got.err
		if err4 == nil && a.ask6 && !a.v6.settled() {
			patience.shorten()
		}
	}
	if a.ask6 {
		got := r.wait(patience.ctx, key{"", host, dns.TypeAAAA}, a.v6)
		for _, addr := range got.addrs {
			each(addr)
		}
		err6 = got.err
	}
	switch {
	case a.ask4 && a.ask6 && err4 != nil && err6 != nil:
		if errors.Is(err4, ErrNoRecord) {
			return err6 // AAAA may have failed rather than be absent
		}
		return err4
	case !a.ask6:
		return err4
	case !a.ask4:
		return err6
	}
	return nil
}

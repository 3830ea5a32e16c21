package dispatch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
)

// Probe looks the webhooks of the rules up and says what is wrong with what is
// found, without asking any.
func Probe(ctx context.Context, cfg Config) (problems []error) {
	st, err := newState(cfg, nil)
	if err != nil {
		return []error{err}
	}
	resolver := cfg.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	told := map[string]bool{}
	for _, r := range st.table.rules {
		for i, address := range []string{r.URL, r.EventsURL} {
			u, err := url.Parse(address)
			if err != nil || u.Hostname() == "" || told[r.ID+u.Hostname()] || r.Proxy != "" {
				continue // the proxy looks it up
			}
			told[r.ID+u.Hostname()] = true
			if err := r.probe(ctx, resolver, hostName(u.Hostname())); err != nil {
				problems = append(problems, fmt.Errorf("%s: rule %q: %s: %w", r.Where(), r.ID, [...]string{"url", "events_url"}[i], err))
			}
		}
	}
	return problems
}

func (r *rule) probe(ctx context.Context, resolver *net.Resolver, host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil // checked when it was read
	}
	list, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(r.AllowPrivate, func(h string) bool { return hostName(h) == host }) {
		return nil
	}
	for _, a := range list {
		if public(a) {
			return nil
		}
	}
	return &errPrivate{host, list[0].Unmap().String()}
}

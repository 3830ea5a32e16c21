package dispatch

import (
	"context"
	"fmt"
	"net"
	"net/url"
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
			if err := r.Endpoint.Probe(ctx, resolver, u.Hostname()); err != nil {
				problems = append(problems, fmt.Errorf("%s: rule %q: %s: %w", r.Where(), r.ID, [...]string{"url", "events_url"}[i], err))
			}
		}
	}
	return problems
}

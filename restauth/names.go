package restauth

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"sipxrest/internal/limit"
)

// A page whose name leads to our address has our origin in its reader's browser
// (DNS rebinding). It may send what it likes in the name of a trusted address,
// and read the responses. What it cannot do is call us by a name of ours, so
// browsers have to. Other programs may call by any name.

// names are the hosts by which browsers may call.
type names struct {
	any    bool
	exact  map[string]bool // lower case
	domain string          // of which every subdomain is ours
}

func newNames(cfg *Config) (n names, err error) {
	n = names{exact: map[string]bool{"localhost": true, plainName(cfg.Domain): true}, domain: "." + plainName(cfg.Domain)}
	for _, name := range cfg.Names {
		switch {
		case name == "*":
			n.any = true
		case name == "" || strings.ContainsAny(name, "/@*? \t\r\n"):
			return n, fmt.Errorf("%.80q: want a host name, without scheme, port and path", name)
		}
		n.exact[plainName(name)] = true
	}
	for _, origin := range cfg.AllowedOrigins { // its pages may call anyway
		if u, err := url.Parse(origin); err == nil {
			n.exact[plainName(u.Hostname())] = true
		}
	}
	return n, nil
}

// ours reports whether a Host header names this service. An address does: no page
// has made that up.
func (n *names) ours(host string) bool {
	if n.any || host == "" {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = plainName(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return n.exact[host] || len(n.domain) > 1 && strings.HasSuffix(host, n.domain)
}

func plainName(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// byBrowser reports whether a browser sent r. Origin and Sec-Fetch-Mode no page
// can leave out where browsers send them; to a name without TLS they do not
// send the latter, nor Origin with a GET, so where addresses are trusted what
// browsers say else counts, too.
func (l *listener) byBrowser(r *http.Request) bool {
	h := r.Header
	if h["Origin"] != nil || h["Sec-Fetch-Mode"] != nil || h["Sec-Fetch-Site"] != nil || h["Sec-Fetch-Dest"] != nil {
		return true
	}
	return l.policy != PIN && (h["Accept-Language"] != nil || strings.HasPrefix(h.Get("User-Agent"), "Mozilla/"))
}

// OurName reports whether a Host header names this service.
func (g *Gate) OurName(host string) bool { return g.names.ours(host) }

// Named is the handler of a listener that lets everybody in, such as that of
// metrics. It refuses only browsers that call by a name which is not ours.
func (g *Gate) Named(h http.Handler) http.Handler {
	l := &listener{gate: g, policy: TrustedOnly, next: h}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !l.misnamed(w, r) {
			h.ServeHTTP(w, r)
		}
	})
}

// misnamed refuses a browser that calls by a name that is not ours, and reports
// whether it has responded. A page that may call is known by its origin.
func (l *listener) misnamed(w http.ResponseWriter, r *http.Request) bool {
	g := l.gate
	if !l.byBrowser(r) || g.names.ours(r.Host) || g.origins[r.Header.Get("Origin")] {
		return false
	}
	g.stats.count(ForeignName)
	g.foreignNames.Refused(limit.RefusedPage(r.Host, g.Address(r)))
	g.refuse(w, r, &Verdict{Status: http.StatusMisdirectedRequest, Why: ForeignName,
		Text: "The name in the address is not known to be this service's: call it by its IP address or a name of its domain, or add the name to http-names"})
	return true
}

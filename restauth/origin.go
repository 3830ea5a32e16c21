package restauth

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"sipxrest/internal/limit"
)

// ParseOrigin reads an origin of the configuration and gives it the form that
// browsers send (RFC 6454 §6.2).
func ParseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("%.80q: want scheme://host or scheme://host:port, without a path", text)
	}
	scheme, host := u.Scheme, strings.ToLower(u.Host)
	if port := u.Port(); scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return scheme + "://" + host, nil
}

// CORS is what pages of other sites may do that are allowed to call.
type CORS struct {
	Methods, Headers string // of their requests, as in Access-Control-Allow-…
	Expose           string // headers of responses that they may read
	Credentials      bool   // the browser may send what it knows of the user
}

// Answer lets the page that sent r read the response. For a preflight it is the
// response, and Answer reports that it has sent it. Its caller has checked
// Origin.
func (c *CORS) Answer(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Expose-Headers", c.Expose)
	if !isPreflight(r) {
		return false
	}
	h.Set("Access-Control-Allow-Methods", c.Methods)
	h.Set("Access-Control-Allow-Headers", c.Headers)
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

var cors = CORS{
	Methods: "GET, HEAD, POST, PUT, DELETE", Headers: "Authorization, Content-Type, If-None-Match",
	Expose: "ETag, Retry-After, Sipxrest-Call-Id, WWW-Authenticate", Credentials: true,
}

// SameHost reports whether an Origin's host and port are those of a Host header.
func SameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// crossSite refuses the requests of pages that may not call, responds to the
// preflights of those that may, and reports whether it has responded. Responses
// to allowed pages get the CORS headers that let them be read.
//
// Only browsers send Origin and Sec-Fetch-Site, and no page can change them,
// so a request without them is no page's. A reverse proxy must pass Host on,
// or its own pages are foreign ones.
func (g *Gate) crossSite(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(g.origins) > 0 {
		w.Header().Add("Vary", "Origin")
	}
	if origin != "" && g.origins[origin] {
		may := &cors
		if g.cfg.CORS != nil {
			if its := g.cfg.CORS(r); its != nil {
				may = its
			}
		}
		return may.Answer(w, r)
	}
	if !changesState(r) && !isPreflight(r) {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if origin == "" && site != "cross-site" {
		return false
	}
	// Host is compared with Origin only to refuse: a browser sets both, and
	// others who make them equal gain what they have without Origin.
	if origin != "" && site != "cross-site" && SameHost(origin, r.Host) {
		return false
	}
	g.stats.count(CrossSite)
	g.foreignPages.Refused(limit.RefusedPage(origin, g.Address(r)))
	g.refuse(w, r, &Verdict{Status: http.StatusForbidden, Why: CrossSite, Text: "Cross-site request refused: the page's origin is not in allowed-origins"})
	return true
}

// changesState reports whether a page could do harm by r without reading the
// response. A WebSocket opens with a GET, and browsers let every page do so.
func changesState(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.Header.Get("Upgrade") != ""
	case http.MethodOptions:
		return false
	}
	return true
}

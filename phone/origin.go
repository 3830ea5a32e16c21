package phone

import (
	"net/http"
	"net/url"
	"strings"

	"sipxrest/internal/limit"
)

// crossSite refuses the requests of pages that may not use the service, answers
// the preflights of those that may, and says whether it has answered. Only
// browsers send Origin, and no page can change it: who sends none is a native
// client. What a page could do at all is little: it has no token unless its user
// logs in there.
func (s *Service) crossSite(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(s.origins) > 0 {
		w.Header().Add("Vary", "Origin")
	}
	if origin == "" {
		return false
	}
	if !s.origins[origin] {
		if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
			return false // a page of the service's own site
		}
		s.foreignPages.Refused(limit.RefusedPage(origin, s.cfg.Address(r)))
		s.refuse(w, errOrigin)
		return true
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

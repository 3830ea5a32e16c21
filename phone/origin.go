package phone

import (
	"net/http"

	"sipxrest/internal/limit"
	"sipxrest/restauth"
)

// crossSite refuses the requests of pages that may not use the service, and
// responds to the preflights of those that may. It reports whether it has
// responded. Only browsers send Origin, and no page can change it: a request
// without is a native client's. What a page could do at all is little: it has
// no token unless its user logs in there.
func (s *Service) crossSite(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(s.origins) > 0 {
		w.Header().Add("Vary", "Origin")
	}
	if origin == "" {
		return false
	}
	if !s.origins[origin] {
		if restauth.SameHost(origin, r.Host) {
			return false // a page of the service's own site
		}
		s.foreignPages.Refused(limit.RefusedPage(origin, s.cfg.Address(r)))
		s.refuse(w, errOrigin)
		return true
	}
	return cors.Answer(w, r)
}

var cors = restauth.CORS{Methods: "GET, POST, DELETE", Headers: "Authorization, Content-Type", Expose: "Retry-After"}

package restauth

import (
	"net/http"
	"strings"
)

// Claim is the user name that r's Authorization header field gives, not
// verified; "" if there is none that can be read. Resources whose path does not
// say who acts ask Authorize for it.
func Claim(r *http.Request) string {
	given := r.Header["Authorization"]
	if len(given) != 1 || len(given[0]) > maxAuthorization {
		return ""
	}
	switch name, params := scheme(given[0]); {
	case strings.EqualFold(name, "Digest"):
		if c, err := parseDigest(params); err == nil {
			return c.username
		}
	case strings.EqualFold(name, "Basic"):
		username, _, _ := r.BasicAuth()
		return username
	}
	return ""
}

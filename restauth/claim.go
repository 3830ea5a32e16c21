package restauth

import (
	"net/http"
	"strings"

	"sipxrest/internal/digest"
)

// Claim is the user name that r's Authorization header field gives, not
// verified; "" if there is none that can be read. Resources whose path does not
// name the agent pass it to Authorize.
func Claim(r *http.Request) string {
	given := r.Header["Authorization"]
	if len(given) != 1 || len(given[0]) > maxAuthorization {
		return ""
	}
	switch name := scheme(given[0]); {
	case strings.EqualFold(name, "Digest"):
		c, err := digest.ParseAuthorization(given[0])
		if err != nil {
			return ""
		}
		if _, err := c.Count(); err == nil {
			return c.Username
		}
	case strings.EqualFold(name, "Basic"):
		username, _, _ := r.BasicAuth()
		return username
	}
	return ""
}

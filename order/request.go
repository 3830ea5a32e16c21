package order

import "net/http"

// RequestIDHeader is how a client names its request.
const RequestIDHeader = "X-Request-Id"

// RequestID is the client's name of its request: 1 to 64 of letters, digits, dots, dashes and
// underscores. It is empty where there is none that is fit.
func RequestID(r *http.Request) string {
	id := r.Header.Get(RequestIDHeader)
	if len(id) > 64 {
		return ""
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return ""
		}
	}
	return id
}

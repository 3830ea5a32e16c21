package siptest

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Timers of RFC 3261 §17.1.1.1.
const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second
)

// parser leaves the header fields whose parameters sipgo drops as they came.
var parser = sip.NewParser(sip.WithHeadersParsers(rawHeaders()))

func rawHeaders() map[string]sip.HeaderParser {
	m := maps.Clone(sip.DefaultHeadersParser())
	for _, name := range []string{"route", "record-route", "refer-to", "referred-by"} {
		delete(m, name)
	}
	return m
}

// parse reads one datagram and insists on what every message must have
// (RFC 3261 §8.1.1), so that nobody behind it meets a nil header.
func parse(data []byte) (sip.Message, error) {
	m, err := parser.ParseSIP(data)
	if err != nil {
		return nil, err
	}
	if m.Via() == nil || m.From() == nil || m.To() == nil || m.CallID() == nil || m.CSeq() == nil {
		return nil, fmt.Errorf("a mandatory header field is missing")
	}
	return m, nil
}

// headerOf is the value of the first header field of that name, or "".
func headerOf(m sip.Message, name string) string {
	if h := m.GetHeaders(name); len(h) > 0 {
		return h[0].Value()
	}
	return ""
}

// headersOf are all values of that name, comma-separated lists taken apart.
func headersOf(m sip.Message, name string) []string {
	var all []string
	for _, h := range m.GetHeaders(name) {
		all = append(all, splitUnquoted(h.Value(), ',')...)
	}
	return all
}

// splitUnquoted splits at sep outside of quotes and angle brackets.
func splitUnquoted(s string, sep byte) []string {
	var parts []string
	start, quoted, angle := 0, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == sep && !angle:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(s[start:]))
}

// address takes a name-addr or addr-spec apart (RFC 3261 §20.10).
func address(value string) (uri sip.Uri, params sip.HeaderParams, err error) {
	_, err = sip.ParseAddressValue(value, &uri, &params)
	return uri, params, err
}

func toTag(m sip.Message) string   { return m.To().Params.GetOr("tag", "") }
func fromTag(m sip.Message) string { return m.From().Params.GetOr("tag", "") }

// withTag adds a tag to a From or To value.
func withTag(value, tag string) string {
	if tag == "" {
		return value
	}
	return value + ";tag=" + tag
}

// hop is the address that a URI names when its host is an IP address.
func hop(uri sip.Uri) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(strings.Trim(uri.Host, "[]"))
	if err != nil {
		return netip.AddrPort{}, false
	}
	port := uri.Port
	if port == 0 {
		port = 5060
	}
	return netip.AddrPortFrom(ip, uint16(port)), true
}

// replyTo is where the response goes: by the received and rport parameters
// that were put into the topmost Via (RFC 3261 §18.2.2, RFC 3581 §4).
func replyTo(via *sip.ViaHeader) (netip.AddrPort, bool) {
	u := sip.Uri{Host: via.Host, Port: via.Port}
	if r := via.Params.GetOr("received", ""); r != "" {
		u.Host = r
	}
	if r := via.Params.GetOr("rport", ""); r != "" {
		if _, err := fmt.Sscanf(r, "%d", &u.Port); err != nil {
			return netip.AddrPort{}, false
		}
	}
	return hop(u)
}

// stampVia notes in the topmost Via where the request really came from.
func stampVia(req *sip.Request, from netip.AddrPort) {
	via := req.Via()
	if via.Params.Has("rport") {
		via.Params.Add("rport", fmt.Sprint(from.Port()))
	} else if via.Host == from.Addr().String() {
		return
	}
	via.Params.Add("received", from.Addr().String())
}

// removeAll removes every header field of that name, in any case.
func removeAll(m sip.Message, name string) {
	type remover interface{ RemoveHeader(string) bool }
	for _, h := range m.GetHeaders(name) {
		m.(remover).RemoveHeader(h.Name())
	}
}

func newTag() string    { return strings.ToLower(rand.Text()[:12]) }
func newBranch() string { return "z9hG4bK" + strings.ToLower(rand.Text()[:16]) }

// reasonPhrase is the usual text of a status code.
func reasonPhrase(code int) string {
	if s, ok := phrases[code]; ok {
		return s
	}
	return "Unknown"
}

var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	200: "OK", 202: "Accepted", 204: "No Notification",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	410: "Gone", 413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
	423: "Interval Too Brief", 429: "Provide Referrer Identity", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
	485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
	491: "Request Pending", 493: "Undecipherable",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}

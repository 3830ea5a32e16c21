package policy

import (
	"net/netip"
	"strings"
	"unicode"
)

// target is what a URI, or a bare user@host, asks to have called.
type target struct {
	user    string   // before the first ';', not unescaped
	numbers []string // further numbers that parameters of the user name
	host    string   // lower case, without port; "" for one of ours
	odd     string   // why it cannot be read
}

// parseTarget takes a SIP, SIPS or tel URI (RFC 3261 §19.1, RFC 3966), or
// user@host as in such a URI, apart. home is our domain.
func parseTarget(text, home string) (t target) {
	text = strings.TrimSpace(text)
	tel, sip := false, false
	for again := true; again; { // "sip:sip:" has been seen
		again = false
		for _, scheme := range []string{"sips:", "sip:", "tel:"} {
			if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
				text, tel, again = text[len(scheme):], scheme == "tel:", true
				sip = !tel
			}
		}
	}
	switch {
	case text == "":
		return target{odd: "it names nobody"}
	case strings.ContainsAny(text, "<>\"\\\r\n\t\x00"):
		return target{odd: "it is not one URI"}
	}
	text, headers, _ := strings.Cut(text, "?")
	if name := routingHeader(headers); name != "" {
		return target{odd: "the header " + name + " in it would send the call elsewhere"}
	}
	if !tel && !strings.Contains(text, "@") && isScheme(text) {
		return target{odd: "it is no SIP or tel URI"}
	}
	if strings.Count(text, "@") > 1 {
		return target{odd: "it has more than one @"}
	}
	user, rest, at := strings.Cut(text, "@")
	if host, params, _ := strings.Cut(text, ";"); sip && !at && isHost(host) {
		user, rest = "", host+";"+params
	}
	user, params, _ := strings.Cut(user, ";")
	user, _, _ = strings.Cut(user, ":") // a password
	t.user = user
	t.parameters(params)
	if rest != "" {
		t.hostPart(rest, home)
	}
	return t
}

// isHost tells the host of a URI without a user from "sip:0900…", which is a
// host to RFC 3261 and a number to many.
func isHost(s string) bool {
	if strings.ContainsFunc(s, unicode.IsLetter) || strings.HasPrefix(s, "[") {
		return true
	}
	host, _, _ := strings.Cut(s, ":")
	_, err := netip.ParseAddr(host)
	return err == nil
}

// isScheme tells "urn:service:sos" from "201" and from "host:5060".
func isScheme(text string) bool {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || scheme == "" || strings.ContainsAny(scheme, ".[") {
		return false
	}
	port, _, _ := strings.Cut(rest, ";")
	return strings.Trim(port, "0123456789") != ""
}

// routingHeader names a header in a URI that says where the call goes (RFC
// 3261 §19.1.5 wants them ignored; not every phone does).
func routingHeader(headers string) string {
	for pair := range strings.SplitSeq(headers, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, _ = unescape(name)
		for _, h := range []string{"Route", "To", "t", "Request-URI", "Record-Route", "Path"} {
			if strings.EqualFold(strings.TrimSpace(name), h) {
				return h
			}
		}
	}
	return ""
}

// parameters finds the numbers in the parameters of a telephone subscriber: a
// phone-context that completes the number (RFC 3966 §5.1.5), and the number
// that it was ported to (RFC 4694). Others (ext, isub, postd) are dialled when
// the call is up, or by nobody.
func (t *target) parameters(params string) {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		name, _ = unescape(name)
		value, _ = unescape(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "phone-context":
			if strings.Trim(value, "+0123456789-.()") == "" && value != "" {
				t.numbers = append(t.numbers, value+t.user)
			}
		case "rn":
			if value != "" {
				t.numbers = append(t.numbers, value)
			}
		}
		if len(t.numbers) > 4 {
			t.odd = "it has too many numbers"
			return
		}
	}
}

// hostPart reads host:port;parameters. maddr is where the request really goes.
func (t *target) hostPart(s, home string) {
	host, params, _ := strings.Cut(s, ";")
	if strings.Contains(params, "%") {
		params, _ = unescape(params)
	}
	port := ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], strings.TrimLeft(host[i+1:], "0")
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), "."))
	ours := host == "" || host == strings.ToLower(strings.TrimSuffix(home, "."))
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "maddr") && value != "" {
			host, ours = strings.ToLower(strings.TrimSpace(value)), false
		}
	}
	// What else listens on our host may be a gateway.
	if ours && (port == "" || port == "5060" || port == "5061") {
		return
	}
	if host == "" {
		host = home
	}
	t.host = host
	if port != "" && t.host == strings.ToLower(home) {
		t.host += ":" + port
	}
}

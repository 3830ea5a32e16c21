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
	if name := otherHeader(headers); name != "" {
		return target{odd: "the header " + name + " in it may say whom to call, or what else to do"}
	}
	if strings.Count(text, "@") > 1 {
		return target{odd: "it has more than one @"}
	}
	user, rest, at := strings.Cut(text, "@")
	if host, params, _ := strings.Cut(text, ";"); sip && !at && isHost(host) {
		user, rest = "", host+";"+params
	}
	user, params, _ := strings.Cut(user, ";")
	switch plain, _ := unescape(user); {
	case !strings.Contains(plain, ":"):
	case !sip: // mailto:, callto:, h323:, urn:
		return target{odd: "it is no SIP or tel URI"}
	default: // "sip:callto:0900…@host", too
		return target{odd: "it has a password, which may be what is called"}
	}
	t.user = user
	t.parameters(params)
	if method := otherMethod(params + ";" + rest); method != "" {
		return target{odd: "it asks for " + method + " and not for a call"}
	}
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

// harmlessHeaders are those that a URI may have: they say whom a call replaces,
// or something of it, and not where it goes, from whom, or what else is done.
var harmlessHeaders = map[string]bool{"replaces": true, "require": true, "subject": true, "s": true, "join": true, "target-dialog": true,
	"referred-by": true, "b": true, "user-to-user": true, "session-id": true, "in-reply-to": true, "priority": true, "reason": true, "accept-language": true}

// otherHeader names a header in a URI that is none of those (RFC 3261 §19.1.5
// wants most of them ignored; not every phone does).
func otherHeader(headers string) string {
	if headers == "" {
		return ""
	}
	for pair := range strings.SplitSeq(headers, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name, readable := unescape(name)
		name = strings.ToLower(strings.TrimSpace(name))
		if !readable || name != "" && !harmlessHeaders[name] && !strings.HasPrefix(name, "x-") {
			return clip(name)
		}
	}
	return ""
}

// otherMethod names the method that a URI asks for, where it is not INVITE.
func otherMethod(params string) string {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		name, _ = unescape(name)
		value, _ = unescape(value)
		if strings.EqualFold(strings.TrimSpace(name), "method") && !strings.EqualFold(strings.TrimSpace(value), "INVITE") {
			return clip("the method " + value)
		}
	}
	return ""
}

// clip makes what somebody else wrote fit for an error.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
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

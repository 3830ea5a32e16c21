package callcontroller

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxUser bounds a user in a request, in bytes after percent-decoding.
const maxUser = 256

// party is a user of a request: the calling or called one, or the target of a
// transfer.
type party struct {
	user string // as given, without scheme and percent-encoding
	host string // as given, or our domain
}

// parseParty reads "user" or "user@host"; a user alone is one of domain. The
// host may be a name or an IP literal but has no port, and nothing that is
// given may become a parameter or a header of a URI.
//
// A "sip:" in front is cut off, because people paste it (sipXrest made
// "sip:sip:202@…" of it, which reached nobody). "tel:" numbers lose their
// visual separators (RFC 3966 §5.1.1); a context or an extension is refused,
// for there is nowhere to put it. Other schemes, sips among them, are refused:
// the promise of TLS on each hop cannot be kept.
func parseParty(text, domain string) (party, bool) {
	if text == "" || len(text) > maxUser || !utf8.ValidString(text) {
		return party{}, false
	}
	if rest, ok := cutScheme(text, "tel:"); ok {
		number, ok := telNumber(rest)
		return party{number, domain}, ok
	}
	text, _ = cutScheme(text, "sip:")
	user, host, given := strings.Cut(text, "@")
	if !given {
		host = domain
	} else if !isHost(host) {
		return party{}, false
	}
	if user == "" || strings.IndexFunc(user, unfit) >= 0 {
		return party{}, false
	}
	return party{user, host}, true
}

// cutScheme cuts scheme, in any case, off the front of text.
func cutScheme(text, scheme string) (string, bool) {
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return text, false
	}
	return text[len(scheme):], true
}

// withoutScheme is the name by which the user store knows what a client calls
// text.
func withoutScheme(text string) string {
	if rest, ok := cutScheme(text, "tel:"); ok {
		if number, ok := telNumber(rest); ok {
			return number
		}
	}
	text, _ = cutScheme(text, "sip:")
	return text
}

// unfit says that r has no place in a user: it would need a meaning that a URI
// gives it (password, parameter, header), or no user can mean it.
func unfit(r rune) bool {
	switch r {
	case ':', ';', '?', '<', '>', '@', '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) // Cf: bidirectional overrides, zero-width
}

// telNumber is the subscriber number of a tel URI without visual separators.
func telNumber(s string) (string, bool) {
	var b strings.Builder
	global := strings.HasPrefix(s, "+")
	digits := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '-' || c == '.' || c == '(' || c == ')':
			continue
		case c == '+' && i == 0:
		case '0' <= c && c <= '9':
			digits++
		case !global && (c == '*' || c == '#' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f'):
		default:
			return "", false
		}
		b.WriteByte(s[i])
	}
	return b.String(), digits > 0
}

// isHost says whether s is a host of RFC 3261 §25.1: a host name, an IPv4
// address or an IPv6 reference in brackets. Numbers that only some resolvers
// take for addresses ("0x7f.1", "2130706433") are none.
func isHost(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	if s[0] == '[' {
		addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
		return err == nil && s[len(s)-1] == ']' && addr.Is6() && addr.Zone() == ""
	}
	top := 0 // start of the last label
	label := 0
	s = strings.TrimSuffix(s, ".")
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			if i == label || i-label > 63 || s[label] == '-' || s[i-1] == '-' {
				return false
			}
			top, label = label, i+1
			continue
		}
		if c := s[i]; c != '-' && !isAlnum(c) {
			return false
		}
	}
	if c := s[top]; '0' <= c && c <= '9' {
		addr, err := netip.ParseAddr(s)
		return err == nil && addr.Is4()
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// wire is the party as user@host for a SIP URI, the user escaped.
func (p party) wire() string {
	b := make([]byte, 0, len(p.user)+1+len(p.host))
	b = appendUser(b, p.user)
	b = append(b, '@')
	return string(append(b, p.host...))
}

// aor is the party's name in a key: one for all ways to write its host.
func (p party) aor() string {
	p.host = strings.ToLower(strings.TrimSuffix(p.host, "."))
	return p.wire()
}

// appendUser appends user with everything escaped that RFC 3261 §25.1 does not
// let stand in a user part, and with the comma and the slash, which some
// parsers take for the end of a value or of a scheme.
func appendUser(dst []byte, user string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(user); i++ {
		c := user[i]
		if isAlnum(c) || strings.IndexByte("-_.!~*'()&=+$", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

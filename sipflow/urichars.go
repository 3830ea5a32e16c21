package sipflow

import (
	"net/netip"
	"strings"
)

// What may stand in a SIP URI that is made of a client's words. Whoever takes
// such words writes the URI anew from these parts, so that nothing gets through
// that was not understood.

// IsHost says whether s is a host of RFC 3261 §25.1: a host name, an IPv4
// address or an IPv6 reference in brackets. Numbers that only some resolvers
// take for addresses ("0x7f.1", "2130706433") are none.
func IsHost(s string) bool {
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

// TelNumber is the number of what follows "tel:", without its visual separators
// (RFC 3966 §5.1.1). It is not ok with a context or an extension, for which a
// SIP user has no place.
func TelNumber(s string) (number string, ok bool) {
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

// AppendUser appends user with everything escaped that RFC 3261 §25.1 does not
// let stand in a user part, and with the comma and the slash, which some
// parsers take for the end of a value or of a scheme.
func AppendUser(dst []byte, user string) []byte {
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

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

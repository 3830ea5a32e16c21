// Package uri writes and reads addresses of SIP (RFC 3261 §19.1) and tel (RFC 3966)
// that others have chosen: clients, phones, webhooks. Whoever takes a client's words
// writes the URI anew from these parts, so that nothing gets through that was not
// understood.
package uri

import (
	"strings"
)

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
// let stand in a user part. It also escapes the comma and the slash, which some
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

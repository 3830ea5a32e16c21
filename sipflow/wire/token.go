package wire

import (
	"bytes"
	"strings"
)

// HasControl reports whether a text has control characters, which end or break a
// header field (RFC 3261 §25.1).
func HasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// OneLine returns a text without control characters. Interfaces refuse such
// texts; this is for the one that forgets to.
func OneLine(s string) string {
	if !HasControl(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// IsToken reports whether a text is a token of RFC 3261 §25.1, as the name of a
// header field is.
func IsToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Unquote reads the quoted string that s begins with (RFC 3261 §25.1). It returns
// its value and what follows it; ok is false when it does not end.
func Unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		case '"':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// Requires reports whether the Require fields of a message have an option tag
// (RFC 3261 §20.32), which is given in lower case.
func Requires(m *Message, option string) bool { return Lists(m, Require, option) }

// Lists reports whether a header field of option tags has one, which is given in
// lower case.
func Lists(m *Message, h Header, option string) (found bool) {
	for v := range m.All(h) {
		Split(v, func(tag []byte) bool {
			found = found || string(bytes.ToLower(tag)) == option
			return !found
		})
	}
	return found
}

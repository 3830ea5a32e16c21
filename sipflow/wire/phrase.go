package wire

import "strings"

// MaxPhrase bounds a reason phrase that others have chosen, in bytes.
const MaxPhrase = 128

// PlainPhrase makes a text fit for a status line (RFC 3261 §7.2): one line of valid
// UTF-8, at most MaxPhrase long. It is empty where nothing is left.
func PlainPhrase(s string) string {
	if s = strings.TrimSpace(strings.ToValidUTF8(OneLine(s), "")); len(s) > MaxPhrase {
		s = strings.ToValidUTF8(s[:MaxPhrase], "")
	}
	return s
}

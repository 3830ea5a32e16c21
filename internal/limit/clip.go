package limit

import "strings"

// Clip makes what a stranger wrote fit for an error text or a line of the log: at
// most so many bytes of valid UTF-8 without control characters, with "…" where some
// are missing.
func Clip(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

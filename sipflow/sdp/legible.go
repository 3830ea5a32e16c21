package sdp

import "strings"

// Legible reports whether a session description can be read: its streams, and
// where they go (RFC 4566 §5).
func Legible(body []byte) bool {
	rest, media, ok := Split(body)
	session, streams, addressed := false, 0, 0
	for line := range strings.Lines(string(rest)) {
		switch {
		case strings.HasPrefix(line, "c="):
			if streams == 0 {
				session = true
			} else if addressed < streams {
				addressed = streams
			}
		case strings.HasPrefix(line, "m="):
			if len(strings.Fields(line)) < 4 {
				return false
			}
			streams++
		}
	}
	return ok && media > 0 && (session || addressed > 0)
}

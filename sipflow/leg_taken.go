package sipflow

import (
	"bytes"

	"sipxrest/resolve"
)

// wasElsewhere is what a leg needs to know of the node that had it.
type wasElsewhere struct {
	origin string      // host of the o= line of our descriptions; empty: that node had made none
	hop    resolve.Hop // where its requests went; unset: nowhere yet
}

// originHost is the address in the o= line of a description (RFC 8866 §5.2), which must
// stay as it was.
func originHost(body []byte) string {
	for line := range bytes.Lines(body) {
		if origin, ok := bytes.CutPrefix(line, []byte("o=")); ok {
			if f := bytes.Fields(origin); len(f) == 6 {
				return string(f[5])
			}
			return ""
		}
	}
	return ""
}

package sipflow

import (
	"crypto/rand"
	"time"
)

const (
	callIDPrefix = "call_"
	callIDChars  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ" // Crockford's: none is taken for another
)

// newCallID makes an id for a call: the time in milliseconds, so that ids sort by it,
// and 50 random bits, ten characters each.
func newCallID(at time.Time) string {
	var random [10]byte
	rand.Read(random[:]) //nolint:errcheck // it never fails
	b := make([]byte, len(callIDPrefix)+20)
	copy(b, callIDPrefix)
	ms, id := uint64(at.UnixMilli()), b[len(callIDPrefix):]
	for i := range 10 {
		id[9-i] = callIDChars[ms%32]
		ms /= 32
		id[10+i] = callIDChars[random[i]%32]
	}
	return string(b)
}

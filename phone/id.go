package phone

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// An ID is a UUID: that of a user, or of a call, which its caller's client
// makes up. It is read in either case and written in upper case.
type ID [16]byte

// NewID returns a random ID (RFC 9562 §5.4).
func NewID() (id ID) {
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID reads a UUID in its usual form, 8-4-4-4-12 hexadecimal digits.
func ParseID(text string) (id ID, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, false
	}
	var digits [32]byte
	copy(digits[:], text[:8])
	copy(digits[8:], text[9:13])
	copy(digits[12:], text[14:18])
	copy(digits[16:], text[19:23])
	copy(digits[20:], text[24:])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return ID{}, false
	}
	return id, true
}

// String is the ID in upper case.
func (id ID) String() string {
	h := strings.ToUpper(hex.EncodeToString(id[:]))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

package config

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// HashedUser returns a user of users.yaml with the hashes of the PIN and of
// the SIP password (A1 of RFC 7616 §3.4.2) in place of the secrets. An empty
// secret has no hash.
func HashedUser(user, realm, pin, sipPassword string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- user: %s # hashes for the realm %q\n", strconv.Quote(user), realm)
	add := func(secret, md5Key, sha256Key string) {
		if secret == "" {
			return
		}
		a1 := []byte(user + ":" + realm + ":" + secret)
		m, s := md5.Sum(a1), sha256.Sum256(a1)
		fmt.Fprintf(&b, "  %s: %s\n", md5Key, strconv.Quote(hex.EncodeToString(m[:])))
		fmt.Fprintf(&b, "  %s: %s\n", sha256Key, strconv.Quote(hex.EncodeToString(s[:])))
	}
	add(pin, "pin-hash", "pin-hash-sha256")
	add(sipPassword, "ha1", "ha1-sha256")
	return b.String()
}

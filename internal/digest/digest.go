package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
)

// Algorithm is a hash algorithm by its name on the wire (RFC 7616 §3.3), without
// "-sess".
type Algorithm string

// The algorithms that are known.
const (
	MD5    Algorithm = "MD5"
	SHA256 Algorithm = "SHA-256"
)

// AlgorithmOf returns the algorithm of that name in any case; none at all is
// MD5. It is false for one that is not known.
func AlgorithmOf(name string) (Algorithm, bool) {
	switch {
	case name == "" || strings.EqualFold(name, string(MD5)):
		return MD5, true
	case strings.EqualFold(name, string(SHA256)):
		return SHA256, true
	}
	return "", false
}

// Hash returns the hash of text in lower-case hex.
func (a Algorithm) Hash(text string) string {
	if a == SHA256 {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// HA1 returns the hash that stands for a password (RFC 7616 §3.4.2).
func (a Algorithm) HA1(username, realm, password string) string {
	return a.Hash(username + ":" + realm + ":" + password)
}

// Credentials are for digest challenges. Any of the secrets may be empty; the
// topmost challenge that one of them fits is taken.
type Credentials struct {
	Username  string
	Password  string // clear text: any algorithm
	HA1       string // hex MD5(username:realm:password): algorithm MD5 only
	HA1SHA256 string // hex SHA-256 of the same: algorithm SHA-256 only
}

// LogValue keeps the secrets out of every log.
func (c Credentials) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Stored returns the hash that is stored for an algorithm, "" for none.
func (c *Credentials) Stored(a Algorithm) string {
	if a == SHA256 {
		return c.HA1SHA256
	}
	return c.HA1
}

// Quote writes text as it stands between the quotes of a quoted-string (RFC 3261
// §25.1, RFC 9110 §5.6.4).
func Quote(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
}

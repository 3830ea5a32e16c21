package digest

import (
	"encoding/base64"
	"strings"
)

// maxIssuer bounds the name of a node in a nonce, in bytes.
const maxIssuer = 64

// WithIssuer returns a nonce that says by which node it was issued. Only that node knows
// which counts of it were used, so another one asks it.
func WithIssuer(nonce, node string) string {
	return nonce + "." + base64.RawURLEncoding.EncodeToString([]byte(node))
}

// CutIssuer cuts the issuing node off a nonce. ok is false for one that names none.
func CutIssuer(nonce string) (bare, node string, ok bool) {
	bare, text, ok := strings.Cut(nonce, ".")
	if !ok || text == "" || len(text) > base64.RawURLEncoding.EncodedLen(maxIssuer) {
		return "", "", false
	}
	name, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return bare, string(name), err == nil
}

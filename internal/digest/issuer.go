package digest

import "strings"

// maxIssuer bounds the name of a node in a nonce.
const maxIssuer = 64

// WithIssuer returns a nonce that says by which node it was issued. Only that node knows
// which counts of it were used, so another one asks it.
func WithIssuer(nonce, node string) string { return nonce + "." + node }

// CutIssuer cuts the issuing node off a nonce. ok is false for one that names none, or
// something that is no node's name: a letter, digit, '-' or '_' each.
func CutIssuer(nonce string) (bare, node string, ok bool) {
	bare, node, ok = strings.Cut(nonce, ".")
	if !ok || node == "" || len(node) > maxIssuer || strings.ContainsFunc(node, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) {
		return "", "", false
	}
	return bare, node, true
}

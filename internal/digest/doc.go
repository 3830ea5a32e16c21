// Package digest is Digest authentication (RFC 7616, for SIP RFC 8760) for both
// of its sides, client and server. HTTP and SIP write the same fields in
// different headers; the package reads and computes what stands in them and
// leaves the headers to its users.
//
//	digest.go         algorithms, hashes, what is stored of a password
//	params.go         the one reader of name=value lists
//	challenge.go      a challenge, and the credentials that answer it
//	authorization.go  credentials as the asking side reads and checks them
//	nonces.go         nonces that prove by themselves who issued them
package digest

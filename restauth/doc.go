// Package restauth decides who is asking over HTTP and whether he may: the
// users and their PINs, trusted peers, Digest (RFC 7616, RFC 2069) and Basic
// (RFC 7617) authentication, the throttling of guesses, and the refusal of
// cross-site requests.
//
// What a request may do is decided from the listener that it came in on and
// from the address of the socket's peer, never from a header: the Host header
// and an absolute request-target are what the client likes them to be.
package restauth

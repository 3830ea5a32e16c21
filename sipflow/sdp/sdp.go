// Package sdp is the offer/answer engine of calls between other phones (RFC 3264,
// RFC 8866). It is handed what each side has said and decides what is offered and
// answered; it sends nothing and keeps nothing. What phones write beyond what it
// must understand passes unchanged, for they write more than any grammar knows.
//
//	sdp.go        what descriptions of ours begin with
//	body.go       the description in a message's body (RFC 5621)
//	read.go       lines and streams, as many in an answer as in its offer
//	direction.go  directions, and whether two descriptions differ
//	profile.go    how streams are secured, and phones that cannot talk
//	offer.go      offers that nobody is behind yet, and those made for another party
//	hold.go       answers that hold a phone
package sdp

import (
	"strconv"
	"strings"
)

const (
	// Type is the media type of a session description.
	Type = "application/sdp"
	// Accept are the media types that requests may have: bodies of several parts
	// are read for the description among them.
	Accept = Type + ", multipart/*"
)

// From begins a description of ours: with its version and origin (RFC 8866 §5.2).
// rest is all that follows. There is room for more.
func From(session, version uint64, host string, rest []byte) []byte {
	b := append(make([]byte, 0, max(len(rest), 2*len(host)+32)+80), "v=0\r\no=- "...)
	b = strconv.AppendUint(b, session, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, version, 10)
	b = append(b, ' ')
	b = appendAddress(b, host)
	return append(b, rest...)
}

// appendAddress writes the end of an o= or c= line: "IN IP4 10.0.0.1" and CRLF
// (RFC 8866 §5.7).
func appendAddress(b []byte, host string) []byte {
	if strings.Contains(host, ":") {
		b = append(b, "IN IP6 "...)
	} else {
		b = append(b, "IN IP4 "...)
	}
	b = append(b, host...)
	return append(b, "\r\n"...)
}

// appendSession writes what stands between our origin and the streams.
func appendSession(b []byte, host string) []byte {
	b = append(b, "s=SipXconfig\r\nc="...)
	b = appendAddress(b, host)
	return append(b, "t=0 0\r\n"...)
}

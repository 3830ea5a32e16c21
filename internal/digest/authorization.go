package digest

import (
	"crypto/subtle"
	"errors"
	"strconv"
	"strings"
)

// Why an Authorization header is not looked at. HTTP clients are told so.
var (
	ErrSyntax  = errors.New("the Authorization header is malformed")
	ErrTwice   = errors.New("the Authorization header has a parameter twice")
	ErrMissing = errors.New("the Authorization header lacks a parameter")
	ErrNotQOP  = errors.New("the Authorization header asks for a qop that was not offered")
)

// Authorization is what a Digest Authorization header holds (RFC 7616 §3.4). The
// texts are the client's own.
type Authorization struct {
	Username, Realm, Nonce, URI, Response string
	Algorithm, QOP, CNonce, NC            string
}

// ParseAuthorization reads the value of an Authorization header, scheme
// included. Names are case-insensitive, values may stand with or without quotes
// (Java leaves them off qop and nc, older clients off others), unknown parameters
// are passed over. The error is ErrSyntax or ErrTwice.
func ParseAuthorization(value string) (a Authorization, err error) {
	rest, ok := params(value)
	if !ok {
		return a, ErrSyntax
	}
	seen := 0
	err = eachParam(rest, false, func(name, value string) error {
		field, bit := a.field(name)
		if field == nil {
			return nil
		}
		if seen&bit != 0 {
			return ErrTwice
		}
		seen |= bit
		*field = value
		return nil
	})
	return a, err
}

// field returns where the value of a parameter belongs, with its bit among those
// seen; nil for an unknown one.
func (a *Authorization) field(name string) (field *string, bit int) {
	switch name {
	case "username":
		return &a.Username, 1
	case "realm":
		return &a.Realm, 2
	case "nonce":
		return &a.Nonce, 4
	case "uri":
		return &a.URI, 8
	case "response":
		return &a.Response, 16
	case "algorithm":
		return &a.Algorithm, 32
	case "qop":
		return &a.QOP, 64
	case "cnonce":
		return &a.CNonce, 128
	case "nc":
		return &a.NC, 256
	}
	return nil, 0
}

// Count returns nc, for Nonces.Use, of credentials in which nothing is missing:
// those of qop=auth with cnonce and nc, or with none of the three as in RFC 2069,
// whose count is 0. The error is ErrMissing, ErrNotQOP or ErrSyntax.
func (a *Authorization) Count() (uint32, error) {
	if a.Username == "" || a.Realm == "" || a.Nonce == "" || a.URI == "" || a.Response == "" {
		return 0, ErrMissing
	}
	if a.QOP == "" {
		// A cnonce and nc without qop are those of a client that copied the
		// RFC 2617 example: it computes its response without them.
		return 0, nil
	}
	if !strings.EqualFold(a.QOP, "auth") {
		return 0, ErrNotQOP
	}
	if a.CNonce == "" || len(a.NC) != 8 {
		return 0, ErrMissing
	}
	count, err := strconv.ParseUint(a.NC, 16, 32)
	if err != nil || count == 0 {
		return 0, ErrSyntax
	}
	return uint32(count), nil
}

// Matches reports whether the response is that of a client that knows the
// secret of a hash HA1, in lower case, to a request with that method. It takes
// the same time for every response of the right length.
func (a *Authorization) Matches(alg Algorithm, ha1, method string) bool {
	middle := a.Nonce
	if a.QOP != "" {
		middle += ":" + a.NC + ":" + a.CNonce + ":" + a.QOP
	}
	want := alg.Hash(ha1 + ":" + middle + ":" + alg.Hash(method+":"+a.URI))
	return Equal(a.Response, want)
}

// Equal reports whether two secrets are the same, in a time that depends on their
// lengths only.
func Equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

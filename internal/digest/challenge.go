package digest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Challenge is one WWW-Authenticate or Proxy-Authenticate value (RFC 7616 §3.3).
// Its texts are the server's own.
type Challenge struct {
	Realm, Nonce, Opaque string
	Algorithm            string   // as the server wrote it; "" for none
	QOP                  []string // in lower case; nil for none (RFC 2069)
	Stale                bool
}

// ParseChallenge reads a challenge. It takes what servers are seen to write: any
// case of names and scheme, values without quotes, no comma after a quoted value;
// of a parameter that stands twice the last counts. It is false for one without a
// nonce, with control characters, or of another scheme.
func ParseChallenge(value string) (c Challenge, ok bool) {
	rest, ok := params(value)
	if !ok {
		return c, false
	}
	err := eachParam(rest, true, func(name, value string) error {
		switch name {
		case "realm":
			c.Realm = value
		case "nonce":
			c.Nonce = value
		case "opaque":
			c.Opaque = value
		case "algorithm":
			c.Algorithm = value
		case "stale":
			c.Stale = strings.EqualFold(value, "true")
		case "qop":
			for q := range strings.SplitSeq(value, ",") {
				if q = strings.ToLower(strings.TrimSpace(q)); q != "" { // an empty one is none: RFC 2069
					c.QOP = append(c.QOP, q)
				}
			}
		}
		return nil
	})
	return c, err == nil && c.Nonce != ""
}

// Why a challenge gets no credentials.
var (
	ErrAlgorithm = errors.New("the algorithm is not known")
	ErrQOP       = errors.New("the challenge wants a protection that is not known: auth-int alone")
	ErrNoSecret  = errors.New("no secret is stored for the algorithm")
)

// Respond returns the credentials for a request (RFC 7616 §3.4), scheme
// included. cnonce must be fresh for each use, so that nc is always 1. The error
// is ErrAlgorithm, ErrQOP or ErrNoSecret.
func (c *Challenge) Respond(cred *Credentials, method, uri, cnonce string) (string, error) {
	name, session := cutSession(c.Algorithm)
	a, known := AlgorithmOf(name)
	if !known {
		return "", ErrAlgorithm
	}
	if c.QOP != nil && !slices.Contains(c.QOP, "auth") {
		return "", ErrQOP
	}
	ha1 := strings.ToLower(cred.Stored(a))
	switch {
	case ha1 != "":
	case cred.Password != "":
		ha1 = a.HA1(cred.Username, c.Realm, cred.Password)
	default:
		return "", ErrNoSecret
	}
	if session {
		ha1 = a.Hash(ha1 + ":" + c.Nonce + ":" + cnonce)
	}
	ha2 := a.Hash(method + ":" + uri)
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s"`,
		Quote(cred.Username), Quote(c.Realm), Quote(c.Nonce), uri)
	if c.QOP == nil {
		fmt.Fprintf(&b, `, response="%s"`, a.Hash(ha1+":"+c.Nonce+":"+ha2))
		if session {
			fmt.Fprintf(&b, `, cnonce="%s"`, cnonce)
		}
	} else {
		fmt.Fprintf(&b, `, response="%s", qop=auth, nc=00000001, cnonce="%s"`,
			a.Hash(ha1+":"+c.Nonce+":00000001:"+cnonce+":auth:"+ha2), cnonce)
	}
	if c.Algorithm != "" {
		fmt.Fprintf(&b, ", algorithm=%s", c.Algorithm)
	}
	if c.Opaque != "" {
		fmt.Fprintf(&b, `, opaque="%s"`, Quote(c.Opaque))
	}
	return b.String(), nil
}

// cutSession cuts "-sess" off the name of an algorithm.
func cutSession(name string) (bare string, session bool) {
	const suffix = "-sess"
	if at := len(name) - len(suffix); at >= 0 && strings.EqualFold(name[at:], suffix) {
		return name[:at], true
	}
	return name, false
}

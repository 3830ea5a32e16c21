package sipflow

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

// maxChallenges bounds how often one request is sent again with credentials.
const maxChallenges = 2

// challenge is one WWW-Authenticate or Proxy-Authenticate value (RFC 7616 §3.3).
type challenge struct {
	realm, nonce, opaque, algorithm string
	qop                             []string
	stale                           bool
}

// parseChallenge reads a challenge. Parameter names and the scheme may have
// any case, values may be quoted or not.
func parseChallenge(s string) (c challenge, ok bool) {
	ok = eachParam(s, func(name, value string) {
		switch name {
		case "realm":
			c.realm = value
		case "nonce":
			c.nonce = value
		case "opaque":
			c.opaque = value
		case "algorithm":
			c.algorithm = value
		case "stale":
			c.stale = strings.EqualFold(value, "true")
		case "qop":
			for q := range strings.SplitSeq(value, ",") {
				if q = strings.ToLower(strings.TrimSpace(q)); q != "" { // an empty one is none: RFC 2069
					c.qop = append(c.qop, q)
				}
			}
		}
	})
	return c, ok && c.nonce != ""
}

// eachParam calls f with the parameters of a Digest challenge or response, their
// names in lower case. It is false when that cannot be read.
func eachParam(s string, f func(name, value string)) (ok bool) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t")
	if i < 0 || !strings.EqualFold(s[:i], "Digest") {
		return false
	}
	rest := s[i:]
	for rest = strings.TrimLeft(rest, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			return false
		}
		var value string
		after = strings.TrimLeft(after, " \t")
		if strings.HasPrefix(after, `"`) {
			if value, rest, ok = wire.Unquote(after); !ok {
				return false
			}
		} else {
			value, rest, _ = strings.Cut(after, ",")
			value = strings.TrimSpace(value)
		}
		f(strings.ToLower(strings.TrimSpace(name)), value)
	}
	return true
}

// secret picks what the challenge's algorithm needs: the hash function and
// HA1, or the clear password to make it from.
func (c *challenge) secret(cred *Credentials) (newHash func() hash.Hash, ha1 string, ok bool) {
	algorithm, _ := strings.CutSuffix(strings.ToUpper(c.algorithm), "-SESS")
	var stored string
	switch algorithm {
	case "", "MD5":
		newHash, stored = md5.New, cred.HA1
	case "SHA-256":
		newHash, stored = sha256.New, cred.HA1SHA256
	default:
		return nil, "", false
	}
	if c.unknownQOP() {
		return nil, "", false
	}
	if stored == "" {
		if cred.Password == "" {
			return nil, "", false
		}
		stored = hexHash(newHash, cred.Username+":"+c.realm+":"+cred.Password)
	}
	return newHash, strings.ToLower(stored), true
}

// unknownQOP reports whether the challenge wants a protection that we do not
// give: auth-int alone.
func (c *challenge) unknownQOP() bool { return c.qop != nil && !contains(c.qop, "auth") }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func hexHash(newHash func() hash.Hash, s string) string {
	h := newHash()
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}

// respond is the value of the credentials field (RFC 7616 §3.4). cnonce is
// fresh for each use, so nc is always 1.
func (c *challenge) respond(cred *Credentials, method, uri, cnonce string) (string, bool) {
	newHash, ha1, ok := c.secret(cred)
	if !ok {
		return "", false
	}
	if strings.HasSuffix(strings.ToUpper(c.algorithm), "-SESS") {
		ha1 = hexHash(newHash, ha1+":"+c.nonce+":"+cnonce)
	}
	ha2 := hexHash(newHash, method+":"+uri)
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s"`,
		quote(cred.Username), quote(c.realm), quote(c.nonce), uri)
	if c.qop == nil {
		fmt.Fprintf(&b, `, response="%s"`, hexHash(newHash, ha1+":"+c.nonce+":"+ha2))
		if strings.HasSuffix(strings.ToUpper(c.algorithm), "-SESS") {
			fmt.Fprintf(&b, `, cnonce="%s"`, cnonce)
		}
	} else {
		fmt.Fprintf(&b, `, response="%s", qop=auth, nc=00000001, cnonce="%s"`,
			hexHash(newHash, ha1+":"+c.nonce+":00000001:"+cnonce+":auth:"+ha2), cnonce)
	}
	if c.algorithm != "" {
		fmt.Fprintf(&b, ", algorithm=%s", c.algorithm)
	}
	if c.opaque != "" {
		fmt.Fprintf(&b, `, opaque="%s"`, quote(c.opaque))
	}
	return b.String(), true
}

// whyNobody says that there are no credentials at all; logDenied knows where they
// would be configured.
const whyNobody = "it asks for a SIP password, and nobody's is configured for such calls"

// unanswered says what is missing for an answer to the challenge.
func (c *challenge) unanswered(cred *Credentials) string {
	algorithm, _ := strings.CutSuffix(strings.ToUpper(cmp.Or(c.algorithm, "MD5")), "-SESS")
	switch {
	case *cred == Credentials{}:
		return whyNobody
	case algorithm != "MD5" && algorithm != "SHA-256":
		return fmt.Sprintf("its challenge has the algorithm %q, which is not known", c.algorithm)
	case c.unknownQOP():
		return fmt.Sprintf("its challenge wants the qop %q, and only auth is known", limit.Clip(strings.Join(c.qop, ","), maxClipped))
	case cred.Password == "" && cred.HA1 == "" && cred.HA1SHA256 == "":
		return "no SIP password is stored for the user: add sip-password to it"
	}
	return fmt.Sprintf("no SIP password is stored that answers its algorithm %s: add sip-password, or the hash for it, to the user", algorithm)
}

func quote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// auth answers the challenges to one request.
type auth struct {
	cred     *Credentials
	realm    string // the only one that gets credentials: a phone could ask for any
	anyRealm bool   // a gateway has one of its own
	tries    int
	nonces   []string
	why      string // the last challenge was not answered
	www      string // Authorization line, for a 401
	proxy    string // Proxy-Authorization line, for a 407
}

// lines are the header lines with credentials: a request may pass a proxy and
// a phone that both ask for them.
func (a *auth) lines() string { return a.proxy + a.www }

// answer makes credentials for a 401 or 407, and reports whether the request
// is worth sending again. The same nonce refused twice, a foreign realm or an
// algorithm that the stored secret cannot do end the attempt.
func (a *auth) answer(res *wire.Message, method, uri string) bool {
	in, out, line := wire.WWWAuthenticate, "Authorization: ", &a.www
	if res.Code() == 407 {
		in, out, line = wire.ProxyAuthenticate, "Proxy-Authorization: ", &a.proxy
	}
	if a.why = "it refuses the SIP password"; a.tries >= maxChallenges || a.cred == nil {
		return false
	}
	a.tries++
	a.why = "its challenge cannot be read"
	for v := range res.All(in) {
		c, ok := parseChallenge(string(v))
		if !ok || wire.HasControl(c.nonce+c.opaque+c.algorithm) {
			continue
		}
		if !a.anyRealm && (c.realm != a.realm || a.realm == "") {
			a.why = fmt.Sprintf("it asks for the realm %q, configured is %q", c.realm, a.realm)
			continue
		}
		if contains(a.nonces, c.nonce) {
			a.why = "it refuses the SIP password"
			continue
		}
		// A new nonce that is not called stale means that what we sent was
		// wrong; once more is worth it, proxies forget their nonces.
		value, ok := c.respond(a.cred, method, uri, string(appendID(nil, newID())))
		if !ok {
			a.why = c.unanswered(a.cred)
			continue
		}
		a.nonces = append(a.nonces, c.nonce)
		*line = out + value + "\r\n"
		return true
	}
	return false
}

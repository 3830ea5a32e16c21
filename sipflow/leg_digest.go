package sipflow

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

// maxChallenges bounds how often one request is sent again with credentials.
const maxChallenges = 2

// whyNobody says that there are no credentials at all; logDenied knows where they
// would be configured.
const whyNobody = "it asks for a SIP password, and nobody's is configured for such calls"

// whyRefused says that credentials were sent, and not taken.
const whyRefused = "it refuses the SIP password"

// unanswered returns what is missing for a response to a challenge, which
// digest.Challenge.Respond refused with an error.
func unanswered(c *digest.Challenge, cred *Credentials, err error) string {
	switch {
	case *cred == Credentials{}:
		return whyNobody
	case errors.Is(err, digest.ErrAlgorithm):
		return fmt.Sprintf("its challenge has the algorithm %q, which is not known", c.Algorithm)
	case errors.Is(err, digest.ErrQOP):
		return fmt.Sprintf("its challenge wants the qop %q, and only auth is known", limit.Clip(strings.Join(c.QOP, ","), maxClipped))
	case cred.Password == "" && cred.HA1 == "" && cred.HA1SHA256 == "":
		return "no SIP password is stored for the user: add sip-password to it"
	}
	algorithm, _ := strings.CutSuffix(strings.ToUpper(cmp.Or(c.Algorithm, "MD5")), "-SESS")
	return fmt.Sprintf("no SIP password is stored that answers its algorithm %s: add sip-password, or the hash for it, to the user", algorithm)
}

// auth is the state of the challenges to one request.
type auth struct {
	cred     *Credentials
	realm    string // the only one that gets credentials: a phone could ask for any
	anyRealm bool   // a gateway has one of its own
	tries    int
	nonces   []string
	why      string // the last challenge got no credentials
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
	if a.why = whyRefused; a.tries >= maxChallenges || a.cred == nil {
		return false
	}
	_, value, ok := a.choose(res.All(in), method, uri)
	if ok {
		*line = out + value + "\r\n"
	}
	return ok
}

// choose takes the first of the challenges to a request that can be answered, and
// returns it with its credentials. Without one, a.why says why.
func (a *auth) choose(challenges iter.Seq[[]byte], method, uri string) (digest.Challenge, string, bool) {
	a.tries++
	a.why = "its challenge cannot be read"
	for v := range challenges {
		c, ok := digest.ParseChallenge(string(v))
		if !ok || wire.HasControl(c.Nonce+c.Opaque+c.Algorithm) {
			continue
		}
		if !a.anyRealm && (c.Realm != a.realm || a.realm == "") {
			a.why = fmt.Sprintf("it asks for the realm %q, configured is %q", c.Realm, a.realm)
			continue
		}
		if slices.Contains(a.nonces, c.Nonce) {
			a.why = whyRefused
			continue
		}
		// A new nonce that is not called stale means that what we sent was
		// wrong; once more is worth it, proxies forget their nonces.
		value, err := c.Respond(a.cred, method, uri, string(appendID(nil, newID())))
		if err != nil {
			a.why = unanswered(&c, a.cred, err)
			continue
		}
		a.nonces = append(a.nonces, c.Nonce)
		return c, value, true
	}
	return digest.Challenge{}, "", false
}

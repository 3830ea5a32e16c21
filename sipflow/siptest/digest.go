package siptest

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// hashes are the digest algorithms that both sides here know (RFC 8760).
var hashes = map[string]func(string) string{
	"MD5":     func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) },
	"SHA-256": func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) },
}

// digestParams takes `Digest a="b", c=d` apart, names in lower case.
func digestParams(value string) (map[string]string, bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil, false
	}
	m := map[string]string{}
	for _, p := range splitUnquoted(rest, ',') {
		name, v, ok := strings.Cut(p, "=")
		if !ok {
			continue
		}
		v = strings.TrimSpace(v)
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(v[1 : len(v)-1])
		}
		m[strings.ToLower(strings.TrimSpace(name))] = v
	}
	return m, true
}

// digestResponse is the arithmetic of RFC 7616 §3.4.1, with qop=auth or, if
// qop is empty, of RFC 2069.
func digestResponse(algorithm, user, realm, password, method, uri, nonce, nc, cnonce, qop string) (string, error) {
	h := hashes[strings.ToUpper(algorithm)]
	if algorithm == "" {
		h = hashes["MD5"]
	}
	if h == nil {
		return "", fmt.Errorf("algorithm %q is unknown", algorithm)
	}
	a1, a2 := h(user+":"+realm+":"+password), h(method+":"+uri)
	if qop == "" {
		return h(a1 + ":" + nonce + ":" + a2), nil
	}
	return h(strings.Join([]string{a1, nonce, nc, cnonce, qop, a2}, ":")), nil
}

// answerChallenge returns the Authorization value for the first challenge of
// values that the password fits.
func answerChallenge(values []string, user, password, method, uri string) (string, error) {
	for _, v := range values {
		p, ok := digestParams(v)
		if !ok || (p["algorithm"] != "" && hashes[strings.ToUpper(p["algorithm"])] == nil) {
			continue
		}
		qop, nc, cnonce := "", "00000001", rand.Text()
		for _, q := range splitUnquoted(p["qop"], ',') {
			if strings.EqualFold(q, "auth") {
				qop = "auth"
			}
		}
		if p["qop"] != "" && qop == "" {
			continue
		}
		r, err := digestResponse(p["algorithm"], user, p["realm"], password, method, uri, p["nonce"], nc, cnonce, qop)
		if err != nil {
			continue
		}
		a := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`, user, p["realm"], p["nonce"], uri, r)
		if p["algorithm"] != "" {
			a += ", algorithm=" + p["algorithm"]
		}
		if qop != "" {
			a += fmt.Sprintf(`, qop=auth, nc=%s, cnonce="%s"`, nc, cnonce)
		}
		if o, ok := p["opaque"]; ok {
			a += fmt.Sprintf(`, opaque="%s"`, o)
		}
		return a, nil
	}
	return "", errors.New("no challenge that can be answered")
}

// maxNonces bounds what an authenticator remembers.
const maxNonces = 10000

// authenticator challenges and verifies. Its owner's lock guards it.
type authenticator struct {
	realm      string
	algorithms []string // one challenge each, MD5 if empty
	noQOP      bool
	password   func(user string) (string, bool)

	nonces map[string]uint64 // issued, with the highest nonce count seen
}

// challenges are values for WWW-Authenticate or Proxy-Authenticate.
func (a *authenticator) challenges(nonce string, stale bool) []string {
	if a.nonces == nil || len(a.nonces) >= maxNonces {
		a.nonces = map[string]uint64{}
	}
	if _, ok := a.nonces[nonce]; !ok {
		a.nonces[nonce] = 0
	}
	algorithms := a.algorithms
	if len(algorithms) == 0 {
		algorithms = []string{"MD5"}
	}
	var all []string
	for _, alg := range algorithms {
		c := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=%s`, a.realm, nonce, alg)
		if !a.noQOP {
			c += `, qop="auth"`
		}
		if stale {
			c += `, stale=true`
		}
		all = append(all, c)
	}
	return all
}

// verify checks the credentials of one request and tells who sent them.
func (a *authenticator) verify(value, method, uri string) (user string, err error) {
	p, ok := digestParams(value)
	if !ok {
		return "", errors.New("not digest credentials")
	}
	user = p["username"]
	password, known := a.password(user)
	highest, issued := a.nonces[p["nonce"]]
	switch {
	case p["realm"] != a.realm:
		return user, fmt.Errorf("realm is %q, not %q", p["realm"], a.realm)
	case !known:
		return user, fmt.Errorf("user %q is unknown", user)
	case !issued:
		return user, errors.New("nonce was never issued")
	case p["uri"] != uri:
		return user, fmt.Errorf("uri is %q, not the Request-URI %q", p["uri"], uri)
	case (p["qop"] == "") != a.noQOP:
		return user, fmt.Errorf("qop is %q", p["qop"])
	}
	want, err := digestResponse(p["algorithm"], user, a.realm, password, method, uri, p["nonce"], p["nc"], p["cnonce"], p["qop"])
	if err != nil {
		return user, err
	}
	if p["response"] != want {
		return user, errors.New("the response is wrong")
	}
	if p["qop"] == "" {
		return user, nil
	}
	var nc uint64
	if _, err := fmt.Sscanf(p["nc"], "%x", &nc); err != nil || len(p["nc"]) != 8 {
		return user, fmt.Errorf("nc is %q, not 8 hex digits", p["nc"])
	}
	if nc <= highest {
		return user, fmt.Errorf("nc %d of this nonce was used before", nc)
	}
	a.nonces[p["nonce"]] = nc
	return user, nil
}

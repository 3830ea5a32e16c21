package restauth

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
)

// maxAuthorization bounds an Authorization header, in bytes.
const maxAuthorization = 4096

var (
	errTooLong  = errors.New("the Authorization header is too long")
	errNotOffer = errors.New("the Authorization header has an algorithm that was not offered")
)

// What the body of a 401 says. sipXrest: a wrong PIN is "pin mismatch".
const (
	bodyNone     = "Authentication required: give the agent's user name and PIN by HTTP Digest"
	bodyNoneTLS  = "Authentication required: give the agent's user name and PIN by HTTP Digest or Basic"
	bodyMismatch = "pin mismatch"
	bodyBasic    = "Basic authentication would show the PIN to everybody on the way: use Digest here, or HTTPS"
	bodyStale    = "The nonce is not valid any more: repeat the request with the new one"
)

// finding is what became of a request's credentials.
type finding int

const (
	wrong    finding = iota
	good             //
	absent           // none that this listener takes
	shown            // Basic on plain HTTP: not even looked at
	stale            // the PIN is right, the nonce is not
	unusable         // the header cannot be read
	busy             // too many PINs are being checked
)

// authenticate judges by the agent's PIN.
func (g *Gate) authenticate(r *http.Request, l *listener, addr netip.Addr, agentText string) Verdict {
	snapshot := g.users.now.Load()
	agent := snapshot.lookup(agentText, g.cfg.Domain)
	if agent != nil && !agent.HasPIN() && g.cfg.AllowPinless {
		return Verdict{OK: true, User: agent}
	}

	now := g.cfg.Now()
	guessed := trimDomain(agentText, g.cfg.Domain)
	who := Suspects(addr, guessed)
	given := r.Header["Authorization"]
	if len(given) > 0 {
		if wait := g.guesses.Wait(now, who...); wait > 0 {
			return g.tooMany(wait)
		}
	}

	body, isStale, why := bodyNone, false, NoCredentials
	if l.tls {
		body = bodyNoneTLS
	}
	v, err := g.check(r, addr, l, snapshot, agent, given, now)
	if v == busy {
		return Verdict{Status: http.StatusServiceUnavailable, Text: errHashing.Error(), Wait: time.Second}
	}
	if v != absent && v != shown {
		if wait := g.guesses.Settle(g.cfg.Now(), v == good || v == stale, who...); wait > 0 {
			return g.tooMany(wait)
		}
	}
	switch v {
	case good:
		return Verdict{OK: true, User: agent}
	case shown:
		body, why = bodyBasic, BasicInClear
	case stale:
		body, isStale, why = bodyStale, true, StaleNonce
	case unusable:
		body, why = err.Error(), BadCredentials
	case wrong:
		g.wrongPINs.Refused(guess{addr, limit.Clip(guessed, maxGuessName)})
		body, why = bodyMismatch, WrongPIN
	}
	g.stats.count(why)
	return Verdict{Status: http.StatusUnauthorized, Why: why, Text: body, Challenges: g.challenges(l, snapshot, isStale, now)}
}

// tooMany refuses an attempt after too many that have failed.
func (g *Gate) tooMany(wait time.Duration) Verdict {
	g.stats.count(TooManyGuesses)
	wait = time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return Verdict{Status: http.StatusTooManyRequests, Why: TooManyGuesses, Wait: wait,
		Text: "Too many failed attempts: try again in " + strconv.Itoa(int(wait/time.Second)) + " s"}
}

// check looks at the Authorization headers of a request. It takes the same
// time for an agent who does not exist.
func (g *Gate) check(r *http.Request, addr netip.Addr, l *listener, s *snapshot, agent *User, given []string, now time.Time) (finding, error) {
	if len(given) == 0 {
		return absent, nil
	}
	if len(given) > 1 {
		return unusable, digest.ErrSyntax
	}
	if len(given[0]) > maxAuthorization {
		return unusable, errTooLong
	}
	switch name := scheme(given[0]); {
	case strings.EqualFold(name, "Digest"):
		return g.checkDigest(r, l, s, agent, given[0], now)
	case strings.EqualFold(name, "Basic"):
		if !l.tls {
			return shown, nil
		}
		return g.checkBasic(r, addr, s, agent, now)
	}
	return absent, nil
}

// scheme returns the scheme of an Authorization header.
func scheme(header string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(header, " \t"), " ")
	return name
}

// checkBasic verifies a Basic header (RFC 7617). The user may call himself by
// any of his names.
func (g *Gate) checkBasic(r *http.Request, addr netip.Addr, s *snapshot, agent *User, now time.Time) (finding, error) {
	username, secret, ok := r.BasicAuth()
	if !ok {
		return unusable, digest.ErrSyntax
	}
	who := s.lookup(username, g.cfg.Domain)
	// Both sides are hashed, as only the hash may be stored; it was made for
	// the user name, not for an alias.
	alg, name := digest.MD5, username
	if who != nil {
		name = who.Name
		if !who.can(digest.MD5) && who.can(digest.SHA256) {
			alg = digest.SHA256
		}
	}
	want := who.ha1(alg, name, g.cfg.Realm, g.decoy)
	got := alg.HA1(name, g.cfg.Realm, secret)
	right := digest.Equal(got, want)
	if !right && s.crypt != "" {
		// Whose PIN is not hashed so costs as much, and so does nobody's.
		hash, his := s.crypt, false
		if who != nil && !who.digests() && who.pin.crypt != "" {
			hash, his = who.pin.crypt, true
		}
		same, err := g.crypter.same(r.Context(), addr, hash, secret, now)
		if err != nil {
			return busy, err
		}
		right = same && his
		if his && !same && cryptCost(hash) < cryptCost(s.crypt) { // a wrong PIN takes as long as nobody's
			if _, err := g.crypter.same(r.Context(), addr, s.crypt, secret, now); err != nil {
				return busy, err
			}
		}
	}
	if !right || !who.is(agent) {
		return wrong, nil
	}
	return good, nil
}

// checkDigest verifies a Digest header (RFC 7616 §3.4, without qop RFC 2069).
func (g *Gate) checkDigest(r *http.Request, l *listener, s *snapshot, agent *User, header string, now time.Time) (finding, error) {
	c, err := digest.ParseAuthorization(header)
	if err != nil {
		return unusable, err
	}
	count, err := c.Count()
	if err != nil {
		return unusable, err
	}
	alg, known := digest.AlgorithmOf(c.Algorithm)
	if !known || alg == digest.SHA256 && !s.sha256 {
		return unusable, errNotOffer
	}
	who := s.lookup(c.Username, g.cfg.Domain)
	ha1 := who.ha1(alg, c.Username, g.cfg.Realm, g.decoy)
	if !c.Matches(alg, ha1, r.Method) || !who.is(agent) ||
		c.Realm != g.cfg.Realm || !sameTarget(c.URI, r.RequestURI) {
		return wrong, nil
	}
	// Only a client that knows the PIN gets here: no other learns what is wrong
	// with its nonce, or makes us remember one.
	if !g.useNonce(r.Context(), c.Nonce, l.scope, count, now) {
		return stale, nil
	}
	return good, nil
}

// sameTarget reports whether the uri of a Digest header is the request-target,
// query included. Where one of them is in absolute form, as through a proxy
// (RFC 9112 §3.2.2), path and query are compared: the authority is the
// client's claim in both.
func sameTarget(uri, target string) bool {
	return uri == target || originForm(uri) == originForm(target)
}

func originForm(target string) string {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return target
	}
	switch i := strings.IndexAny(rest, "/?"); {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	default:
		return rest[i:]
	}
}

// challenges are those of a listener: MD5 first, because old clients take the
// first; SHA-256 only when it would lock nobody out.
func (g *Gate) challenges(l *listener, s *snapshot, isStale bool, now time.Time) (all []string) {
	realm := `"` + digest.Quote(g.cfg.Realm) + `"`
	rest := `, nonce="` + g.issue(l, now) + `"`
	if isStale {
		rest += ", stale=true"
	}
	all = append(all, `Digest realm=`+realm+`, qop="auth", algorithm=`+string(digest.MD5)+rest)
	if s.sha256 {
		all = append(all, `Digest realm=`+realm+`, qop="auth", algorithm=`+string(digest.SHA256)+rest)
	}
	if l.tls {
		all = append(all, `Basic realm=`+realm)
	}
	return all
}

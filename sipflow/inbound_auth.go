package sipflow

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/digest"
	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

// maxWrong bounds the wrong credentials of one address (IPv6: /64) per minute;
// beyond it none is looked at.
const maxWrong = 10

// The digest algorithms of Inbound.Algorithms, as on the wire.
const (
	AlgorithmSHA256 = string(digest.SHA256)
	AlgorithmMD5    = string(digest.MD5)
)

var allAlgorithms = []string{AlgorithmSHA256, AlgorithmMD5}

// algorithms are those of our challenges.
func (cfg *Inbound) algorithms() []string {
	if cfg.Algorithms != nil {
		if list := cfg.Algorithms(); len(list) > 0 {
			return list
		}
	}
	return allAlgorithms
}

// challenger asks callers who they are (RFC 3261 §22, RFC 7616, RFC 8760). An
// INVITE without credentials leaves nothing behind: see digest.Nonces.
type challenger struct {
	nonces *digest.Nonces
	// wrong counts the wrong credentials of addresses. Only those with nonces of
	// ours count, so that nobody is held for an address that is not his.
	wrong *limit.Failures
}

func newChallenger() challenger {
	return challenger{digest.NewNonces(time.Now()), limit.NewFailures(time.Minute)}
}

// WrongCredentials are those of callers that are counted, for nodes of a cluster to share.
func (sw *Switchboard) WrongCredentials() *limit.Failures { return sw.challenger.wrong }

// nonceScope is where a nonce is good: for one realm, and of one address.
func nonceScope(realm string, a netip.Addr) string { return a.Unmap().String() + " " + realm }

// authenticate has the caller prove who it is. The Code is 0 when it has.
func (sw *Switchboard) authenticate(in *Incoming) wire.Reply {
	ch, realm, now := &sw.challenger, sw.realm(), time.Now()
	scope, who := nonceScope(realm, in.Source.Addr()), limit.Suspect{Addr: in.Source.Addr(), Most: maxWrong}
	again := challengeOf{realm: realm, nonce: func() string { return ch.nonces.Issue(scope, now) }, algorithms: sw.cfg.Inbound.algorithms()}
	var a digest.Authorization
	for v := range in.req.All(wire.Authorization) {
		if one, err := digest.ParseAuthorization(string(v)); err == nil && one.Realm == realm {
			a = one
			break
		}
	}
	if a.Nonce == "" || sw.cfg.Inbound.Secrets == nil {
		sw.stats.inbound[InboundChallenged].Add(1)
		return again.reply()
	}
	id, fresh := ch.nonces.Verify(a.Nonce, scope, now)
	if !fresh {
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	if ch.wrong.Wait(now, who) > 0 {
		sw.stats.inbound[InboundDenied].Add(1)
		return tooManyWrong
	}
	a.Algorithm = cmp.Or(strings.ToUpper(a.Algorithm), AlgorithmMD5)                                    // RFC 7616 §3.4
	if slices.Contains(allAlgorithms, a.Algorithm) && !slices.Contains(again.algorithms, a.Algorithm) { // no longer taken, or never
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	count, right, lacking := sw.verify(in.req, &a)
	if lacking { // another algorithm may do, if there is one
		others := slices.DeleteFunc(slices.Clone(again.algorithms), func(name string) bool { return name == a.Algorithm })
		if len(others) > 0 {
			sw.stats.inbound[InboundChallenged].Add(1)
			again.stale, again.algorithms = true, others
			return again.reply()
		}
	}
	if ch.wrong.Settle(now, right, who) > 0 {
		sw.stats.inbound[InboundDenied].Add(1)
		return tooManyWrong
	}
	if !right {
		sw.stats.inbound[InboundDenied].Add(1)
		return again.reply()
	}
	if !ch.nonces.Use(id, count, now) {
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	in.Username = a.Username
	return wire.Reply{}
}

// tooManyWrong refuses an address whose credentials are not looked at for now.
var tooManyWrong = wire.Reply{Code: 403, Reason: "Too Many Wrong Answers"}

func (sw *Switchboard) realm() string {
	if r := sw.cfg.Inbound.Realm; r != "" {
		return r
	}
	return sw.host
}

// verify checks a response, and returns its count. A user that does not exist
// costs as much as one that does. lacking says that no secret is there for the
// algorithm.
func (sw *Switchboard) verify(m *wire.Message, a *digest.Authorization) (count uint32, right, lacking bool) {
	cred, known := sw.cfg.Inbound.Secrets(a.Username)
	alg, taken := digest.AlgorithmOf(a.Algorithm)
	count, err := a.Count()
	if !taken || err != nil || !answersFor(m, a.URI) {
		return 0, false, false
	}
	ha1 := strings.ToLower(cred.Stored(alg))
	if known && ha1 == "" && cred.Password == "" {
		return 0, false, cred.HA1 != "" || cred.HA1SHA256 != ""
	}
	if computed := alg.HA1(a.Username, a.Realm, cred.Password); ha1 == "" {
		ha1 = computed
	}
	a.Response = strings.ToLower(a.Response) // some phones write capitals
	same := a.Matches(alg, ha1, m.Method())
	return count, same && known, false
}

// answersFor reports whether a digest-uri is that of the request: its
// Request-URI, or To where a proxy has changed that.
func answersFor(m *wire.Message, uri string) bool {
	to, _ := wire.NameAddr(m.Get(wire.To))
	bare := func(b []byte) []byte {
		if i := bytes.IndexByte(b, ';'); i >= 0 {
			b = b[:i]
		}
		return b
	}
	u := bare([]byte(uri))
	return len(u) > 0 && (bytes.EqualFold(u, bare(m.URI())) || bytes.EqualFold(u, bare(to)))
}

// challengeOf is a 401.
type challengeOf struct {
	realm      string
	nonce      func() string
	algorithms []string // a challenge for each, in this order
	stale      bool
}

func (c *challengeOf) reply() wire.Reply {
	nonce := c.nonce()
	line := func(algorithm string) string {
		v := `WWW-Authenticate: Digest realm="` + digest.Quote(c.realm) + `", nonce="` + nonce + `", qop="auth", algorithm=` + algorithm
		if c.stale {
			v += ", stale=true"
		}
		return v + "\r\n"
	}
	r := wire.Reply{Code: 401}
	for _, algorithm := range c.algorithms {
		r.Header += line(algorithm)
	}
	return r
}

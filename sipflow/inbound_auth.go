package sipflow

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

const (
	// nonceLife is how long a nonce of ours may be answered.
	nonceLife = 5 * time.Minute
	// maxNonces bounds the nonces whose counts are remembered.
	maxNonces = 1 << 16
	// maxWrong bounds the wrong answers of one address (IPv6: /64) per minute;
	// beyond it none is looked at.
	maxWrong = 10
	// maxWrongSources bounds the addresses that are remembered for that.
	maxWrongSources = 4096
)

// The digest algorithms of Inbound.Algorithms, as on the wire.
const (
	AlgorithmSHA256 = "SHA-256"
	AlgorithmMD5    = "MD5"
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

// challenger asks callers who they are (RFC 3261 §22, RFC 7616, RFC 8760). Its
// nonces carry what is to be known of them, so that an INVITE without
// credentials leaves nothing behind; only of those that were answered rightly
// the last count is kept, so that nobody can answer with them again.
type challenger struct {
	key  [32]byte
	once sync.Once

	mu        sync.Mutex
	used      map[[nonceSize]byte]uint32 // highest nc
	notBefore time.Duration              // older nonces are stale
	wrong     map[netip.Addr]wrongAnswers
	since     time.Duration // the count of wrong answers began
}

type wrongAnswers uint16

// nonceSize is that of a time, a random part, and what proves that we wrote it.
const nonceSize = 8 + 8 + 16

// nonce makes one for an address.
func (ch *challenger) nonce(realm string, a netip.Addr, now time.Duration) string {
	ch.once.Do(func() { rand.Read(ch.key[:]) }) //nolint:errcheck // never fails
	var n [nonceSize]byte
	binary.BigEndian.PutUint64(n[:8], uint64(now))
	binary.BigEndian.PutUint64(n[8:16], newID())
	ch.seal(n[:], realm, a)
	return hex.EncodeToString(n[:])
}

// seal fills in the last part of a nonce.
func (ch *challenger) seal(n []byte, realm string, a netip.Addr) {
	mac := hmac.New(sha256.New, ch.key[:])
	mac.Write(n[:16])
	addr := a.Unmap().As16()
	mac.Write(addr[:])
	mac.Write([]byte(realm))
	copy(n[16:], mac.Sum(nil))
}

// ours reports whether a nonce is one of ours for the address, and whether it
// may still be answered.
func (ch *challenger) ours(nonce, realm string, a netip.Addr, now time.Duration) (n [nonceSize]byte, ours, fresh bool) {
	raw, err := hex.DecodeString(nonce)
	if err != nil || len(raw) != nonceSize {
		return n, false, false
	}
	copy(n[:], raw)
	ch.seal(n[:], realm, a)
	if subtle.ConstantTimeCompare(n[:], raw) != 1 {
		return n, false, false
	}
	made := time.Duration(binary.BigEndian.Uint64(n[:8]))
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return n, true, made <= now && now-made < nonceLife && made >= ch.notBefore
}

// use takes the count of a right answer. It is false for one that was there.
func (ch *challenger) use(n [nonceSize]byte, nc uint32, now time.Duration) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if last, known := ch.used[n]; known && nc <= last {
		return false
	}
	if ch.used == nil {
		ch.used = map[[nonceSize]byte]uint32{}
	}
	if len(ch.used) >= maxNonces {
		for old := range ch.used {
			if now-time.Duration(binary.BigEndian.Uint64(old[:8])) >= nonceLife {
				delete(ch.used, old)
			}
		}
		if len(ch.used) >= maxNonces*3/4 { // those that are forgotten must not be used again
			ch.notBefore = now
			clear(ch.used)
			return false
		}
	}
	ch.used[n] = nc
	return true
}

// guesses reports whether an address has answered wrongly too often.
func (ch *challenger) guesses(a netip.Addr, now time.Duration) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return now-ch.since < time.Minute && ch.wrong[limit.Network(a)] >= maxWrong
}

// guessed counts a wrong answer. Only answers to nonces of ours get here, so
// that nobody is held for an address that is not his.
func (ch *challenger) guessed(a netip.Addr, now time.Duration) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.wrong == nil || now-ch.since >= time.Minute || len(ch.wrong) >= maxWrongSources {
		ch.wrong, ch.since = map[netip.Addr]wrongAnswers{}, now
	}
	ch.wrong[limit.Network(a)]++
}

// digestAnswer is an Authorization value (RFC 7616 §3.4).
type digestAnswer struct {
	username, realm, nonce, uri, response, algorithm, cnonce, nc, qop string
}

func parseAnswer(s string) (a digestAnswer, ok bool) {
	ok = eachParam(s, func(name, value string) {
		switch name {
		case "username":
			a.username = value
		case "realm":
			a.realm = value
		case "nonce":
			a.nonce = value
		case "uri":
			a.uri = value
		case "response":
			a.response = strings.ToLower(value)
		case "algorithm":
			a.algorithm = strings.ToUpper(value)
		case "cnonce":
			a.cnonce = value
		case "nc":
			a.nc = value
		case "qop":
			a.qop = strings.ToLower(value)
		}
	})
	return a, ok
}

// authenticate has the caller prove who it is. The Code is 0 when it has.
func (sw *Switchboard) authenticate(in *Incoming) wire.Reply {
	ch, realm, now := &sw.challenger, sw.realm(), sw.stats.elapsed()
	addr := in.Source.Addr()
	again := challengeOf{sw: sw, in: in, realm: realm, now: now, algorithms: sw.cfg.Inbound.algorithms()}
	var a digestAnswer
	for v := range in.req.All(wire.Authorization) {
		if one, ok := parseAnswer(string(v)); ok && one.realm == realm {
			a = one
			break
		}
	}
	if a.nonce == "" || sw.cfg.Inbound.Secrets == nil {
		sw.stats.inbound[InboundChallenged].Add(1)
		return again.reply()
	}
	n, ours, fresh := ch.ours(a.nonce, realm, addr, now)
	if !ours || !fresh {
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	if ch.guesses(addr, now) {
		sw.stats.inbound[InboundDenied].Add(1)
		return wire.Reply{Code: 403, Reason: "Too Many Wrong Answers"}
	}
	if a.algorithm == "" { // RFC 7616 §3.4
		a.algorithm = AlgorithmMD5
	}
	if slices.Contains(allAlgorithms, a.algorithm) && !slices.Contains(again.algorithms, a.algorithm) { // no longer taken, or never
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	right, lacking := sw.verify(in.req, &a)
	if lacking { // another algorithm may do, if there is one
		others := slices.DeleteFunc(slices.Clone(again.algorithms), func(name string) bool { return name == a.algorithm })
		if len(others) > 0 {
			sw.stats.inbound[InboundChallenged].Add(1)
			again.stale, again.algorithms = true, others
			return again.reply()
		}
	}
	if !right {
		ch.guessed(addr, now)
		sw.stats.inbound[InboundDenied].Add(1)
		return again.reply()
	}
	nc := uint64(1) // without qop a nonce does once
	if a.qop != "" {
		nc, _ = strconv.ParseUint(a.nc, 16, 32)
	}
	if !ch.use(n, uint32(nc), now) {
		sw.stats.inbound[InboundChallenged].Add(1)
		again.stale = true
		return again.reply()
	}
	in.Username = a.username
	return wire.Reply{}
}

func (sw *Switchboard) realm() string {
	if r := sw.cfg.Inbound.Realm; r != "" {
		return r
	}
	return sw.host
}

// verify checks a response. A user that does not exist costs as much as one
// that does. lacking says that no secret is there for the algorithm.
func (sw *Switchboard) verify(m *wire.Message, a *digestAnswer) (right, lacking bool) {
	var newHash func() hash.Hash
	cred, known := sw.cfg.Inbound.Secrets(a.username)
	ha1 := ""
	switch a.algorithm {
	case AlgorithmMD5:
		newHash, ha1 = md5.New, cred.HA1
	case AlgorithmSHA256:
		newHash, ha1 = sha256.New, cred.HA1SHA256
	default:
		return false, false
	}
	nc, err := strconv.ParseUint(a.nc, 16, 32)
	if a.qop != "" && (a.qop != "auth" || err != nil || nc == 0 || len(a.nc) != 8 || a.cnonce == "") || !answersFor(m, a.uri) {
		return false, false
	}
	if known && ha1 == "" && cred.Password == "" {
		return false, cred.HA1 != "" || cred.HA1SHA256 != ""
	}
	if computed := hexHash(newHash, a.username+":"+a.realm+":"+cred.Password); ha1 == "" {
		ha1 = computed
	}
	ha2 := hexHash(newHash, m.Method()+":"+a.uri)
	want := ""
	if a.qop == "" {
		want = hexHash(newHash, strings.ToLower(ha1)+":"+a.nonce+":"+ha2)
	} else {
		want = hexHash(newHash, strings.ToLower(ha1)+":"+a.nonce+":"+a.nc+":"+a.cnonce+":auth:"+ha2)
	}
	same := subtle.ConstantTimeCompare([]byte(want), []byte(a.response)) == 1
	return same && known, false
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
	sw         *Switchboard
	in         *Incoming
	realm      string
	now        time.Duration
	algorithms []string // a challenge for each, in this order
	stale      bool
}

func (c *challengeOf) reply() wire.Reply {
	nonce := c.sw.challenger.nonce(c.realm, c.in.Source.Addr(), c.now)
	line := func(algorithm string) string {
		v := `WWW-Authenticate: Digest realm="` + quote(c.realm) + `", nonce="` + nonce + `", qop="auth", algorithm=` + algorithm
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

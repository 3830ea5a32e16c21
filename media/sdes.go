package media

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// Security says whether a session's packets are encrypted: by SRTP (RFC 3711), with
// keys in the session descriptions (RFC 4568).
type Security uint8

// The ways. With SRTPOffered we answer by SRTP whoever offers it, by the profile
// RTP/SAVP or by keys beside RTP/AVP, and offer plain RTP. With SRTPRequired we
// offer RTP/SAVP, and refuse what is not encrypted (488). With SRTPOff we refuse
// RTP/SAVP, and leave out keys that are offered beside RTP/AVP.
const (
	SRTPOffered Security = iota
	SRTPRequired
	SRTPOff
)

var securities = [...]string{SRTPOffered: "offered", SRTPRequired: "required", SRTPOff: "off"}

func (s Security) String() string { return securities[min(int(s), len(securities)-1)] }

// Securities are the words that [ParseSecurity] reads.
func Securities() []string { return securities[:] }

// ParseSecurity reads the word of a configuration.
func ParseSecurity(word string) (Security, error) {
	for i, s := range securities {
		if s == word {
			return Security(i), nil
		}
	}
	return 0, fmt.Errorf("%q is unknown: write %s", word, strings.Join(securities[:], ", "))
}

// A suite is a way to encrypt and to authenticate.
type suite struct {
	name      string // in a=crypto
	profile   srtp.ProtectionProfile
	key, salt int // bytes
}

// suites lists what we speak, in the order in which we offer it: first what every
// phone with SRTP has (RFC 4568 §6.2, RFC 7714 §14, RFC 6188 §4).
var suites = [...]suite{
	{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
	{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12},
	{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12},
	{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14},
	{"AES_256_CM_HMAC_SHA1_32", srtp.ProtectionProfileAes256CmHmacSha1_32, 32, 14},
}

const (
	maxKeys     = 16      // a=crypto lines of one m= line that are looked at
	maxLifetime = 1 << 48 // packets of one key (RFC 3711 §9.2)
)

// A secret is key and salt. It is not shown.
type secret []byte

func (secret) String() string       { return "[redacted]" }
func (secret) GoString() string     { return "[redacted]" }
func (secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// sdes is one a=crypto line: a key by which its author encrypts. It is never changed.
type sdes struct {
	tag      int
	suite    *suite
	secret   secret
	lifetime uint64  // packets that the key is good for
	mki      []byte  // that follows in each packet, nil: none does
	seal     *sealer // of a key of ours
}

// String, GoString and LogValue do not show the key.
func (sdes) String() string       { return "[redacted]" }
func (sdes) GoString() string     { return "[redacted]" }
func (sdes) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// newKey is a key of ours.
func newKey(tag int, with *suite) *sdes {
	k := &sdes{tag: tag, suite: with, secret: make(secret, with.key+with.salt), lifetime: maxLifetime}
	_, _ = rand.Read(k.secret) // never fails
	k.seal = newSealer(k)
	return k
}

// same reports whether two lines name one key for one use.
func (k *sdes) same(other *sdes) bool {
	return k != nil && other != nil && k.suite == other.suite && bytes.Equal(k.secret, other.secret) && bytes.Equal(k.mki, other.mki)
}

// tagged is the same key under another tag.
func (k *sdes) tagged(tag int) *sdes {
	c := *k
	c.tag = tag
	return &c
}

// line is the attribute's value. We give keys neither a lifetime nor an MKI: ours
// are good for longer than calls last.
func (k *sdes) line() string {
	return fmt.Sprintf("%d %s inline:%s", k.tag, k.suite.name, base64.StdEncoding.EncodeToString(k.secret))
}

// readKey reads the value of a=crypto (RFC 4568 §9). It returns nil for one that we
// cannot or must not use: of another suite, with several keys, or with session
// parameters that leave something in the clear.
func readKey(value string) *sdes {
	f := strings.Fields(value)
	if len(f) < 3 || len(f[0]) > 9 {
		return nil
	}
	tag, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return nil
	}
	k := &sdes{tag: int(tag), lifetime: maxLifetime}
	for i := range suites {
		if strings.EqualFold(f[1], suites[i].name) {
			k.suite = &suites[i]
		}
	}
	inline, ok := cutFold(f[2], "inline:")
	if k.suite == nil || !ok || strings.Contains(inline, ";") || !usable(f[3:]) {
		return nil
	}
	parts := strings.Split(inline, "|")
	k.secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil || len(k.secret) != k.suite.key+k.suite.salt || len(parts) > 3 {
		return nil
	}
	for i, p := range parts[1:] {
		number, length, isMKI := strings.Cut(p, ":")
		switch {
		case isMKI && k.mki == nil:
			k.mki = readMKI(number, length)
			if k.mki == nil {
				return nil
			}
		case !isMKI && i == 0: // a lifetime comes first
			if k.lifetime = readLifetime(p); k.lifetime == 0 {
				return nil
			}
		default:
			return nil
		}
	}
	return k
}

// cutFold is strings.CutPrefix for a prefix in any case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// usable reports whether session parameters ask for nothing that we do not do (RFC
// 4568 §6.3): a hint on the window of replay protection, and what may be passed over.
func usable(parameters []string) bool {
	for _, p := range parameters {
		if hint, ok := cutFold(p, "WSH="); ok {
			if _, err := strconv.ParseUint(hint, 10, 32); err != nil {
				return false
			}
		} else if !strings.HasPrefix(p, "-") {
			return false
		}
	}
	return true
}

// readLifetime reads "2^31" or a number of packets, 0: it is none.
func readLifetime(s string) uint64 {
	if power, ok := strings.CutPrefix(s, "2^"); ok {
		n, err := strconv.ParseUint(power, 10, 8)
		if err != nil || n > 48 {
			return 0
		}
		return 1 << n
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxLifetime {
		return 0
	}
	return n
}

// readMKI makes the bytes of a master key identifier, nil: there are none.
func readMKI(number, length string) []byte {
	n, err := strconv.ParseUint(number, 10, 64)
	size, err2 := strconv.ParseUint(length, 10, 8)
	if err != nil || err2 != nil || size < 1 || size > 128 || size < 8 && n >= 1<<(8*size) {
		return nil
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 128), n)
	return b[len(b)-int(size):]
}

// keyFor finds the key that a line's author encrypts by: the first one that we can
// use; of an answer that which answers one of offered. It is nil if there is none.
func (l *line) keyFor(answers bool, offered []*sdes) *sdes {
	for _, value := range l.crypto {
		k := readKey(value)
		if k == nil {
			continue
		}
		if !answers || answered(offered, k) != nil {
			return k
		}
	}
	return nil
}

// answered is the key of offered that k answers: it has its tag and its suite.
func answered(offered []*sdes, k *sdes) *sdes {
	for _, o := range offered {
		if o.tag == k.tag && o.suite == k.suite {
			return o
		}
	}
	return nil
}

// offerKeys are the keys of our next offer, one of each suite. The one in use stays
// in use, but for one whose packets have been counted through: who takes the call over
// would not know how often (RFC 3711 §3.3.1). The others are the same in each offer.
func (s *Session) offerKeys() []*sdes {
	keys := make([]*sdes, 0, len(suites))
	free := 1
	for i := range suites {
		if s.mine != nil && s.mine.suite == &suites[i] && s.mine.seal.rolled(s.ssrc) == 0 {
			keys = append(keys, s.mine)
			continue
		}
		if s.spare[i] == nil {
			s.spare[i] = newKey(0, &suites[i])
		}
		if s.mine != nil && s.mine.tag == free {
			free++
		}
		if s.spare[i].tag != free {
			s.spare[i] = s.spare[i].tagged(free)
		}
		free++
		keys = append(keys, s.spare[i])
	}
	return keys
}

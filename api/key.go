package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"sipxrest/restauth"
)

// keyPrefix begins the text of an API key: who finds one in a file knows what it is.
const keyPrefix = "sxk_"

// A Key is what is kept of an API key. The key itself is not: whoever reads the file
// cannot use it.
type Key struct {
	Name   string   `json:"name"`
	SHA256 string   `json:"sha256"` // of the key, in hexadecimal
	Scopes []Scope  `json:"scopes"`
	Agents []string `json:"agents"` // user names, or "*"
	// Expires is when it ends; zero: never.
	Expires time.Time `json:"expires,omitzero"`
	// Networks are those from which it is taken; none: all.
	Networks []netip.Prefix `json:"networks,omitempty"`
	Created  time.Time      `json:"created,omitzero"`
	// Fixed says that it is in the configuration.
	Fixed bool `json:"-"`
}

// NewKey makes a key: text is what its client needs, k what is kept.
func NewKey(name string) (text string, k Key) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	text = keyPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(text))
	return text, Key{Name: name, SHA256: hex.EncodeToString(sum[:])}
}

// WebhookSecret is what signs webhooks that are asked for with a key, one for each
// call. It follows from the key, so that it is kept nowhere.
func WebhookSecret(key string) string { return webhookSecret(key) }

func webhookSecret(key string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("sipxrest webhook secret"))
	return "whsec_" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Check says what is wrong with a key.
func (k *Key) Check() error {
	switch sum, err := hex.DecodeString(k.SHA256); {
	case !keyName.MatchString(k.Name):
		return fmt.Errorf("name %.80q: write up to 64 of A-Z a-z 0-9 . _ -, the first a letter or a digit", k.Name)
	case err != nil || len(sum) != sha256.Size:
		return fmt.Errorf("key %s: sha256 %.80q: write the 64 hexadecimal digits of the key's SHA-256", k.Name, k.SHA256)
	case len(k.Scopes) == 0:
		return fmt.Errorf("key %s: scopes: missing: %s", k.Name, scopeList())
	case len(k.Agents) == 0:
		return fmt.Errorf("key %s: agents: missing: name users, or \"*\" for all", k.Name)
	}
	for _, s := range k.Scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("key %s: scope %.40q is unknown: there are %s", k.Name, s, scopeList())
		}
	}
	if slices.Contains(k.Agents, everyAgent) && len(k.Agents) > 1 {
		return fmt.Errorf("key %s: agents: \"*\" are all already: leave out the others", k.Name)
	}
	if slices.Contains(k.Agents, "") {
		return fmt.Errorf("key %s: agents: one is empty", k.Name)
	}
	return nil
}

func scopeList() string {
	var list []string
	for _, s := range Scopes {
		list = append(list, string(s))
	}
	return strings.Join(list, ", ")
}

func (k *Key) everybody() bool { return slices.Contains(k.Agents, everyAgent) }

// hasAgent reports whether the key may act for a user. nil, of whom nothing is
// known, is nobody but to a key for all.
func (k *Key) hasAgent(u *restauth.User) bool {
	if k.everybody() {
		return true
	}
	return u != nil && slices.ContainsFunc(k.Agents, func(name string) bool {
		return name == u.Name || slices.Contains(u.Aliases, name)
	})
}

// grants reports whether the key lets do the same as another.
func (k *Key) grants(other *Key) bool {
	return k == other || slices.Equal(k.Scopes, other.Scopes) && slices.Equal(k.Agents, other.Agents) && slices.Equal(k.Networks, other.Networks)
}

// sum is the hash as a map's key; Check has looked at it.
func (k *Key) sum() (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(k.SHA256))
	return sum
}

// keySet are the keys at one time. It is not changed.
type keySet struct {
	byHash map[[sha256.Size]byte]*Key
	all    []*Key
}

// newKeySet checks keys: no two may have the same name or be the same.
func newKeySet(keys []Key) (*keySet, error) {
	s := &keySet{byHash: make(map[[sha256.Size]byte]*Key, len(keys))}
	names := map[string]bool{}
	for i := range keys {
		k := &keys[i]
		if err := k.Check(); err != nil {
			return nil, err
		}
		switch {
		case names[k.Name]:
			return nil, fmt.Errorf("two keys are called %s: rename one", k.Name)
		case s.byHash[k.sum()] != nil:
			return nil, errors.New("key " + k.Name + ": it is the same as " + s.byHash[k.sum()].Name)
		}
		names[k.Name] = true
		s.byHash[k.sum()] = k
		s.all = append(s.all, k)
	}
	return s, nil
}

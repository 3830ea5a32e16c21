package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Signatures by Standard Webhooks (https://www.standardwebhooks.com): over
// "id.timestamp.body", by HMAC-SHA256 ("v1") and, for who wants it, by Ed25519
// ("v1a").

// The headers of Standard Webhooks.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// The prefixes of keys as texts.
const (
	secretPrefix = "whsec_" // of HMAC
	publicPrefix = "whpk_"  // of Ed25519
)

// A SigningKey signs what goes to one webhook.
type SigningKey struct {
	HMAC    []byte // 24 to 64 bytes
	Ed25519 []byte // the seed, 32 bytes; nil: no v1a
}

// NewSigningKey makes a key at random.
func NewSigningKey() SigningKey {
	k := SigningKey{HMAC: make([]byte, 32), Ed25519: make([]byte, ed25519.SeedSize)}
	_, _ = rand.Read(k.HMAC) // never fails
	_, _ = rand.Read(k.Ed25519)
	return k
}

// ParseSecret reads the HMAC key of a "whsec_" text.
func ParseSecret(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	if !ok {
		return nil, errors.New("a secret begins with whsec_") // without what it is instead
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		return nil, errors.New("what follows whsec_ is base64, as `openssl rand -base64 32` makes it")
	case len(key) < 24 || len(key) > 64:
		return nil, fmt.Errorf("the secret has %d bytes: write 24 to 64", len(key))
	}
	return key, nil
}

// Secret returns the HMAC key as receivers write it.
func (k SigningKey) Secret() string { return secretPrefix + base64.StdEncoding.EncodeToString(k.HMAC) }

// PublicKey returns the key by which v1a is verified; "" without one.
func (k SigningKey) PublicKey() string {
	if k.Ed25519 == nil {
		return ""
	}
	public := ed25519.NewKeyFromSeed(k.Ed25519).Public().(ed25519.PublicKey)
	return publicPrefix + base64.StdEncoding.EncodeToString(public)
}

// String hides the key.
func (k SigningKey) String() string { return "[redacted]" }

// GoString hides it from %#v.
func (k SigningKey) GoString() string { return "[redacted]" }

// SignStandard adds the headers of Standard Webhooks to a request. The signatures
// are in the order of keys: the newest key comes first.
func SignStandard(h http.Header, id string, at time.Time, body []byte, asymmetric bool, keys ...SigningKey) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	content := make([]byte, 0, len(id)+len(stamp)+len(body)+2)
	content = append(content, id...)
	content = append(content, '.')
	content = append(content, stamp...)
	content = append(content, '.')
	content = append(content, body...)
	var all []string
	for _, k := range keys {
		mac := hmac.New(sha256.New, k.HMAC)
		mac.Write(content)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		if asymmetric && k.Ed25519 != nil {
			all = append(all, "v1a,"+base64.StdEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(k.Ed25519), content)))
		}
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, strings.Join(all, " "))
}

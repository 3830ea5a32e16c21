package webhook

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// signed are the headers of a request.
func signed(id string, at time.Time, body string, asymmetric bool, keys ...SigningKey) http.Header {
	h := http.Header{}
	SignStandard(h, id, at, []byte(body), asymmetric, keys...)
	return h
}

// verifyStandard is what a receiver with a secret does.
func verifyStandard(t *testing.T, k SigningKey, h http.Header, body string) error {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(k.Secret())
	if err != nil {
		t.Fatal(err)
	}
	return w.Verify([]byte(body), h)
}

func TestReceiversVerifyWithTheStandardsLibrary(t *testing.T) {
	older, newer, other := NewSigningKey(), NewSigningKey(), NewSigningKey()
	const body = `{"type":"call.ended"}`
	h := signed("evt_abc123_1_7", time.Now(), body, false, newer, older)
	for _, k := range []SigningKey{newer, older} {
		if err := verifyStandard(t, k, h, body); err != nil {
			t.Error(err)
		}
	}
	if verifyStandard(t, other, h, body) == nil {
		t.Error("another secret verifies it")
	}
	if verifyStandard(t, newer, h, body+" ") == nil {
		t.Error("a changed body verifies")
	}
	h.Set(HeaderID, "evt_abc123_1_8")
	if verifyStandard(t, newer, h, body) == nil {
		t.Error("another id verifies")
	}
	h = signed("evt_abc123_1_7", time.Now().Add(-6*time.Minute), body, false, newer)
	if verifyStandard(t, newer, h, body) == nil {
		t.Error("it can be replayed after six minutes")
	}
	h.Set(HeaderTimestamp, fmt.Sprint(time.Now().Unix()))
	if verifyStandard(t, newer, h, body) == nil {
		t.Error("another time verifies")
	}
}

func TestTheNewestSecretSignsFirst(t *testing.T) {
	older, newer := NewSigningKey(), NewSigningKey()
	at := time.Now()
	both := signed("i", at, "b", true, newer, older).Get(HeaderSignature)
	first := signed("i", at, "b", true, newer).Get(HeaderSignature)
	if !strings.HasPrefix(both, first+" ") || strings.Count(both, " ") != 3 {
		t.Errorf("%s does not begin with %s", both, first)
	}
}

func TestEd25519SignaturesVerify(t *testing.T) {
	k := NewSigningKey()
	at := time.Now()
	h := signed("evt_abc123_1_7", at, "{}", true, k)
	_, text, ok := strings.Cut(h.Get(HeaderSignature), " v1a,")
	signature, err := base64.StdEncoding.DecodeString(text)
	public, err2 := base64.StdEncoding.DecodeString(strings.TrimPrefix(k.PublicKey(), "whpk_"))
	if !ok || err != nil || err2 != nil {
		t.Fatal(h, err, err2)
	}
	content := fmt.Appendf(nil, "evt_abc123_1_7.%d.{}", at.Unix())
	if !ed25519.Verify(public, content, signature) {
		t.Error("it does not verify")
	}
	if ed25519.Verify(public, append(content, ' '), signature) {
		t.Error("a changed body verifies")
	}
	if err := verifyStandard(t, k, h, "{}"); err != nil {
		t.Errorf("beside v1a: %v", err)
	}
}

func TestSecretsAsTexts(t *testing.T) {
	k := NewSigningKey()
	got, err := ParseSecret(k.Secret() + "\n")
	if err != nil || !bytes.Equal(got, k.HMAC) {
		t.Error(got, err)
	}
	for _, text := range []string{"", "whsec_", "whsec_!!!", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)),
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)), strings.TrimPrefix(k.Secret(), "whsec_")} {
		if _, err := ParseSecret(text); err == nil {
			t.Errorf("%q is taken", text)
		} else if len(text) > 10 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.ContainsAny(s, "0123456789") {
		t.Errorf("a key is shown: %s", s)
	}
}

package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenLife is how long a signature may be taken for fresh.
const tokenLife = 5 * time.Minute

// clockSkew is how much the webhook's clock may be behind ours: most libraries
// refuse a token from the future, be it by a fraction of a second.
const clockSkew = 30 * time.Second

// SignatureHeader has the time and the HMAC of hmac_secret:
// "t=1700000000,v1=hex(HMAC-SHA256(secret, t.payload))", where the payload is the
// body, or the query string of a GET.
const SignatureHeader = "X-Signature"

// claims are those of the token that goes with each request.
type claims struct {
	jwt.RegisteredClaims
	SHA256 string `json:"sha256"` // base64 of the payload's hash
}

// sign adds the signatures of an endpoint to a request. The payload is its body, or
// its query string if it has none.
func (e *Endpoint) sign(h http.Header, payload []byte, now time.Time) error {
	if len(e.JWT.Keys) > 0 {
		key := e.JWT.Keys[0]
		sum := sha256.Sum256(payload)
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
			RegisteredClaims: jwt.RegisteredClaims{
				Issuer:    e.JWT.Issuer,
				NotBefore: jwt.NewNumericDate(now.Add(-clockSkew)),
				ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
			},
			SHA256: base64.StdEncoding.EncodeToString(sum[:]),
		})
		if key.ID != "" {
			token.Header["kid"] = key.ID
		}
		signed, err := token.SignedString([]byte(key.Secret))
		if err != nil {
			return err
		}
		h.Set("Authorization", signed)
	}
	if e.HMACSecret != "" {
		t := strconv.FormatInt(now.Unix(), 10)
		h.Set(SignatureHeader, "t="+t+",v1="+hex.EncodeToString(signature(string(e.HMACSecret), t, payload)))
	}
	return nil
}

func signature(secret, t string, payload []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(payload)
	return mac.Sum(nil)
}

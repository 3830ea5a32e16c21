package event

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// A sealer hides secrets in the database from whoever has a copy of it, but not
// the key file. Without a key it hides nothing: then the file's mode must do.
type sealer struct{ aead cipher.AEAD }

// How the first byte of what is kept is read.
const (
	plainText  = 0
	sealedText = 1
)

// errSealed says that a secret was sealed by another key.
var errSealed = errors.New("its secrets are sealed by a key that is not in api.key-file: name the file that was there before, or make the webhook anew")

// newSealer makes a sealer; an empty key makes one that hides nothing.
func newSealer(key []byte) *sealer {
	if len(key) == 0 {
		return &sealer{}
	}
	sum := sha256.Sum256(append([]byte("sipxrest secrets of webhooks\n"), key...))
	block, _ := aes.NewCipher(sum[:]) // fails for other lengths only
	aead, _ := cipher.NewGCM(block)
	return &sealer{aead}
}

// seal hides a text; what it is of must be said to open it.
func (s *sealer) seal(text []byte, of string) []byte {
	if s.aead == nil {
		return append([]byte{plainText}, text...)
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return s.aead.Seal(append([]byte{sealedText}, nonce...), nonce, text, []byte(of))
}

// wants reports whether a text is kept in clear, though there is a key.
func (s *sealer) wants(b []byte) bool { return s.aead != nil && len(b) > 0 && b[0] == plainText }

func (s *sealer) open(b []byte, of string) ([]byte, error) {
	switch {
	case len(b) > 0 && b[0] == plainText:
		return b[1:], nil
	case s.aead == nil || len(b) < 1+s.aead.NonceSize() || b[0] != sealedText:
		return nil, errSealed
	}
	n := 1 + s.aead.NonceSize()
	text, err := s.aead.Open(nil, b[1:n], b[n:], []byte(of))
	if err != nil {
		return nil, errSealed
	}
	return text, nil
}

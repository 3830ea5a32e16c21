package phone

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// A cost is what hashing a password takes (RFC 9106 §3.1).
type cost struct {
	passes   uint32
	memory   uint32 // KiB
	parallel uint8
}

// defaultCost makes a guess take some 20 ms of a core.
var defaultCost = cost{passes: 2, memory: 19 << 10, parallel: 1}

const (
	// maxHashing is how many passwords are hashed at once, 19 MiB each, and
	// maxHashQueue how many requests wait for it.
	maxHashing   = 2
	maxHashQueue = 32
	// MinPassword is the length of a new password at least, maxPassword that of
	// any at most, in bytes.
	MinPassword = 8
	maxPassword = 256
	saltLen     = 16
	keyLen      = 32
)

// errBusy says that more passwords wait to be checked than may.
var errBusy = errors.New("too many log-ins at once")

// hashing bounds how many passwords are hashed at once.
type hashing struct {
	cost    cost
	running chan struct{}
	queue   chan struct{} // running ones included
	decoy   string        // the hash of nobody's password
}

func newHashing(c cost) hashing {
	h := hashing{cost: c, running: make(chan struct{}, maxHashing), queue: make(chan struct{}, maxHashing+maxHashQueue)}
	var salt [saltLen]byte
	rand.Read(salt[:]) // never fails
	h.decoy = c.encode(salt[:], make([]byte, keyLen))
	return h
}

// CheckPassword says what is wrong with a new password.
func CheckPassword(password string) error {
	switch {
	case len(password) < MinPassword:
		return fmt.Errorf("the password is too short: write at least %d characters", MinPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("the password is too long: write at most %d bytes", maxPassword)
	case !utf8.ValidString(password):
		return errors.New("the password is no UTF-8 text")
	}
	return nil
}

// key derives a key from a password, when its turn comes.
func (h *hashing) key(ctx context.Context, c cost, password string, salt []byte) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
		defer func() { <-h.queue }()
	default:
		return nil, errBusy
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return argon2.IDKey([]byte(password), salt, c.passes, c.memory, c.parallel, keyLen), nil
}

// hash returns what is stored of a password: cost, salt, and a value that
// reveals neither the password nor the key that seals tokens.
func (h *hashing) hash(ctx context.Context, password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("a password has 1 to %d bytes", maxPassword)
	}
	var salt [saltLen]byte
	rand.Read(salt[:]) // never fails
	key, err := h.key(ctx, h.cost, password, salt[:])
	if err != nil {
		return "", err
	}
	return h.cost.encode(salt[:], derive(key, "verify")), nil
}

// check returns the key that seals the user's token, or ErrWrongPassword. It
// takes the same time for a user who does not exist, whose stored is "".
func (h *hashing) check(ctx context.Context, password, stored string) ([]byte, error) {
	known := stored != ""
	if !known {
		stored = h.decoy
	}
	c, salt, want, err := decode(stored)
	if err != nil {
		return nil, err
	}
	if len(password) > maxPassword {
		password = ""
	}
	key, err := h.key(ctx, c, password, salt)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(derive(key, "verify"), want) != 1 || !known || password == "" {
		return nil, ErrWrongPassword
	}
	return derive(key, "seal"), nil
}

// derive makes keys for different ends from one.
func derive(key []byte, end string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(end))
	return m.Sum(nil)
}

var base = base64.RawStdEncoding

// encode writes a hash in the form that is usual for Argon2.
func (c cost) encode(salt, value []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.passes, c.parallel,
		base.EncodeToString(salt), base.EncodeToString(value))
}

// decode reads what encode wrote. Its error does not quote it.
func decode(text string) (c cost, salt, value []byte, err error) {
	bad := errors.New("the stored hash of the password cannot be read: set the password again")
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, bad
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.passes, &c.parallel); err != nil {
		return c, nil, nil, bad
	}
	salt, e1 := base.DecodeString(parts[4])
	value, e2 := base.DecodeString(parts[5])
	// A file that somebody has put in our place must not take all memory.
	if e1 != nil || e2 != nil || c.passes < 1 || c.passes > 16 || c.memory > 1<<20 || c.parallel < 1 || c.parallel > 16 || len(value) != keyLen {
		return c, nil, nil, bad
	}
	return c, salt, value, nil
}

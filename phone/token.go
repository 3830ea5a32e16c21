package phone

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"time"
)

// A user has one token, which all his devices share: each log-in gets the same.
// The database looks it up by its hash. It also holds the token itself, sealed
// with a key that only the password gives: a log-in can return it, a copy of
// the database cannot.

const tokenLen = 32 // bytes

var tokenText = base64.RawURLEncoding

// LogIn returns the user and his token, a new one if he has none. Errors are
// ErrWrongPassword, errBusy and those of the database.
func (s *Store) LogIn(ctx context.Context, username, password string) (User, string, error) {
	var stored string
	u, err := scanUser(s.byName.QueryRowContext(ctx, nameKey(username)).Scan, &stored)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return User{}, "", err
	}
	key, err := s.hashing.check(ctx, password, stored)
	if err != nil {
		return User{}, "", err
	}
	token, err := s.token(ctx, u.ID, stored, key)
	return u, token, err
}

// token returns the token of a user whose password is stored so, or makes one.
func (s *Store) token(ctx context.Context, user ID, stored string, key []byte) (string, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return "", err
	}
	s.issuing.Lock()
	defer s.issuing.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback() }() // of nothing, once it is committed
	var now string                       // the password may have been changed while it was checked
	if err := tx.QueryRowContext(ctx, `SELECT password FROM users WHERE id = ?`, user.String()).Scan(&now); errors.Is(err, sql.ErrNoRows) || err == nil && now != stored {
		return "", ErrWrongPassword
	} else if err != nil {
		return "", err
	}
	var sealed []byte
	switch err := tx.QueryRowContext(ctx, `SELECT sealed FROM tokens WHERE user = ?`, user.String()).Scan(&sealed); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return "", err
	default:
		if token, err := seal.Open(nil, nil, sealed, user[:]); err == nil {
			return tokenText.EncodeToString(token), nil
		} // sealed by another password: it ends
	}
	var token [tokenLen]byte
	rand.Read(token[:]) // never fails
	text := tokenText.EncodeToString(token[:])
	hash := sha256.Sum256([]byte(text))
	_, err = tx.ExecContext(ctx, `INSERT INTO tokens (user, hash, sealed, made) VALUES (?, ?, ?, ?)
		ON CONFLICT (user) DO UPDATE SET hash = excluded.hash, sealed = excluded.sealed, made = excluded.made`,
		user.String(), hash[:], seal.Seal(nil, nil, token[:], user[:]), time.Now().Unix())
	if err != nil {
		return "", err
	}
	return text, tx.Commit()
}

// tokenHash is what a token is known by once it was read.
type tokenHash [sha256.Size]byte

// withToken returns the user of a token; ErrNoUser when it is nobody's. What is
// looked up is the hash: how long it takes tells nothing of any token.
func (s *Store) withToken(ctx context.Context, hash tokenHash) (User, error) {
	var found []byte
	u, err := scanUser(s.byToken.QueryRowContext(ctx, hash[:]).Scan, &found)
	if err == nil && subtle.ConstantTimeCompare(found, hash[:]) != 1 {
		return User{}, ErrNoUser
	}
	return u, err
}

// UserOf returns the user of a token, as clients bring it; ErrNoUser when it is
// nobody's.
func (s *Service) UserOf(ctx context.Context, token string) (User, error) {
	return s.cfg.Store.withToken(ctx, sha256.Sum256([]byte(token)))
}

// endToken ends a token, on all of its user's devices. One that he has got since
// stays.
func (s *Store) endToken(ctx context.Context, hash tokenHash) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM tokens WHERE hash = ?`, hash[:])
	return err
}

// tokens returns the hashes of all tokens.
func (s *Store) tokens(ctx context.Context) (map[tokenHash]bool, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT hash FROM tokens`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[tokenHash]bool{}
	for rows.Next() {
		var hash []byte
		if err := rows.Scan(&hash); err != nil {
			return nil, err
		}
		if len(hash) == len(tokenHash{}) {
			all[tokenHash(hash)] = true
		}
	}
	return all, rows.Err()
}

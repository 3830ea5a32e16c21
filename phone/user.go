package phone

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A User is one user of the phone service.
type User struct {
	ID ID
	// Username is unique, whatever its case.
	Username    string
	DisplayName string // "" when there is none, as the two that follow
	Image       string
	Pronoun     string
	Level       string // of Levels
	// SIP is the address of the user's SIP phone, sip:201@example.com. Only
	// SetSIP changes it.
	SIP string
}

// Errors of a Store.
var (
	ErrNoUser     = errors.New("there is no such user")
	ErrUserExists = errors.New("there is a user of that name")
	// ErrWrongPassword says that user name and password do not belong together.
	ErrWrongPassword = errors.New("wrong user name or password")
)

// Bounds of what is stored of a user, in bytes.
const (
	maxUsername = 50
	maxText     = 200
)

const userColumns = `u.id, u.username, u.display_name, u.image, u.pronoun, u.level, u.sip`

// scanUser reads userColumns and what follows them.
func scanUser(scan func(...any) error, more ...any) (User, error) {
	var u User
	var id string
	err := scan(append([]any{&id, &u.Username, &u.DisplayName, &u.Image, &u.Pronoun, &u.Level, &u.SIP}, more...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return u, ErrNoUser
	}
	if err != nil {
		return u, err
	}
	var ok bool
	if u.ID, ok = ParseID(id); !ok {
		return u, fmt.Errorf("user %q has the ID %q, which is none", u.Username, id)
	}
	return u, nil
}

// nameKey is what a user name is looked up by.
func nameKey(name string) string { return strings.ToLower(name) }

// search is what a user is found by: parts of "sam smith (@sam)", as in Swiftarr.
func (u *User) search() string {
	text := "@" + u.Username
	if u.DisplayName != "" {
		text = u.DisplayName + " (" + text + ")"
	}
	return strings.ToLower(text)
}

// check says what is wrong with a user.
func (u *User) check() error {
	if u.Username == "" || len(u.Username) > maxUsername || strings.ContainsFunc(u.Username, func(r rune) bool {
		return r == ':' || r == utf8.RuneError || unicode.IsControl(r) || unicode.IsSpace(r)
	}) {
		return fmt.Errorf("user name %.60q: write 1 to %d bytes without spaces and colons", u.Username, maxUsername)
	}
	for what, text := range map[string]string{"display name": u.DisplayName, "image": u.Image, "pronoun": u.Pronoun} {
		if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%s of %s: write at most %d bytes without control characters", what, u.Username, maxText)
		}
	}
	return CheckLevel(u.Level)
}

// Add makes a user. Without an ID it gets one, without a level DefaultLevel.
func (s *Store) Add(ctx context.Context, u User, password string) (User, error) {
	if u.ID == (ID{}) {
		u.ID = NewID()
	}
	u.Level = cmp.Or(u.Level, DefaultLevel)
	if err := u.check(); err != nil {
		return u, err
	}
	hash, err := s.hashing.hash(ctx, password)
	if err != nil {
		return u, err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO users (id, username, name_key, search, display_name, image, pronoun, level, password, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		u.ID.String(), u.Username, nameKey(u.Username), u.search(), u.DisplayName, u.Image, u.Pronoun, u.Level, hash, time.Now().Unix())
	if err != nil {
		if _, e := s.Find(ctx, u.Username); e == nil {
			return u, fmt.Errorf("%s: %w", u.Username, ErrUserExists)
		}
		if other, e := s.Get(ctx, u.ID); e == nil {
			return u, fmt.Errorf("%v is the ID of %s: choose another", u.ID, other.Username)
		}
		return u, err
	}
	return u, nil
}

// Find returns a user by name or by ID.
func (s *Store) Find(ctx context.Context, who string) (User, error) {
	var password string
	u, err := scanUser(s.byName.QueryRowContext(ctx, nameKey(who)).Scan, &password)
	if id, ok := ParseID(who); ok && errors.Is(err, ErrNoUser) {
		u, err = s.Get(ctx, id)
	}
	if errors.Is(err, ErrNoUser) {
		err = fmt.Errorf("%.60q: %w", who, ErrNoUser)
	}
	return u, err
}

// Get returns a user by ID.
func (s *Store) Get(ctx context.Context, id ID) (User, error) {
	return scanUser(s.db.QueryRowContext(ctx, `SELECT `+userColumns+` FROM users u WHERE u.id = ?`, id.String()).Scan)
}

// List returns all users by name.
func (s *Store) List(ctx context.Context) ([]User, error) {
	return s.users(ctx, `SELECT `+userColumns+` FROM users u ORDER BY u.name_key`)
}

func (s *Store) users(ctx context.Context, query string, args ...any) ([]User, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []User
	for rows.Next() {
		u, err := scanUser(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, rows.Err()
}

// Count is how many users there are.
func (s *Store) Count(ctx context.Context) (n int, err error) {
	return n, s.db.QueryRowContext(ctx, `SELECT count(*) FROM users`).Scan(&n)
}

// Update changes all but the ID and the password of a user.
func (s *Store) Update(ctx context.Context, u User) error {
	if err := u.check(); err != nil {
		return err
	}
	err := s.changeOne(ctx, `UPDATE users SET username = ?, name_key = ?, search = ?, display_name = ?, image = ?, pronoun = ?, level = ? WHERE id = ?`,
		u.Username, nameKey(u.Username), u.search(), u.DisplayName, u.Image, u.Pronoun, u.Level, u.ID.String())
	if err != nil { // not before: another process may take the name meanwhile
		if other, e := s.Find(ctx, u.Username); e == nil && other.ID != u.ID {
			return fmt.Errorf("%s: %w", u.Username, ErrUserExists)
		}
	}
	return err
}

// Delete removes a user with his token and whatever others have said of him.
func (s *Store) Delete(ctx context.Context, id ID) error {
	return s.changeOne(ctx, `DELETE FROM users WHERE id = ?`, id.String())
}

// SetPassword gives a user another password, and ends his token: devices with
// the old one are logged out.
func (s *Store) SetPassword(ctx context.Context, id ID, password string) error {
	hash, err := s.hashing.hash(ctx, password)
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of nothing, once it is committed
	done, err := tx.ExecContext(ctx, `UPDATE users SET password = ? WHERE id = ?`, hash, id.String())
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, ErrNoUser)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE user = ?`, id.String()); err != nil {
		return err
	}
	return tx.Commit()
}

// changeOne runs a statement that must find its user.
func (s *Store) changeOne(ctx context.Context, query string, args ...any) error {
	done, err := s.db.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, ErrNoUser)
	}
	return nil
}

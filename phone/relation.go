package phone

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Relation is what one user has said of another.
type Relation int

// Relations. A block holds both ways; a user can be called by those whom he
// has made favourites.
const (
	Favorite Relation = iota
	Block
	Mute
)

func (r Relation) table() string { return [...]string{"favorites", "blocks", "mutes"}[r] }

// ErrSelf says that a user cannot be his own favourite, nor block or mute
// himself.
var ErrSelf = errors.New("the two are the same user")

// Relate has user say r of other; saying it again changes nothing.
func (s *Store) Relate(ctx context.Context, r Relation, user, other ID) error {
	_, err := s.relate(ctx, r, user, other)
	return err
}

// relate is Relate, and reports whether it is new.
func (s *Store) relate(ctx context.Context, r Relation, user, other ID) (bool, error) {
	if user == other {
		return false, ErrSelf
	}
	done, err := s.db.ExecContext(ctx, `INSERT INTO `+r.table()+` (user, other) VALUES (?, ?) ON CONFLICT DO NOTHING`, user.String(), other.String())
	if err == nil {
		n, err := done.RowsAffected()
		return n > 0, err
	}
	for _, id := range []ID{user, other} {
		if _, e := s.Get(ctx, id); errors.Is(e, ErrNoUser) {
			return false, fmt.Errorf("%v: %w", id, ErrNoUser)
		}
	}
	return false, err
}

// Unrelate takes back what Relate said, if it was said.
func (s *Store) Unrelate(ctx context.Context, r Relation, user, other ID) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM `+r.table()+` WHERE user = ? AND other = ?`, user.String(), other.String())
	return err
}

// Related lists of whom user has said r, by name.
func (s *Store) Related(ctx context.Context, r Relation, user ID) ([]User, error) {
	return s.users(ctx, `SELECT `+userColumns+` FROM `+r.table()+` f JOIN users u ON u.id = f.other WHERE f.user = ? ORDER BY u.name_key`, user.String())
}

// A callee is a user with what decides whether a caller may call him.
type callee struct {
	User
	refuses  bool // he mutes the caller, or one has blocked the other
	blocked  bool // one has blocked the other
	favorite bool // he has made the caller a favourite
}

// callee looks up whom caller wants to call; ErrNoUser if he is nobody.
func (s *Store) callee(ctx context.Context, caller, id ID) (callee, error) {
	var c callee
	var muted bool
	var err error
	c.User, err = scanUser(s.relation.QueryRowContext(ctx, caller.String(), id.String()).Scan, &muted, &c.blocked, &c.favorite)
	c.refuses = muted || c.blocked
	return c, err
}

// match returns the first limit users, by name, whose names contain text in any
// case (User.search). Whom the user has blocked, or who has blocked him, is not
// among them. With favorers it is only those who have made him a favourite.
func (s *Store) match(ctx context.Context, user ID, text string, favorers bool, limit int) ([]User, error) {
	return s.users(ctx, `SELECT `+userColumns+` FROM users u WHERE instr(u.search, ?2) > 0
		AND NOT EXISTS (SELECT 1 FROM blocks WHERE user = u.id AND other = ?1 OR user = ?1 AND other = u.id)
		AND (NOT ?3 OR EXISTS (SELECT 1 FROM favorites WHERE user = u.id AND other = ?1))
		ORDER BY u.name_key LIMIT ?4`, user.String(), strings.ToLower(text), favorers, limit)
}

// says reports whether user has said r of other.
func (s *Store) says(ctx context.Context, r Relation, user, other ID) (yes bool, err error) {
	return yes, s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+r.table()+` WHERE user = ? AND other = ?)`,
		user.String(), other.String()).Scan(&yes)
}

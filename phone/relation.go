package phone

import (
	"context"
	"errors"
	"fmt"
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
	if user == other {
		return ErrSelf
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO `+r.table()+` (user, other) VALUES (?, ?) ON CONFLICT DO NOTHING`, user.String(), other.String())
	if err == nil {
		return nil
	}
	for _, id := range []ID{user, other} {
		if _, e := s.Get(ctx, id); errors.Is(e, ErrNoUser) {
			return fmt.Errorf("%v: %w", id, ErrNoUser)
		}
	}
	return err
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
	favorite bool // he has made the caller a favourite
}

// callee looks up whom caller wants to call; ErrNoUser if he is nobody.
func (s *Store) callee(ctx context.Context, caller, id ID) (callee, error) {
	var c callee
	var muted, blocked bool
	var err error
	c.User, err = scanUser(s.relation.QueryRowContext(ctx, caller.String(), id.String()).Scan, &muted, &blocked, &c.favorite)
	c.refuses = muted || blocked
	return c, err
}

package phone

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sipxrest/internal/datafile"
	"sipxrest/internal/limit"
)

// A Store is the database of users: who they are, their tokens, and whom they
// have made favourites, blocked or muted. It is one file, which other processes
// may read and write at the same time. Its methods may be called from any
// goroutine.
type Store struct {
	db      *sql.DB
	hashing hashing
	issuing sync.Mutex // one log-in at a time makes a token

	byToken, byName, bySIP, relation *sql.Stmt
}

// busyTimeout is how long a change waits for that of another process, in ms.
const busyTimeout = 5000

// migrations bring a database from one version to the next. The version is the
// number of those that were applied (PRAGMA user_version). They are never
// changed once they are released: what is new is appended.
var migrations = []string{
	// 1
	`CREATE TABLE users (
		id TEXT NOT NULL PRIMARY KEY,
		username TEXT NOT NULL,
		name_key TEXT NOT NULL UNIQUE, -- the user name in lower case
		display_name TEXT NOT NULL DEFAULT '',
		image TEXT NOT NULL DEFAULT '',
		pronoun TEXT NOT NULL DEFAULT '',
		level TEXT NOT NULL,
		password TEXT NOT NULL, -- see password.go
		made INTEGER NOT NULL   -- seconds since 1970
	) WITHOUT ROWID;
	CREATE TABLE tokens (
		user TEXT NOT NULL PRIMARY KEY REFERENCES users ON DELETE CASCADE,
		hash BLOB NOT NULL UNIQUE, -- SHA-256
		sealed BLOB NOT NULL,      -- by the user's password, see token.go
		made INTEGER NOT NULL
	) WITHOUT ROWID;
	CREATE TABLE favorites (
		user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		other TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		PRIMARY KEY (user, other)
	) WITHOUT ROWID;
	CREATE TABLE blocks (
		user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		other TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		PRIMARY KEY (user, other)
	) WITHOUT ROWID;
	CREATE TABLE mutes (
		user TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		other TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
		PRIMARY KEY (user, other)
	) WITHOUT ROWID;
	CREATE INDEX favorites_other ON favorites (other);
	CREATE INDEX blocks_other ON blocks (other);
	CREATE INDEX mutes_other ON mutes (other);`,
	// 2
	`ALTER TABLE users ADD COLUMN sip TEXT NOT NULL DEFAULT ''; -- sip:user@host of the user's phone
	CREATE UNIQUE INDEX users_sip ON users (sip) WHERE sip <> '';`,
	// 3
	`CREATE TABLE installation (id TEXT NOT NULL); -- tells this database from all others
	INSERT INTO installation VALUES (lower(hex(randomblob(8))));
	ALTER TABLE users ADD COLUMN search TEXT NOT NULL DEFAULT ''; -- what the user is found by, in lower case: see fillSearch`,
}

// Open opens the database in a file, makes it if there is none, and brings it
// to the current version. Only the service's user, or the folder's owner if
// root makes it, can read it.
func Open(file string) (*Store, error) {
	if err := datafile.Make(file); err != nil {
		return nil, err
	}
	f, err := limit.OpenFile(file) // whatever else would keep the driver waiting
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := datafile.Writable(file); err != nil {
		return nil, err
	}
	// Every transaction writes: one that begins by reading could not wait.
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(file)}).String() +
		fmt.Sprintf("?_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)", busyTimeout)
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	s := &Store{db: db, hashing: newHashing(defaultCost)}
	if err := datafile.Migrate(s.db, migrations, fillSearch); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.byToken, `SELECT ` + userColumns + `, t.hash FROM tokens t JOIN users u ON u.id = t.user WHERE t.hash = ?`},
		{&s.byName, `SELECT ` + userColumns + `, u.password FROM users u WHERE u.name_key = ?`},
		{&s.bySIP, `SELECT ` + userColumns + ` FROM users u WHERE u.sip = ? AND u.sip <> ''`},
		{&s.relation, `SELECT ` + userColumns + `,
			EXISTS (SELECT 1 FROM mutes WHERE user = u.id AND other = ?1),
			EXISTS (SELECT 1 FROM blocks WHERE user = u.id AND other = ?1 OR user = ?1 AND other = u.id),
			EXISTS (SELECT 1 FROM favorites WHERE user = u.id AND other = ?1)
			FROM users u WHERE u.id = ?2`},
	} {
		if *p.to, err = db.Prepare(p.text); err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return s, nil
}

// Close closes the database.
func (s *Store) Close() error {
	for _, stmt := range []*sql.Stmt{s.byToken, s.byName, s.bySIP, s.relation} {
		if stmt != nil {
			stmt.Close()
		}
	}
	return s.db.Close()
}

// fillSearch writes what users are found by where a migration could not: SQLite
// knows the case of ASCII alone.
func fillSearch(tx *sql.Tx) error {
	rows, err := tx.Query(`SELECT ` + userColumns + ` FROM users u WHERE u.search = ''`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var list []User
	for rows.Next() {
		u, err := scanUser(rows.Scan)
		if err != nil {
			return err
		}
		list = append(list, u)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, u := range list {
		if _, err := tx.Exec(`UPDATE users SET search = ? WHERE id = ?`, u.search(), u.ID.String()); err != nil {
			return err
		}
	}
	return nil
}

// installation is a name of the database that no other has.
func (s *Store) installation(ctx context.Context) (id string, err error) {
	return id, s.db.QueryRowContext(ctx, `SELECT id FROM installation`).Scan(&id)
}

// changes returns two functions. One reports whether another connection, of
// this process or of another, has changed the database since the last call. The
// other ends it.
func (s *Store) changes(ctx context.Context) (changed func() bool, end func(), err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	last := int64(-1)
	return func() bool {
		var now int64
		if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&now); err != nil {
			return true // what cannot be read is looked at
		}
		was := last
		last = now
		return was >= 0 && was != now
	}, func() { conn.Close() }, nil
}

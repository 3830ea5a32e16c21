package event

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sipxrest/internal/datafile"
	"sipxrest/internal/limit"
)

// sqliteLog is a Log in one file. One connection writes, four read. Other processes may
// read it, and are kept from writing by a lock beside it.
type sqliteLog struct {
	file  string
	name  string
	lock  *os.File
	write *sql.DB // of one connection
	read  *sql.DB
	hooks *sql.DB // of the outbox: what it does keeps the one that appends waiting for a transaction only

	first, last atomic.Int64 // numbers of the oldest event and the newest one
	runs        []Run
	open        map[string]int64 // rows of calls that have not ended; owned by the one who appends

	stmts struct {
		run, find, call, update, ended, user, event, key, forget, cdr *sql.Stmt // write
		events, ofCall, callRow, keyRow                               *sql.Stmt // read
	}
}

// busyTimeout is how long a change waits for that of another process, in ms.
const busyTimeout = 5000

// migrations bring a database from one version to the next. The version is the
// number of those that were applied (PRAGMA user_version). They are never
// changed once they are released: what is new is appended.
var migrations = []string{
	// 1
	`CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
	CREATE TABLE runs (n INTEGER NOT NULL PRIMARY KEY, first INTEGER NOT NULL, at INTEGER NOT NULL); -- first: seq
	CREATE TABLE calls (
		n INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
		id TEXT NOT NULL UNIQUE,
		kind TEXT NOT NULL,
		source TEXT NOT NULL,
		agent TEXT NOT NULL,
		tags TEXT NOT NULL,
		first_seq INTEGER NOT NULL,
		last_seq INTEGER NOT NULL,
		state TEXT NOT NULL,
		created_at INTEGER NOT NULL, -- times are milliseconds since 1970
		updated_at INTEGER NOT NULL,
		flow TEXT NOT NULL DEFAULT '',
		outcome TEXT NOT NULL DEFAULT '',
		reason TEXT NOT NULL DEFAULT '',
		snapshot TEXT -- the call, once it has ended
	);
	CREATE INDEX calls_created ON calls (created_at, id);
	CREATE INDEX calls_agent ON calls (agent, created_at, id);
	CREATE INDEX calls_updated ON calls (updated_at);
	CREATE INDEX calls_open ON calls (state) WHERE state <> 'ended';
	CREATE TABLE call_users ( -- the agent and all parties of ended calls
		user TEXT NOT NULL,
		call INTEGER NOT NULL,
		PRIMARY KEY (user, call)
	) WITHOUT ROWID;
	CREATE INDEX call_users_call ON call_users (call);
	CREATE TABLE events (
		seq INTEGER NOT NULL PRIMARY KEY,
		call INTEGER, -- calls.n
		call_seq INTEGER NOT NULL,
		type TEXT NOT NULL,
		at INTEGER NOT NULL,
		leg TEXT NOT NULL,
		change TEXT NOT NULL,
		snapshot TEXT -- the call after it, where events before it are not there
	);
	CREATE INDEX events_call ON events (call, call_seq) WHERE call IS NOT NULL;
	CREATE TABLE keys (
		principal TEXT NOT NULL,
		key TEXT NOT NULL,
		hash BLOB NOT NULL,
		call TEXT NOT NULL,
		until INTEGER NOT NULL,
		answer BLOB,
		PRIMARY KEY (principal, key)
	) WITHOUT ROWID;
	CREATE INDEX keys_until ON keys (until);
	CREATE INDEX keys_call ON keys (call);`,
	// 2
	cdrSchema(),
	// 3
	outboxTables,
	// 4
	`ALTER TABLE cdrs ADD COLUMN taken_over_from TEXT;
	ALTER TABLE cdrs ADD COLUMN moved_at INTEGER;`,
}

// openSQLite opens the database in a file, makes it if there is none, and brings it to
// the current version.
func openSQLite(cfg *Config) (_ *sqliteLog, err error) {
	if err := datafile.Make(cfg.Store); err != nil {
		return nil, err
	}
	f, err := limit.OpenFile(cfg.Store) // whatever else would keep the driver waiting
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := datafile.Writable(cfg.Store); err != nil {
		return nil, err
	}
	s := &sqliteLog{file: cfg.Store, open: map[string]int64{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.lock, err = lockFile(cfg.Store + ".lock"); err != nil {
		return nil, err
	}
	if s.write, err = openDB(cfg.Store, cfg.Sync, 1); err != nil {
		return nil, err
	}
	if err = datafile.Migrate(s.write, migrations, nameStore); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Store, err)
	}
	if s.read, err = openDB(cfg.Store, cfg.Sync, 4); err != nil {
		return nil, err
	}
	if s.hooks, err = openDB(cfg.Store, cfg.Sync, 2); err != nil {
		return nil, err
	}
	if err = s.load(); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Store, err)
	}
	return s, nil
}

// openDB opens a number of connections. Every transaction writes: one that begins by
// reading could not wait.
func openDB(file, sync string, connections int) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(file)}).String() +
		fmt.Sprintf("?_txlock=immediate&_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(%s)&_pragma=journal_size_limit(%d)&_pragma=foreign_keys(1)",
			busyTimeout, map[bool]string{true: "FULL", false: "NORMAL"}[sync == "full"], 64<<20)
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// nameStore gives a new database the name that its cursors have.
func nameStore(tx *sql.Tx) error {
	_, err := tx.Exec(`INSERT INTO meta (name, value) VALUES ('store', ?) ON CONFLICT DO NOTHING`, newName())
	return err
}

// load reads what is asked for often, and prepares the statements.
func (s *sqliteLog) load() error {
	if err := s.write.QueryRow(`SELECT value FROM meta WHERE name = 'store'`).Scan(&s.name); err != nil {
		return err
	}
	var first, last sql.NullInt64
	if err := s.write.QueryRow(`SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)`).Scan(&first, &last); err != nil {
		return err
	}
	rows, err := s.write.Query(`SELECT n, first FROM runs ORDER BY n`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r Run
		if err := rows.Scan(&r.N, &r.First); err != nil {
			return err
		}
		s.runs = append(s.runs, r)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close() // the connection is needed
	s.first.Store(first.Int64)
	s.last.Store(last.Int64)
	return s.prepare()
}

const eventColumns = `e.seq, c.id, e.call_seq, e.type, e.at, e.leg, e.change, e.snapshot`

func (s *sqliteLog) prepare() (err error) {
	p := &s.stmts
	for _, q := range []struct {
		to   **sql.Stmt
		db   *sql.DB
		text string
	}{
		{&p.run, s.write, `INSERT INTO runs (n, first, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`},
		{&p.find, s.write, `SELECT n FROM calls WHERE id = ?`},
		{&p.call, s.write, `INSERT INTO calls (id, kind, source, agent, tags, first_seq, last_seq, state, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&p.update, s.write, `UPDATE calls SET last_seq = ?, state = ?, updated_at = ? WHERE n = ?`},
		{&p.ended, s.write, `UPDATE calls SET tags = ?, flow = ?, outcome = ?, reason = ?, snapshot = ? WHERE n = ?`},
		{&p.user, s.write, `INSERT INTO call_users (user, call) VALUES (?, ?) ON CONFLICT DO NOTHING`},
		{&p.event, s.write, `INSERT INTO events (seq, call, call_seq, type, at, leg, change, snapshot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`},
		{&p.key, s.write, `INSERT OR REPLACE INTO keys (principal, key, hash, call, until, answer) VALUES (?, ?, ?, ?, ?, ?)`},
		{&p.forget, s.write, `DELETE FROM keys WHERE call = ? AND answer IS NULL`},
		{&p.cdr, s.write, insertCDR},
		{&p.events, s.read, `SELECT ` + eventColumns + ` FROM events e LEFT JOIN calls c ON c.n = e.call WHERE e.seq > ? ORDER BY e.seq LIMIT ?`},
		{&p.ofCall, s.read, `SELECT ` + eventColumns + ` FROM calls c JOIN events e ON e.call = c.n
			WHERE c.id = ? AND e.call_seq > ? ORDER BY e.call_seq LIMIT ?`},
		{&p.callRow, s.read, `SELECT snapshot FROM calls WHERE id = ?`},
		{&p.keyRow, s.read, `SELECT hash, call, until, answer FROM keys WHERE principal = ? AND key = ? AND until > ?`},
	} {
		if *q.to, err = q.db.Prepare(q.text); err != nil {
			return err
		}
	}
	return nil
}

// database is where the outbox keeps its tables.
func (s *sqliteLog) database() *sql.DB { return s.hooks }

// records is where records of calls are read.
func (s *sqliteLog) records() cdrReader { return cdrTable{db: s.read} }

func (s *sqliteLog) Name() string { return s.name }
func (s *sqliteLog) First() int64 { return s.first.Load() }
func (s *sqliteLog) Last() int64  { return s.last.Load() }
func (s *sqliteLog) Runs() []Run  { return s.runs }

// rename gives a database without events the name of a cluster's stream.
func (s *sqliteLog) rename(name string) error {
	if s.last.Load() > 0 {
		return fmt.Errorf("%s has events of another store, %s", s.file, s.name)
	}
	if _, err := s.write.Exec(`UPDATE meta SET value = ? WHERE name = 'store'`, name); err != nil {
		return err
	}
	s.name = name
	return nil
}

// Close closes the database and gives up its lock.
func (s *sqliteLog) Close() error {
	var err error
	for _, db := range []*sql.DB{s.hooks, s.read, s.write} { // with their statements
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

func nowMilli() int64 { return time.Now().UnixMilli() }

package event

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"sipxrest/internal/webhook"
)

// outboxTables are what the outbox keeps in the database of the log.
const outboxTables = `CREATE TABLE webhooks (
		id TEXT NOT NULL PRIMARY KEY,
		origin TEXT NOT NULL,
		owner TEXT NOT NULL,
		call TEXT NOT NULL,      -- of which alone it is told; '' for all
		spec BLOB NOT NULL,      -- JSON, sealed: its headers may be secrets
		made INTEGER NOT NULL,   -- times are milliseconds since 1970, 0 for none
		enabled INTEGER NOT NULL,
		state TEXT NOT NULL,
		since INTEGER NOT NULL,
		fails INTEGER NOT NULL,
		failing INTEGER NOT NULL,
		last_error TEXT NOT NULL
	) WITHOUT ROWID;
	CREATE TABLE webhook_secrets (
		webhook TEXT NOT NULL REFERENCES webhooks ON DELETE CASCADE,
		id TEXT NOT NULL,
		keys BLOB NOT NULL,      -- sealed
		made INTEGER NOT NULL,
		retires INTEGER NOT NULL,
		PRIMARY KEY (webhook, id)
	) WITHOUT ROWID;
	CREATE TABLE webhook_cursors (
		webhook TEXT NOT NULL PRIMARY KEY REFERENCES webhooks ON DELETE CASCADE,
		cursor TEXT NOT NULL
	) WITHOUT ROWID;
	CREATE TABLE deliveries (
		webhook TEXT NOT NULL REFERENCES webhooks ON DELETE CASCADE,
		run INTEGER NOT NULL,
		seq INTEGER NOT NULL,
		event TEXT NOT NULL,
		type TEXT NOT NULL,
		call TEXT NOT NULL,
		dead INTEGER NOT NULL,
		replay INTEGER NOT NULL,
		tries INTEGER NOT NULL,
		next INTEGER NOT NULL,
		since INTEGER NOT NULL,
		history BLOB NOT NULL,   -- JSON
		body BLOB,               -- of dead ones
		PRIMARY KEY (webhook, run, seq)
	) WITHOUT ROWID;
	CREATE INDEX deliveries_due ON deliveries (webhook, dead, next, run, seq);
	CREATE INDEX deliveries_call ON deliveries (webhook, call, replay, dead, run, seq);
	CREATE INDEX deliveries_dead ON deliveries (since) WHERE dead = 1;`

// sqlOutbox keeps webhooks in the database of the log.
type sqlOutbox struct {
	write *sql.DB // the connection by which the log is written, too
	read  *sql.DB
	seal  *sealer
}

// in runs f in a transaction.
func (s *sqlOutbox) in(f func(tx *sql.Tx) error) error {
	tx, err := s.write.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// hooks returns all webhooks. One whose secrets cannot be opened has none.
func (s *sqlOutbox) hooks() (list []*hookRecord, err error) {
	rows, err := s.read.Query(`SELECT w.id, origin, owner, call, spec, made, enabled, state, since, fails, failing, last_error, coalesce(c.cursor, '')
		FROM webhooks w LEFT JOIN webhook_cursors c ON c.webhook = w.id ORDER BY made, w.id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := &hookRecord{}
		var spec []byte
		var made, since, failing int64
		if err := rows.Scan(&r.id, &r.origin, &r.owner, &r.call, &spec, &made, &r.enabled, &r.state, &since, &r.fails, &failing, &r.lastErr, &r.cursor); err != nil {
			return nil, err
		}
		r.reseal = s.seal.wants(spec)
		r.made, r.since, r.failing = fromMS(made), fromMS(since), fromMS(failing)
		if plain, err := s.seal.open(spec, r.id); err != nil {
			r.enabled, r.state, r.lastErr, r.unreadable = false, WebhookOff, err.Error(), err
		} else if err := json.Unmarshal(plain, &r.spec); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, r := range list {
		if err := s.secretsOf(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// keyPair is how a key is written before it is sealed.
type keyPair struct{ HMAC, Ed25519 []byte }

// readKey reads one. Nothing can be signed by a key of another length.
func readKey(plain []byte) (webhook.SigningKey, error) {
	var pair keyPair
	if err := json.Unmarshal(plain, &pair); err != nil {
		return webhook.SigningKey{}, err
	}
	if pair.Ed25519 != nil && len(pair.Ed25519) != ed25519.SeedSize {
		return webhook.SigningKey{}, errors.New("the key of a webhook has a wrong length")
	}
	return webhook.SigningKey(pair), nil
}

func (s *sqlOutbox) secretsOf(r *hookRecord) error {
	rows, err := s.read.Query(`SELECT id, keys, made, retires FROM webhook_secrets WHERE webhook = ? ORDER BY made DESC, id DESC`, r.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k secret
		var keys []byte
		var made, retires int64
		if err := rows.Scan(&k.id, &keys, &made, &retires); err != nil {
			return err
		}
		plain, err := s.seal.open(keys, r.id+"/"+k.id)
		if err != nil {
			r.enabled, r.state, r.lastErr, r.unreadable = false, WebhookOff, err.Error(), err
			continue
		}
		if k.key, err = readKey(plain); err != nil {
			return err
		}
		k.made, k.retires = fromMS(made), fromMS(retires)
		r.secrets = append(r.secrets, k)
	}
	return rows.Err()
}

func (s *sqlOutbox) saveHook(r *hookRecord) error {
	spec, err := json.Marshal(&r.spec)
	if err != nil {
		return err
	}
	return s.in(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO webhooks (id, origin, owner, call, spec, made, enabled, state, since, fails, failing, last_error)
			VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, enabled = excluded.enabled, state = excluded.state,
			since = excluded.since, fails = excluded.fails, failing = excluded.failing, last_error = excluded.last_error`,
			r.id, r.origin, r.owner, r.call, s.seal.seal(spec, r.id), ms(r.made), r.enabled, r.state, ms(r.since), r.fails, ms(r.failing), r.lastErr)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM webhook_secrets WHERE webhook = ?`, r.id); err != nil {
			return err
		}
		for _, k := range r.secrets {
			keys, err := json.Marshal(keyPair(k.key))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO webhook_secrets (webhook, id, keys, made, retires) VALUES (?,?,?,?,?)`,
				r.id, k.id, s.seal.seal(keys, r.id+"/"+k.id), ms(k.made), ms(k.retires)); err != nil {
				return err
			}
		}
		_, err = tx.Exec(`INSERT INTO webhook_cursors (webhook, cursor) VALUES (?,?) ON CONFLICT DO NOTHING`, r.id, r.cursor)
		return err
	})
}

func (s *sqlOutbox) dropHook(id string) error {
	return s.in(func(tx *sql.Tx) error {
		for _, q := range []string{`DELETE FROM deliveries WHERE webhook = ?`, `DELETE FROM webhook_cursors WHERE webhook = ?`,
			`DELETE FROM webhook_secrets WHERE webhook = ?`, `DELETE FROM webhooks WHERE id = ?`} {
			if _, err := tx.Exec(q, id); err != nil {
				return err
			}
		}
		return nil
	})
}

const putDelivery = `INSERT INTO deliveries (webhook, run, seq, event, type, call, dead, replay, tries, next, since, history, body)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT `

const replaceDelivery = `DO UPDATE SET dead = excluded.dead, replay = excluded.replay, tries = excluded.tries, next = excluded.next,
	since = excluded.since, history = excluded.history, body = excluded.body`

func putArgs(d *delivery) ([]any, error) {
	history := []byte("[]")
	if len(d.history) > 0 {
		var err error
		if history, err = json.Marshal(d.history); err != nil {
			return nil, err
		}
	}
	return []any{d.hook, d.at.run, d.at.seq, d.id, string(d.kind), d.call, d.dead, d.replay, d.tries, ms(d.next), ms(d.since), history, d.body}, nil
}

// firstOf is the first delivery that waits of its call, in a query in which d is
// one.
const firstOf = `NOT EXISTS (SELECT 1 FROM deliveries p WHERE p.webhook = d.webhook AND p.call = d.call AND p.replay = d.replay AND p.dead = 0
	AND (p.run, p.seq) < (d.run, d.seq))`

func (s *sqlOutbox) commit(batches []*hookBatch) error {
	return s.in(func(tx *sql.Tx) error {
		for _, b := range batches {
			// The webhook may have been deleted meanwhile: nothing may be left of it.
			var there bool
			err := tx.QueryRow(`SELECT 1 FROM webhooks WHERE id = ?`, b.hook).Scan(&there)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err == nil {
				err = b.write(tx)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// write makes the changes of one webhook.
func (b *hookBatch) write(tx *sql.Tx) error {
	exec := func(query string, args ...any) error {
		_, err := tx.Exec(query, args...)
		return err
	}
	for at := range b.gone {
		if err := exec(`DELETE FROM deliveries WHERE webhook = ? AND run = ? AND seq = ?`, b.hook, at.run, at.seq); err != nil {
			return err
		}
	}
	for _, d := range b.puts {
		args, err := putArgs(d)
		if err != nil {
			return err
		}
		if err := exec(putDelivery+"(webhook, run, seq) "+replaceDelivery, args...); err != nil {
			return err
		}
	}
	for f, taken := range b.freed {
		if err := exec(`UPDATE deliveries AS d SET next = min(next, ?) WHERE webhook = ? AND call = ? AND replay = ? AND dead = 0 AND (tries = 0 OR ?) AND `+firstOf,
			ms(b.now), b.hook, f.call, f.replay, taken); err != nil {
			return err
		}
	}
	if b.all {
		if err := exec(`UPDATE deliveries AS d SET next = min(next, ?) WHERE webhook = ? AND dead = 0 AND (call = '' OR `+firstOf+`)`, ms(b.now), b.hook); err != nil {
			return err
		}
	}
	if st := b.state; st != nil {
		if err := exec(`UPDATE webhooks SET enabled = ?, state = ?, since = ?, fails = ?, failing = ?, last_error = ? WHERE id = ?`,
			st.enabled, st.state, ms(st.since), st.fails, ms(st.failing), st.lastErr, b.hook); err != nil {
			return err
		}
	}
	if b.cursor == "" {
		return nil
	}
	return exec(`INSERT INTO webhook_cursors (webhook, cursor) VALUES (?,?) ON CONFLICT (webhook) DO UPDATE SET cursor = excluded.cursor`, b.hook, b.cursor)
}

func (s *sqlOutbox) count(hook string) (c hookCounts, err error) {
	var next sql.NullInt64
	err = s.read.QueryRow(`SELECT (SELECT count(*) FROM deliveries WHERE webhook = ?1 AND dead = 0), (SELECT count(*) FROM deliveries WHERE webhook = ?1 AND dead = 1),
		(SELECT min(next) FROM deliveries WHERE webhook = ?1 AND dead = 0)`, hook).Scan(&c.waiting, &c.dead, &next)
	if err != nil {
		return c, err
	}
	if next.Valid {
		c.next = time.UnixMilli(next.Int64).UTC()
	}
	c.calls = map[string]int{}
	rows, err := s.read.Query(`SELECT call, count(*) FROM deliveries WHERE webhook = ? AND dead = 0 AND replay = 0 AND call <> '' GROUP BY call`, hook)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var call string
		var n int
		if err := rows.Scan(&call, &n); err != nil {
			return c, err
		}
		c.calls[call] = n
	}
	return c, rows.Err()
}

const deliveryColumns = `webhook, run, seq, event, type, call, dead, replay, tries, next, since, history, body`

func (s *sqlOutbox) due(hook string, now time.Time, limit int) ([]*delivery, error) {
	return s.query(`SELECT `+deliveryColumns+` FROM deliveries WHERE webhook = ? AND dead = 0 AND next <= ? ORDER BY next, run, seq LIMIT ?`, hook, ms(now), limit)
}

func (s *sqlOutbox) list(hook string, q deliveryQuery) ([]*delivery, error) {
	text, args := `SELECT `+deliveryColumns+` FROM deliveries WHERE webhook = ?`, []any{hook}
	switch q.state {
	case "pending":
		text += ` AND dead = 0 AND history = '[]'`
	case "failed":
		text += ` AND dead = 0 AND history <> '[]'`
	case "dead":
		text += ` AND dead = 1`
	}
	if q.call != "" {
		text, args = text+` AND call = ?`, append(args, q.call)
	}
	if q.before != nil {
		text, args = text+` AND (run, seq) < (?, ?)`, append(args, q.before.run, q.before.seq)
	}
	return s.query(text+` ORDER BY run DESC, seq DESC LIMIT ?`, append(args, q.limit)...)
}

func (s *sqlOutbox) query(text string, args ...any) (list []*delivery, err error) {
	rows, err := s.read.Query(text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d := &delivery{}
		var next, since int64
		var history []byte
		if err := rows.Scan(&d.hook, &d.at.run, &d.at.seq, &d.id, &d.kind, &d.call, &d.dead, &d.replay, &d.tries, &next, &since, &history, &d.body); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(history, &d.history); err != nil {
			return nil, err
		}
		d.next, d.since = fromMS(next), fromMS(since)
		list = append(list, d)
	}
	return list, rows.Err()
}

func (s *sqlOutbox) revive(hook string, r revival) (n int, err error) {
	changed := func(res sql.Result, err error) error {
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		n += int(rows)
		return err
	}
	err = s.in(func(tx *sql.Tx) error {
		n = 0
		// Each waits for those of its call before it, but not for long: see overtake.
		later := ms(r.now.Add(overtake))
		if r.dead {
			if err := changed(tx.Exec(`UPDATE deliveries SET dead = 0, replay = 1, tries = 0, since = ?, next = ? WHERE webhook = ? AND dead = 1 AND body IS NOT NULL`,
				ms(r.now), later, hook)); err != nil {
				return err
			}
		}
		for _, d := range r.rows {
			d.hook, d.since, d.next = hook, r.now, r.now.Add(overtake)
			args, err := putArgs(d)
			if err != nil {
				return err
			}
			if err := changed(tx.Exec(putDelivery+"(webhook, run, seq) DO UPDATE SET dead = 0, replay = 1, tries = 0, since = excluded.since, next = excluded.next WHERE dead = 1",
				args...)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`UPDATE deliveries AS d SET next = ? WHERE webhook = ? AND dead = 0 AND replay = 1 AND tries = 0 AND (call = '' OR `+firstOf+`)`, ms(r.now), hook)
		return err
	})
	return n, err
}

func (s *sqlOutbox) bury(before time.Time, most int) (n int, err error) {
	err = s.in(func(tx *sql.Tx) error {
		res, err := tx.Exec(`DELETE FROM deliveries WHERE dead = 1 AND since < ?`, ms(before))
		if err != nil {
			return err
		}
		old, _ := res.RowsAffected()
		res, err = tx.Exec(`DELETE FROM deliveries WHERE dead = 1 AND (webhook, run, seq) IN (SELECT webhook, run, seq FROM
			(SELECT webhook, run, seq, row_number() OVER (PARTITION BY webhook ORDER BY run DESC, seq DESC) AS nth FROM deliveries WHERE dead = 1) WHERE nth > ?)`, most)
		if err != nil {
			return err
		}
		many, _ := res.RowsAffected()
		n = int(old + many)
		return nil
	})
	return n, err
}

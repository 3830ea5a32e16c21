package event

import (
	"context"
	"database/sql"
	"time"
)

// trimRows is how many rows one transaction removes: the committer waits for it.
const trimRows = 5000

// Trim removes what is too old, and the oldest hours while the file is too large.
func (s *sqliteLog) Trim(t Trim) error {
	if err := s.trimEvents(t.Events); err != nil {
		return err
	}
	for t.MaxBytes > 0 {
		used, err := s.used()
		if err != nil || used <= t.MaxBytes {
			if err != nil {
				return err
			}
			break
		}
		var oldest sql.NullInt64
		var count int64
		if err := s.write.QueryRow(`SELECT at, (SELECT count(*) FROM (SELECT 1 FROM events LIMIT 2)) FROM events ORDER BY seq LIMIT 1`).Scan(&oldest, &count); err != nil || count < 2 {
			break // nothing is left of them
		}
		if err := s.trimEvents(time.UnixMilli(oldest.Int64).Add(time.Hour)); err != nil {
			return err
		}
		if err := s.trimCalls(time.UnixMilli(oldest.Int64).Add(time.Hour)); err != nil {
			return err
		}
	}
	if err := s.trimCalls(t.Calls); err != nil {
		return err
	}
	if _, err := s.write.Exec(`DELETE FROM keys WHERE until <= ?`, t.Now.UnixMilli()); err != nil {
		return err
	}
	for !t.CDRs.IsZero() {
		n, err := (cdrTable{db: s.write}).expire(context.Background(), t.CDRs, trimRows)
		if err != nil || n < trimRows {
			return err
		}
	}
	return nil
}

// used is how many bytes of the file are in use.
func (s *sqliteLog) used() (bytes int64, err error) {
	var pages, free, size int64
	for _, q := range []struct {
		text string
		to   *int64
	}{{`PRAGMA page_count`, &pages}, {`PRAGMA freelist_count`, &free}, {`PRAGMA page_size`, &size}} {
		if err := s.write.QueryRow(q.text).Scan(q.to); err != nil {
			return 0, err
		}
	}
	return (pages - free) * size, nil
}

// trimEvents removes events that are older than a time.
func (s *sqliteLog) trimEvents(before time.Time) error {
	for {
		n, err := s.trimSome(before)
		if err != nil || n < trimRows {
			return err
		}
	}
}

// trimSome removes some of them. A call that goes on is kept with its first event that
// stays, for its snapshots cannot be made anew any more.
func (s *sqliteLog) trimSome(before time.Time) (n int64, err error) {
	tx, err := s.write.BeginTx(context.Background(), nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // of nothing, once it is committed
	var last sql.NullInt64
	// The newest one stays: its number must not come again.
	err = tx.QueryRow(`SELECT max(seq) FROM (SELECT seq, at FROM events ORDER BY seq LIMIT ?) WHERE at < ? AND seq < (SELECT max(seq) FROM events)`,
		trimRows, before.UnixMilli()).Scan(&last)
	if err != nil || !last.Valid {
		return 0, err
	}
	if err := s.keepCalls(tx, last.Int64); err != nil {
		return 0, err
	}
	done, err := tx.Exec(`DELETE FROM events WHERE seq <= ?`, last.Int64)
	if err != nil {
		return 0, err
	}
	var first sql.NullInt64
	if err := tx.QueryRow(`SELECT min(seq) FROM events`).Scan(&first); err != nil {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	s.first.Store(first.Int64)
	return done.RowsAffected()
}

// keepCalls keeps the calls that have events on both sides of a number.
func (s *sqliteLog) keepCalls(tx *sql.Tx, seq int64) error {
	rows, err := tx.Query(`SELECT id FROM calls WHERE last_seq > ? AND n IN (SELECT DISTINCT call FROM events WHERE seq <= ? AND call IS NOT NULL)`, seq, seq)
	if err != nil {
		return err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.keepCall(tx, id, seq); err != nil {
			return err
		}
	}
	return nil
}

// keepCall keeps a call with its first event after a number.
func (s *sqliteLog) keepCall(tx *sql.Tx, id string, seq int64) error {
	rows, err := tx.Query(`SELECT `+eventColumns+` FROM calls c JOIN events e ON e.call = c.n WHERE c.id = ? ORDER BY e.call_seq`, id)
	list, err := scanEvents(rows, err)
	if err != nil {
		return err
	}
	var c *Call
	for _, e := range list {
		if e.Data.Call != nil {
			c = e.Data.Call
		} else if c, err = Apply(c, e); err != nil {
			return err
		}
		if e.Seq > seq {
			text, err := callText(c)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`UPDATE events SET snapshot = ? WHERE seq = ?`, text, e.Seq)
			return err
		}
	}
	return nil
}

// trimCalls removes calls that ended before a time and have no events any more.
func (s *sqliteLog) trimCalls(before time.Time) error {
	for {
		tx, err := s.write.BeginTx(context.Background(), nil)
		if err != nil {
			return err
		}
		done, err := trimCallsOnce(tx, before)
		if err == nil {
			err = tx.Commit()
		} else {
			_ = tx.Rollback()
		}
		if err != nil || done < trimRows {
			return err
		}
	}
}

func trimCallsOnce(tx *sql.Tx, before time.Time) (int64, error) {
	const which = `SELECT n FROM calls WHERE state = 'ended' AND updated_at < ? AND last_seq < coalesce((SELECT min(seq) FROM events), 1 << 62)
		ORDER BY updated_at LIMIT ?`
	if _, err := tx.Exec(`DELETE FROM call_users WHERE call IN (`+which+`)`, before.UnixMilli(), trimRows); err != nil {
		return 0, err
	}
	done, err := tx.Exec(`DELETE FROM calls WHERE n IN (`+which+`)`, before.UnixMilli(), trimRows)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

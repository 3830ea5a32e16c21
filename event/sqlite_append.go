package event

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
)

// Append keeps a batch in one transaction.
func (s *sqliteLog) Append(b *Batch) error {
	tx, err := s.write.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of nothing, once it is committed
	w := appending{log: s, tx: tx, batch: b, rows: map[string]int64{}, latest: map[int64]*Event{}}
	if err := w.all(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	maps.Copy(s.open, w.rows)
	for _, e := range b.Events {
		if e.Final {
			delete(s.open, *e.Data.CallID)
		}
	}
	if n := len(b.Events); n > 0 {
		s.first.CompareAndSwap(0, b.Events[0].Seq)
		s.last.Store(b.Events[n-1].Seq)
	}
	return nil
}

// appending is one transaction.
type appending struct {
	log    *sqliteLog
	tx     *sql.Tx
	batch  *Batch
	rows   map[string]int64 // of calls that came with it
	latest map[int64]*Event // by row of the call
}

func (w *appending) all() error {
	p := &w.log.stmts
	if r := w.batch.Run; r != nil {
		if _, err := w.tx.Stmt(p.run).Exec(r.N, r.First, nowMilli()); err != nil {
			return err
		}
	}
	insert := w.tx.Stmt(p.event)
	for _, e := range w.batch.Events {
		row, err := w.row(e)
		if err != nil {
			return err
		}
		change, err := json.Marshal(e.Data.Change)
		if err != nil {
			return err
		}
		var snapshot any
		if e.base {
			if snapshot, err = callText(e.Data.Call); err != nil {
				return err
			}
		}
		if _, err := insert.Exec(e.Seq, row, e.CallSeq, string(e.Type), e.Timestamp.UnixMilli(), e.Data.Leg, string(change), snapshot); err != nil {
			return err
		}
	}
	update := w.tx.Stmt(p.update)
	for row, e := range w.latest {
		c := e.Data.Call
		if _, err := update.Exec(e.Seq, string(c.State), e.Timestamp.UnixMilli(), row); err != nil {
			return err
		}
		if c.State == Ended {
			if err := w.ended(row, c); err != nil {
				return err
			}
		}
	}
	return w.keys()
}

// row is the row of an event's call, a new one if there is none; nil of no call.
func (w *appending) row(e *Event) (any, error) {
	c := e.Data.Call
	if c == nil {
		return nil, nil
	}
	row, known := w.rows[c.ID]
	if !known {
		row, known = w.log.open[c.ID]
	}
	if !known {
		err := w.tx.Stmt(w.log.stmts.find).QueryRow(c.ID).Scan(&row)
		if errors.Is(err, sql.ErrNoRows) {
			row, err = w.insert(e)
		}
		if err != nil {
			return nil, err
		}
		w.rows[c.ID] = row
	}
	w.latest[row] = e
	return row, nil
}

func (w *appending) insert(e *Event) (int64, error) {
	c := e.Data.Call
	tags, err := json.Marshal(c.Tags)
	if err != nil {
		return 0, err
	}
	done, err := w.tx.Stmt(w.log.stmts.call).Exec(c.ID, string(c.Kind), string(c.Source), c.Agent, string(tags), e.Seq, e.Seq, string(c.State),
		c.CreatedAt.UnixMilli(), e.Timestamp.UnixMilli())
	if err != nil {
		return 0, err
	}
	return done.LastInsertId()
}

// callText is a call as it is kept.
func callText(c *Call) (string, error) {
	text, err := json.Marshal(c)
	return string(text), err
}

// ended keeps what is found by of a call that is over, and its record.
func (w *appending) ended(row int64, c *Call) error {
	p := &w.log.stmts
	text, err := callText(c)
	if err != nil {
		return err
	}
	tags, err := json.Marshal(c.Tags)
	if err != nil {
		return err
	}
	if _, err := w.tx.Stmt(p.ended).Exec(string(tags), c.Flow.Used, string(c.End.Outcome), c.End.Reason, text, row); err != nil {
		return err
	}
	user := w.tx.Stmt(p.user)
	if _, err := user.Exec(c.Agent, row); err != nil {
		return err
	}
	for i := range c.Legs {
		if a := c.Legs[i].Address; a != "" && a != c.Agent {
			if _, err := user.Exec(a, row); err != nil {
				return err
			}
		}
	}
	r := Record(c)
	r.Node = cmp.Or(r.Node, w.batch.Node)
	_, err = w.tx.Stmt(p.cdr).Exec(cdrValues(r)...)
	return err
}

// keys keeps those of new calls and of actions, and removes those that were given up.
func (w *appending) keys() error {
	key := w.tx.Stmt(w.log.stmts.key)
	for _, e := range w.batch.Events {
		if k := e.key; k != nil {
			if _, err := key.Exec(k.Principal, k.Key, k.Hash[:], *e.Data.CallID, k.Until.UnixMilli(), nil); err != nil {
				return err
			}
		}
	}
	for _, k := range w.batch.Keys {
		answer := k.Answer
		if answer == nil {
			answer = []byte{}
		}
		if _, err := key.Exec(k.Principal, k.Key, k.Hash[:], k.CallID, k.Until.UnixMilli(), answer); err != nil {
			return err
		}
	}
	for _, call := range w.batch.Forget {
		if _, err := w.tx.Stmt(w.log.stmts.forget).Exec(call); err != nil {
			return err
		}
	}
	return nil
}

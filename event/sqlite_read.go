package event

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Read returns events after a number.
func (s *sqliteLog) Read(seq int64, limit int) ([]*Event, error) {
	rows, err := s.stmts.events.Query(seq, limit)
	return scanEvents(rows, err)
}

// ReadCall returns events of one call after a number of its own.
func (s *sqliteLog) ReadCall(id string, seq int64, limit int) ([]*Event, error) {
	rows, err := s.stmts.ofCall.Query(id, seq, limit)
	return scanEvents(rows, err)
}

func scanEvents(rows *sql.Rows, err error) (list []*Event, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		e := &Event{Data: Data{Change: &Change{}}}
		var id, snapshot sql.NullString
		var typ, change string
		var at int64
		if err := rows.Scan(&e.Seq, &id, &e.CallSeq, &typ, &at, &e.Data.Leg, &change, &snapshot); err != nil {
			return nil, err
		}
		e.Type, e.Timestamp = Type(typ), At(time.UnixMilli(at))
		e.Final = e.Type == CallEnded
		if err := json.Unmarshal([]byte(change), e.Data.Change); err != nil {
			return nil, fmt.Errorf("event %d: %w", e.Seq, err)
		}
		if id.Valid {
			e.Data.CallID = &id.String
		}
		if snapshot.Valid {
			if e.Data.Call, err = readCall(snapshot.String); err != nil {
				return nil, fmt.Errorf("event %d: %w", e.Seq, err)
			}
			e.Data.Call.updated = e.Timestamp
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

func readCall(text string) (*Call, error) {
	c := &Call{}
	return c, json.Unmarshal([]byte(text), c)
}

// Call returns what is kept of a call, nil if there is nothing.
func (s *sqliteLog) Call(id string) (*StoredCall, error) {
	var snapshot sql.NullString
	err := s.stmts.callRow.QueryRow(id).Scan(&snapshot)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &StoredCall{ID: id}
	if snapshot.Valid {
		c.Ended, err = readCall(snapshot.String)
	}
	return c, err
}

// Open returns ids of calls that have not ended.
func (s *sqliteLog) Open() (ids []string, err error) {
	rows, err := s.read.Query(`SELECT id FROM calls WHERE state <> 'ended' ORDER BY n`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Key returns whose a key is, nil if it is nobody's.
func (s *sqliteLog) Key(principal, key string, now time.Time) (*KeyUse, error) {
	use := &KeyUse{IdempotencyKey: IdempotencyKey{Principal: principal, Key: key}}
	var hash []byte
	var until int64
	err := s.stmts.keyRow.QueryRow(principal, key, now.UnixMilli()).Scan(&hash, &use.CallID, &until, &use.Answer)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	copy(use.Hash[:], hash)
	use.Until = time.UnixMilli(until)
	return use, nil
}

// listPage is how many calls are read at once for a list.
const listPage = 200

// Calls returns ended calls that fit a filter.
func (s *sqliteLog) Calls(f *CallFilter, mark *listMark, limit int) (list []*Call, err error) {
	for {
		n, err := s.callPage(f, &mark, &list, limit)
		if err != nil || n < listPage || len(list) >= limit {
			return list, err
		}
	}
}

// callPage adds to a list what of the next rows fits, and returns how many rows those were.
func (s *sqliteLog) callPage(f *CallFilter, mark **listMark, list *[]*Call, limit int) (n int, err error) {
	var q cdrQuery
	q.add("state = 'ended'")
	oneOf(&q, f.Kinds, "kind")
	oneOf(&q, f.Sources, "source")
	oneOf(&q, f.Flows, "flow")
	oneOf(&q, f.Outcomes, "outcome")
	oneOf(&q, f.Reasons, "reason")
	if len(f.Agents) > 0 {
		term, args := addressTerm("agent", f.Agents)
		q.add(term, args...)
	}
	if len(f.Users) > 0 {
		term, args := addressTerm("user", f.Users)
		q.add("n IN (SELECT call FROM call_users WHERE "+term+")", args...)
	}
	for name, value := range f.Tags {
		q.add("EXISTS (SELECT 1 FROM json_each(calls.tags) AS tag WHERE tag.key = ? AND tag.value = ?)", name, value)
	}
	for _, bound := range []struct {
		term string
		at   time.Time
	}{{"created_at >= ?", f.CreatedAfter}, {"created_at <= ?", f.CreatedBefore}, {"updated_at >= ?", f.UpdatedAfter}} {
		if !bound.at.IsZero() {
			q.add(bound.term, bound.at.UnixMilli())
		}
	}
	order, than := "DESC", "<"
	if f.Oldest {
		order, than = "ASC", ">"
	}
	if *mark != nil {
		q.add("(created_at, id) "+than+" (?, ?)", (*mark).at, (*mark).id)
	}
	rows, err := s.read.QueryContext(context.Background(), "SELECT snapshot FROM calls"+q.where()+" ORDER BY created_at "+order+", id "+order+" LIMIT ?",
		append(q.args, listPage)...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return n, err
		}
		c, err := readCall(text)
		if err != nil {
			return n, err
		}
		n++
		*mark = &listMark{at: c.CreatedAt.UnixMilli(), id: c.ID}
		if f.match(c) {
			if *list = append(*list, c); len(*list) >= limit {
				return n, nil
			}
		}
	}
	return n, rows.Err()
}

// addressTerm wants one of the addresses in a column, or one of their users.
func addressTerm(column string, wanted []string) (term string, args []any) {
	var terms []string
	for _, w := range wanted {
		terms = append(terms, column+" = ?")
		args = append(args, w)
		if !strings.Contains(w, "@") {
			terms = append(terms, column+" >= ? AND "+column+" < ?")
			args = append(args, w+"@", w+"A") // all that begin with w@
		}
	}
	return "(" + strings.Join(terms, " OR ") + ")", args
}

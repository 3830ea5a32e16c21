package event

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CDRFilter says which records are wanted. Lists that are empty and values that are
// zero are any.
type CDRFilter struct {
	Kinds, Sources, Flows, Outcomes, Reasons, Terminations []string
	// Addresses, or users at any host: of agents, of callers, of callees, of one of those
	// three, and of callers or callees.
	Agents, Callers, Callees, Users, Parties     []string
	Tags                                         map[string]string // all of them
	SIPCodes                                     []int64
	MinTalk                                      time.Duration
	StartAfter, StartBefore, EndAfter, EndBefore time.Time // after: strictly later; before: earlier

	// OfParty has only records of calls in which one of these addresses is the agent or a
	// party. nil is all: it is the permission of whoever asks.
	OfParty []string
	// Oldest has the oldest first, by the start of the calls.
	Oldest bool
}

// ErrNoCDR says that there is no record of a call.
var ErrNoCDR = errors.New("there is no record of this call")

// ErrCDRCursor says that a text is no cursor of CDRs.
var ErrCDRCursor = errors.New("no cursor of call records")

// maxCDRs bounds how many records one query returns.
const maxCDRs = 1000

// cdrTable is the table cdrs of a database.
type cdrTable struct{ db *sql.DB }

// list returns records, at most limit, from where cursor says on or, without one, after
// offset others. next leads to those that follow; it is empty when there are none.
func (t cdrTable) list(ctx context.Context, f *CDRFilter, cursor string, limit, offset int) (list []*CDR, next string, err error) {
	limit = min(max(limit, 1), maxCDRs)
	var q cdrQuery
	q.filter(f)
	order, than := "DESC", "<"
	if f.Oldest {
		order, than = "ASC", ">"
	}
	if cursor != "" {
		at, n, err := parseCDRCursor(cursor)
		if err != nil {
			return nil, "", err
		}
		q.add("(start_time, n) "+than+" (?, ?)", at, n)
	}
	text := "SELECT n, " + strings.Join(ColumnNames(), ", ") + " FROM cdrs" + q.where() + " ORDER BY start_time " + order + ", n " + order + " LIMIT ? OFFSET ?"
	list, ns, err := t.read(ctx, text, append(q.args, limit+1, offset)...)
	if err != nil {
		return nil, "", err
	}
	if len(list) > limit {
		list = list[:limit]
		next = cdrCursor(list[limit-1].StartTime, ns[limit-1])
	}
	return list, next, nil
}

// get returns the record of a call, ErrNoCDR if there is none.
func (t cdrTable) get(ctx context.Context, callID string) (*CDR, error) {
	list, _, err := t.read(ctx, "SELECT n, "+strings.Join(ColumnNames(), ", ")+" FROM cdrs WHERE call_id = ?", callID)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNoCDR
	}
	return list[0], nil
}

// after returns the records that came after the n-th, in that order, and their numbers.
func (t cdrTable) after(ctx context.Context, n int64, limit int) ([]*CDR, []int64, error) {
	return t.read(ctx, "SELECT n, "+strings.Join(ColumnNames(), ", ")+" FROM cdrs WHERE n > ? ORDER BY n LIMIT ?", n, limit)
}

// oldest is when the first call began of which there is a record; zero without any.
func (t cdrTable) oldest(ctx context.Context) (time.Time, error) {
	var ms sql.NullInt64
	if err := t.db.QueryRowContext(ctx, "SELECT min(start_time) FROM cdrs").Scan(&ms); err != nil || !ms.Valid {
		return time.Time{}, err
	}
	return time.UnixMilli(ms.Int64), nil
}

// expire removes records of calls that ended before a time, at most limit, and
// returns how many those were.
func (t cdrTable) expire(ctx context.Context, before time.Time, limit int) (int64, error) {
	done, err := t.db.ExecContext(ctx, "DELETE FROM cdrs WHERE n IN (SELECT n FROM cdrs WHERE end_time < ? ORDER BY end_time LIMIT ?)", before.UnixMilli(), limit)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// read returns the records of a query, and their numbers.
func (t cdrTable) read(ctx context.Context, text string, args ...any) (list []*CDR, ns []int64, err error) {
	rows, err := t.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var scan cdrScan
	for rows.Next() {
		var n int64
		if err := rows.Scan(append([]any{&n}, scan.targets()...)...); err != nil {
			return nil, nil, err
		}
		r, err := scan.record()
		if err != nil {
			return nil, nil, fmt.Errorf("record %d: %w", n, err)
		}
		list, ns = append(list, r), append(ns, n)
	}
	return list, ns, rows.Err()
}

// cdrQuery is the condition of a query as it grows.
type cdrQuery struct {
	terms []string
	args  []any
}

func (q *cdrQuery) add(term string, args ...any) {
	q.terms = append(q.terms, term)
	q.args = append(q.args, args...)
}

func (q *cdrQuery) where() string {
	if len(q.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(q.terms, " AND ")
}

// filter adds what a filter wants.
func (q *cdrQuery) filter(f *CDRFilter) {
	oneOf(q, f.Kinds, "kind")
	oneOf(q, f.Sources, "source")
	oneOf(q, f.Flows, "flow")
	oneOf(q, f.Outcomes, "outcome")
	oneOf(q, f.Reasons, "reason")
	oneOf(q, f.Terminations, "termination")
	addressIn(q, f.Agents, "agent")
	addressIn(q, f.Callers, "caller_aor")
	addressIn(q, f.Callees, "callee_aor")
	addressIn(q, f.Users, "agent", "caller_aor", "callee_aor")
	addressIn(q, f.Parties, "caller_aor", "callee_aor")
	oneOf(q, f.SIPCodes, "sip_code")
	if f.OfParty != nil {
		oneOf(q, orNobody(f.OfParty), "agent", "caller_aor", "callee_aor")
	}
	names := make([]string, 0, len(f.Tags))
	for name := range f.Tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		q.add("EXISTS (SELECT 1 FROM json_each(cdrs.tags) AS tag WHERE tag.key = ? AND tag.value = ?)", name, f.Tags[name])
	}
	if f.MinTalk > 0 {
		q.add("talk_ms >= ?", f.MinTalk.Milliseconds())
	}
	for _, bound := range []struct {
		term string
		at   time.Time
	}{{"start_time > ?", f.StartAfter}, {"start_time < ?", f.StartBefore}, {"end_time > ?", f.EndAfter}, {"end_time < ?", f.EndBefore}} {
		if !bound.at.IsZero() {
			q.add(bound.term, bound.at.UnixMilli())
		}
	}
}

// orNobody keeps an empty list from being any.
func orNobody(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

// oneOf wants one of the values in one of the columns; no values are any.
func oneOf[T any](q *cdrQuery, values []T, columns ...string) {
	if len(values) == 0 {
		return
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")
	terms := make([]string, len(columns))
	for i, name := range columns {
		terms[i] = name + " IN (" + marks + ")"
		for _, v := range values {
			q.args = append(q.args, v)
		}
	}
	q.terms = append(q.terms, "("+strings.Join(terms, " OR ")+")")
}

// addressIn wants one of the addresses in one of the columns. A user is one at any host:
// what begins with it and an @, as a range that an index can find.
func addressIn(q *cdrQuery, list []string, columns ...string) {
	if len(list) == 0 {
		return
	}
	var terms []string
	for _, name := range columns {
		for _, v := range list {
			if strings.Contains(v, "@") {
				terms = append(terms, name+" = ?")
				q.args = append(q.args, v)
			} else {
				terms = append(terms, name+" = ?", "("+name+" >= ? AND "+name+" < ?)")
				q.args = append(q.args, v, v+"@", v+"A") // A follows @
			}
		}
	}
	q.terms = append(q.terms, "("+strings.Join(terms, " OR ")+")")
}

// cdrCursor is the place behind a record, as clients carry it.
func cdrCursor(start Time, n int64) string {
	return base64.RawURLEncoding.EncodeToString(strconv.AppendInt(append(strconv.AppendInt(nil, start.UnixMilli(), 36), '.'), n, 36))
}

func parseCDRCursor(text string) (at, n int64, err error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > 64 {
		return 0, 0, ErrCDRCursor
	}
	first, second, ok := strings.Cut(string(plain), ".")
	at, err1 := strconv.ParseInt(first, 36, 64)
	n, err2 := strconv.ParseInt(second, 36, 64)
	if !ok || err1 != nil || err2 != nil || n < 0 {
		return 0, 0, ErrCDRCursor
	}
	return at, n, nil
}

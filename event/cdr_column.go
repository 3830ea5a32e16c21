package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Column is one of the table cdrs.
type Column struct {
	Name string
	// SQLite and Postgres are its types there.
	SQLite, Postgres string
	// at returns where a record has its value.
	at func(*CDR) any
}

// The types of columns.
var (
	textType = [2]string{"TEXT", "text"}
	timeType = [2]string{"INTEGER", "timestamptz"} // SQLite: milliseconds since 1970
	intType  = [2]string{"INTEGER", "bigint"}
	boolType = [2]string{"INTEGER", "boolean"}
	jsonType = [2]string{"TEXT", "jsonb"}
)

func column(name string, types [2]string, at func(*CDR) any) Column {
	return Column{Name: name, SQLite: types[0], Postgres: types[1], at: at}
}

// Columns are those of a record, in their order. What is new is appended: receivers of
// CSV and copies in PostgreSQL know them by place and by name. Once this is released
// a new one needs a migration in SQLite.
var Columns = []Column{
	column("call_id", textType, func(r *CDR) any { return &r.CallID }),
	column("kind", textType, func(r *CDR) any { return (*string)(&r.Kind) }),
	column("source", textType, func(r *CDR) any { return (*string)(&r.Source) }),
	column("flow", textType, func(r *CDR) any { return &r.Flow }),
	column("knowledge", textType, func(r *CDR) any { return &r.Knowledge }),
	column("agent", textType, func(r *CDR) any { return &r.Agent }),
	column("caller_aor", textType, func(r *CDR) any { return &r.CallerAOR }),
	column("callee_aor", textType, func(r *CDR) any { return &r.CalleeAOR }),
	column("caller_contact", textType, func(r *CDR) any { return &r.CallerContact }),
	column("callee_contact", textType, func(r *CDR) any { return &r.CalleeContact }),
	column("callee_route", textType, func(r *CDR) any { return &r.CalleeRoute }),
	column("start_time", timeType, func(r *CDR) any { return &r.StartTime }),
	column("ring_time", timeType, func(r *CDR) any { return &r.RingTime }),
	column("connect_time", timeType, func(r *CDR) any { return &r.ConnectTime }),
	column("end_time", timeType, func(r *CDR) any { return &r.EndTime }),
	column("talk_ms", intType, func(r *CDR) any { return &r.TalkMS }),
	column("ring_ms", intType, func(r *CDR) any { return &r.RingMS }),
	column("termination", textType, func(r *CDR) any { return &r.Termination }),
	column("outcome", textType, func(r *CDR) any { return (*string)(&r.Outcome) }),
	column("reason", textType, func(r *CDR) any { return &r.Reason }),
	column("ended_by", textType, func(r *CDR) any { return &r.EndedBy }),
	column("failed_leg", textType, func(r *CDR) any { return &r.FailedLeg }),
	column("stage", textType, func(r *CDR) any { return &r.Stage }),
	column("sip_code", intType, func(r *CDR) any { return &r.SIPCode }),
	column("q850", intType, func(r *CDR) any { return &r.Q850 }),
	column("q850_source", textType, func(r *CDR) any { return &r.Q850Source }),
	column("sip_synthesized", boolType, func(r *CDR) any { return &r.SIPSynthesized }),
	column("message", textType, func(r *CDR) any { return &r.Message }),
	column("transferred_to", textType, func(r *CDR) any { return &r.TransferredTo }),
	column("merged_into", textType, func(r *CDR) any { return &r.MergedInto }),
	column("sip_call_ids", jsonType, func(r *CDR) any { return &r.SIPCallIDs }),
	column("tags", jsonType, func(r *CDR) any { return &r.Tags }),
	column("metadata", jsonType, func(r *CDR) any { return &r.Metadata }),
	column("legs", jsonType, func(r *CDR) any { return &r.Legs }),
	column("node", textType, func(r *CDR) any { return &r.Node }),
	column("request_id", textType, func(r *CDR) any { return &r.RequestID }),
	column("taken_over_from", textType, func(r *CDR) any { return &r.TakenOverFrom }),
	column("moved_at", timeType, func(r *CDR) any { return &r.MovedAt }),
}

// firstColumns are those that the table in SQLite was made with. The others came by
// migrations.
const firstColumns = 36

// ColumnNames are the names of Columns.
func ColumnNames() []string {
	names := make([]string, len(Columns))
	for i := range Columns {
		names[i] = Columns[i].Name
	}
	return names
}

// FindColumn is the column of that name, nil if there is none.
func FindColumn(name string) *Column {
	for i := range Columns {
		if Columns[i].Name == name {
			return &Columns[i]
		}
	}
	return nil
}

// value is what a record has in the column: nil, string, int64, bool, Time or the JSON
// of it as json.RawMessage.
func (c *Column) value(r *CDR) any {
	switch p := c.at(r).(type) {
	case *string:
		if *p != "" {
			return *p
		}
	case *Time:
		if !p.IsZero() {
			return *p
		}
	case **int64:
		if *p != nil {
			return **p
		}
	case **bool:
		if *p != nil {
			return **p
		}
	case *[]string:
		return rawJSON(*p, len(*p) == 0, "[]")
	case *map[string]string:
		return rawJSON(*p, len(*p) == 0, "{}")
	case *json.RawMessage:
		if len(*p) > 0 {
			return *p
		}
	}
	return nil
}

func rawJSON(v any, empty bool, none string) json.RawMessage {
	if empty {
		return json.RawMessage(none)
	}
	b, _ := json.Marshal(v) // of texts: it cannot fail
	return b
}

// Text is the value as CSV has it; empty for none.
func (c *Column) Text(r *CDR) string {
	switch v := c.value(r).(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case Time:
		return v.UTC().Format(timeForm)
	case json.RawMessage:
		return string(v)
	}
	return ""
}

// MarshalJSON writes the columns as members, in their order.
func (r *CDR) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i := range Columns {
		c := &Columns[i]
		b.WriteByte(",{"[btoi(i == 0)])
		b.WriteString(strconv.Quote(c.Name))
		b.WriteByte(':')
		v := c.value(r)
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		b.Write(text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sqlValue is the value as SQLite has it.
func (c *Column) sqlValue(r *CDR) any {
	switch v := c.value(r).(type) {
	case Time:
		return v.UnixMilli()
	case json.RawMessage:
		return string(v)
	case bool:
		return int64(btoi(v))
	default:
		return v
	}
}

// cdrScan is where a query of all Columns puts a row.
type cdrScan struct {
	values []any
}

// targets are the arguments of Scan.
func (s *cdrScan) targets() []any {
	if s.values == nil {
		s.values = make([]any, len(Columns))
	}
	out := make([]any, len(s.values))
	for i := range s.values {
		s.values[i] = nil
		out[i] = &s.values[i]
	}
	return out
}

// record makes a record of what was scanned.
func (s *cdrScan) record() (*CDR, error) {
	r := &CDR{}
	for i := range Columns {
		if err := Columns[i].set(r, s.values[i]); err != nil {
			return nil, fmt.Errorf("column %s: %w", Columns[i].Name, err)
		}
	}
	return r, nil
}

// set gives a record what SQLite has.
func (c *Column) set(r *CDR, v any) error {
	if v == nil {
		return nil
	}
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	text, isText := v.(string)
	n, isInt := v.(int64)
	fits := false
	switch p := c.at(r).(type) {
	case *string:
		*p, fits = text, isText
	case *Time:
		*p, fits = At(time.UnixMilli(n)), isInt
	case **int64:
		*p, fits = &n, isInt
	case **bool:
		yes := n != 0
		*p, fits = &yes, isInt
	case *[]string:
		return json.Unmarshal([]byte(text), p)
	case *map[string]string:
		return json.Unmarshal([]byte(text), p)
	case *json.RawMessage:
		*p, fits = json.RawMessage(text), isText
	}
	if !fits {
		return fmt.Errorf("a value of type %T", v)
	}
	return nil
}

// cdrSchema makes the table in SQLite. n is the order in which the records came, which a
// copy follows: AUTOINCREMENT, so that no number comes twice.
func cdrSchema() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE cdrs (\n\tn INTEGER PRIMARY KEY AUTOINCREMENT")
	for i := range firstColumns {
		fmt.Fprintf(&b, ",\n\t%s %s", Columns[i].Name, Columns[i].SQLite)
		if Columns[i].Name == "call_id" {
			b.WriteString(" NOT NULL UNIQUE")
		}
	}
	b.WriteString(`
);
CREATE INDEX cdrs_start ON cdrs (start_time, n);
CREATE INDEX cdrs_end ON cdrs (end_time);
CREATE INDEX cdrs_caller ON cdrs (caller_aor, start_time, n);
CREATE INDEX cdrs_callee ON cdrs (callee_aor, start_time, n);
CREATE INDEX cdrs_agent ON cdrs (agent, start_time, n);`)
	return b.String()
}

// insertCDR writes a record; one that is there already stays. Its arguments are cdrValues.
var insertCDR = "INSERT INTO cdrs (" + strings.Join(ColumnNames(), ", ") + ") VALUES (" +
	strings.TrimSuffix(strings.Repeat("?, ", len(Columns)), ", ") + ") ON CONFLICT DO NOTHING"

// cdrValues are the arguments of insertCDR.
func cdrValues(r *CDR) []any {
	args := make([]any, len(Columns))
	for i := range Columns {
		args[i] = Columns[i].sqlValue(r)
	}
	return args
}

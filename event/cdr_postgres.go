package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The tables in PostgreSQL. Docs name them: cdrs has what the table of SQLite has
// but n, cdr_cursors how far each store has been copied.
const (
	postgresTable   = "cdrs"
	postgresCursors = "cdr_cursors"
	// ourColumn tells the table from that of sipXecs, which has the same name.
	ourColumn = "knowledge"
)

// postgres is a cdrTarget.
type postgres struct {
	cfg   *pgx.ConnConfig
	store string
	conn  *pgx.Conn // nil: to be made
}

// parsePostgres reads a DSN. Its error does not repeat it: there is a password in it.
func parsePostgres(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("this is no address of a PostgreSQL database: write postgres://user:password@host:5432/database?sslmode=verify-full, or host=… user=… password=… dbname=…")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "sipxrest"
	}
	return cfg, nil
}

// CheckPostgresDSN says what is wrong with a DSN as text. Nothing is connected.
func CheckPostgresDSN(dsn string) error {
	_, err := parsePostgres(dsn)
	return err
}

// TryPostgres connects, sees that records could be written, and leaves no record. Its
// text says where it is. The tables are made if they are not there.
func TryPostgres(ctx context.Context, dsn string) (where string, err error) {
	cfg, err := parsePostgres(dsn)
	if err != nil {
		return "", err
	}
	p := &postgres{cfg: cfg}
	defer p.close()
	if err := p.connect(ctx); err != nil {
		return "", err
	}
	r := &CDR{CallID: "sipxrest check", StartTime: At(time.Unix(0, 0)), Legs: json.RawMessage("[]")}
	tx, err := p.conn.Begin(ctx)
	if err != nil {
		return "", p.explain(err)
	}
	defer tx.Rollback(context.Background()) //nolint:errcheck // the connection is closed
	if _, err := tx.Exec(ctx, insertPostgres, postgresValues(r, false)...); err != nil {
		return "", p.explain(err)
	}
	if _, err := tx.Exec(ctx, movePostgres, "sipxrest check", int64(0)); err != nil {
		return "", p.explain(err)
	}
	return p.where(), nil
}

// where is the database without secrets.
func (p *postgres) where() string {
	return fmt.Sprintf("%s at %s port %d", p.cfg.Database, p.cfg.Host, p.cfg.Port)
}

// explain words an error so that it tells no secret and says where it happened.
func (p *postgres) explain(err error) error {
	if err == nil {
		return nil
	}
	var said *pgconn.PgError
	if errors.As(err, &said) { // its Detail may repeat a row
		return fmt.Errorf("PostgreSQL %s: %w", p.where(), &serverError{said})
	}
	text := err.Error()
	for _, secret := range p.secrets() {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return fmt.Errorf("PostgreSQL %s: %w", p.where(), &hiddenError{text, err})
}

// secrets are the passwords of the configuration.
func (p *postgres) secrets() (list []string) {
	if p.cfg.Password != "" {
		list = append(list, p.cfg.Password)
	}
	return list
}

// serverError is what the server says, without the data that it says it of.
type serverError struct{ *pgconn.PgError }

func (e *serverError) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }
func (e *serverError) Unwrap() error { return e.PgError }

// hiddenError is an error whose text was cleared of secrets.
type hiddenError struct {
	text string
	err  error
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Is(target error) bool {
	return errors.Is(e.err, target)
}

// connect connects, if there is no connection, and sees that the tables are there.
func (p *postgres) connect(ctx context.Context) error {
	if p.conn != nil && !p.conn.IsClosed() {
		return nil
	}
	conn, err := pgx.ConnectConfig(ctx, p.cfg)
	if err != nil {
		return p.explain(err)
	}
	p.conn = conn
	if err := p.prepare(ctx); err != nil {
		p.close()
		return p.explain(err)
	}
	return nil
}

// prepare makes the tables and columns that are missing. A role that may only insert
// can have them made by somebody else: where nothing is missing nothing is made.
func (p *postgres) prepare(ctx context.Context) error {
	for _, t := range []struct {
		name, make string
		columns    []Column
	}{{postgresTable, PostgresSchema(), Columns}, {postgresCursors, postgresCursorSchema, nil}} {
		rows, _ := p.conn.Query(ctx, `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, t.name)
		there, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(there) == 0 {
			if _, err := p.conn.Exec(ctx, t.make); err != nil {
				return fmt.Errorf("the table %s is not there and cannot be made: %w", t.name, err)
			}
			continue
		}
		has := map[string]bool{}
		for _, name := range there {
			has[name] = true
		}
		if t.columns != nil && !has[ourColumn] {
			return fmt.Errorf("its table %s is another program's: give sipxrest a database or a schema (search_path) of its own", t.name)
		}
		for _, c := range t.columns {
			if has[c.Name] {
				continue
			}
			if _, err := p.conn.Exec(ctx, "ALTER TABLE "+t.name+" ADD COLUMN IF NOT EXISTS "+c.Name+" "+c.Postgres); err != nil {
				return fmt.Errorf("the column %s of the table %s is not there and cannot be made: %w", c.Name, t.name, err)
			}
		}
	}
	return nil
}

// PostgresSchema makes the table of records in PostgreSQL.
func PostgresSchema() string {
	var b strings.Builder
	b.WriteString("CREATE TABLE IF NOT EXISTS " + postgresTable + " (")
	for i := range Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n  %s %s", Columns[i].Name, Columns[i].Postgres)
		if Columns[i].Name == "call_id" {
			b.WriteString(" PRIMARY KEY")
		}
	}
	b.WriteString("\n);\nCREATE INDEX IF NOT EXISTS cdrs_start_time ON " + postgresTable + " (start_time);\n")
	return b.String()
}

const postgresCursorSchema = "CREATE TABLE IF NOT EXISTS " + postgresCursors + " (\n  store text PRIMARY KEY,\n  n bigint NOT NULL\n);\n"

var (
	insertPostgres = "INSERT INTO " + postgresTable + " (" + strings.Join(ColumnNames(), ", ") + ") VALUES (" + dollars(len(Columns)) + ") ON CONFLICT DO NOTHING"
	movePostgres   = "INSERT INTO " + postgresCursors + " (store, n) VALUES ($1, $2) ON CONFLICT (store) DO UPDATE SET n = excluded.n"
)

func dollars(n int) string {
	marks := make([]string, n)
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	return strings.Join(marks, ", ")
}

// cursor implements cdrTarget.
func (p *postgres) cursor(ctx context.Context) (n int64, err error) {
	if err := p.connect(ctx); err != nil {
		return 0, err
	}
	err = p.conn.QueryRow(ctx, "SELECT n FROM "+postgresCursors+" WHERE store = $1", p.store).Scan(&n)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return n, p.explain(err)
}

// write implements cdrTarget. When the database takes a record for no data of its own, it is
// tried with its JSON as text, and left out only if that is refused as well.
func (p *postgres) write(ctx context.Context, list []*CDR, cursor int64) (lost []lostCDR, err error) {
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	err = p.writeAll(ctx, list, cursor)
	if !badData(err) || ctx.Err() != nil {
		return nil, p.explain(err)
	}
	for _, r := range list {
		if err = p.insert(ctx, insertPostgres, postgresValues(r, false)); badData(err) {
			if err = p.insert(ctx, insertPostgres, postgresValues(r, true)); badData(err) {
				lost = append(lost, lostCDR{r.CallID, p.explain(err)})
				err = nil
			}
		}
		if err != nil {
			return nil, p.explain(err)
		}
	}
	return lost, p.explain(p.insert(ctx, movePostgres, []any{p.store, cursor}))
}

func (p *postgres) insert(ctx context.Context, text string, args []any) error {
	_, err := p.conn.Exec(ctx, text, args...)
	return err
}

// writeAll writes a batch in one transaction.
func (p *postgres) writeAll(ctx context.Context, list []*CDR, cursor int64) error {
	return pgx.BeginFunc(ctx, p.conn, func(tx pgx.Tx) error {
		var b pgx.Batch
		for _, r := range list {
			b.Queue(insertPostgres, postgresValues(r, false)...)
		}
		b.Queue(movePostgres, p.store, cursor)
		return tx.SendBatch(ctx, &b).Close()
	})
}

// badData reports whether the server refused what was to be stored, not the
// statement: class 22 of SQLSTATE.
func badData(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && strings.HasPrefix(said.Code, "22")
}

// postgresValues are the arguments of insertPostgres. plain has JSON as a JSON text of
// its own: what jsonb does not take of it (numbers without end) is kept that way.
func postgresValues(r *CDR, plain bool) []any {
	args := make([]any, len(Columns))
	for i := range Columns {
		switch v := Columns[i].value(r).(type) {
		case string:
			args[i] = cleanText(v)
		case Time:
			args[i] = v.UTC()
		case json.RawMessage:
			args[i] = cleanJSON(v, plain)
		default:
			args[i] = v
		}
	}
	return args
}

// cleanText removes what no text of PostgreSQL holds.
func cleanText(s string) string {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return s
}

// cleanJSON is JSON without what jsonb does not take: the escapes of NUL and of halves
// of surrogates.
func cleanJSON(raw json.RawMessage, plain bool) any {
	if plain {
		text, _ := json.Marshal(cleanText(string(raw)))
		return string(text)
	}
	if !strings.Contains(string(raw), `\u`) && utf8.Valid(raw) {
		return string(raw)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		text, _ := json.Marshal(cleanText(string(raw)))
		return string(text)
	}
	text, _ := json.Marshal(cleanValue(v))
	return string(text)
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return cleanText(v)
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[cleanText(name)] = cleanValue(value)
		}
		return out
	}
	return v
}

// close implements cdrTarget.
func (p *postgres) close() {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // it is gone either way
	p.conn = nil
}

// newPostgresCopy copies the records of a store.
func newPostgresCopy(dsn, store string, from cdrSource, now func() time.Time, log *slog.Logger) (*CDRCopy, error) {
	cfg, err := parsePostgres(dsn)
	if err != nil {
		return nil, err
	}
	return &CDRCopy{from: from, to: &postgres{cfg: cfg, store: store}, log: log, now: now}, nil
}

//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sipxrest/cmd/sipxrest/interop/lab"
	"sipxrest/event"
)

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// count asks PostgreSQL for a number.
func count(t *testing.T, dsn, query string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// PostgreSQL is away for 10,000 calls; then it has them all, once, also when the cursor
// is lost, when it goes away in between, and with texts that it does not hold.
func TestRecordsReachPostgreSQL(t *testing.T) {
	t.Parallel()
	const calls = 10_000
	postgres := lab.NewPostgres(t)
	var log logText
	bus, err := event.Open(event.Config{Store: filepath.Join(t.TempDir(), "events.db"), Strict: true}, slog.New(slog.NewTextHandler(&log,
		nil)))
	if err != nil {
		t.Fatal(err)
	}
	running, end := context.WithCancel(context.Background())
	kept := make(chan error, 1)
	go func() { kept <- bus.Run(running) }()
	copies, err := bus.CopyCDRs(postgres.DSN())
	if err != nil {
		t.Fatal(err)
	}
	copying, stop := context.WithCancel(context.Background())
	copied := make(chan error, 1)
	go func() { copied <- copies.Run(copying) }()

	for i := range calls {
		id := fmt.Sprintf("call_%05d", i)
		c := event.Created{Kind: event.ClickToCall, Source: event.FromAPI, Agent: "201@sipx.test", Flow: event.Flow{Used: "invite"},
			Tags: map[string]string{"n": fmt.Sprint(i)}}
		if i == 77 { // what jsonb and text do not take
			c.Metadata, c.RequestID = json.RawMessage(`{"a":"\u0000\ud800","b":1e999999}`), "a\x00b"
		}
		for {
			if err = bus.Begin(event.Request{ID: id, Created: c}); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond) // the log is behind: an API call would be refused
		}
		bus.Tell(id, event.CallEnded, "", event.Change{End: &event.End{Reason: "busy"}})
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := bus.CDR(t.Context(), fmt.Sprintf("call_%05d", calls-1)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the last record is not kept: %+v", bus.Stats())
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s := copies.Stats(); s.Copied != 0 || s.Up || s.Lag == 0 {
		t.Errorf("while PostgreSQL is away: %+v", s)
	}
	arrives := func() {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
			if s := copies.Stats(); s.Up && s.Lag == 0 {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("%+v\n%s", s, &log)
			}
		}
	}
	began := time.Now()
	postgres.Start()
	arrives()
	t.Logf("%d records in %v, waiting for the next attempt among it", calls, time.Since(began))
	rows := func() int { return count(t, postgres.DSN(), "SELECT count(*) FROM cdrs") }
	if n := rows(); n != calls {
		t.Errorf("%d records of %d are there", n, calls)
	}
	if n := count(t, postgres.DSN(),
		"SELECT count(*) FROM cdrs WHERE call_id = 'call_00077' AND request_id = E'a\\uFFFDb' "+
			"AND outcome = 'busy' AND metadata IS NOT NULL"); n != 1 {
		t.Error("the record with texts that PostgreSQL does not hold is not as it should be")
	}

	// It goes away, comes back, and has lost the cursor: all is written again, nothing twice.
	postgres.Stop()
	postgres.Start()
	count(t, postgres.DSN(), "WITH lost AS (DELETE FROM cdr_cursors RETURNING 1) SELECT count(*) FROM lost")
	stop()
	if err := <-copied; err != nil {
		t.Error(err)
	}
	copies, err = bus.CopyCDRs(postgres.DSN())
	if err != nil {
		t.Fatal(err)
	}
	copying, stop = context.WithCancel(context.Background())
	go func() { copied <- copies.Run(copying) }()
	arrives()
	if n := rows(); n != calls {
		t.Errorf("%d records of %d after the cursor was lost", n, calls)
	}
	if where, err := event.TryPostgres(t.Context(), postgres.DSN()); err != nil || rows() != calls {
		t.Errorf("a try: %s, %v, %d records", where, err, rows())
	}
	stop()
	if err := <-copied; err != nil {
		t.Error(err)
	}
	end()
	if err := <-kept; err != nil {
		t.Error(err)
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), lab.PostgresPassword) {
		t.Errorf("the log has the password:\n%s", &log)
	}
}

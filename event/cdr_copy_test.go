package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// listSource has records in memory, the first with number 1.
type listSource []*CDR

func (s listSource) after(_ context.Context, n int64, limit int) ([]*CDR, []int64, error) {
	list := s[min(int(n), len(s)):]
	list = list[:min(limit, len(list))]
	ns := make([]int64, len(list))
	for i := range ns {
		ns[i] = n + int64(i) + 1
	}
	return list, ns, nil
}

// fakeTarget is a database that can be away.
type fakeTarget struct {
	mu     sync.Mutex // guards all
	up     bool
	losing int // so many commits come through whose answer is lost
	rows   map[string]int
	order  []string
	at     int64
	tries  int
	closed bool
}

var errAway = errors.New("connection refused")

func (f *fakeTarget) cursor(context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tries++; !f.up {
		return 0, errAway
	}
	return f.at, nil
}

func (f *fakeTarget) write(_ context.Context, list []*CDR, cursor int64) ([]lostCDR, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.up {
		return nil, errAway
	}
	for _, r := range list {
		if f.rows[r.CallID]++; f.rows[r.CallID] == 1 {
			f.order = append(f.order, r.CallID)
		}
	}
	f.at = cursor
	if f.losing > 0 {
		f.losing--
		return nil, errAway
	}
	return nil, nil
}

func (f *fakeTarget) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

func TestRecordsWaitWhileTheirCopyIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		source := make(listSource, 10_000)
		for i := range source {
			source[i] = &CDR{CallID: fmt.Sprintf("call_%05d", i), EndTime: At(time.Now())}
		}
		target := &fakeTarget{rows: map[string]int{}, losing: 3}
		c := &CDRCopy{from: source, to: target, now: time.Now, log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if s := c.Stats(); s.Up || s.Copied != 0 || s.Lag != 24*time.Hour {
			t.Errorf("after a day away: %+v", s)
		}
		target.mu.Lock()
		if target.tries < 24*60/2 || target.tries > 2*24*60 {
			t.Errorf("%d attempts in a day", target.tries)
		}
		target.up = true
		target.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := c.Stats(); !s.Up || s.Lag != 0 || s.Copied < 8500 {
			t.Errorf("when it is back: %+v", s)
		}
		stop()
		if err := <-ended; err != nil || !target.closed {
			t.Errorf("Run returns %v, closed %v", err, target.closed)
		}
		if len(target.rows) != len(source) {
			t.Errorf("%d records of %d arrived", len(target.rows), len(source))
		}
		for i, id := range target.order {
			if id != source[i].CallID || target.rows[id] != 1 {
				t.Fatalf("record %d is %s, which came %d times", i, id, target.rows[id])
			}
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want one for all the time: %s", n, log.String())
		}
	})
}

func TestTheAddressOfADatabaseIsKeptSecret(t *testing.T) {
	for _, dsn := range []string{"postgres://u:hunter2@:bad:port/x", "host=x password=hunter2 port=nine",
		"postgres://u:hunter2@h/db?sslmode=perhaps"} {
		err := CheckPostgresDSN(dsn)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
	cfg, err := parsePostgres("postgres://cdr:hunter2@db.example:5433/calls?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	p := &postgres{cfg: cfg}
	for _, err := range []error{
		fmt.Errorf("dial with password=hunter2: %w", context.DeadlineExceeded),
		fmt.Errorf("insert: %w", &pgconn.PgError{Code: "22P05", Message: "unsupported Unicode escape sequence", Detail: "hunter2"}),
	} {
		got := p.explain(err)
		if strings.Contains(got.Error(), "hunter2") || !strings.Contains(got.Error(), "calls at db.example port 5433") {
			t.Errorf("%v", got)
		}
	}
	if err := p.explain(fmt.Errorf("x: %w", context.DeadlineExceeded)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is not what it was", err)
	}
}

func TestWhatPostgreSQLDoesNotHoldIsReplaced(t *testing.T) {
	r := &CDR{CallID: "a\x00b\xff", Metadata: []byte(`{"x\u0000":["\ud800","ü",12345678901234567890]}`)}
	args := postgresValues(r, false)
	if got := args[0]; got != "a\uFFFDb\uFFFD" {
		t.Errorf("%q", got)
	}
	if got := args[32]; got != "{\"x\uFFFD\":[\"\uFFFD\",\"ü\",12345678901234567890]}" {
		t.Errorf("%q", got)
	}
	if got := postgresValues(r, true)[32]; got != `"{\"x\\u0000\":[\"\\ud800\",\"ü\",12345678901234567890]}"` {
		t.Errorf("%q", got)
	}
}

package event

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"sipxrest/internal/webhook"
)

// testLog is a log of events for outboxes.
type testLog struct {
	mu     sync.Mutex
	run    int64
	events []*Event
	first  int // of those that are there
	calls  map[string]*Call
	ears   map[chan struct{}]bool
}

func newTestLog() *testLog {
	return &testLog{run: 1, calls: map[string]*Call{}, ears: map[chan struct{}]bool{}}
}

const testStore = "abc123"

func (l *testLog) cursor(seq int64) Cursor { return Cursor{Store: testStore, Run: l.run, Seq: seq} }

// nextID is the id that the next event will have.
func (l *testLog) nextID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor(int64(len(l.events)) + 1).String()
}

// put adds an event of a call, or of none.
func (l *testLog) put(t Type, call string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &Event{Type: t, Timestamp: At(time.Now()), Seq: int64(len(l.events)) + 1, Final: t == CallEnded, Data: Data{Change: &Change{}}}
	e.ID = l.cursor(e.Seq).String()
	if call != "" {
		c := Call{ID: call, Kind: ClickToCall, Agent: "201@example.com", State: Connected}
		if old := l.calls[call]; old != nil {
			c = *old
		}
		c.Version++
		if e.Final {
			c.State = Ended
		}
		l.calls[call] = &c
		e.Data.CallID, e.Data.Call, e.CallSeq = &c.ID, &c, c.Version
	}
	l.add(e)
	return e.ID
}

// add runs under l.mu.
func (l *testLog) add(e *Event) {
	l.events = append(l.events, e)
	for c := range l.ears {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (l *testLog) Announce(t Type, c Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &Event{Type: t, Timestamp: At(time.Now()), Seq: int64(len(l.events)) + 1, Data: Data{Change: &c}}
	e.ID = l.cursor(e.Seq).String()
	l.add(e)
}

func (l *testLog) Events(f Filter, after Cursor, limit int) ([]*Event, Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case after.Store != testStore || after.Seq > int64(len(l.events)):
		return nil, after, ErrOtherStore
	case after.Seq < int64(l.first):
		return nil, after, &CursorExpiredError{Oldest: l.cursor(int64(l.first))}
	}
	var list []*Event
	for _, e := range l.events[after.Seq:] {
		if len(list) == limit {
			break
		}
		after.Seq = e.Seq
		if f.match(e) {
			list = append(list, e)
		}
	}
	return list, after, nil
}

func (l *testLog) CallEvents(id string, after int64, limit int) ([]*Event, error) {
	list, _, err := l.Events(Filter{CallID: id}, l.cursor(int64(l.first)), limit)
	return list, err
}

func (l *testLog) Call(id string) (*Call, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.calls[id]
	return c, ok
}

func (l *testLog) Head() Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor(int64(len(l.events)))
}

func (l *testLog) listen(Filter) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ears[c] = true
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.ears, c)
	}
}

func (l *testLog) Encoded(e *Event) []byte { return e.encode(0) }

func (l *testLog) EncodedChange(e *Event) []byte { return e.encode(1) }

// told is one request that a receiver has got.
type posted struct {
	at      time.Time
	hook    string // its name
	url     string
	id      string
	attempt string
	replay  bool
	header  http.Header
	body    []byte
}

// A receiver is who webhooks post to.
type receiver struct {
	mu   sync.Mutex
	got  []posted
	took []posted // of those, with 2xx
	// answer decides; it may wait for ctx.
	answer func(ctx context.Context, p posted) (webhook.Posted, error)
}

var okay = webhook.Posted{Code: http.StatusNoContent}

func (r *receiver) post(ctx context.Context, h *hook, address string, header http.Header, body []byte) (webhook.Posted, error) {
	p := posted{at: time.Now(), hook: h.record().spec.Name, url: address, id: header.Get(webhook.HeaderID),
		attempt: header.Get("Sipxrest-Attempt"),
		replay:  header.Get("Sipxrest-Replay") == "1", header: header, body: body}
	r.mu.Lock()
	r.got = append(r.got, p)
	answer := r.answer
	r.mu.Unlock()
	answered, err := okay, error(nil)
	if answer != nil {
		answered, err = answer(ctx, p)
	}
	if err == nil && answered.Code/100 == 2 {
		r.mu.Lock()
		r.took = append(r.took, p)
		r.mu.Unlock()
	}
	return answered, err
}

func (r *receiver) set(answer func(ctx context.Context, p posted) (webhook.Posted, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// code answers all with a status.
func code(n int) func(context.Context, posted) (webhook.Posted, error) {
	return func(context.Context, posted) (webhook.Posted, error) { return webhook.Posted{Code: n}, nil }
}

// taken are the ids of what was taken, in that order; of one webhook, or "" of all.
func (r *receiver) taken(hook string) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.took {
		if hook == "" || p.hook == hook {
			ids = append(ids, p.id)
		}
	}
	return ids
}

func (r *receiver) all() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.took = nil, nil
}

// outboxRig is an outbox with a receiver.
type outboxRig struct {
	*Outbox
	t    *testing.T
	log  *testLog
	to   *receiver
	stop func()
}

// newOutboxRig makes one; file is a database, "" is memory.
func newOutboxRig(t *testing.T, log *testLog, file string, cfg OutboxConfig) *outboxRig {
	t.Helper()
	return newOutboxRigFor(t, log, file, cfg, &receiver{})
}

func newOutboxRigFor(t *testing.T, log *testLog, file string, cfg OutboxConfig, to *receiver) *outboxRig {
	t.Helper()
	cfg.post = to.post
	o := newOutbox(cfg, log, slog.New(slog.DiscardHandler))
	closeDB := func() {}
	if file == "" {
		o.store, o.keepBodies = newMemoryOutbox(func(n int) { o.forgotten.Add(uint64(n)) }), true
	} else {
		db := testDB(t, file)
		closeDB = func() { db.Close() }
		o.store = &sqlOutbox{write: db, read: db, seal: newSealer(cfg.Key)}
	}
	if err := o.load(cfg.Webhooks); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { o.Run(ctx); close(done) }()
	var once sync.Once
	r := &outboxRig{Outbox: o, t: t, log: log, to: to, stop: func() { once.Do(func() { cancel(); <-done; closeDB() }) }}
	t.Cleanup(r.stop)
	return r
}

// file is a database of the test's own.
func testFile(t *testing.T) string { return filepath.Join(t.TempDir(), "events.db") }

// make makes a webhook.
func (r *outboxRig) make(name string, change ...func(*WebhookSpec)) Webhook {
	r.t.Helper()
	spec := WebhookSpec{Name: name, URL: "https://hooks.example/" + name}
	spec.Complete()
	for _, f := range change {
		f(&spec)
	}
	if faults := r.CheckWebhook(&spec); len(faults) > 0 {
		r.t.Fatal(faults)
	}
	w, _, err := r.Create(spec, "", "", Cursor{})
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

var errReceiverAway = errors.New("connection refused")

func away(context.Context, posted) (webhook.Posted, error) { return webhook.Posted{}, errReceiverAway }

// testDB opens a database that has the tables of an outbox.
func testDB(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(5000)&"+
		"_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(2)
	var n int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_master WHERE name = 'webhooks'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		if _, err := db.Exec(outboxTables); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

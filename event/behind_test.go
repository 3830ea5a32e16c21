package event

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuckLog is a log that can be kept from writing.
type stuckLog struct {
	*memoryLog
	err   error
	block chan struct{} // when set, Append waits until it is closed
	took  []*Event
}

func (s *stuckLog) Append(b *Batch) error {
	s.mu.RLock()
	err, block := s.err, s.block
	s.mu.RUnlock()
	if block != nil {
		<-block
	}
	if err != nil {
		return err
	}
	s.took = append(s.took, b.Events...)
	return s.memoryLog.Append(b)
}

func (s *stuckLog) set(err error, block chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.block = err, block
}

// startStuck is a bus with such a log.
func startStuck(t *testing.T, cfg Config) (*Bus, *stuckLog) {
	t.Helper()
	cfg.Strict = true
	b, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &stuckLog{memoryLog: b.store.(*memoryLog)}
	b.store, b.memory, b.cfg.Store = log, false, "events.db"
	ctx, cancel := context.WithCancel(context.Background())
	go b.Run(ctx) //nolint:errcheck // what is left unkept is the test's matter
	t.Cleanup(func() { cancel(); <-b.done })
	return b, log
}

// Readers get events 250 ms after they happened where the log is slow, and whoever wants
// only what is kept does not.
func TestReadersGoAheadOfASlowLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := startStuck(t, Config{})
		settle(b)
		from := b.Head()
		block := make(chan struct{})
		log.set(nil, block)
		b.Announce(SystemDraining, Change{})
		time.Sleep(aheadAfter - time.Millisecond)
		synctest.Wait()
		if b.Head() != from {
			t.Error("it was seen before it was kept")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		list, _, err := b.Events(Filter{}, from, 0)
		if err != nil || len(list) != 1 || b.Stats().Ahead != 1 {
			t.Error(types(list), err, b.Stats().Ahead)
		}
		if list, _, err := b.Events(Filter{Stored: true}, from, 0); err != nil || len(list) != 0 {
			t.Error("what must be kept:", types(list), err)
		}
		close(block)
		log.set(nil, nil)
		settle(b)
		if list, _, err := b.Events(Filter{Stored: true}, from, 0); err != nil || len(list) != 1 {
			t.Error(types(list), err)
		}
	})
}

// A create waits 250 ms for its id to be kept, and then nobody is called.
func TestACreateIsRefusedWhileTheLogFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := startStuck(t, Config{})
		settle(b)
		full := errors.New("database or disk is full")
		log.set(full, nil)
		req := request("call-1")
		req.Key = &IdempotencyKey{Principal: "user:201", Key: "k", Until: time.Now().Add(time.Hour)}
		if err := b.Begin(req); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err := b.Committed(t.Context(), "call-1")
		if !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "disk is full") || time.Since(began) > commitWait {
			t.Error(err, time.Since(began))
		}
		b.Forget("call-1")
		b.Tell("call-1", CallEnded, "", Change{End: &End{Reason: "internal_error"}})
		if _, ok := b.KeyOf("user:201", "k"); ok {
			t.Error("the key is kept of a call that was not placed")
		}
		if err := b.Begin(request("call-2")); !errors.Is(err, ErrStore) {
			t.Error("another create:", err)
		}
		other := request("call-3")
		other.Created.Source = FromCallController
		if err := b.Begin(other); err != nil {
			t.Error("a call of the old interface:", err)
		}
		log.set(nil, nil)
		time.Sleep(2 * maxRetry)
		settle(b)
		if err := b.Begin(request("call-4")); err != nil || b.Committed(t.Context(), "call-4") != nil {
			t.Error("the log works again:", err)
		}
		if use, ok := b.KeyOf("user:201", "k"); ok {
			t.Errorf("%+v", use)
		}
		if c, ok := b.Call("call-1"); !ok || c.State != Ended {
			t.Error(c)
		}
	})
}

// A call that found no place in the queue gives its key back: the client may try again.
func TestACallWithoutAPlaceFreesItsKey(t *testing.T) {
	b, err := Open(Config{Strict: true, QueueBytes: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.queued.Add(2)
	req := request("call-1")
	req.Key = &IdempotencyKey{Principal: "user:201", Key: "k", Until: time.Now().Add(time.Hour)}
	if err := b.Begin(req); err != nil {
		t.Fatal(err)
	}
	b.Forget("call-1")
	if use, ok := b.KeyOf("user:201", "k"); ok {
		t.Errorf("%+v", use)
	}
}

// What the log cannot take is lost in an order, calls go on, and it is told.
func TestWhatIsLostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := startStuck(t, Config{QueueBytes: 1 << 20})
		settle(b)
		from := b.Head()
		first := request("first")
		if err := b.Begin(first); err != nil {
			t.Fatal(err)
		}
		settle(b)
		block := make(chan struct{})
		log.set(nil, block)
		for i := range 400 {
			r := request(fmt.Sprint("call-", i))
			r.Created.Source = FromCallController
			if err := b.Begin(r); err != nil {
				t.Fatal(err)
			}
			for _, typ := range []Type{LegDialled, LegRang, LegPickedUp} {
				b.Tell(r.ID, typ, "l1", Change{})
			}
			if i < 300 {
				b.Tell(r.ID, CallEnded, "", Change{End: &End{Reason: "hung_up", Leg: "l1"}})
			}
			synctest.Wait()
		}
		b.Tell("first", LegDialled, "l1", Change{})
		b.Tell("first", CallEnded, "", Change{End: &End{Reason: "client_hung_up"}})
		synctest.Wait()
		if b.level() < 2 {
			t.Fatalf("level %d", b.level())
		}
		if c, ok := b.Call("call-399"); !ok || c.Version != 4 || c.Legs[0].State != LegAnswered {
			t.Error("a call goes on, though nothing of it is kept:", c)
		}
		if err := b.Begin(request("new")); !errors.Is(err, ErrStore) {
			t.Error(err)
		}
		lost := b.Stats().Unstored
		close(block)
		log.set(nil, nil)
		settle(b)
		b.Tell("call-399", LegHeld, "l1", Change{})
		settle(b)
		var gap *Event
		list := all(t, b, Filter{}, from)
		versions := map[string]int64{}
		for i, e := range list {
			if e.Seq != from.Seq+int64(i)+1 {
				t.Fatalf("event %d has the number %d", i, e.Seq)
			}
			if e.Type == StreamGap {
				gap = e
			} else if id := *e.Data.CallID; e.CallSeq <= versions[id] || e.Data.Call.Version != e.CallSeq {
				t.Errorf("call_seq %d of %s", e.CallSeq, id)
			} else {
				if e.CallSeq != versions[id]+1 && !e.base {
					t.Errorf("the log cannot make call %s anew", id)
				}
				versions[id] = e.CallSeq
			}
		}
		if gap == nil || gap.Data.Change.Count != lost || lost == 0 || gap.Data.Change.From == "" {
			t.Errorf("%d are lost, told: %v", lost, gap)
		}
		if c, ok := b.Call("first"); !ok || c.State != Ended || c.End.Reason != "client_hung_up" {
			t.Error("the end of a call that the log knows was lost")
		}
		if b.Stats().QueueBytes != 0 {
			t.Errorf("%d bytes wait", b.Stats().QueueBytes)
		}
	})
}

// While another process has the database, calls go on and nothing is lost.
func TestALockedDatabaseIsWaitedFor(t *testing.T) {
	cfg := Config{Store: filepath.Join(t.TempDir(), "events.db")}
	b := startBus(t, cfg)
	from := b.Head()
	other, err := openDB(cfg.Store, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`UPDATE meta SET value = value`); err != nil {
		t.Fatal(err)
	}
	r := request("call-1")
	r.Created.Source = FromCallController
	if err := b.Begin(r); err != nil {
		t.Fatal(err)
	}
	if err := b.Committed(t.Context(), "call-1"); !errors.Is(err, ErrStore) {
		t.Error(err)
	}
	sub := b.Subscribe(Filter{})
	defer sub.Close()
	b.Tell("call-1", LegDialled, "l1", Change{})
	for len(all(t, b, Filter{}, from)) < 2 { // ahead of the log
		<-sub.Wake()
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	kept := b.Subscribe(Filter{Stored: true})
	defer kept.Close()
	for len(all(t, b, Filter{Stored: true}, from)) < 2 {
		<-kept.Wake()
	}
}

// A database that cannot be used is no reason not to serve: events are in memory then.
func TestADatabaseThatCannotBeUsedIsReplacedByMemory(t *testing.T) {
	locked := Config{Store: filepath.Join(t.TempDir(), "events.db")}
	startBus(t, locked)
	later := filepath.Join(t.TempDir(), "events.db")
	db, err := sql.Open("sqlite", later)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`PRAGMA user_version = 1000`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	for name, c := range map[string]struct{ file, want string }{
		"a folder":                       {t.TempDir(), "not a regular file"},
		"one that another process has":   {locked.Store, "another process"},
		"one of a later version":         {later, "a later version"},
		"one whose folder cannot be had": {"/dev/null/events.db", "not a directory"},
	} {
		b := startBus(t, Config{Store: c.file})
		if s := b.Stats(); s.Store != "memory" || s.StoreError == nil || !strings.Contains(s.StoreError.Error(), c.want) {
			t.Errorf("%s: %v %v", name, s.Store, s.StoreError)
		}
		talk(t, b, "call-1")
	}
}

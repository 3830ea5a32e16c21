package natsengine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sipxrest/cluster"
	"sipxrest/cluster/store"
	"sipxrest/internal/await"
)

// What was put before a tick is stored before it, and its sequence tells how many
// those were.
func TestATickTellsThatAllBeforeItArrived(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ctx := t.Context()
		ensure(t, e, "N")
		tick := []cluster.Write{write("N.tick", "1")}
		noFence := cluster.Cond{Subject: "N.fence"}
		first, err := e.Commit(ctx, "N", tick, noFence)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			if err := e.Put("N", fmt.Sprint("N.c.", i), []byte("state")); err != nil {
				t.Fatal(err)
			}
		}
		second, err := e.Commit(ctx, "N", tick, noFence)
		if err != nil || second != first+201 {
			t.Fatalf("the tick after 200 states has number %d after %d, %v", second, first, err)
		}
		if _, err := e.Commit(ctx, "N", []cluster.Write{write("N.fence", "by b")}, cluster.Cond{Subject: "N.fence"}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Commit(ctx, "N", tick, noFence); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("a tick after the fence: %v", err)
		}
		if _, err := e.Commit(ctx, "N", []cluster.Write{write("N.fence", "by c")}, cluster.Cond{Subject: "N.fence"}); !errors.Is(err,
			cluster.ErrConflict) {
			t.Errorf("a second fence: %v", err)
		}
	})
}

// A batch is written whole or not at all, with conditions on several subjects.
func TestABatchIsWrittenWholeOrNotAtAll(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ctx := t.Context()
		ensure(t, e, "K")
		seq, err := e.Commit(ctx, "K", []cluster.Write{write("K.key.a", "1"), write("K.id.1", "1"), write("K.key.b", "2")},
			cluster.Cond{Subject: "K.key.a"}, cluster.Cond{Subject: "K.id.1"}, cluster.Cond{Subject: "K.other"})
		if err != nil {
			t.Fatal(err)
		}
		last, err := e.Last(ctx, "K", "K.key.b")
		if err != nil || last.Seq != seq || string(last.Data) != "2" {
			t.Fatalf("%+v, %v: not of number %d", last, err, seq)
		}
		_, err = e.Commit(ctx, "K", []cluster.Write{write("K.key.c", "3"), write("K.id.3", "3")}, cluster.Cond{Subject: "K.key.c"},
			cluster.Cond{Subject: "K.key.a"})
		if !errors.Is(err, cluster.ErrConflict) {
			t.Fatalf("one of two conditions is not met: %v", err)
		}
		for _, subject := range []string{"K.key.c", "K.id.3"} {
			if _, err := e.Last(ctx, "K", subject); !errors.Is(err, cluster.ErrNone) {
				t.Errorf("%s is there: %v", subject, err)
			}
		}
		var large []cluster.Write
		for i := range cluster.MaxBatch {
			large = append(large, write(fmt.Sprint("K.large.", i), "x"))
		}
		if _, err := e.Commit(ctx, "K", large); err != nil {
			t.Errorf("the largest batch: %v", err)
		}
	})
}

// Of many who want one key at once, one gets it, and the others hear of it.
func TestOneOfManyClaimsIsCommitted(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ensure(t, e, "K")
		var mu sync.Mutex
		var wg sync.WaitGroup
		got := map[string]int{}
		for i := range 20 {
			wg.Go(func() {
				_, err := e.Commit(t.Context(), "K", []cluster.Write{write("K.key.a", fmt.Sprint(i)), write(fmt.Sprint("K.id.", i), "x")},
					cluster.Cond{Subject: "K.key.a"})
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprint(err)]++
			})
		}
		wg.Wait()
		if got["<nil>"] != 1 || got[cluster.ErrConflict.Error()] != 19 {
			t.Errorf("%v", got)
		}
	})
}

// Many claims of keys that differ do not refuse each other.
func TestClaimsOfOtherKeysDoNotDisturb(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ensure(t, e, "K")
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				key := fmt.Sprint("K.key.", i)
				if _, err := e.Commit(t.Context(), "K", []cluster.Write{write(key, "x"), write(fmt.Sprint("K.id.", i), "x")},
					cluster.Cond{Subject: key}); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestASweepFindsTheLastOfEachSubject(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ctx := t.Context()
		ensure(t, e, "N")
		for i := range 1200 {
			if err := e.Put("N", fmt.Sprint("N.c.", i), []byte("old")); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1200 {
			if err := e.Put("N", fmt.Sprint("N.c.", i), []byte("new")); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Put("N", "N.c.7", nil); err != nil { // over
			t.Fatal(err)
		}
		if _, err := e.Commit(ctx, "N", []cluster.Write{write("N.other", "x")}); err != nil {
			t.Fatal(err)
		}
		// A server that is a little behind may deliver less, which the count tells.
		found := map[string]string{}
		await.Nil(t, func() error {
			clear(found)
			count, err := e.Sweep(ctx, "N", "N.c.>", func(entry cluster.Entry) { found[entry.Subject] = string(entry.Data) })
			if err == nil && (count != 1200 || len(found) != count) {
				err = fmt.Errorf("%d found of %d", len(found), count)
			}
			return err
		})
		for subject, data := range found {
			if want := map[bool]string{true: "", false: "new"}[subject == "N.c.7"]; data != want {
				t.Fatalf("%s has %q, not %q", subject, data, want)
			}
		}
		if count, err := e.Sweep(ctx, "N", "N.nothing.>", func(cluster.Entry) { t.Error("found") }); count != 0 || err != nil {
			t.Errorf("a filter that nothing matches: %d, %v", count, err)
		}
	})
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ctx := t.Context()
		_, commit := e.Commit(ctx, "NONE", []cluster.Write{write("NONE.a", "x")})
		_, last := e.Last(ctx, "NONE", "NONE.a")
		_, sweep := e.Sweep(ctx, "NONE", "NONE.>", nil)
		for what, err := range map[string]error{"commit": commit, "last": last, "sweep": sweep} {
			if !errors.Is(err, cluster.ErrNoStream) {
				t.Errorf("%s without a stream: %v", what, err)
			}
		}
		if err := e.Delete(ctx, "NONE"); err != nil {
			t.Errorf("delete without a stream: %v", err)
		}
		ensure(t, e, "S")
		if _, err := e.Last(ctx, "S", "S.a"); !errors.Is(err, cluster.ErrNone) {
			t.Errorf("last of nothing: %v", err)
		}
		if err := e.Delete(ctx, "S"); err != nil {
			t.Error(err)
		}
		if _, err := e.Last(ctx, "S", "S.a"); !errors.Is(err, cluster.ErrNoStream) {
			t.Errorf("after delete: %v", err)
		}
		if _, err := e.Ask(ctx, "nobody", nil); !errors.Is(err, cluster.ErrNobody) {
			t.Errorf("a question to nobody: %v", err)
		}
	})
}

// A message with a time to live goes by itself; what was emptied is seen for a while.
func TestMessagesGoByThemselves(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ctx := t.Context()
		ensure(t, e, "K")
		if _, err := e.Commit(ctx, "K", []cluster.Write{{Subject: "K.rec", Data: []byte("x"), TTL: 10 * time.Millisecond},
			{Subject: "K.empty"}}); err != nil {
			t.Fatal(err)
		}
		if entry, err := e.Last(ctx, "K", "K.empty"); err != nil || len(entry.Data) != 0 {
			t.Errorf("emptied: %+v, %v", entry, err)
		}
		await.Nil(t, func() error {
			_, err := e.Last(ctx, "K", "K.rec")
			if errors.Is(err, cluster.ErrNone) {
				return nil
			}
			return fmt.Errorf("it is still there: %w", err)
		})
		// That it has gone is no last message: the next condition is on none.
		if _, err := e.Commit(ctx, "K", []cluster.Write{write("K.rec", "y")}, cluster.Cond{Subject: "K.rec"}); err != nil {
			t.Error(err)
		}
	})
}

func TestQuestionsAndWhatIsTold(t *testing.T) {
	both(t, func(t *testing.T, a *Engine) {
		b := open(t, a.cfg)
		var order []string
		told := make(chan struct{})
		stop := b.Watch("x.tell.>", func(subject string, data []byte) {
			if order = append(order, subject+"="+string(data)); len(order) == 100 {
				close(told)
			}
		})
		defer stop()
		b.Answer("x.ask", func(data []byte, reply func([]byte)) {
			go reply([]byte("answer to " + string(data)))
		})
		await.Nil(t, func() error {
			answer, err := a.Ask(t.Context(), "x.ask", []byte("q"))
			if err == nil && string(answer) != "answer to q" {
				t.Errorf("%q", answer)
			}
			return err
		})
		for i := range 100 {
			if err := a.Tell(fmt.Sprint("x.tell.", i), []byte("d")); err != nil {
				t.Fatal(err)
			}
		}
		<-told
		for i, s := range order {
			if s != fmt.Sprint("x.tell.", i, "=d") {
				t.Fatalf("message %d is %s", i, s)
			}
		}
	})
}

// Writes are seen by those who watch, refused ones, too.
func TestWritesAreWatched(t *testing.T) {
	both(t, func(t *testing.T, e *Engine) {
		ensure(t, e, "N")
		seen := make(chan string, 10)
		defer e.Watch("N.>", func(subject string, data []byte) { seen <- subject + "=" + string(data) })()
		if _, err := e.Commit(t.Context(), "N", []cluster.Write{write("N.a", "1")}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Commit(t.Context(), "N", []cluster.Write{write("N.a", "2")}, cluster.Cond{Subject: "N.a"}); !errors.Is(err,
			cluster.ErrConflict) {
			t.Fatal(err)
		}
		if first, second := <-seen, <-seen; first != "N.a=1" || second != "N.a=2" {
			t.Errorf("%s, then %s", first, second)
		}
	})
}

// Without a store writes fail at once and are not kept for later. With its return
// the engine goes on, and so do its subscriptions.
func TestTheStoreGoesAndComesBack(t *testing.T) {
	dir := t.TempDir()
	first := start(t, store.Config{Listen: "127.0.0.1:0", Dir: dir})
	at := first.Addr()
	e := open(t, Config{Servers: []string{"nats://" + at}})
	ensure(t, e, "N")
	seen := make(chan string, 10)
	defer e.Watch("tell", func(_ string, data []byte) { seen <- string(data) })()
	first.Kill()
	await.Nil(t, func() error {
		if e.Connected() != "" {
			return errors.New("still connected")
		}
		return nil
	})
	if err := e.Put("N", "N.a", []byte("x")); !errors.Is(err, ErrAway) {
		t.Errorf("put: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := e.Commit(ctx, "N", []cluster.Write{write("N.a", "x")}); !errors.Is(err, ErrAway) {
		t.Errorf("commit: %v", err)
	}
	if _, err := e.Last(ctx, "N", "N.a"); !errors.Is(err, ErrAway) {
		t.Errorf("last: %v", err)
	}
	if _, err := e.Ask(ctx, "x", nil); !errors.Is(err, ErrAway) {
		t.Errorf("ask: %v", err)
	}
	start(t, store.Config{Listen: at, Dir: dir})
	await.Nil(t, func() error { _, err := e.Commit(t.Context(), "N", []cluster.Write{write("N.b", "x")}); return err })
	if _, err := e.Last(t.Context(), "N", "N.a"); !errors.Is(err, cluster.ErrNone) {
		t.Errorf("what failed was written later: %v", err)
	}
	await.Nil(t, func() error { return e.Tell("tell", []byte("again")) })
	if got := <-seen; got != "again" {
		t.Error(got)
	}
}

func start(t *testing.T, c store.Config) *store.Server {
	t.Helper()
	c.MaxMemory, c.MaxDisk, c.Sync = 64<<20, 1<<30, time.Minute
	s, err := store.Start(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// An engine may be opened before there is a store.
func TestAnEngineWaitsForItsStore(t *testing.T) {
	s := start(t, store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	at := s.Addr()
	s.Kill()
	e, err := New(Config{Servers: []string{"nats://" + at}}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Reached() {
		t.Error("it was reached")
	}
	if err := e.Put("N", "N.a", []byte("x")); !errors.Is(err, ErrAway) {
		t.Errorf("put: %v", err)
	}
	start(t, store.Config{Listen: at, Dir: t.TempDir()})
	await.Nil(t, func() error {
		if !e.Reached() {
			return ErrAway
		}
		return nil
	})
}

// Two of three go on when one is killed, and no write is lost that was acknowledged.
func TestWritesGoOnWhenALeaderIsKilled(t *testing.T) {
	all := stores(t, 3)
	e := open(t, Config{Servers: urls(all)})
	ensure(t, e, "N")
	info, err := e.info(t.Context(), "N", nil)
	if err != nil || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
		t.Fatalf("%+v, %v: not three replicas", info, err)
	}
	acknowledged := 0
	for ; acknowledged < 50; acknowledged++ {
		if _, err := e.Commit(t.Context(), "N", []cluster.Write{write(fmt.Sprint("N.c.", acknowledged), "x")}); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range all {
		if strings.HasSuffix(info.Cluster.Leader, s.Addr()) {
			all[i].Kill()
		}
	}
	await.Nil(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Commit(ctx, "N", []cluster.Write{write("N.after", "x")})
		return err
	})
	await.Nil(t, func() error {
		found := 0
		count, err := e.Sweep(t.Context(), "N", "N.c.>", func(cluster.Entry) { found++ })
		if err == nil && (found != acknowledged || count != acknowledged) {
			err = fmt.Errorf("%d of %d, the count is %d", found, acknowledged, count)
		}
		return err
	})
}

// With two of three stores gone no write is acknowledged, and none is refused for another: the one that goes on waiting is one's own.
func TestAWriteWithoutMostStoresIsNoConflict(t *testing.T) {
	all := stores(t, 3)
	e := open(t, Config{Servers: urls(all)})
	leader := ensure(t, e, "N")
	led := slices.IndexFunc(all, func(s *store.Server) bool { return s.Name() == leader })
	e = open(t, Config{Servers: []string{"nats://" + all[led].Addr()}})
	tick := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Commit(ctx, "N", []cluster.Write{write("N.tick", "x")}, cluster.Cond{Subject: "N.fence"})
		return err
	}
	await.Nil(t, tick)
	for i, s := range all {
		if i != led {
			s.Kill()
		}
	}
	for i := range 5 {
		switch err := tick(); {
		case err == nil:
			t.Errorf("write %d is acknowledged by one store of three", i)
		case errors.Is(err, cluster.ErrConflict):
			t.Errorf("write %d: %v", i, err)
		}
	}
}

// A server that has lost the others answers pings, and takes no write. The engine leaves it
// for one that does.
func TestAServerThatIsCutOffIsLeft(t *testing.T) {
	three, well := stores(t, 3), stores(t, 1)
	ensure(t, open(t, Config{Servers: urls(well)}), "CUT")
	leader := ensure(t, open(t, Config{Servers: urls(three)}), "CUT")
	led := slices.IndexFunc(three, func(s *store.Server) bool { return s.Name() == leader })
	cut := three[led]
	var e *Engine
	await.Nil(t, func() (err error) { // which server is asked first is chance
		if e = open(t, Config{Servers: append(urls([]*store.Server{cut}), urls(well)...)}); e.Connected() != cut.Name() {
			err = errors.New("it is connected with " + e.Connected())
		}
		return err
	})
	for _, s := range slices.Delete(three, led, led+1) {
		s.Kill()
	}
	await.Nil(t, func() error {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err := e.Commit(ctx, "CUT", []cluster.Write{write("CUT.a", "x")}, cluster.Cond{Subject: "CUT.fence"})
		return err
	})
	if e.Connected() != well[0].Name() {
		t.Errorf("it is connected with %q", e.Connected())
	}
}

// A node's own stream is led by a server that is not on its machine.
func TestTheLeaderOfAnOwnStreamIsElsewhere(t *testing.T) {
	all := stores(t, 3)
	here := ""
	e := open(t, Config{Servers: urls(all), Local: func(server string) bool { return server == here }})
	own := cluster.Stream{Name: "N", Subjects: []string{"N.>"}, Own: true}
	await.Nil(t, func() error { return e.Ensure(t.Context(), own) })
	info, err := e.info(t.Context(), "N", nil)
	if err != nil {
		t.Fatal(err)
	}
	here = info.Cluster.Leader
	await.Nil(t, func() error {
		if err := e.Ensure(t.Context(), own); err != nil {
			return err
		}
		info, err := e.info(t.Context(), "N", nil)
		if err == nil && (info.Cluster.Leader == here || info.Cluster.Leader == "") {
			err = fmt.Errorf("it is led by %q", info.Cluster.Leader)
		}
		return err
	})
}

// Nodes that start at once on new stores make the same streams.
func TestNodesMakeTheSameStreamsAtOnce(t *testing.T) {
	all := stores(t, 3)
	var engines []*Engine
	for range 3 {
		engines = append(engines, open(t, Config{Servers: urls(all)}))
	}
	for i := range 5 {
		name := fmt.Sprint("S", i)
		var wg sync.WaitGroup
		began := time.Now()
		for _, e := range engines {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := e.Ensure(ctx, cluster.Stream{Name: name, Subjects: []string{name + ".>"}}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		t.Logf("%s took %v", name, time.Since(began))
	}
}

func TestReplicasCanBeRaised(t *testing.T) {
	e := open(t, Config{Servers: urls(stores(t, 3))})
	s := cluster.Stream{Name: "N", Subjects: []string{"N.>"}, Replicas: 1}
	await.Nil(t, func() error { return e.Ensure(t.Context(), s) })
	s.Replicas = 3
	await.Nil(t, func() error { return e.Ensure(t.Context(), s) })
	await.Nil(t, func() error {
		info, err := e.info(t.Context(), "N", nil)
		if err == nil && info.Config.Replicas != 3 {
			err = fmt.Errorf("%d replicas", info.Config.Replicas)
		}
		return err
	})
}

func TestCredentials(t *testing.T) {
	s := start(t, store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir(), User: "node", Password: "s3cret"})
	file := filepath.Join(t.TempDir(), "creds")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("node:wrong\n")
	e, err := New(Config{Servers: []string{"nats://" + s.Addr()}, Credentials: file}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	put("node:s3cret\n") // mended while the engine goes on trying
	await.Nil(t, func() error {
		if e.Connected() == "" {
			return ErrAway
		}
		return nil
	})
	for _, text := range []string{"", "node", "# node:s3cret"} {
		put(text)
		if _, err := New(Config{Servers: []string{"nats://" + s.Addr()}, Credentials: file}, quiet()); err == nil ||
			!strings.HasPrefix(err.Error(), "cluster.credentials: ") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A store that is away for long does not fill the log: servers are tried four times a second.
func TestEachReasonIsLoggedOnce(t *testing.T) {
	var text strings.Builder
	e := &Engine{log: slog.New(slog.NewTextHandler(&text, nil)), said: map[string]bool{}, ctx: t.Context()}
	for i := range 90 {
		e.lost(fmt.Errorf("dial tcp 10.0.0.%d:4222: connection refused", 5+i%3))
	}
	if n := strings.Count(text.String(), "trying on"); n != 3 {
		t.Errorf("%d lines:\n%s", n, &text)
	}
	for i := range 90 { // such as the port of the connection that broke
		e.lost(fmt.Errorf("read from port %d: reset", i))
	}
	if n := strings.Count(text.String(), "trying on"); n != mostSaid {
		t.Errorf("%d lines", n)
	}
}

func TestCloseEndsAllGoroutines(t *testing.T) {
	s := start(t, store.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	before := goleak.IgnoreCurrent()
	e := open(t, Config{Servers: []string{"nats://" + s.Addr()}, Local: func(string) bool { return false }})
	called := make(chan struct{})
	var after bool
	e.Watch("x", func(string, []byte) { close(called) })
	e.Answer("y", func([]byte, func([]byte)) { after = true })
	await.Nil(t, func() error { return e.Tell("x", nil) })
	<-called
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Put("N", "N.a", []byte("x")); !errors.Is(err, ErrAway) {
		t.Errorf("put after close: %v", err)
	}
	if after {
		t.Error("a question came that nobody asked")
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*client).readLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*client).writeLoop"))
}

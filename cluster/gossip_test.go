package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
)

// prepared starts nodes with what is to be said before they run.
func prepared(t *testing.T, names string, prepare func(n *node), f func(t *testing.T, r *rig)) {
	t.Helper()
	in(t, "", func(t *testing.T, r *rig) {
		for _, name := range strings.Fields(names) {
			r.prepare(name, prepare)
		}
		r.settle()
		f(t, r)
	})
}

func TestCountsOfOthersAreAdded(t *testing.T) {
	tables := map[string]*cluster.Counts{}
	prepared(t, "a b c", func(n *node) { tables[n.name] = n.Counts("users") }, func(t *testing.T, r *rig) {
		tables["a"].Set("alice", 3)
		tables["b"].Set("alice", 4)
		tables["b"].Set("bob", 1)
		tables["b"].Set(strings.Repeat("x", 300), 1)
		time.Sleep(2 * time.Second)
		wantOthers := func(table, name string, want int64) {
			t.Helper()
			if got := tables[table].Others(name); got != want {
				t.Errorf("%s: %s has %d, want %d", table, name, got, want)
			}
		}
		wantOthers("a", "alice", 4)
		wantOthers("b", "alice", 3)
		wantOthers("c", "alice", 7)
		wantOthers("c", "bob", 1)
		tables["b"].Set("bob", 0)
		time.Sleep(2 * time.Second)
		wantOthers("c", "bob", 0)

		// What is lost is told again.
		r.get("c").e.Deaf(true)
		tables["a"].Set("alice", 5)
		tables["a"].Set("carol", 1)
		time.Sleep(3 * time.Second)
		wantOthers("c", "alice", 7)
		r.get("c").e.Deaf(false)
		time.Sleep(11 * time.Second)
		wantOthers("c", "alice", 9)
		wantOthers("c", "carol", 1)

		// A node that is new hears all within a second or two.
		tables["b"].Set("dave", 2)
		time.Sleep(2 * time.Second)
		r.prepare("d", func(n *node) { tables["d"] = n.Counts("users") })
		<-r.get("d").Joined()
		time.Sleep(3 * time.Second)
		wantOthers("d", "dave", 2)
		wantOthers("d", "alice", 9)

		// The counts of a dead node go with its fence, those of one that ends as it does.
		r.get("b").kill()
		time.Sleep(7 * time.Second)
		wantOthers("c", "alice", 5)
		wantOthers("c", "dave", 0)
		r.get("a").stop()
		time.Sleep(time.Second)
		wantOthers("c", "alice", 0)
	})
}

func TestCountsAreBounded(t *testing.T) {
	tables := map[string]*cluster.Counts{}
	prepared(t, "a b", func(n *node) { tables[n.name] = n.Counts("users") }, func(t *testing.T, r *rig) {
		for i := range 20_000 {
			tables["a"].Set(fmt.Sprint("user", i), int64(i+1))
		}
		time.Sleep(12 * time.Second)
		known := 0
		for i := range 20_000 {
			if got := tables["b"].Others(fmt.Sprint("user", i)); got == int64(i+1) {
				known++
			} else if got != 0 {
				t.Fatalf("user %d has %d", i, got)
			}
		}
		if known != 16_384 {
			t.Errorf("%d are known", known)
		}
	})
}

func TestFailuresAreToldAtOnce(t *testing.T) {
	var mu sync.Mutex
	heard := map[string][]string{}
	hear := func(n *node) {
		n.Hear("wrong", func(from string, data []byte) {
			mu.Lock()
			defer mu.Unlock()
			heard[n.name] = append(heard[n.name], from+" "+string(data))
		})
	}
	prepared(t, "a b c", hear, func(t *testing.T, r *rig) {
		began := time.Now()
		r.get("a").Tell("wrong", []byte("10.0.0.1"))
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if len(heard["a"]) != 0 || len(heard["b"]) != 1 || heard["c"][0] != "a 10.0.0.1" || time.Since(began) > time.Second {
			t.Errorf("heard %v", heard)
		}
	})
}

func TestQuestions(t *testing.T) {
	answer := func(n *node) {
		n.Answer("echo", func(_ context.Context, data []byte) ([]byte, error) { return append([]byte(n.name+" "), data...), nil })
		n.Answer("fail", func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no such call") })
		n.Answer("slow", func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
	}
	prepared(t, "a b", answer, func(t *testing.T, r *rig) {
		a := r.get("a")
		if out, err := a.Ask(t.Context(), "b", "echo", []byte("x")); err != nil || string(out) != "b x" {
			t.Errorf("%q, %v", out, err)
		}
		failed := (*cluster.AskError)(nil)
		if _, err := a.Ask(t.Context(), "b", "fail", nil); !errors.As(err, &failed) || failed.Text != "no such call" || failed.Node != "b" {
			t.Errorf("error %v", err)
		}
		if _, err := a.Ask(t.Context(), "b", "none", nil); !errors.As(err, &failed) || !strings.Contains(failed.Text, `"none"`) {
			t.Errorf("error %v", err)
		}
		_, err := a.Ask(t.Context(), "z", "echo", nil)
		wants(t, err, cluster.ErrNobody)

		// Without a time limit a question has four seconds, with one as long as that says.
		for _, limit := range []time.Duration{0, 25 * time.Second, time.Second} {
			ctx := t.Context()
			if limit > 0 {
				with, cancel := context.WithTimeout(ctx, limit)
				defer cancel()
				ctx = with
			}
			began := time.Now()
			_, err = a.Ask(ctx, "b", "slow", nil)
			if want := max(limit, map[bool]time.Duration{true: 4 * time.Second}[limit == 0]); err == nil ||
				time.Since(began).Round(time.Millisecond) != want {
				t.Errorf("after %v, not %v: %v", time.Since(began), want, err)
			}
		}

		// Beyond 256 questions at once a node is busy.
		synctest.Wait() // the last one has given its place back
		busy, slow := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				_, err := a.Ask(t.Context(), "b", "slow", nil)
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, cluster.ErrBusy) {
					busy++
				} else {
					slow++
				}
			})
		}
		wg.Wait()
		if busy != 44 || slow != 256 {
			t.Errorf("%d busy, %d slow", busy, slow)
		}
		asks := a.Stats().Asks
		if asks[cluster.AskKey{Op: "echo", Result: "ok"}] != 1 || asks[cluster.AskKey{Op: "slow", Result: "busy"}] != 44 ||
			asks[cluster.AskKey{Op: "other", Result: "error"}] != 1 {
			t.Errorf("asks %v", asks)
		}
		r.get("b").kill()
		_, err = a.Ask(t.Context(), "b", "echo", nil)
		wants(t, err, cluster.ErrNobody)
	})
}

// All nodes sign with one secret, and verify with the one before, too.
func TestSecretsAreShared(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		same := func(a, b []byte) bool { return string(a) == string(b) && len(a) == 32 }
		a, b := r.get("a").Secrets(), r.get("b").Secrets()
		if len(a) != 1 || !same(a[0], b[0]) {
			t.Fatalf("%d and %d secrets, or others", len(a), len(b))
		}
		r.store.Lose("sipxrest_NODES")
		time.Sleep(10 * time.Second)
		if c := r.start("c"); c != nil {
			<-c.Joined()
			time.Sleep(time.Second)
			if got := c.Secrets(); !same(got[0], a[0]) {
				t.Error("after the store has lost it there is another secret")
			}
		}
	})
}

// Whose files differ from ours for more than a minute is counted.
func TestFilesAreCompared(t *testing.T) {
	in(t, "", func(t *testing.T, r *rig) {
		var mu sync.Mutex
		files := "1"
		for _, name := range []string{"a", "b", "c"} {
			r.start(name, func(c *cluster.Config) {
				c.Files = func() string {
					mu.Lock()
					defer mu.Unlock()
					return map[bool]string{true: files, false: "1"}[name == "b"]
				}
			})
		}
		r.settle()
		set := func(to string, wait time.Duration, want int) {
			t.Helper()
			mu.Lock()
			files = to
			mu.Unlock()
			time.Sleep(wait)
			if got := r.get("a").Stats().Differs; got != want {
				t.Errorf("%d differ, want %d", got, want)
			}
		}
		set("2", 30*time.Second, 0)
		set("2", 35*time.Second, 1)
		set("1", 5*time.Second, 0)
	})
}

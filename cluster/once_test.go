package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sipxrest/cluster"
)

func TestANameIsTakenOnce(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		once := func(n *node, name, value string) string {
			t.Helper()
			old, err := n.Once(t.Context(), "key", name, []byte(value), time.Hour)
			if err != nil {
				t.Errorf("%s: %v", value, err)
			}
			return string(old)
		}
		if old := once(a, "user:201\x00one", "of a"); old != "" {
			t.Errorf("a new name has %q", old)
		}
		if old := once(a, "user:201\x00one", "of a"); old != "" {
			t.Errorf("its own value is another's: %q", old)
		}
		if old := once(b, "user:201\x00one", "of b"); old != "of a" {
			t.Errorf("it has %q", old)
		}
		if err := b.Unonce(t.Context(), "key", "user:201\x00one", []byte("of b")); !errors.Is(err, cluster.ErrConflict) {
			t.Errorf("another's value is taken away: %v", err)
		}
		if err := a.Unonce(t.Context(), "key", "user:201\x00one", []byte("of a")); err != nil {
			t.Error(err)
		}
		if old := once(b, "user:201\x00one", "of b"); old != "" {
			t.Errorf("a free name has %q", old)
		}
		if old := once(b, "another", "x"); old != "" {
			t.Errorf("another name has %q", old)
		}
		if err := a.Unonce(t.Context(), "key", "nobody's", []byte("x")); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		if old := once(a, "user:201\x00one", "of a"); old != "" {
			t.Errorf("after its time it has %q", old)
		}
	})
}

// However many nodes want a name at once, and whatever becomes of answers, one has it.
func TestOneOfManyHasAName(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		unknown := 0
		for i := range 30 {
			for _, n := range r.nodes {
				n.e.LoseAnswers(0.3, 0)
			}
			var mu sync.Mutex
			var won, lost []string
			var wg sync.WaitGroup
			for _, n := range r.nodes {
				wg.Go(func() {
					ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
					defer stop()
					old, err := n.Once(ctx, "key", fmt.Sprint(i), []byte(n.name), time.Hour)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil: // nobody knows
						unknown++
					case old == nil:
						won = append(won, n.name)
					default:
						lost = append(lost, string(old))
					}
				})
			}
			wg.Wait()
			if len(won) > 1 {
				t.Errorf("%v have name %d", won, i)
			}
			for _, winner := range lost {
				if len(won) == 1 && winner != won[0] {
					t.Errorf("name %d is %s's, and %s has it", i, won[0], winner)
				}
			}
		}
		if unknown > 45 {
			t.Errorf("of 90 times it is unknown %d times whether a name is taken", unknown)
		}
	})
}

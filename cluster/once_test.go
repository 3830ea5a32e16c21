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

// However many nodes want a name at once, and whichever answer gets lost, one has it. Only a node that is not told what
// is there does not know who.
func TestOneOfManyHasAName(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		// The number of the message that asks what is there, if the first one is not enough.
		const look = 2
		// It makes the stream.
		if _, err := r.get("a").Once(t.Context(), "key", "first", []byte("a"), time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // between two renewals: no other messages are under way
		for i := range 27 {
			lost := [3]int{i % 3, i / 3 % 3, i / 9} // of each node one answer gets lost, or none
			var mu sync.Mutex
			var won, unknown []string
			has := map[string]string{}
			var wg sync.WaitGroup
			for at, n := range r.nodes {
				n.e.LoseAnswer(lost[at])
				wg.Go(func() {
					ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
					defer stop()
					old, err := n.Once(ctx, "key", fmt.Sprint(i), []byte(n.name), time.Hour)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						unknown = append(unknown, n.name)
						if lost[at] != look {
							t.Errorf("answers %v get lost, and %s does not know of name %d: %v", lost, n.name, i, err)
						}
					case old == nil:
						won = append(won, n.name)
					default:
						has[n.name] = string(old)
					}
				})
			}
			wg.Wait()
			for _, n := range r.nodes {
				n.e.LoseAnswer(0)
			}
			if len(won) != 1 { // who has it needs one answer, that to its write or that to its look
				t.Errorf("answers %v get lost: %v have name %d, %v do not know", lost, won, i, unknown)
				continue
			}
			for n, winner := range has {
				if winner != won[0] {
					t.Errorf("answers %v get lost: %s has name %d, and %s is told that %s has", lost, won[0], i, n, winner)
				}
			}
		}
	})
}

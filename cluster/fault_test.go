package cluster_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/fakeengine"
)

// fences are those that were stored, by whom; and no tick of a fenced incarnation is stored after its fence (S2).
func (r *rig) fences() (by []string) {
	r.t.Helper()
	fenced := map[string]bool{}
	for _, c := range r.store.Commits() {
		if prefix, is := strings.CutSuffix(c.Subject, ".fence"); is {
			fenced[prefix] = true
			by = append(by, c.Node)
		} else if prefix, is := strings.CutSuffix(c.Subject, ".tick"); is && fenced[prefix] {
			r.t.Errorf("a tick is stored after its fence: %s", c.Subject)
		}
	}
	return by
}

// A node that is cut off loses its calls to the others, and forgets them when it hears of that.
func TestANodeThatIsCutOffIsFencedAndForgets(t *testing.T) {
	for _, c := range []struct {
		name    string
		out, in bool
	}{{"both ways", true, true}, {"what it sends is lost", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			in(t, "a b c", func(t *testing.T, r *rig) {
				r.store.Record()
				a := r.get("a")
				ids := a.places("x", 50)
				before := a.Incarnation()
				a.e.Cut(c.out, c.in)
				time.Sleep(4 * time.Second)
				if a.Holds() {
					t.Error("the lease holds after 4 s")
				}
				wants(t, a.claim("K", "call_new"), cluster.ErrNotOwner)
				if len(a.calls()) != 50 {
					t.Errorf("it has %d calls", len(a.calls()))
				}
				time.Sleep(6 * time.Second)
				if got := len(r.get("b").adopted()) + len(r.get("c").adopted()); got != 50 {
					t.Errorf("%d are taken over", got)
				}
				a.Keep(ids[0], state(0, "what a zombie writes"))
				a.e.Cut(false, false)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if a.forgets != 1 || a.Incarnation() == before || !a.Holds() {
					t.Errorf("%d times forgotten, %s before and %s now", a.forgets, before, a.Incarnation())
				}
				at := r.owners(ids)
				if at[ids[0]] == "a" {
					t.Error("a has its call still")
				}
				a.place("K", "call_new")
				if got := r.fences(); len(got) != 1 {
					t.Errorf("fenced by %v", got)
				}
				if got := r.streams(); len(got) != 3 {
					t.Errorf("streams %v", got)
				}
				if s := a.Stats(); s.Forgotten != 1 || s.Nodes["live"] != 3 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// A node that hears nothing, and is heard, is in limbo; nobody takes its calls.
func TestANodeThatHearsNothingKeepsItsCalls(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		r.store.Record()
		a := r.get("a")
		ids := a.places("x", 50)
		a.e.Cut(false, true)
		time.Sleep(20 * time.Second)
		if a.Holds() {
			t.Error("the lease holds")
		}
		a.Keep(ids[0], state(0, "newest"))
		a.e.Cut(false, false)
		time.Sleep(3 * time.Second)
		if a.forgets != 0 || !a.Holds() || len(r.fences()) != 0 {
			t.Errorf("forgotten %d times, fences %v", a.forgets, r.fences())
		}
		if at := r.owners(ids); at[ids[0]] != "a" {
			t.Errorf("owners %v", at)
		}
		if got, _, err := r.get("b").State(t.Context(), a.find("key "+ids[0])); err != nil || string(got) != string(state(0, "newest")) {
			t.Errorf("state %q, %v", got, err)
		}
	})
}

// A watcher that does not hear a node, though that renews its lease, asks the store before it fences it.
func TestADeafWatcherFencesNobody(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		r.store.Record()
		a := r.get("a")
		a.places("x", 5)
		r.get("b").e.Deaf(true)
		time.Sleep(30 * time.Second)
		if got := r.fences(); len(got) != 0 || a.forgets != 0 {
			t.Errorf("fenced by %v", got)
		}
	})
}

// The store is away for 19 s: nobody is fenced, all calls go on, and what has changed meanwhile is written then.
func TestNobodyIsFencedWhileTheStoreIsAway(t *testing.T) {
	for name, away := range map[string]func(r *rig, on bool){
		"stopped":  func(r *rig, on bool) { r.store.Away(on) },
		"election": func(r *rig, on bool) { r.store.Elect(map[bool]time.Duration{true: 19 * time.Second}[on]) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, "a b c", func(t *testing.T, r *rig) {
				r.store.Record()
				a, b := r.get("a"), r.get("b")
				ids := append(a.places("x", 50), b.places("y", 50)...)
				away(r, true)
				began := time.Now()
				<-a.Keep(ids[0], state(0, "while it was away"))
				if took := time.Since(began); took < 4*time.Second || took > 7*time.Second {
					t.Errorf("who waits for a state went on after %v", took)
				}
				a.drop(ids[1], "record")
				time.Sleep(19*time.Second - time.Since(began))
				for _, n := range r.nodes {
					if n.Holds() {
						t.Errorf("%s holds its lease", n.name)
					}
				}
				away(r, false)
				time.Sleep(4 * time.Second)
				if got := r.fences(); len(got) != 0 {
					t.Errorf("fenced by %v", got)
				}
				for _, n := range r.nodes {
					if !n.Holds() || n.forgets > 0 {
						t.Errorf("%s: holds %v, forgotten %d times", n.name, n.Holds(), n.forgets)
					}
				}
				if got := b.find("key " + ids[1]); got.Live || string(got.Record) != "record" {
					t.Errorf("found %+v", got)
				}
				a.kill() // and then it is protected as before
				time.Sleep(10 * time.Second)
				at := r.owners(append([]string{ids[0]}, ids[2:]...))
				if got := r.get(at[ids[0]]).has[ids[0]]; got != string(state(0, "while it was away")) {
					t.Errorf("state %q", got)
				}
			})
		})
	}
}

// Whatever the store loses, each node writes its calls again.
func TestAStoreThatHasLostDataGetsItAgain(t *testing.T) {
	for name, lose := range map[string]func(s *fakeengine.Store){
		"everything":   func(s *fakeengine.Store) { s.Lose("") },
		"keys":         func(s *fakeengine.Store) { s.Lose("sipxrest_KEYS") },
		"nodes":        func(s *fakeengine.Store) { s.Lose("sipxrest_NODES") },
		"calls":        func(s *fakeengine.Store) { s.Lose("sipxrest_N_") },
		"a's calls":    func(s *fakeengine.Store) { s.Lose("sipxrest_N_a_") },
		"the last 100": func(s *fakeengine.Store) { s.Rewind("sipxrest_N_a_", 100) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, "a b c", func(t *testing.T, r *rig) {
				r.store.Record()
				a, b := r.get("a"), r.get("b")
				numbers := map[string]int{}
				for _, n := range r.nodes {
					numbers[n.name] = n.Number()
				}
				ids := append(a.places("x", 1200), b.places("y", 20)...)
				lose(r.store)
				time.Sleep(15 * time.Second)
				if got := r.fences(); len(got) != 0 {
					t.Errorf("fenced by %v", got)
				}
				r.owners(ids)
				for _, n := range r.nodes {
					if n.forgets > 0 || !n.Holds() || n.Number() != numbers[n.name] || n.Number() == 0 {
						t.Errorf("%s: forgotten %d times, holds %v, number %d", n.name, n.forgets, n.Holds(), n.Number())
					}
				}
				if err := b.claim("key "+ids[0], "call_other"); !errors.As(err, new(*cluster.HeldError)) {
					t.Errorf("a key was claimed that a call has: %v", err)
				}
				a.kill()
				time.Sleep(12 * time.Second)
				r.owners(ids)
			})
		})
	}
}

// Messages without an answer are lost, and answers: in the end the store has the newest state of each call, and no other.
func TestLostMessagesAreWrittenAgain(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a := r.get("a")
		ids := a.places("x", 200)
		a.e.LoseAnswers(.05, .01)
		for round := range 20 {
			for i, id := range ids {
				if i%3 == round%3 {
					a.Keep(id, state(0, strings.Repeat("x", round)))
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		for _, id := range ids[100:] {
			a.drop(id, "")
		}
		a.e.LoseAnswers(0, 0)
		a.flushed()
		s := a.Stats()
		if s.TickFailures["gap"] == 0 || s.TickFailures["error"] == 0 {
			t.Errorf("failures %v", s.TickFailures)
		}
		stored := r.store.Entries("sipxrest_N_a_" + a.Incarnation())
		calls := 0
		for subject := range stored {
			if strings.Contains(subject, ".s.") {
				calls++
			}
		}
		if calls != 100 {
			t.Errorf("%d states are stored", calls)
		}
		for i, id := range ids[:100] {
			want := string(state(0, strings.Repeat("x", 18+i%3))) // the last round of its third
			if i%3 == 2 {
				want = string(state(0, strings.Repeat("x", 17)))
			}
			got, _, err := a.State(t.Context(), a.find("key "+id))
			if err != nil || string(got) != want {
				t.Fatalf("%s: state %q, want %q; %v", id, got, want, err)
			}
		}
		if a.forgets > 0 {
			t.Error("it has forgotten")
		}
	})
}

// An heir that dies in the middle has its part done by the others, and nothing twice.
func TestAnHeirDiesInTheMiddle(t *testing.T) {
	in(t, "", func(t *testing.T, r *rig) {
		for _, name := range []string{"a", "b", "c", "d"} {
			r.start(name, func(c *cluster.Config) { c.TakeoverRate = 50 })
		}
		r.settle()
		r.store.Record()
		a, b := r.get("a"), r.get("b")
		ids := a.places("x", 600)
		a.kill()
		for len(b.adopted()) < 50 {
			time.Sleep(10 * time.Millisecond)
		}
		b.kill()
		time.Sleep(30 * time.Second)
		r.owners(ids)
		if got := r.fences(); len(got) != 2 {
			t.Errorf("fenced by %v", got)
		}
		if got := r.streams(); len(got) != 2 {
			t.Errorf("streams %v", got)
		}
		times := map[string]int{} // each was adopted once by those who live, and by b those that it had first
		for _, n := range []*node{r.get("c"), r.get("d")} {
			for _, taken := range n.adopted() {
				times[taken.ID]++
				if want := map[string]uint32{"a": 1, "b": 2}[taken.From]; taken.Epoch != want {
					t.Errorf("%s taken from %s has epoch %d", taken.ID, taken.From, taken.Epoch)
				}
			}
		}
		for _, id := range ids {
			if times[id] != 1 {
				t.Errorf("%s was adopted %d times", id, times[id])
			}
		}
	})
}

// Sweeps that miss what is there are repeated until the store itself says that nothing is left.
func TestASweepThatMissesCallsIsRepeated(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		ids := r.get("a").places("x", 500)
		r.store.Miss(.5)
		r.get("a").kill()
		time.Sleep(20 * time.Second)
		r.store.Miss(0)
		time.Sleep(5 * time.Second)
		r.owners(ids)
		if got := r.streams(); len(got) != 2 {
			t.Errorf("streams %v", got)
		}
	})
}

// Of nine watchers that find a node silent at once one has its fence stored.
func TestManyWatchersAtOnceMakeOneFence(t *testing.T) {
	in(t, "a b c d e f g h i j", func(t *testing.T, r *rig) {
		r.store.Record()
		ids := r.get("a").places("x", 90)
		r.get("a").kill()
		time.Sleep(10 * time.Second)
		if got := r.fences(); len(got) != 1 {
			t.Errorf("fenced by %v", got)
		}
		r.owners(ids)
	})
}

// The store is split: the nodes at the smaller side go into limbo, and fence nobody.
func TestNodesOnTheSmallerSideFenceNobody(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		r.store.Record()
		ids := append(r.get("a").places("x", 30), r.get("b").places("y", 30)...)
		r.get("a").e.Cut(true, true)
		r.get("b").e.Cut(true, true)
		time.Sleep(15 * time.Second)
		r.get("a").e.Cut(false, false)
		r.get("b").e.Cut(false, false)
		time.Sleep(10 * time.Second)
		if got := r.fences(); len(got) != 2 || got[0] != "c" || got[1] != "c" {
			t.Errorf("fenced by %v", got)
		}
		for id, at := range r.owners(ids) {
			if at != "c" {
				t.Errorf("%s is at %s", id, at)
			}
		}
	})
}

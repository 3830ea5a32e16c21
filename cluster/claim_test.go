package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"sipxrest/cluster"
)

// find looks a key up at a node.
func (n *node) find(key string) cluster.Place {
	n.t.Helper()
	p, err := n.Find(n.t.Context(), key)
	if err != nil {
		n.t.Errorf("node %s: key %s: %v", n.name, key, err)
	}
	return p
}

// flushed waits until everything is committed.
func (n *node) flushed() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Flushed(ctx); err != nil {
		n.t.Errorf("node %s: %v", n.name, err)
	}
}

func TestOneCallHasAKey(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		a.place("K", "call_1")
		err := b.claim("K", "call_2")
		held := (*cluster.HeldError)(nil)
		if !errors.As(err, &held) || held.Node != "a" || held.ID != "call_1" || held.Key != "K" {
			t.Fatalf("second claim: %v", err)
		}
		if got := b.find("K"); got.Node != "a" || got.ID != "call_1" || !got.Live || got.Mine || got.Incarnation != a.Incarnation() {
			t.Errorf("found %+v", got)
		}
		a.drop("call_1", "the record")
		a.flushed()
		if got := b.find("K"); got.Live || string(got.Record) != "the record" || got.ID != "call_1" {
			t.Errorf("found %+v", got)
		}
		a.Drop("call_1", []byte("a newer one"), time.Hour)
		a.flushed()
		if got := b.find("K"); string(got.Record) != "a newer one" {
			t.Errorf("found %+v", got)
		}
		b.place("K", "call_3")
		if got := a.find("K"); got.Node != "b" || got.ID != "call_3" || !got.Live {
			t.Errorf("found %+v", got)
		}
		// The refused claim has left nothing that anybody would take over.
		b.flushed()
		for _, s := range r.streams() {
			for subject := range r.store.Entries(s) {
				if strings.Contains(subject, "call_2") || strings.Contains(subject, "call_1") {
					t.Errorf("%s has %s", s, subject)
				}
			}
		}
		time.Sleep(2 * time.Hour)
		if _, err := b.FindID(t.Context(), "call_1"); !errors.Is(err, cluster.ErrNone) {
			t.Errorf("two hours later: %v", err)
		}
	})
}

// Of two claims at the same moment at two nodes one wins, whichever.
func TestTwoNodesClaimOneKeyAtOnce(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		for i := range 50 {
			key := "K" + string(rune('0'+i))
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for k, n := range r.nodes {
				wg.Go(func() { errs[k] = n.claim(key, "call_"+n.name+key[1:]) })
			}
			wg.Wait()
			held := (*cluster.HeldError)(nil)
			switch {
			case errs[0] == nil && errors.As(errs[1], &held) && held.Node == "a":
			case errs[1] == nil && errors.As(errs[0], &held) && held.Node == "b":
			default:
				t.Fatalf("%v", errs)
			}
		}
	})
}

// A claim that is refused does not fail the others of its batch.
func TestAConflictFailsNoOtherClaim(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		a.place("key call_x7", "call_a")
		errs := make([]error, 20)
		var wg sync.WaitGroup
		for i := range errs {
			id := "call_x" + string(rune('0'+i))
			wg.Go(func() { errs[i] = b.claim("key "+id, id) })
		}
		wg.Wait()
		for i, err := range errs {
			if held := (*cluster.HeldError)(nil); errors.As(err, &held) != (i == 7) || i != 7 && err != nil {
				t.Errorf("claim %d: %v", i, err)
			}
		}
	})
}

// A call that replaces another of the same node takes its key.
func TestAKeyGoesToTheNewerCallOfANode(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		a.place("K", "call_1")
		a.place("K", "call_2")
		a.drop("call_1", "one")
		a.flushed()
		if got := b.find("K"); got.ID != "call_2" || !got.Live {
			t.Errorf("found %+v", got)
		}
		a.drop("call_2", "two")
		a.flushed()
		if got := b.find("K"); got.ID != "call_2" || got.Live || string(got.Record) != "two" {
			t.Errorf("found %+v", got)
		}
	})
}

// After transfers a call is found by its last keys, and by its id.
func TestAMovedCallIsFoundByItsKeys(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		a.place("K0", "call_1")
		for i := range 7 {
			from, to := "K"+string(rune('0'+i)), "K"+string(rune('1'+i))
			a.Move("call_1", from, to, state(cluster.ClassTalking, to))
			a.flushed()
		}
		for i := range 8 {
			got := b.find("K" + string(rune('0'+i)))
			if got.ID != "call_1" || got.Live != (i >= 3) {
				t.Errorf("K%d: %+v", i, got)
			}
		}
		if p, err := b.FindID(t.Context(), "call_1"); err != nil || p.Key != "K7" || !p.Live {
			t.Errorf("found %+v, %v", p, err)
		}
		if got, _, err := b.State(t.Context(), b.find("K7")); err != nil || string(got) != string(state(cluster.ClassTalking, "K7")) {
			t.Errorf("state %q, %v", got, err)
		}
		a.kill()
		time.Sleep(10 * time.Second)
		if got := b.find("K5"); !got.Mine || !got.Live {
			t.Errorf("found %+v", got)
		}
		b.drop("call_1", "r")
		b.flushed()
		if got := b.find("K5"); got.Live || string(got.Record) != "r" {
			t.Errorf("found %+v", got)
		}
	})
}

func TestClaimsAreRefusedWithoutTheStore(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a := r.get("a")
		r.store.Away(true)
		began := time.Now()
		wants(t, a.claim("K", "call_1"), cluster.ErrNotOwner) // the lease still holds: it is tried
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("refused after %v", took)
		}
		if a.Holds() {
			t.Error("the lease holds")
		}
		began = time.Now()
		wants(t, a.claim("K", "call_2"), cluster.ErrNotOwner)
		if took := time.Since(began); took > 0 {
			t.Errorf("refused after %v", took)
		}
		r.store.Away(false)
		time.Sleep(3 * time.Second)
		a.place("K", "call_3") // what was refused does not hold the key
		if err := r.get("b").claim("K", "call_4"); !errors.As(err, new(*cluster.HeldError)) {
			t.Errorf("claim of what a has: %v", err)
		}
		if got := a.find("K"); got.ID != "call_3" {
			t.Errorf("found %+v", got)
		}
	})
}

// With without-store: serve calls are placed, and protected once the store is back.
func TestCallsAreTakenWithoutTheStoreWhereThatIsWished(t *testing.T) {
	in(t, "b", func(t *testing.T, r *rig) {
		a := r.start("a", func(c *cluster.Config) { c.WithoutStore = cluster.StoreServe })
		if !a.Holds() {
			t.Error("it serves not before it has joined")
		}
		r.settle()
		r.store.Away(true)
		time.Sleep(10 * time.Second)
		if !a.Holds() || a.Stats().Holds {
			t.Error("it should serve, and the lease has lapsed")
		}
		a.place("K", "call_1")
		a.place("L", "call_2")
		a.drop("call_2", "over")
		r.store.Away(false)
		time.Sleep(5 * time.Second)
		if got := r.get("b").find("K"); got.Node != "a" || got.ID != "call_1" || !got.Live {
			t.Errorf("found %+v", got)
		}
		if got := r.get("b").find("L"); got.Live || string(got.Record) != "over" {
			t.Errorf("found %+v", got)
		}
		a.kill()
		time.Sleep(10 * time.Second)
		r.owners([]string{"call_1"})
	})
}

func TestStatesAreBounded(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a := r.get("a")
		wants(t, a.Claim(t.Context(), "K", "call_1", make([]byte, cluster.MaxState+1)), cluster.ErrTooLarge)
		wants(t, a.Claim(t.Context(), "K", "call_1", nil), cluster.ErrTooLarge)
		a.place("K", "call_1")
		<-a.Keep("call_1", make([]byte, cluster.MaxState+1))
		<-a.Keep("call_2", make([]byte, 1))
		if got, _, err := r.get("b").State(t.Context(), a.find("K")); err != nil || string(got) != string(state(0, "first call_1")) {
			t.Errorf("state %q, %v", got, err)
		}
		a.drop("call_1", strings.Repeat("x", cluster.MaxState+1))
		a.flushed()
		if got := a.find("K"); got.Live || got.Record != nil {
			t.Errorf("found %+v", got)
		}
		if got := a.Stats().TooLarge; got != 4 {
			t.Errorf("%d were too large", got)
		}
	})
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"sipxrest/cluster"
)

// handOver gives a call away, as a switchboard does that drains.
func (n *node) handOver(ctx context.Context, id, text string) (string, error) {
	to, err := n.HandOver(ctx, id, state(cluster.ClassTalking, text))
	if err == nil {
		n.mu.Lock()
		delete(n.has, id)
		n.mu.Unlock()
	}
	return to, err
}

// A rolling restart: all calls of a node that drains are the others' before it ends, and nobody is fenced.
func TestANodeThatDrainsGivesItsCallsAway(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		r.store.Record()
		a := r.get("a")
		ids := a.places("x", 100)
		a.Move(ids[0], "key "+ids[0], "moved", state(0, "moved"))
		a.flushed()
		if err := a.Drain(t.Context()); err != nil || !a.Draining() {
			t.Fatal(err)
		}
		for _, id := range ids {
			to, err := a.handOver(t.Context(), id, "last of "+id)
			if err != nil || to == "a" {
				t.Fatalf("%s to %s: %v", id, to, err)
			}
		}
		a.flushed()
		a.stop()
		time.Sleep(10 * time.Second)
		at := r.owners(ids)
		for _, n := range []*node{r.get("b"), r.get("c")} {
			for _, taken := range n.adopted() {
				if !taken.Moved || taken.From != "a" || taken.Epoch != 1 || string(taken.State) != string(state(0, "last of "+taken.ID)) {
					t.Errorf("taken %+v", taken)
				}
			}
		}
		if got := r.get("b").find("moved"); got.ID != ids[0] || got.Node != at[ids[0]] {
			t.Errorf("found %+v", got)
		}
		if got := r.fences(); len(got) != 0 {
			t.Errorf("fenced by %v", got)
		}
		if got := r.streams(); len(got) != 2 {
			t.Errorf("streams %v", got)
		}
		if got := r.get("b").Members(); len(got) != 2 {
			t.Errorf("members %+v", got)
		}
		again := time.Now() // it starts again at once
		r.start("a")
		<-r.get("a").Joined()
		if took := time.Since(again); took > time.Second {
			t.Errorf("joined after %v", took)
		}
	})
}

func TestACallIsGivenToNobodyWhoDoesNotWantIt(t *testing.T) {
	in(t, "a b", func(t *testing.T, r *rig) {
		a, b := r.get("a"), r.get("b")
		a.place("K", "call_1")
		if _, err := a.handOver(t.Context(), "call_9", "x"); !errors.Is(err, cluster.ErrUnknownCall) {
			t.Errorf("of a call that is not there: %v", err)
		}
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := a.handOver(t.Context(), "call_1", "x"); !errors.Is(err, cluster.ErrNobody) {
			t.Errorf("to a node that drains: %v", err)
		}
		b.stop()
		if _, err := a.handOver(t.Context(), "call_1", "x"); !errors.Is(err, cluster.ErrNobody) {
			t.Errorf("alone: %v", err)
		}
		r.owners([]string{"call_1"})
	})
}

// A hand-over is broken off after each message of the owner, or of the heir: by a cut that heals, by a lost answer, or by the death of
// either. In the end the call has one owner who lives.
func TestAHandOverIsBrokenOffAtEachStep(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(r *rig, victim *node, messages int)
	}{
		{"cut off for 2 s", func(r *rig, n *node, messages int) {
			n.e.CutAfter(messages)
			time.AfterFunc(2*time.Second, func() { n.e.Cut(false, false) })
		}},
		{"cut off for 20 s", func(r *rig, n *node, messages int) {
			n.e.CutAfter(messages)
			time.AfterFunc(20*time.Second, func() { n.e.Cut(false, false) })
		}},
		{"an answer is lost", func(r *rig, n *node, messages int) { n.e.LoseAnswer(messages) }},
		{"dies", func(r *rig, n *node, messages int) { n.e.CutAfter(messages) }},
	} {
		for _, victim := range []string{"a", "b"} {
			for messages := 1; messages <= 8; messages++ {
				t.Run(fmt.Sprintf("%s %s after %d", victim, c.name, messages), func(t *testing.T) {
					in(t, "a b", func(t *testing.T, r *rig) {
						r.store.Record()
						a := r.get("a")
						ids := a.places("x", 3)
						if victim == "a" {
							r.start("c", func(c *cluster.Config) { c.TakeoverRate = -1 })
							r.settle()
						}
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
						defer cancel()
						c.do(r, r.get(victim), messages)
						ended := make(chan error, 1)
						go func() {
							_, err := a.handOver(ctx, ids[0], "last")
							ended <- err
						}()
						if c.name == "dies" {
							time.Sleep(time.Second)
							r.get(victim).kill()
							if victim == "a" {
								cancel()
							}
						}
						err := <-ended
						time.Sleep(40 * time.Second)
						if errors.Is(err, cluster.ErrUnsure) && victim == "b" {
							t.Errorf("unsure after 30 s: %v", err)
						}
						at := r.owners(ids)
						t.Logf("%v: %v", err, at)
						r.fences()
					})
				})
			}
		}
	}
}

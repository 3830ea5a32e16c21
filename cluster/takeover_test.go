package cluster_test

import (
	"testing"
	"time"

	"sipxrest/cluster"
)

func TestCallsOfADeadNodeAreTakenOver(t *testing.T) {
	in(t, "a b c", func(t *testing.T, r *rig) {
		a := r.get("a")
		ids := a.places("x", 1000)
		for _, id := range ids[:10] {
			a.keep(id, "newest "+id)
		}
		died := time.Now()
		a.kill()
		for len(r.get("b").adopted())+len(r.get("c").adopted()) < len(ids) && time.Since(died) < time.Minute {
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(died); took < 4*time.Second || took > 8*time.Second {
			t.Errorf("all were taken over after %v", took)
		}
		time.Sleep(5 * time.Second)
		at := r.owners(ids)
		share := map[string]int{}
		for _, name := range at {
			share[name]++
		}
		if share["b"] < 400 || share["c"] < 400 {
			t.Errorf("shares %v", share)
		}
		for _, n := range r.nodes[1:] {
			for _, taken := range n.adopted() {
				if taken.Epoch != 1 || taken.From != "a" || taken.Key != "key "+taken.ID || taken.Moved {
					t.Fatalf("taken %+v", taken)
				}
			}
		}
		for _, id := range ids[:10] {
			if got := r.get(at[id]).has[id]; got != string(state(cluster.ClassTalking, "newest "+id)) {
				t.Errorf("state of %s is %q", id, got)
			}
		}
		if got := r.streams(); len(got) != 2 {
			t.Errorf("streams %v", got)
		}
	})
}

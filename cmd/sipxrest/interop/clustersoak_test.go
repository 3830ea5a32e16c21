//go:build interop

package interop

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// With CLUSTER_SOAK=SECONDS things go wrong at random for so long: nodes die, stand still and are cut off, stores
// die. No call that was up before is lost, and nothing grows.
func TestClusterSoak(t *testing.T) {
	text := os.Getenv("CLUSTER_SOAK")
	if text == "" {
		t.Skip("CLUSTER_SOAK is not set: `make soak` sets it")
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 {
		t.Fatalf("CLUSTER_SOAK=%s: write seconds", text)
	}
	c, calls := lab.StartCluster(t, lab.ClusterConfig{NodeWires: true}), clusterCalls(t, 60)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	count := map[string]int{}
	for round, end := 0, time.Now().Add(time.Duration(seconds)*time.Second); time.Now().Before(end); round++ {
		i := random.IntN(lab.Nodes)
		n, first := c.Nodes[i], round*calls
		others := []*lab.Node{c.Other(n), c.Other(n, c.Other(n))}
		c.Bridge(n, first, first+calls)
		before := keep(c, first, first+calls)
		began := time.Now()
		kind := []string{"kill", "freeze", "cut", "store"}[random.IntN(4)]
		count[kind]++
		switch kind {
		case "kill":
			n.Crash()
			before.awaitMoved(t, c, began, others...)
			n.Launch()
			n.AwaitReady()
		case "freeze":
			n.Pause()
			before.awaitMoved(t, c, began, others...)
			n.Resume()
		case "cut":
			for _, w := range n.Wires {
				w.Stop()
			}
			before.awaitMoved(t, c, began, others...)
			for _, w := range n.Wires {
				w.Mend()
			}
		case "store":
			s := c.Stores[random.IntN(lab.Nodes)]
			s.Crash()
			places(t, c, n, 1_000_000+round)
			s.Launch()
			s.AwaitServing()
			stillThere(t, c, n, first, first+calls)
		}
		for _, n := range c.Nodes {
			c.Until(n.Name+" is ready", n.Ready)
		}
		if t.Failed() {
			t.Fatalf("round %d, %s at %s", round, kind, n.Name)
		}
		lab.Each(first, first+calls, 80, func(i int) {
			if code := c.Farm.HangUp(fmt.Sprint("a", i)); code != 200 {
				t.Errorf("BYE of a%d: %d", i, code)
			}
		})
		awaitOver(c, first, first+calls)
		c.Until("no state is left", func() bool {
			for _, n := range c.Nodes {
				if n.Metric("sipxrest_cluster_calls") != 0 {
					return false
				}
			}
			return true
		})
	}
	t.Logf("rounds by fault: %v", count)
}

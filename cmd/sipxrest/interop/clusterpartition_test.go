//go:build interop

package interop

import (
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// A node is cut off from the stores, in each way that a network has. It refuses new calls,
// the others take its calls over, and it serves again when the network does.
func TestNodeIsCutOffFromTheStores(t *testing.T) {
	t.Parallel()
	ways := []struct {
		name string
		cut  func(w *lab.Wire)
	}{
		{"connections break", (*lab.Wire).Cut},
		{"what it says gets lost", (*lab.Wire).StopUp},
		{"what it is told gets lost", (*lab.Wire).StopDown},
		{"nothing passes", (*lab.Wire).Stop},
	}
	if !long() {
		ways = ways[:2]
	}
	c, calls := lab.StartCluster(t, lab.ClusterConfig{NodeWires: true}), clusterCalls(t, 40)
	for i, way := range ways {
		c.Run(t, way.name, func(t *testing.T) {
			n := c.Nodes[i%lab.Nodes]
			others := []*lab.Node{c.Nodes[(i+1)%lab.Nodes], c.Nodes[(i+2)%lab.Nodes]}
			first, end := i*calls, (i+1)*calls
			c.Bridge(n, first, end)
			before := keep(c, first, end)
			began := time.Now()
			for _, w := range n.Wires {
				way.cut(w)
			}
			r, header := n.Ask("POST", "/callcontroller/a-none/b-none"+lab.ByInvite, "")
			for r.Code == 200 && time.Since(began) < takeoverLimit { // its lease still lasts
				n.Do("DELETE", "/callcontroller/a-none/b-none"+lab.ByInvite)
				r, header = n.Ask("POST", "/callcontroller/a-none/b-none"+lab.ByInvite, "")
			}
			if r.Code != 503 || header.Get("Retry-After") == "" {
				t.Errorf("POST: %d %s, Retry-After %q", r.Code, r.Body, header.Get("Retry-After"))
			}
			if n.Ready() || !n.Healthy() {
				t.Error("a node without stores is to be healthy, but not ready")
			}
			last := before.awaitMoved(t, c, began, others...)
			t.Logf("the last of %d phones hears of another node after %v", 2*calls, last.Round(10*time.Millisecond))
			for _, w := range n.Wires {
				w.Mend()
			}
			c.Until("it takes calls again", n.Ready)
			usable(t, c, first, end-1)
			c.Bridge(n, 10_000+i, 10_001+i)
			lab.Each(first, end, 80, func(i int) {
				if r := n.Do("DELETE", lab.CallPath(i)+lab.ByInvite); r.Code != 200 {
					t.Errorf("DELETE %s at %s: %d %s", lab.CallPath(i), n.Name, r.Code, r.Body)
				}
			})
			awaitOver(c, first, end)
		})
	}
}

// A slow network is not a broken one: nobody is taken for dead, and calls can be placed.
func TestNodeIsFarFromTheStores(t *testing.T) {
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{NodeWires: true}), clusterCalls(t, 20)
	n := c.Nodes[0]
	for _, w := range n.Wires {
		w.Slow(100 * time.Millisecond)
	}
	c.Bridge(n, 0, calls)
	time.Sleep(takeoverLimit)
	c.Bridge(n, calls, calls+5)
	stillThere(t, c, n, 0, calls+5)
	noFence(t, c)
}

// One store is cut off from the others. Nodes go to those that are a majority.
func TestStoreIsCutOffFromTheOthers(t *testing.T) {
	inMinutes(t)
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{StoreWires: true}), clusterCalls(t, 40)
	for i, n := range c.Nodes {
		c.Bridge(n, i*calls, (i+1)*calls)
	}
	lone := c.Stores[2]
	links := append([]*lab.Wire{}, lone.Wires...)
	for _, s := range c.Stores[:2] {
		links = append(links, s.Wires[len(s.Wires)-1]) // that to the third
	}
	for _, w := range links {
		w.Cut()
	}
	next := 10_000
	check := func() {
		for i, n := range c.Nodes {
			places(t, c, n, next)
			next++
			stillThere(t, c, n, i*calls, (i+1)*calls)
		}
	}
	check()
	for _, w := range links {
		w.Mend()
	}
	check()
	noFence(t, c)
	// The third has been without a leader for so long that all may choose anew. What dies
	// meanwhile is fenced after that.
	c.Until("the stores are as one again", func() bool {
		return c.Stores[0].Current() && c.Stores[1].Current() && c.Stores[2].Current()
	})
	before := keep(c, 0, calls)
	c.Nodes[0].Crash()
	before.awaitMoved(t, c, time.Now(), c.Nodes[1], c.Nodes[2])
}

//go:build interop

package interop

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// uncommitted is what a node says that has waited 5 s for the store.
const uncommitted = `no state was committed`

// stillThere fails the test by calls that are not up at the node where they were placed.
func stillThere(t *testing.T, c *lab.Cluster, at *lab.Node, first, end int) {
	t.Helper()
	for i := first; i < end; i++ {
		if owner := c.Owner(i); owner != at || !c.Talking(i) {
			t.Errorf("call %d: %v; %v", i, c.Farm.View(fmt.Sprint("a", i)), c.Farm.View(fmt.Sprint("b", i)))
		}
	}
}

// usable lets phones of some calls hold and dial.
func usable(t *testing.T, c *lab.Cluster, calls ...int) {
	t.Helper()
	for _, i := range calls {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		for what, code := range map[string]int{"hold": c.Farm.Hold(a), "resume": c.Farm.Resume(a), "digit": c.Farm.Press(b, "1")} {
			if code != 200 {
				t.Errorf("%s in call %d: %d", what, i, code)
			}
		}
	}
}

// places waits until a node takes a new call again, and hangs it up. Until then it may refuse, and say when
// to ask again.
func places(t *testing.T, c *lab.Cluster, n *lab.Node, i int) {
	t.Helper()
	c.Until(n.Name+" takes a call", func() bool {
		r, header := n.Ask("POST", lab.CallPath(i)+lab.ByInvite, "")
		if r.Code != 200 && (r.Code != 503 || header.Get("Retry-After") == "") {
			t.Fatalf("POST at %s: %d %s, Retry-After %q", n.Name, r.Code, r.Body, header.Get("Retry-After"))
		}
		return r.Code == 200
	})
	c.Until("its phones talk", func() bool { return c.Talking(i) })
	if r := n.Do("DELETE", lab.CallPath(i)+lab.ByInvite); r.Code != 200 {
		t.Errorf("DELETE at %s: %d %s", n.Name, r.Code, r.Body)
	}
	awaitOver(c, i, i+1)
}

// noFence fails the test if a node has been taken for dead.
func noFence(t *testing.T, c *lab.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		for _, line := range n.Logged(fenced) {
			t.Errorf("%s: %s", n.Name, line)
		}
	}
}

// Stores are killed: one after the other, all at once, and all with their disks. No call is
// lost, no node is taken for dead, and what is needed to take calls over is there again.
func TestStoresMayDie(t *testing.T) {
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{}), clusterCalls(t, 60)
	owner := c.Nodes[0]
	c.Bridge(owner, 0, calls)
	next := calls
	for i, s := range c.Stores { // one of them leads the streams
		if i > 0 && !long() {
			break
		}
		s.Crash()
		usable(t, c, i)
		places(t, c, owner, next) // two of three are enough
		next++
		s.Launch()
		s.AwaitServing()
	}
	stillThere(t, c, owner, 0, calls)

	// Of three stores one is no majority. What it was asked for last stays without an answer: that is no fence.
	for _, s := range c.Stores[1:] {
		s.Crash()
	}
	c.Until("nodes know that one store is not enough", func() bool {
		return !slices.ContainsFunc(c.Nodes[:], func(n *lab.Node) bool { return n.Ready() || len(n.Logged(uncommitted)) == 0 })
	})
	stillThere(t, c, owner, 0, calls)
	for _, s := range c.Stores[1:] {
		s.Launch()
		s.AwaitServing()
	}
	for _, n := range c.Nodes {
		places(t, c, n, next)
		next++
	}
	stillThere(t, c, owner, 0, calls)

	down := func() {
		for _, s := range c.Stores {
			s.Crash()
		}
		c.Until("nodes know that there is no store", func() bool {
			return !c.Nodes[0].Ready() && !c.Nodes[1].Ready() && !c.Nodes[2].Ready()
		})
		began := time.Now()
		r, header := owner.Ask("POST", "/callcontroller/a-none/b-none"+lab.ByInvite, "")
		if took := time.Since(began); r.Code != 503 || header.Get("Retry-After") == "" || took > 6*time.Second {
			t.Errorf("POST without a store: %d %s, Retry-After %q, after %v", r.Code, r.Body, header.Get("Retry-After"), took)
		}
		usable(t, c, 1, 2)
		stillThere(t, c, owner, 0, calls)
	}
	up := func() {
		for _, s := range c.Stores {
			s.Launch()
		}
		for _, s := range c.Stores {
			s.AwaitServing()
		}
		for _, n := range c.Nodes {
			places(t, c, n, next)
			next++
		}
		stillThere(t, c, owner, 0, calls)
	}
	down()
	if r := owner.Do("DELETE", lab.CallPath(calls-1)+lab.ByInvite); r.Code != 200 {
		t.Errorf("DELETE without a store: %d %s", r.Code, r.Body)
	}
	awaitOver(c, calls-1, calls)
	calls--
	up()
	down()
	for _, s := range c.Stores {
		s.Wipe()
	}
	up()
	noFence(t, c)

	before := keep(c, 0, calls)
	owner.Crash()
	last := before.awaitMoved(t, c, time.Now(), c.Nodes[1], c.Nodes[2])
	t.Logf("from stores with new disks: the last of %d phones hears of another node after %v", 2*calls, last.Round(10*time.Millisecond))
	usable(t, c, 0, 1)
}

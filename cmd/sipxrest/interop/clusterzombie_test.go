//go:build interop

package interop

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// standstill is longer than the others wait for a node, and than they need for its calls.
const standstill = 11 * time.Second

// A node stands still for longer than its lease: others take its calls over. When it goes
// on it believes to have them. It must not harm them, however it ends.
func TestNodeThatStoodStillHarmsNoCall(t *testing.T) {
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{}), clusterCalls(t, 60)
	zombie := c.Nodes[0]
	// freeze lets the node stand still until its calls are elsewhere, and returns what the phones knew.
	freeze := func(first, end int) {
		t.Helper()
		before := keep(c, first, end)
		began := time.Now()
		zombie.Pause()
		last := before.awaitMoved(t, c, began, c.Nodes[1], c.Nodes[2])
		t.Logf("the last of %d phones hears of another node after %v", len(before), last.Round(10*time.Millisecond))
		time.Sleep(time.Until(began.Add(standstill)))
	}
	// talk fails the test by calls whose phones do not reach each other any more.
	talk := func(first, end int) {
		t.Helper()
		lab.Each(first, end, 100, func(i int) {
			a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
			was := c.Farm.View(b).Infos
			if code := c.Farm.Press(a, "1"); code != 200 || c.Farm.View(b).Infos != was+1 {
				t.Errorf("a digit of %s: %d; %v", a, code, c.Farm.View(b))
			}
			if at := c.Owner(i); at == nil || at == zombie {
				t.Errorf("call %d is not where it was", i)
			}
		})
	}

	c.Bridge(zombie, 0, calls)
	freeze(0, calls)
	zombie.Resume()
	c.Until("it takes calls again", zombie.Ready)
	talk(0, calls)
	c.Bridge(zombie, calls, 2*calls)
	freeze(calls, 2*calls)
	if err := zombie.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	zombie.Resume()
	if err := zombie.Wait(lab.Patience); err != nil {
		t.Errorf("the end of the node: %v", err)
	}
	talk(0, 2*calls)
	refused, heeded := 0, 0
	for _, v := range c.Farm.Views(nil) {
		refused += v.Refused
		if v.State != "up" {
			heeded++
			t.Logf("%s: %s by %s", v.User, v.State, v.End)
		}
	}
	t.Logf("phones refused %d of its requests", refused)
	if heeded > 0 {
		t.Errorf("%d phones are in their call no more", heeded)
	}
	for i := range 2 * calls {
		if r := c.Owner(i).Do("DELETE", lab.CallPath(i)+lab.ByInvite); r.Code != 200 {
			t.Errorf("DELETE %s: %d %s", lab.CallPath(i), r.Code, r.Body)
		}
	}
	awaitOver(c, 0, 2*calls)
}

//go:build interop

package interop

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// What a cluster promises: within this time after its node has died a call goes on at
// another one, or is hung up.
const takeoverLimit = 10 * time.Second

// clusterCalls is how many calls a test of several nodes has at once: few in `make interop`,
// a thousand in `make soak`.
func clusterCalls(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("CLUSTER_CALLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 12 {
		t.Fatalf("CLUSTER_CALLS=%s: write a number of calls, at least 12", text)
	}
	return n
}

// fenced is what nodes log when one of them is taken for dead.
const fenced = `fence`

// long reports whether the tests of several nodes are to take their time.
func long() bool { return os.Getenv("CLUSTER_LONG") != "" }

// inMinutes leaves a test to `make soak`, for it takes some.
func inMinutes(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("it takes minutes: make soak, or CLUSTER_LONG=1")
	}
}

// kept is what phones had heard before something went wrong with their node.
type kept map[string]lab.View

func keep(c *lab.Cluster, first, end int) kept {
	k := kept{}
	for i := first; i < end; i++ {
		for _, user := range []string{fmt.Sprint("a", i), fmt.Sprint("b", i)} {
			k[user] = c.Farm.View(user)
		}
	}
	return k
}

// awaitMoved waits until the phones of all calls have the Contact of one of these nodes. It
// fails the test by those that have it too late, or are in the call no more. The result is how long the
// last one took.
func (k kept) awaitMoved(t *testing.T, c *lab.Cluster, since time.Time, to ...*lab.Node) (last time.Duration) {
	t.Helper()
	at := func(v lab.View) bool {
		for _, n := range to {
			if v.Contact == n.SIP {
				return true
			}
		}
		return false
	}
	deadline := time.Now().Add(lab.Patience)
	for {
		waiting := 0
		for user := range k {
			if v := c.Farm.View(user); v.State == "up" && !at(v) {
				waiting++
			}
		}
		if waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d phones never hear of another node", waiting, len(k))
		}
		time.Sleep(20 * time.Millisecond)
	}
	late, lost, other := 0, 0, 0
	for user, before := range k {
		v := c.Farm.View(user)
		took := v.Moved.Sub(since)
		switch {
		case v.State != "up" || v.CallID != before.CallID:
			lost++
			t.Logf("%v, %v after", v, v.Over.Sub(since))
		case took > takeoverLimit:
			late++
		case v.Heard != before.Heard:
			other++
			t.Logf("%s heard %q, now %q", user, before.Heard, v.Heard)
		}
		last = max(last, took)
	}
	if lost > 0 {
		t.Errorf("%d of %d phones are in their call no more", lost, len(k))
	}
	if late > 0 {
		t.Errorf("%d of %d phones hear of the other node later than %v after, the last after %v", late, len(k), takeoverLimit, last)
	}
	if other > 0 {
		t.Errorf("%d of %d phones get another description", other, len(k))
	}
	return last
}

// awaitOver waits until no phone of these calls is in a call.
func awaitOver(c *lab.Cluster, first, end int) {
	c.Until("all phones are on-hook", func() bool {
		for i := first; i < end; i++ {
			if c.Farm.View(fmt.Sprint("a", i)).State != "over" || c.Farm.View(fmt.Sprint("b", i)).State != "over" {
				return false
			}
		}
		return true
	})
}

// A node is killed with bridged calls. All phones hear of another node in time and by the
// same description. Whatever can be done with a call can be done at each node that is left.
func TestCallsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		farm lab.FarmConfig
	}{{"phones with UPDATE", lab.FarmConfig{}}, {"phones without UPDATE", lab.FarmConfig{NoUpdate: true}}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, calls := lab.StartCluster(t, lab.ClusterConfig{Farm: test.farm}), clusterCalls(t, 90)
			dead := c.Nodes[0]
			c.Bridge(dead, 0, calls)
			before := keep(c, 0, calls)
			dead.Crash()
			last := before.awaitMoved(t, c, time.Now(), c.Nodes[1], c.Nodes[2])
			per := map[string]int{}
			for i := range calls {
				owner := c.Owner(i)
				if owner == nil {
					t.Errorf("call %d: its phones do not reach the same node", i)
					continue
				}
				per[owner.Name]++
			}
			t.Logf("the last of %d phones hears of another node %v after the kill; calls per node: %v", 2*calls,
				last.Round(10*time.Millisecond), per)
			if len(per) != 2 {
				t.Error("only one of two nodes has taken calls over")
			}
			for user, v := range before {
				now := c.Farm.View(user)
				if updates := now.Updates - v.Updates; (updates == 0) != test.farm.NoUpdate {
					t.Errorf("%s gets %d UPDATEs", user, updates)
				}
			}
			if t.Failed() {
				return
			}
			useCalls(t, c, dead, calls)
			dead.Launch()
			dead.AwaitReady()
			c.Bridge(dead, calls, calls+1)
			if a := c.Nodes[1].Do("DELETE", lab.CallPath(calls)+lab.ByInvite); a.Code != 200 {
				t.Errorf("DELETE of a call of the node that is back: %d %s", a.Code, a.Body)
			}
			awaitOver(c, calls, calls+1)
		})
	}
}

// useCalls ends each call, in six ways. Nodes that are not its own do as much of that as its own.
func useCalls(t *testing.T, c *lab.Cluster, dead *lab.Node, calls int) {
	t.Helper()
	lab.Each(0, calls, 80, func(i int) {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		owner := c.Owner(i)
		other := c.Other(owner, dead)
		// end hangs up at a node.
		end := func(n *lab.Node, path string) {
			if r := n.Do("DELETE", path+lab.ByInvite); r.Code != 200 {
				t.Errorf("DELETE %s at %s, where the call is at %s: %d %s", path, n.Name, owner.Name, r.Code, r.Body)
			}
		}
		switch i % 6 {
		case 0:
			if code := c.Farm.HangUp(a); code != 200 {
				t.Errorf("BYE of %s: %d", a, code)
			}
		case 1:
			if code := c.Farm.HangUp(b); code != 200 {
				t.Errorf("BYE of %s: %d", b, code)
			}
		case 2:
			end(other, lab.CallPath(i))
		case 3:
			end(owner, lab.CallPath(i))
		case 4:
			if code := c.Farm.Hold(a); code != 200 {
				t.Errorf("hold by %s: %d", a, code)
			} else if v := c.Farm.View(b); !strings.Contains(v.Heard, "a=sendonly") {
				t.Errorf("%s is on hold, and heard %q", b, v.Heard)
			}
			if code := c.Farm.Resume(a); code != 200 {
				t.Errorf("resume by %s: %d", a, code)
			}
			if code := c.Farm.Press(b, "5"); code != 200 || c.Farm.View(a).Infos != 1 {
				t.Errorf("a digit of %s: %d, %d at the other", b, code, c.Farm.View(a).Infos)
			}
			end(other, lab.CallPath(i))
		case 5:
			target := fmt.Sprint("c", i)
			if r := other.Do("POST", lab.CallPath(i)+lab.ByInvite+"&action=transfer&target="+target); r.Code != 200 {
				t.Errorf("transfer of %s at %s, where the call is at %s: %d %s", lab.CallPath(i), other.Name, owner.Name, r.Code, r.Body)
				end(owner, lab.CallPath(i))
				return
			}
			c.Until(a+" has left and "+target+" talks", func() bool {
				to := c.Farm.View(target)
				return c.Farm.View(a).State == "over" && to.State == "up" && to.Settled && to.Answers > 0
			})
			if code := c.Farm.HangUp(target); code != 200 {
				t.Errorf("BYE of %s: %d", target, code)
			}
		}
		if path := lab.CallPath(i); i%5 == 0 { // not each: a question needs a tenth of what a call does
			if i%6 == 5 {
				path = fmt.Sprintf("/callcontroller/c%d/b%d", i, i)
			}
			toldOver(t, path, owner, other)
		}
	})
	awaitOver(c, 0, calls)
}

// toldOver fails the test unless each of these nodes tells the end of both phones. What it tells of a call by INVITE
// is there for 8 s after that.
func toldOver(t *testing.T, path string, nodes ...*lab.Node) {
	t.Helper()
	for _, n := range nodes {
		var r lab.Answer
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if r = n.Do("GET", path+lab.ByInvite); r.Code == 200 && strings.Count(r.Body, "Terminated Dialog") >= 2 {
				break
			}
		}
		if r.Code != 200 || strings.Count(r.Body, "Terminated Dialog") < 2 {
			t.Errorf("GET %s at %s: %d %s", path, n.Name, r.Code, r.Body)
		}
	}
}

// With takeover: hangup calls of a node that is killed are hung up, all in time.
func TestCallsAreHungUpWithTheirNodeIfThatIsWanted(t *testing.T) {
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{Keys: []string{"takeover: hangup"}}), clusterCalls(t, 60)
	c.Bridge(c.Nodes[0], 0, calls)
	// One that rings is not to ring on.
	if a := c.Nodes[0].Do("POST", "/callcontroller/ring1/b-ring1"+lab.ByInvite); a.Code != http.StatusOK {
		t.Fatalf("POST: %d %s", a.Code, a.Body)
	}
	c.Until("a phone rings", func() bool { return c.Farm.View("ring1").State == "ringing" })
	c.Nodes[0].Crash()
	killed := time.Now()
	awaitOver(c, 0, calls)
	c.Until("the phone rings no more", func() bool { return c.Farm.View("ring1").State == "over" })
	var last time.Duration
	for _, v := range c.Farm.Views(nil) {
		last = max(last, v.Over.Sub(killed))
		if want := map[bool]string{true: "CANCEL", false: "BYE"}[v.User == "ring1"]; v.End != want {
			t.Errorf("%s: the end is %s, want %s", v.User, v.End, want)
		}
	}
	t.Logf("the last of %d phones is hung up %v after the kill", 2*calls+1, last.Round(10*time.Millisecond))
	if last > takeoverLimit {
		t.Errorf("which is more than %v", takeoverLimit)
	}
	for i := range min(calls, 5) {
		toldOver(t, lab.CallPath(i), c.Nodes[1], c.Nodes[2])
	}
}

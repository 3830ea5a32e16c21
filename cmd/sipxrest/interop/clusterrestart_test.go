//go:build interop

package interop

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// balancer is what stands before the nodes: it asks the next one that is ready, and another one where
// one refuses for now.
type balancer struct {
	nodes [lab.Nodes]*lab.Node
	next  atomic.Uint32
}

// post places a call, and returns the answer of the node that took it. Whatever else than 200 and
// a refusal for now comes is the test's failure.
func (b *balancer) post(t *testing.T, path string) (at *lab.Node) {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); {
		n := b.nodes[int(b.next.Add(1))%lab.Nodes]
		r, header := n.Ask("POST", path, "")
		switch {
		case r.Code == 200:
			return n
		case r.Code == 503 && header.Get("Retry-After") != "":
		case r.Code == 0: // nobody listens: the balancer goes on to the next one
		default:
			t.Errorf("POST %s at %s: %d %s, Retry-After %q", path, n.Name, r.Code, r.Body, header.Get("Retry-After"))
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("POST %s: no node takes it", path)
	return nil
}

// told waits until any node tells how a call came to its end.
func (b *balancer) told(path string) (r lab.Answer, is bool) {
	for deadline := time.Now().Add(6 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		r = b.nodes[int(b.next.Add(1))%lab.Nodes].Do("GET", path)
		if r.Code == 200 && strings.Contains(r.Body, "Terminated Dialog") {
			return r, true
		}
	}
	return r, false
}

// All nodes are restarted one after the other while calls come in. No call that is up is lost, no
// POST fails, and every result can be read.
func TestRollingRestartLosesNoCall(t *testing.T) {
	t.Parallel()
	c, calls := lab.StartCluster(t, lab.ClusterConfig{More: []string{"drain: 10s"}}), clusterCalls(t, 60)
	rate := 15
	if long() {
		rate = 100
	}
	for i, n := range c.Nodes {
		c.Bridge(n, i*calls/3, (i+1)*calls/3)
	}
	b := &balancer{nodes: c.Nodes}
	stop := make(chan struct{})
	var placed atomic.Int64
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		var all sync.WaitGroup
		defer all.Wait()
		for i := 20_000; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			all.Go(func() {
				if b.post(t, lab.CallPath(i)+lab.ByInvite) == nil {
					return
				}
				for deadline := time.Now().Add(lab.Patience); !c.Talking(i) && time.Now().Before(deadline); {
					time.Sleep(50 * time.Millisecond)
					// A node that goes hangs up what it cannot hand over: calls that are not up yet.
					if c.Farm.View(fmt.Sprint("a", i)).State == "over" {
						break
					}
				}
				if c.Farm.View(fmt.Sprint("a", i)).State == "up" {
					c.Farm.HangUp(fmt.Sprint("a", i))
				}
				if r, is := b.told(lab.CallPath(i) + lab.ByInvite); !is {
					t.Errorf("GET %s: %d %s", lab.CallPath(i), r.Code, r.Body)
				}
				placed.Add(1)
			})
		}
	})
	for _, n := range c.Nodes {
		began := time.Now()
		if err := n.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := n.Wait(lab.Patience); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		took := time.Since(began)
		for i := range calls {
			if !c.Talking(i) || c.Owner(i) == nil || c.Owner(i) == n {
				t.Errorf("%s has ended, and call %d is %v; %v", n.Name, i, c.Farm.View(fmt.Sprint("a", i)), c.Farm.View(fmt.Sprint("b", i)))
			}
		}
		n.Launch()
		n.AwaitReady()
		t.Logf("%s ended in %v and was ready %v after the signal", n.Name, took.Round(10*time.Millisecond),
			time.Since(began).Round(10*time.Millisecond))
	}
	close(stop)
	load.Wait()
	t.Logf("%d calls came in meanwhile", placed.Load())
	lab.Each(0, calls, 80, func(i int) {
		if code := c.Farm.HangUp(fmt.Sprint("b", i)); code != 200 {
			t.Errorf("BYE of b%d: %d", i, code)
		}
	})
	awaitOver(c, 0, calls)
}

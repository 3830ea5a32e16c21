package lab

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// clusterClient reaches the nodes as a program would that does not wait for ever.
var clusterClient = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second}}

// Do sends a request to the node. Its code is 0 where none answers.
func (n *Node) Do(method, path string) Answer {
	a, _ := n.Ask(method, path, "")
	return a
}

func (n *Node) ask(method, url, body string) Answer {
	a, _ := n.send(method, url, body)
	return a
}

// Ask is Do, with the header of the answer. A body is JSON.
func (n *Node) Ask(method, path, body string) (Answer, http.Header) {
	return n.send(method, n.URL+path, body)
}

func (n *Node) send(method, url, body string) (Answer, http.Header) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		n.lab.tb.Error(err)
		return Answer{}, nil
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := clusterClient.Do(req)
	if err != nil {
		return Answer{0, err.Error()}, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return Answer{0, err.Error()}, nil
	}
	return Answer{res.StatusCode, string(text)}, res.Header
}

// CallPath is the path of a call between two phones of the farm.
func CallPath(i int) string { return fmt.Sprintf("/callcontroller/a%d/b%d", i, i) }

// ByInvite is the query of a call that goes on through the node, ByRefer that of one
// that the phones take over.
const (
	ByInvite = "?agent=200&sipMethod=invite&timeout=60&resultCacheTime=600"
	ByRefer  = "?agent=200&timeout=60&resultCacheTime=600"
)

// Each runs f for each number from first to the one before end, several at once, and at
// most rate a second.
func Each(first, end, rate int, f func(i int)) {
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	room := make(chan struct{}, 32)
	for i := first; i < end; i++ {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			f(i)
		})
		if i+1 < end {
			<-tick.C
		}
	}
	all.Wait()
}

// Bridge places the calls a<first>/b<first> to the one before end at a node, and waits
// until the phones of each talk and another node could take them.
func (c *Cluster) Bridge(n *Node, first, end int) {
	c.tb.Helper()
	Each(first, end, 80, func(i int) {
		if a := n.Do("POST", CallPath(i)+ByInvite); a.Code != 200 {
			c.tb.Errorf("POST %s at %s: %d %s", CallPath(i), n.Name, a.Code, a.Body)
		}
	})
	if c.tb.Failed() {
		c.tb.FailNow()
	}
	c.Until(fmt.Sprintf("%d calls of %s are up", end-first, n.Name), func() bool {
		for i := first; i < end; i++ {
			if !c.Talking(i) {
				return false
			}
		}
		return true
	})
	// The last state of a call is written right after its last ACK, and nobody waits for it.
	clean := 0
	c.Until("all of "+n.Name+" is in the store", func() bool {
		if clean++; n.Metric("sipxrest_cluster_dirty") != 0 {
			clean = 0
		}
		return clean >= 3
	})
}

// Metric is a figure of the node's /metrics, -1 if it is not there.
func (n *Node) Metric(name string) float64 {
	for line := range strings.Lines(n.ask("GET", n.Health+"/metrics", "").Body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
				return f
			}
		}
	}
	return -1
}

// Talking reports whether the phones of a call talk: both are in it, each with a
// description of the other's, and nothing is under way.
func (c *Cluster) Talking(i int) bool {
	a, b := c.Farm.View(fmt.Sprint("a", i)), c.Farm.View(fmt.Sprint("b", i))
	return a.State == "up" && b.State == "up" && a.Settled && b.Settled && a.Answers >= 2 && b.Answers >= 1
}

// Owner is the node that a call's phones reach, nil if that is none or not the same.
func (c *Cluster) Owner(i int) *Node {
	a, b := c.Farm.View(fmt.Sprint("a", i)), c.Farm.View(fmt.Sprint("b", i))
	for _, n := range c.Nodes {
		if a.Contact == n.SIP && b.Contact == n.SIP {
			return n
		}
	}
	return nil
}

// Other is a node that is neither of those.
func (c *Cluster) Other(not ...*Node) *Node {
	for _, n := range c.Nodes {
		other := true
		for _, x := range not {
			other = other && x != n
		}
		if other {
			return n
		}
	}
	return nil
}

func removeAll(dir string) error {
	if !strings.Contains(dir, "lab-") {
		return fmt.Errorf("%s is not of the lab", dir)
	}
	return os.RemoveAll(dir)
}

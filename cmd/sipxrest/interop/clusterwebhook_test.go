//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sipxrest/cmd/sipxrest/interop/lab"
)

// receiver is a webhook that fails at random: it refuses a third of the requests, and of some
// it takes the event, but its answer gets lost.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]*story
	tries int
}

// story is what the receiver was told of a call.
type story struct {
	seen     map[string]bool // events by id
	last     int64           // call_seq
	terminal map[string]bool // final events by id
	disorder int
}

func startReceiver(t *testing.T) *receiver {
	r := &receiver{calls: map[string]*story{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var e struct {
			ID      string `json:"id"`
			Type    string `json:"type"`
			CallSeq int64  `json:"call_seq"`
			Final   bool   `json:"final"`
			Data    struct {
				CallID string `json:"call_id"`
				Call   struct {
					Calling struct{ User string } `json:"calling"`
				} `json:"call"`
			} `json:"data"`
		}
		if err := json.NewDecoder(req.Body).Decode(&e); err != nil {
			t.Errorf("webhook: %v", err)
		}
		chance := rand.IntN(10)
		if chance < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.tries++; chance < 3 {
			return
		}
		s := r.calls[e.Data.CallID]
		if s == nil {
			s = &story{seen: map[string]bool{}, terminal: map[string]bool{}}
			r.calls[e.Data.CallID] = s
		}
		if !s.seen[e.ID] {
			if e.CallSeq <= s.last {
				s.disorder++
			}
			s.last, s.seen[e.ID] = e.CallSeq, true
		}
		if e.Final {
			s.terminal[e.ID] = true
		}
		if chance == 3 {
			panic(http.ErrAbortHandler) // what it has taken is sent again
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// open counts the calls whose end is not known, and all.
func (r *receiver) open() (open, all int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.calls {
		if len(s.terminal) == 0 {
			open++
		}
	}
	return open, len(r.calls)
}

// Nodes are killed again and again under load, and the receiver of a webhook fails. It is told the
// end of each call by one event, none is missing, and those of a call come in order.
func TestWebhooksTellEachCallsEndOnceThoughNodesDie(t *testing.T) {
	inMinutes(t)
	t.Parallel()
	r := startReceiver(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := lab.StartCluster(t, lab.ClusterConfig{More: []string{fmt.Sprintf(`events:
  allow-private: [127.0.0.0/8]
  webhooks:
    - {name: crm, url: %q, secret-file: %q, events: ["call.*", "leg.*"]}`, r.URL, secret)}})
	kills, rate := 2, 8
	if long() {
		kills, rate = 12, 30
	}
	b := &balancer{nodes: c.Nodes}
	stop := make(chan struct{})
	placed := 0
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		var all sync.WaitGroup
		defer all.Wait()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			placed++
			all.Go(func() { talkAWhile(t, c, b, i) })
		}
	})
	for i := range kills {
		time.Sleep(4 * time.Second)
		n := c.Nodes[i%lab.Nodes]
		n.Crash()
		time.Sleep(6 * time.Second)
		n.Launch()
		n.AwaitReady()
	}
	close(stop)
	load.Wait()
	// Each call that a phone has seen has its end; more may be known, of POSTs whose node died.
	phones := map[string]bool{}
	for _, v := range c.Farm.Views(func(v lab.View) bool { return v.User[0] == 'a' }) {
		phones[v.User] = true
		if v.State != "over" {
			t.Errorf("%v", v)
		}
	}
	// The end of a call that was announced, but that no node could go on with, is told a minute later.
	for deadline := time.Now().Add(2 * lab.Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if open, all := r.open(); open == 0 && all >= len(phones) {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range r.calls {
		if len(s.terminal) != 1 {
			t.Errorf("%s has %d terminal events: %v", id, len(s.terminal), s.terminal)
		}
		if s.disorder > 0 {
			t.Errorf("%s: %d events come behind later ones", id, s.disorder)
		}
	}
	t.Logf("%d calls, of which phones saw %d and the receiver %d, in %d requests", placed, len(phones), len(r.calls), r.tries)
	if len(r.calls) < len(phones) {
		t.Errorf("of %d calls the receiver knows nothing", len(phones)-len(r.calls))
	}
}

// talkAWhile places a call at whichever node takes it, and hangs up some seconds later.
func talkAWhile(t *testing.T, c *lab.Cluster, b *balancer, i int) {
	if b.post(t, lab.CallPath(i)+lab.ByInvite) == nil {
		return
	}
	user := fmt.Sprint("a", i)
	time.Sleep(time.Duration(1+rand.IntN(5)) * time.Second)
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		v := c.Farm.View(user)
		if v.State == "over" || v.State == "" && time.Until(deadline) < lab.Patience-20*time.Second {
			return // the node died before it had called, or in the middle of it
		}
		if c.Talking(i) {
			break
		}
	}
	if c.Farm.View(user).State != "up" {
		return
	}
	c.Farm.HangUp(user)
	c.Until("b"+fmt.Sprint(i)+" is on-hook", func() bool { return c.Farm.View(fmt.Sprint("b", i)).State != "up" })
}

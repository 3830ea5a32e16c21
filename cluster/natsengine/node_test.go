package natsengine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"sipxrest/cluster"
	"sipxrest/internal/await"
)

// process is a node of a cluster, with a switchboard that only notes what it takes over.
type process struct {
	*cluster.Node
	e      *Engine
	cancel context.CancelFunc
	ended  chan error
	mu     sync.Mutex
	taken  map[string]cluster.Taken
}

func startNode(t *testing.T, name string, servers []string) *process {
	t.Helper()
	p := &process{e: open(t, Config{Servers: servers, Name: name}), ended: make(chan error, 1), taken: map[string]cluster.Taken{}}
	cfg := cluster.Config{Node: name, Forget: func() {}, Adopt: func(_ context.Context, c cluster.Taken, done func(string, error)) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, twice := p.taken[c.ID]; twice {
			t.Errorf("%s adopts %s twice", name, c.ID)
		}
		p.taken[c.ID] = c
		done("kept", nil)
	}}
	var err error
	if p.Node, err = cluster.New(cfg, p.e, quiet()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(func() { p.stop() })
	select {
	case <-p.Joined():
	case <-time.After(time.Minute):
		t.Fatal("the node does not join")
	}
	return p
}

func (p *process) stop() {
	p.cancel()
	if p.ended != nil {
		<-p.ended
		p.ended = nil
	}
}

func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}

// Nodes at three stores: a thousand calls of one that dies are the others' within ten seconds.
func TestNodesTakeOverAtRealStores(t *testing.T) {
	servers := urls(stores(t, 3))
	a, b, c := startNode(t, "a", servers), startNode(t, "b", servers), startNode(t, "c", servers)
	const calls = 1000
	began := time.Now()
	var wg sync.WaitGroup
	for i := range calls {
		id := fmt.Sprint("call_", i)
		wg.Go(func() {
			if err := a.Claim(t.Context(), "key "+id, id, []byte{cluster.ClassTalking, 1}); err != nil {
				t.Errorf("claim %s: %v", id, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d claims in %v", calls, time.Since(began))
	for round := range 3 {
		for i := range calls {
			a.Keep(fmt.Sprint("call_", i), []byte{cluster.ClassTalking, byte(2 + round)})
		}
	}
	<-a.Keep("call_0", []byte{cluster.ClassTalking, 4})
	if err := b.Claim(t.Context(), "key call_7", "call_other", []byte{0}); err == nil {
		t.Error("two calls have one key")
	}
	_ = a.e.Close() // the process dies
	died := time.Now()
	a.stop()
	await.Nil(t, func() error {
		if n := b.count() + c.count(); n < calls {
			return fmt.Errorf("%d of %d calls are taken over", n, calls)
		}
		return nil
	})
	t.Logf("%d and %d calls taken over after %v", b.count(), c.count(), time.Since(died))
	for _, p := range []*process{b, c} {
		p.mu.Lock()
		for id, at := range p.taken {
			if at.State[1] != 4 || at.Epoch != 1 {
				t.Errorf("%s: %+v", id, at)
			}
		}
		p.mu.Unlock()
	}
	await.Nil(t, func() error { // what a has had vanishes
		if m := b.Members(); len(m) != 2 {
			return fmt.Errorf("members %+v", m)
		}
		return nil
	})
	place, err := c.Find(t.Context(), "key call_7")
	if err != nil || !place.Live || place.Node == "a" {
		t.Errorf("found %+v, %v", place, err)
	}
	t.Logf("stats of b: %+v", b.Stats())
}

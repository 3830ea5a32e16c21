package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sipxrest/cluster"
	"sipxrest/cluster/fakeengine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig has some nodes at one store in memory.
type rig struct {
	t     *testing.T
	store *fakeengine.Store
	nodes []*node
}

// A node is one process, with a switchboard that only notes what it is told.
type node struct {
	*cluster.Node
	t      *testing.T
	name   string
	e      *fakeengine.Engine
	cancel context.CancelFunc
	ended  chan error
	log    *logged
	result string // of takeovers
	over   bool
	dying  atomic.Bool
	see    func(t cluster.Taken) // what is taken over

	mu      sync.Mutex
	has     map[string]string // calls by id: their newest state
	taken   []cluster.Taken
	forgets int
}

// logged is a log that tests read.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// in runs a test in fake time, with nodes of these names that have joined.
func in(t *testing.T, names string, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, store: fakeengine.New(1)}
		defer r.show()
		defer r.stop()
		for _, name := range strings.Fields(names) {
			r.start(name)
		}
		r.settle()
		f(t, r)
	})
}

// settle waits until all nodes that run have joined and heard of each other.
func (r *rig) settle() {
	for _, n := range r.nodes {
		if !n.over {
			<-n.Joined()
		}
	}
	time.Sleep(2 * time.Second)
}

// start begins a process.
func (r *rig) start(name string, change ...func(*cluster.Config)) *node {
	return r.prepare(name, nil, change...)
}

// prepare begins a process after something was done with its node.
func (r *rig) prepare(name string, prepare func(*node), change ...func(*cluster.Config)) *node {
	r.t.Helper()
	n := &node{t: r.t, name: name, e: r.store.Node(name), has: map[string]string{}, log: &logged{}, result: "kept", ended: make(chan error, 1)}
	cfg := cluster.Config{Node: name, Version: "test", Adopt: n.adopt, Forget: n.forget, Kind: kind}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	n.Node, err = cluster.New(cfg, n.e, slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		r.t.Fatal(err)
	}
	r.nodes = append(r.nodes, n)
	if prepare != nil {
		prepare(n)
	}
	return n.run()
}

func (n *node) run() *node {
	ctx, cancel := context.WithCancel(n.t.Context())
	n.cancel = cancel
	go func() { n.ended <- n.Run(ctx) }()
	return n
}

// get returns the last node of that name.
func (r *rig) get(name string) *node {
	r.t.Helper()
	for _, n := range slices.Backward(r.nodes) {
		if n.name == name {
			return n
		}
	}
	r.t.Fatalf("no node %s", name)
	return nil
}

// stop ends all nodes.
func (r *rig) stop() {
	for _, n := range r.nodes {
		n.stop()
	}
}

// stop ends a node as SIGTERM does.
func (n *node) stop() {
	if n.over {
		return
	}
	n.over = true
	n.dying.Store(true)
	n.cancel()
	<-n.ended
	n.e.Close()
}

// kill ends a process so that it can say nothing any more.
func (n *node) kill() {
	n.dying.Store(true)
	n.e.Close()
	n.stop()
}

func (n *node) adopt(_ context.Context, t cluster.Taken, done func(string, error)) {
	if n.see != nil {
		n.see(t)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = append(n.taken, t)
	if _, twice := n.has[t.ID]; twice {
		n.t.Errorf("node %s adopts call %s, which it has", n.name, t.ID)
	}
	n.has[t.ID] = string(t.State)
	if n.result == "lost" {
		delete(n.has, t.ID)
	}
	done(n.result, nil)
}

func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgets++
	clear(n.has)
}

// state is what a call's owner writes of it.
func state(class byte, text string) []byte { return append([]byte{class}, text...) }

// kind is of a state the first word of its text, and its class.
func kind(state []byte) (flow, step string) {
	if len(state) == 0 {
		return "unknown", "unknown"
	}
	flow, _, _ = strings.Cut(string(state[1:]), " ")
	return flow, fmt.Sprint("class ", state[0])
}

// place claims a call.
func (n *node) place(key, id string) {
	n.t.Helper()
	if err := n.claim(key, id); err != nil {
		n.t.Fatalf("node %s: claim of %s: %v", n.name, id, err)
	}
}

func (n *node) claim(key, id string) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	n.mu.Lock()
	n.has[id] = string(state(cluster.ClassTalking, "first "+id))
	n.mu.Unlock()
	err := n.Claim(ctx, key, id, state(cluster.ClassTalking, "first "+id))
	if err != nil {
		n.mu.Lock()
		delete(n.has, id)
		n.mu.Unlock()
	}
	return err
}

// places claims as many calls, ids and keys by name and number.
func (n *node) places(name string, count int) (ids []string) {
	n.t.Helper()
	var wg sync.WaitGroup
	for i := range count {
		id := fmt.Sprintf("call_%s%d", name, i)
		ids = append(ids, id)
		wg.Go(func() { n.place("key "+id, id) })
	}
	wg.Wait()
	return ids
}

// keep has a state committed.
func (n *node) keep(id, text string) {
	n.t.Helper()
	n.mu.Lock()
	n.has[id] = string(state(cluster.ClassTalking, text))
	n.mu.Unlock()
	<-n.Keep(id, state(cluster.ClassTalking, text))
}

// drop ends a call.
func (n *node) drop(id, record string) {
	n.mu.Lock()
	delete(n.has, id)
	n.mu.Unlock()
	n.Drop(id, []byte(record), time.Hour)
}

// calls are the ids of calls that a node has, sorted.
func (n *node) calls() (ids []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.has {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// adopted returns what a node has taken over.
func (n *node) adopted() []cluster.Taken {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.taken)
}

// owners says which running node has each of these calls, as the nodes see it and as the store does. Each has exactly one.
func (r *rig) owners(ids []string) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, n := range r.nodes {
		if n.over {
			continue
		}
		for _, id := range n.calls() {
			if other := out[id]; other != "" {
				r.t.Errorf("call %s is at %s and at %s", id, other, n.name)
			}
			out[id] = n.name
		}
	}
	for _, id := range ids {
		if out[id] == "" {
			r.t.Errorf("call %s is nowhere", id)
		}
	}
	for _, n := range r.nodes {
		if n.over {
			continue
		}
		for _, id := range ids {
			p, err := n.FindID(r.t.Context(), id)
			if err != nil || p.Node != out[id] || !p.Live || p.Mine != (n.name == out[id]) {
				r.t.Errorf("call %s is at %s; %s finds %+v, %v", id, out[id], n.name, p, err)
			}
		}
	}
	return out
}

// streams are the streams of calls.
func (r *rig) streams() (out []string) {
	for _, s := range r.store.Streams() {
		if strings.Contains(s, "_N_") {
			out = append(out, s)
		}
	}
	return out
}

// wants fails unless err is what it should be.
func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// show prints the logs of a test that has failed.
func (r *rig) show() {
	if !r.t.Failed() {
		return
	}
	for _, n := range r.nodes {
		n.log.mu.Lock()
		r.t.Logf("node %s:\n%s", n.name, n.log.buf.String())
		n.log.mu.Unlock()
	}
}

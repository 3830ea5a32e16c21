// Package clustertest stands in for a cluster in tests of what nodes ask each other.
package clustertest

import (
	"context"
	"sync"
	"time"

	"sipxrest/cluster"
)

// Nodes is what the store of a cluster knows, and what its nodes answer. A test changes
// the fields before anybody asks, or by Change.
type Nodes struct {
	Away   error                    // of every look into the store
	Keys   map[string]cluster.Place // of calls, by key
	IDs    map[string]cluster.Place // likewise, by id
	States map[string][]byte        // likewise
	At     time.Time                // of every state
	Dead   map[string]bool
	Answer map[string]func(ctx context.Context, op string, data []byte) ([]byte, error) // by node
	Asked  []string                                                                     // "a op b": a has asked b
	Noted  map[string]string                                                            // by Once: values, by kind and name
	Counts map[string]map[string]int64                                                  // of each node, by name

	mu sync.Mutex
}

// New makes a cluster without nodes: Answer has them.
func New() *Nodes {
	return &Nodes{Keys: map[string]cluster.Place{}, IDs: map[string]cluster.Place{}, States: map[string][]byte{}, Dead: map[string]bool{},
		Answer: map[string]func(context.Context, string, []byte) ([]byte, error){}, Counts: map[string]map[string]int64{}, Noted: map[string]string{}}
}

// Change changes fields while nodes may ask.
func (n *Nodes) Change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// Node is the cluster as one of its nodes sees it.
type Node struct {
	all  *Nodes
	name string
}

// Node returns the view of a node.
func (n *Nodes) Node(name string) Node { return Node{n, name} }

// Name is the node's.
func (n Node) Name() string { return n.name }

// Incarnation is the only one that a node has.
func (n Node) Incarnation() string { return n.name + "1" }

// Alive reports whether that incarnation of a node lives.
func (n Node) Alive(node, incarnation string) bool {
	return !n.all.Dead[node] && incarnation == node+"1"
}

func (n Node) look(in map[string]cluster.Place, name string) (cluster.Place, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	p, ok := in[name]
	switch {
	case n.all.Away != nil:
		return cluster.Place{}, n.all.Away
	case !ok:
		return cluster.Place{}, cluster.ErrNone
	}
	p.Mine = p.Live && p.Node == n.name
	return p, nil
}

// FindID finds a call by its id.
func (n Node) FindID(_ context.Context, id string) (cluster.Place, error) {
	return n.look(n.all.IDs, id)
}

// Find finds a call by its key.
func (n Node) Find(_ context.Context, key string) (cluster.Place, error) {
	return n.look(n.all.Keys, key)
}

// State returns the state of a call.
func (n Node) State(_ context.Context, p cluster.Place) ([]byte, time.Time, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	state, ok := n.all.States[p.ID]
	if !ok {
		return nil, time.Time{}, cluster.ErrNone
	}
	return state, n.all.At, nil
}

// Ask asks another node.
func (n Node) Ask(ctx context.Context, to, op string, data []byte) ([]byte, error) {
	n.all.mu.Lock()
	n.all.Asked = append(n.all.Asked, n.name+" "+op+" "+to)
	answer := n.all.Answer[to]
	dead := n.all.Dead[to]
	n.all.mu.Unlock()
	if answer == nil || dead {
		return nil, cluster.ErrNobody
	}
	return answer(ctx, op, data)
}

// Once notes a value, or returns the one that was noted before.
func (n Node) Once(_ context.Context, kind, name string, value []byte, _ time.Duration) ([]byte, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	old, ok := n.all.Noted[kind+name]
	switch {
	case n.all.Away != nil:
		return nil, n.all.Away
	case !ok || old == string(value):
		n.all.Noted[kind+name] = string(value)
		return nil, nil
	}
	return []byte(old), nil
}

// Unonce takes back what Once has noted.
func (n Node) Unonce(_ context.Context, kind, name string, value []byte) error {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	if n.all.Noted[kind+name] != string(value) {
		return cluster.ErrConflict
	}
	delete(n.all.Noted, kind+name)
	return nil
}

// Set is the count of this node, as in sipflow.Counts.
func (n Node) Set(name string, count int64) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	if n.all.Counts[n.name] == nil {
		n.all.Counts[n.name] = map[string]int64{}
	}
	n.all.Counts[n.name][name] = count
}

// Others is the sum of the other nodes' counts.
func (n Node) Others(name string) (sum int64) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	for who, counts := range n.all.Counts {
		if who != n.name {
			sum += counts[name]
		}
	}
	return sum
}

package cluster

import (
	"context"
	"log/slog"
	"time"
)

// A Node is this process among the others.
type Node struct {
	cfg Config
	e   Engine
	log *slog.Logger
}

// New returns a node that is not yet among the others. An error names the key that is wrong.
func New(cfg Config, e Engine, log *slog.Logger) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, e: e, log: log}, nil
}

// Run joins the cluster, as soon as the store is there, and returns when ctx has ended and all goroutines of the node have. A
// *NameTakenError is returned at once. Calls that are still live then are taken over by others.
func (n *Node) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Joined is closed when the node is among the others for the first time: /readyz waits for it.
func (n *Node) Joined() <-chan struct{} { return nil }

// Number is this node's, 1 to 4095, for tags and branches. It is 0 before the node has joined.
func (n *Node) Number() int { return 0 }

// Incarnation is the id of this node until it is fenced. It is empty before the node has joined.
func (n *Node) Incarnation() string { return "" }

// Draining reports whether Drain was called.
func (n *Node) Draining() bool { return false }

// Holds reports whether this node is surely still the owner of its calls.
func (n *Node) Holds() bool { return false }

// Claim commits that the key is this call's, that the call is this node's, and its first state. An empty key is none. A *HeldError
// names the call that has the key. ErrNotOwner: the lease has lapsed, or the store does not answer. The state must not be changed
// afterwards.
func (n *Node) Claim(ctx context.Context, key, id string, state []byte) error { return ErrNotOwner }

// Keep notes the newest state of a call, which must not be changed afterwards. The channel is closed when that, or a newer one, is
// committed, and after 5 s without the store in any case. A call that this node does not have is none of its business.
func (n *Node) Keep(id string, state []byte) <-chan struct{} { return nil }

// Move says that the call has another key from now on.
func (n *Node) Move(id, from, to string, state []byte) {}

// Drop says that the call is over. The record is what other nodes read for so long.
func (n *Node) Drop(id string, record []byte, keep time.Duration) {}

// Flushed returns when all that was kept, moved and dropped before is committed. With an error of ctx it is not.
func (n *Node) Flushed(ctx context.Context) error { return ctx.Err() }

// A Place says where a call is, or what is left of it.
type Place struct {
	Node, Incarnation, ID string
	Key                   string // empty: it has none
	Mine                  bool   // it is this node's
	Live                  bool
	Record                []byte // of a call that is over
}

// Find returns where the call with a key is, or its record. ErrNone.
func (n *Node) Find(ctx context.Context, key string) (Place, error) { return Place{}, ErrNone }

// FindID returns where a call is, or its record. ErrNone.
func (n *Node) FindID(ctx context.Context, id string) (Place, error) { return Place{}, ErrNone }

// State returns the last committed state of a live call, for when its node does not answer. ErrNone.
func (n *Node) State(ctx context.Context, p Place) (state []byte, at time.Time, err error) {
	return nil, time.Time{}, ErrNone
}

// Ask has another node do something, and returns its answer. It takes 4 s at most. ErrNobody: that node has no connection. ErrBusy. An
// *AskError is the error of the other's function.
func (n *Node) Ask(ctx context.Context, node, op string, data []byte) ([]byte, error) {
	return nil, ErrNobody
}

// Answer has f called for each question of other nodes. It is called before Run. f runs in a goroutine of its own, with a time limit.
func (n *Node) Answer(op string, f func(ctx context.Context, data []byte) ([]byte, error)) {}

// Tell says something to all nodes that listen now.
func (n *Node) Tell(topic string, data []byte) {}

// Hear has f called for what the others tell. It is called before Run. f returns at once.
func (n *Node) Hear(topic string, f func(from string, data []byte)) {}

// Counts are numbers by name that nodes share: each knows its own, and the sum of the others' as of a second ago.
type Counts struct{}

// Counts returns the table of a topic. It is called before Run.
func (n *Node) Counts(topic string) *Counts { return nil }

// Set notes this node's own count. It is told within a second, if it has changed.
func (c *Counts) Set(name string, count int64) {}

// Others is the sum of the other nodes' counts. A node that is fenced, or has gone, has none.
func (c *Counts) Others(name string) int64 { return 0 }

// A Member is what is known of a node, this one included.
type Member struct {
	Node, Incarnation string
	Number            int
	State             string // live, draining, silent, fenced
	Self              bool
	Version           string
	Addresses         []string
	Files             string // hash
	Capacity          int
	Silent            time.Duration // this node's own awake time without a renewal
}

// Members returns the nodes that are known, by name.
func (n *Node) Members() []Member { return nil }

// Drain says to the others that this node will end: it inherits no calls from now on, and is given none.
func (n *Node) Drain(ctx context.Context) error { return nil }

// Fence ends the present incarnation of another node, for an operator who knows that it is dead.
func (n *Node) Fence(ctx context.Context, node string) error { return nil }

// HandOver gives a call to another node, with this state, and returns which one has it now. The call must not change meanwhile, and is
// to be forgotten without a word afterwards. ErrNobody: there is no other node, or it does not answer, and the call is still this
// node's, as with an *AskError and ErrBusy. ErrUnsure: ctx has ended before it was known.
func (n *Node) HandOver(ctx context.Context, id string, state []byte) (to string, err error) {
	return "", ErrNobody
}

// Secrets are what all nodes sign with: the newest first, which signs. Both verify.
func (n *Node) Secrets() [][]byte { return nil }

// Stats returns what metrics show.
func (n *Node) Stats() Stats { return Stats{} }

// Stream is the name of a further stream of this cluster, such as EVENTS.
func (n *Node) Stream(kind string) string { return n.cfg.Name + "_" + kind }

// Subject is a subject below this cluster's prefix, such as ev.C.n.
func (n *Node) Subject(rest string) string { return n.cfg.Name + "." + rest }

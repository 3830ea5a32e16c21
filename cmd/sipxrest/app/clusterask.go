package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"sipxrest/cluster"
	"sipxrest/cmd/sipxrest/config"
)

// What operators ask a node, and nodes each other for that.
const (
	opStatus = "node.status"
	opDrain  = "node.drain"
)

// NodeStatus is what a node tells of itself.
type NodeStatus struct {
	Node        string   `json:"node"`
	Incarnation string   `json:"incarnation,omitempty"`
	State       string   `json:"state"` // live, draining, silent, fenced
	Self        bool     `json:"self,omitempty"`
	Version     string   `json:"version,omitempty"`
	Addresses   []string `json:"addresses,omitempty"`
	// SilentMS is since when the node that was asked has not heard of it.
	SilentMS int64 `json:"silent_ms,omitempty"`
	// Differs says that its users, policies, dispatch rules or trunks are not those of
	// the node that was asked.
	Differs bool `json:"differs,omitempty"`

	// The others it says itself; Answers is false if it does not.
	Answers bool   `json:"answers"`
	Holds   bool   `json:"holds"`
	LeaseMS int64  `json:"lease_ms"`
	Calls   int    `json:"calls"`
	Dirty   int    `json:"dirty,omitempty"`
	Store   string `json:"store,omitempty"` // the server that it is connected with
}

// ClusterStatus is what a node knows of its cluster.
type ClusterStatus struct {
	Name  string       `json:"name"`
	Nodes []NodeStatus `json:"nodes"`
}

// asked is the answer to an order of an operator.
type asked struct {
	Error string `json:"error,omitempty"`
}

// answer has the node answer what operators ask at other nodes.
func (k *clustered) answer(a *App) {
	k.node.Answer(opStatus, func(context.Context, []byte) ([]byte, error) { return json.Marshal(k.own()) })
	k.node.Answer(opDrain, func(ctx context.Context, _ []byte) ([]byte, error) {
		a.log.Info("an operator drains this node: it takes no new calls until it is started again")
		return nil, a.drainNode(ctx)
	})
}

// own is what only the node itself knows.
func (k *clustered) own() NodeStatus {
	s := k.node.Stats()
	return NodeStatus{Answers: true, Holds: s.Holds, LeaseMS: s.Lease.Milliseconds(), Calls: s.Calls, Dirty: s.Dirty, Store: k.engine.Connected()}
}

// drainNode takes no new calls at this node until it is started again, though the
// process goes on. Those in progress end by themselves.
func (a *App) drainNode(ctx context.Context) error {
	if err := a.clustered.node.Drain(ctx); err != nil {
		return err
	}
	a.clustered.drained.Store(true)
	a.sw.Drain()
	return nil
}

// status is what this node knows of all.
func (k *clustered) status(ctx context.Context) ClusterStatus {
	out := ClusterStatus{Name: k.cfg.Load().Cluster.Name}
	own := k.files.Load()
	members := k.node.Members()
	out.Nodes = make([]NodeStatus, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		n := &out.Nodes[i]
		switch {
		case m.Self:
			*n = k.own()
		case m.State == "live" || m.State == "draining":
			wg.Go(func() {
				k.ask(ctx, m.Node, n)
				describe(n, m, own)
			})
			continue
		}
		describe(n, m, own)
	}
	wg.Wait()
	return out
}

// ask has another node say what only it knows.
func (k *clustered) ask(ctx context.Context, node string, to *NodeStatus) {
	ctx, cancel := context.WithTimeout(ctx, sayWait)
	defer cancel()
	answer, err := k.node.Ask(ctx, node, opStatus, nil)
	if err != nil || json.Unmarshal(answer, to) != nil {
		*to = NodeStatus{}
	}
}

// describe adds what all nodes know of one.
func describe(n *NodeStatus, m cluster.Member, own *string) {
	n.Node, n.Incarnation, n.State, n.Self, n.Version, n.Addresses = m.Node, m.Incarnation, m.State, m.Self, m.Version, m.Addresses
	n.SilentMS = m.Silent.Milliseconds()
	n.Differs = !m.Self && own != nil && m.Files != "" && m.Files != *own
}

// order does what an operator wants of a node.
func (k *clustered) order(ctx context.Context, a *App, what, node string) error {
	self := false
	known := []string{}
	for _, m := range k.node.Members() {
		self = self || m.Self && m.Node == node
		known = append(known, m.Node)
	}
	switch {
	case what == "fence" && self:
		return errors.New("a node cannot be fenced by itself: stop it, or ask another node")
	case what == "fence":
		a.log.Warn("an operator fences a node: others take its calls", "node", node)
		return k.node.Fence(ctx, node)
	case what == "drain" && self:
		a.log.Info("an operator drains this node: it takes no new calls until it is started again")
		return a.drainNode(ctx)
	case what == "drain":
		_, err := k.node.Ask(ctx, node, opDrain, nil)
		if errors.Is(err, cluster.ErrNobody) {
			return fmt.Errorf("node %s does not answer; known are %v", node, known)
		}
		return err
	}
	return fmt.Errorf("unknown order %q", what)
}

// clusterControl adds to the control socket what is asked of a node.
func (a *App) clusterControl(mux *http.ServeMux) {
	k := a.clustered
	if k == nil {
		return
	}
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, r *http.Request) { answerControl(w, k.status(r.Context())) })
	mux.HandleFunc("POST /cluster/{what}/{node}", func(w http.ResponseWriter, r *http.Request) {
		var answer asked
		if err := k.order(r.Context(), a, r.PathValue("what"), r.PathValue("node")); err != nil {
			answer.Error = err.Error()
		}
		answerControl(w, answer)
	})
}

// orderWait is how long an order may take: fencing asks the store.
const orderWait = 15 * time.Second

// ErrSingle says that the configuration is that of a single node.
var ErrSingle = errors.New("cluster.nats is not set: this is a single node")

// AskCluster asks the service that runs here, a node, for all nodes.
func AskCluster(ctx context.Context, cfg *config.Config) (ClusterStatus, error) {
	var answer ClusterStatus
	if !cfg.Cluster.InUse() {
		return answer, ErrSingle
	}
	return answer, askService(ctx, cfg, http.MethodGet, "/cluster", controlWait, &answer)
}

// OrderNode has the service that runs here "drain" or "fence" a node.
func OrderNode(ctx context.Context, cfg *config.Config, what, node string) error {
	if !cfg.Cluster.InUse() {
		return ErrSingle
	}
	var answer asked
	if err := askService(ctx, cfg, http.MethodPost, "/cluster/"+what+"/"+url.PathEscape(node), orderWait, &answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

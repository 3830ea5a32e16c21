package app

import (
	"slices"

	"sipxrest/event"
	"sipxrest/event/natslog"
)

// maxStreamBytes bounds what the cluster's store keeps of events, beside calls: each node
// has them in its own events.db, too. The servers set that much of store.max-disk aside.
const maxStreamBytes = 256 << 20

// shareEvents has events be those of the cluster, if the service is a node of one.
func (a *App) shareEvents(cfg *event.Config) {
	if a.clustered == nil {
		return
	}
	cfg.Node, cfg.Holds = a.cluster.Name(), a.cluster.Holds
	cfg.Stream = natslog.New(a.clustered.engine, a.streams())
	// A node that ends, or is silent, has its calls still.
	cfg.Nodes = func() []string { return a.nodesIn("live", "draining", "silent") }
}

// shareWebhooks likewise.
func (a *App) shareWebhooks(cfg *event.OutboxConfig) {
	if a.clustered == nil {
		return
	}
	cfg.Shelf = natslog.NewShelf(a.clustered.engine, a.streams())
	cfg.Nodes = func() []string { return a.nodesIn("live") }
}

// streams is how the cluster's streams of events are made.
func (a *App) streams() natslog.Config {
	return natslog.Config{Cluster: a.cfg.Cluster.Name, Keep: a.cfg.Events.Retention, MaxBytes: min(int64(a.cfg.Events.MaxBytes), maxStreamBytes),
		Replicas: a.cfg.Cluster.Replicas}
}

// nodesIn are the nodes in one of these states.
func (a *App) nodesIn(states ...string) (names []string) {
	for _, m := range a.cluster.Members() {
		if slices.Contains(states, m.State) {
			names = append(names, m.Node)
		}
	}
	return names
}

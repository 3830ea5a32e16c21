package check

import (
	"context"
	"errors"
	"strings"
	"time"

	"sipxrest/cluster/natsengine"
	"sipxrest/cmd/sipxrest/app"
	"sipxrest/cmd/sipxrest/config"
)

const (
	// storeTime bounds the probe of the store.
	storeTime = 20 * time.Second
	// slowCommit is from which on calls begin noticeably later.
	slowCommit = 50 * time.Millisecond
	// fullStore is the share of its room from which on the store is nearly full.
	fullStore = 0.8
)

// cluster tries the servers that keep the states of calls, and asks the node that
// runs here for the others.
func (c *checker) cluster(cfg *config.Config) {
	k := &cfg.Cluster
	if !k.InUse() {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, storeTime)
	defer cancel()
	t := natsengine.Probe(ctx, app.EngineConfig(cfg), k.Name, k.Replicas)
	for _, s := range t.Servers {
		switch {
		case s.Err == nil:
			c.say(levelOK, "cluster", "%s answers: %s, NATS %s, round trip %v", s.URL, s.Name, s.Version, s.RoundTrip.Round(10*time.Microsecond))
		case t.Err == nil:
			c.say(levelWarning, "cluster", "%s: %s: %v", cfg.Origin("cluster.nats"), s.URL, s.Err)
		default:
			c.say(levelProblem, "cluster", "%s: %s: %v", cfg.Origin("cluster.nats"), s.URL, s.Err)
		}
		if strings.HasPrefix(s.URL, "nats://") && k.TLS == (config.ClusterTLS{}) && !local(s.URL) {
			c.say(levelNote, "cluster", "%s is not encrypted: who is on the way sees numbers, names and descriptions of calls: write tls://", s.URL)
		}
	}
	switch {
	case t.Err != nil && errors.Is(t.Err, natsengine.ErrAway):
		c.say(levelProblem, "cluster", "no server answers: start sipxrest-store, or name others in cluster.nats")
	case t.Err != nil && errors.Is(t.Err, natsengine.ErrRefused):
		c.say(levelProblem, "cluster", "no server can be used: see the lines above")
	case t.Err != nil:
		c.say(levelProblem, "cluster", "%v", t.Err)
	default:
		c.store(&t)
	}
	c.nodes(cfg)
}

// store says how the store as a whole is.
func (c *checker) store(t *natsengine.Tried) {
	c.say(levelOK, "cluster", "the store takes writes with conditions, %s, in %v", count(t.Replicas, "replica"), t.Commit.Round(10*time.Microsecond))
	if t.Replicas == 1 {
		c.say(levelNote, "cluster", "each state is at one server: while that is away nobody takes calls over, and there are no new ones: three are usual")
	}
	if t.Commit > slowCommit {
		c.say(levelNote, "cluster", "that is slow: each call begins so much later; is the store near, and its disk a local one?")
	}
	if t.MaxStorage > 0 && float64(t.Storage) > fullStore*float64(t.MaxStorage) {
		c.say(levelWarning, "cluster", "the store has %d of %d bytes: raise store.max-disk", t.Storage, t.MaxStorage)
	}
}

// nodes asks the node that runs here for the others.
func (c *checker) nodes(cfg *config.Config) {
	status, err := app.AskCluster(c.ctx, cfg)
	var none *app.NoService
	switch {
	case errors.As(err, &none):
		c.say(levelNote, "cluster", "node %s does not run here, so the others are not known", cfg.Cluster.NodeName())
		return
	case err != nil:
		c.say(levelWarning, "cluster", "the service does not say what it knows of the others: %v", err)
		return
	}
	var live []string
	for _, n := range status.Nodes {
		switch {
		case n.Differs:
			c.say(levelWarning, "cluster", "node %s has other users, policies, dispatch rules or trunks than this one: they must be the same everywhere", n.Node)
		case n.State == "silent":
			c.say(levelWarning, "cluster", "node %s is silent since %v", n.Node, (time.Duration(n.SilentMS) * time.Millisecond).Round(time.Second))
		}
		if n.State == "live" || n.State == "draining" {
			live = append(live, n.Node)
		}
	}
	if len(live) < 2 {
		c.say(levelWarning, "cluster", "there is one node only: nobody takes its calls over")
		return
	}
	c.say(levelOK, "cluster", "nodes %s", strings.Join(live, ", "))
}

// local reports whether a server is on this machine.
func local(url string) bool {
	_, at, _ := strings.Cut(url, "://")
	return strings.HasPrefix(at, "127.") || strings.HasPrefix(at, "localhost") || strings.HasPrefix(at, "[::1]")
}

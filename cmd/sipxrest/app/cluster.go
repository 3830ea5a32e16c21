package app

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/natsengine"
	"sipxrest/cmd/sipxrest/config"
	"sipxrest/cmd/sipxrest/version"
	"sipxrest/sipflow"
)

// clustered is what a node of a cluster has, and a single one has not.
type clustered struct {
	node   *cluster.Node
	engine *natsengine.Engine
	files  atomic.Pointer[string] // hash of what must be the same at all nodes; nil: not known yet
	cfg    atomic.Pointer[config.Config]

	drained atomic.Bool // by an operator: the process goes on
}

const (
	// flushWait is how long the end waits until all that calls have come to is
	// written.
	flushWait = 5 * time.Second
	// filesLook is how often the files are looked at that must be the same at all
	// nodes.
	filesLook = 10 * time.Second
	// sayWait is how long telling the others may take.
	sayWait = 2 * time.Second
)

// openCluster makes the service a node of a cluster, if it is one. It stands before
// the others: they ask a.cluster.
func (a *App) openCluster() error {
	c := &a.cfg.Cluster
	if !c.InUse() {
		return nil
	}
	k := &clustered{}
	k.cfg.Store(&a.cfg)
	var err error
	if k.engine, err = natsengine.New(EngineConfig(&a.cfg), a.log); err != nil {
		return a.atKey(err)
	}
	if k.node, err = cluster.New(a.nodeConfig(k), k.engine, a.log); err != nil {
		_ = k.engine.Close()
		return a.atKey(err)
	}
	a.clustered, a.cluster = k, k.node
	k.answer(a)
	a.add(feature{name: "cluster", stage: stageBase,
		run: func(ctx context.Context) error { return a.runNode(ctx, k) },
		drain: func() {
			ctx, cancel := context.WithTimeout(context.Background(), sayWait)
			defer cancel()
			if err := k.node.Drain(ctx); err != nil {
				a.log.Warn("the other nodes do not know that this one ends", "error", err)
			}
		},
		stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), flushWait)
			defer cancel()
			if err := k.node.Flushed(ctx); err != nil {
				a.log.Warn("the store has not been told of all calls that are over: other nodes will", "error", err)
			}
		},
		abandon: func() { _ = k.engine.Close() },
		reload: func(next *config.Config) error {
			if next != nil {
				k.cfg.Store(next)
			}
			return nil
		},
		metrics: a.addClusterMetrics})
	a.add(feature{name: "files of a cluster", stage: stageBase, reads: true, run: func(ctx context.Context) error { a.watchShared(ctx, k); return nil }})
	return nil
}

// atKey says where the key was set with which an error begins.
func (a *App) atKey(err error) error {
	key, _, _ := strings.Cut(err.Error(), ":")
	return a.cfg.At(key, err)
}

// EngineConfig is how the store is reached.
func EngineConfig(cfg *config.Config) natsengine.Config {
	c := &cfg.Cluster
	return natsengine.Config{Servers: c.NATS, Name: "sipxrest " + c.NodeName(), Credentials: c.Credentials, TLS: natsengine.TLS(c.TLS), Local: onThisMachine(cfg)}
}

// onThisMachine says which stores are on this machine, by their names: `sipxrest
// store` has its address in it. Of loopback only the addresses of SIP count, for on
// that several nodes and stores may be one machine each.
func onThisMachine(cfg *config.Config) func(server string) bool {
	own := map[string]bool{}
	for _, a := range config.OwnAddresses() {
		own[a] = true
	}
	for _, l := range cfg.SIPListen() {
		_, at, _ := strings.Cut(l, ":")
		if ap, err := netip.ParseAddrPort(at); err == nil {
			own[ap.Addr().String()] = true
		}
	}
	return func(server string) bool {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			return false
		}
		if host == cfg.Cluster.NodeName() {
			return true
		}
		a, err := netip.ParseAddr(host)
		return err == nil && own[a.Unmap().String()]
	}
}

func (a *App) nodeConfig(k *clustered) cluster.Config {
	c := &a.cfg.Cluster
	rate := c.TakeoverRate
	if rate == 0 {
		rate = -1 // no limit
	}
	return cluster.Config{
		Name: c.Name, Node: c.NodeName(), Lease: c.Lease, Flush: c.Flush, TakeoverRate: rate, Replicas: c.Replicas,
		Takeover: c.Takeover, WithoutStore: c.WithoutStore,
		Version: version.Current().Version, Addresses: a.cfg.SIPListen(), Capacity: a.cfg.Limits.Calls,
		Files: func() string {
			if h := k.files.Load(); h != nil {
				return *h
			}
			return ""
		},
		Adopt: a.adopt, Kind: sipflow.StateKind, Forget: a.forget,
	}
}

// adopt has the switchboard go on with a call of another node, or hang it up.
func (a *App) adopt(ctx context.Context, t cluster.Taken, done func(result string, err error)) {
	keep := a.cfg.Cluster.Takeover == cluster.TakeoverKeep || t.Moved
	err := a.sw.Adopt(ctx, sipflow.Adopted{ID: t.ID, State: t.State, Epoch: t.Epoch, Keep: keep}, done)
	switch {
	case errors.Is(err, sipflow.ErrIDInUse): // it is here already
		done(sipflow.TakenKept, nil)
	case err != nil:
		done(sipflow.TakenLost, err)
	}
}

// handOver gives calls to other nodes until ctx ends, and closes done then.
func (a *App) handOver(ctx context.Context) (done <-chan struct{}) {
	ended := make(chan struct{})
	if a.cluster == nil {
		close(ended)
		return ended
	}
	go func() {
		defer close(ended)
		moved := a.sw.HandOver(ctx, func(ctx context.Context, id string, state []byte) error {
			_, err := a.cluster.HandOver(ctx, id, state)
			return err
		})
		a.log.Info("calls in progress were handed over to other nodes", "calls", moved, "left", a.activeCalls())
	}()
	return ended
}

// forget drops all calls without a word: other nodes have them.
func (a *App) forget() {
	a.sw.Forget()
	if a.bus != nil {
		a.bus.Disown()
	}
}

// runNode is among the others until ctx ends. It begins once all parts run, since
// calls of other nodes may come at once.
func (a *App) runNode(ctx context.Context, k *clustered) error {
	defer k.engine.Close()
	select {
	case <-a.accept:
	case <-ctx.Done():
		return nil
	}
	return k.node.Run(ctx)
}

// notOwner lists why a node of a cluster takes no new calls now.
func (k *clustered) notOwner(c *config.Cluster) []string {
	if c.WithoutStore == cluster.StoreServe {
		return nil
	}
	select {
	case <-k.node.Joined():
	default:
		if !k.engine.Reached() {
			return []string{"cluster: the store has not answered yet"}
		}
		return []string{"cluster: the node has not joined the others yet"}
	}
	if k.node.Draining() {
		return []string{"cluster: the node is being drained: it takes no new calls until it is started again"}
	}
	if !k.node.Holds() {
		return []string{"cluster: the store does not answer, so it is not sure whose calls these are"}
	}
	return nil
}

// watchShared keeps the hash of what must be the same at all nodes, and warns of
// those whose hash differs.
func (a *App) watchShared(ctx context.Context, k *clustered) {
	look := time.NewTicker(filesLook)
	defer look.Stop()
	var warned []string
	for {
		hash, err := k.cfg.Load().Shared()
		if err != nil {
			a.log.Debug("what must be the same at all nodes cannot be read", "error", err)
		} else {
			k.files.Store(&hash)
		}
		if differ := k.differ(); !slices.Equal(differ, warned) {
			if len(differ) > 0 {
				a.log.Warn("users, policies, dispatch rules or trunks are not the same at all nodes", "nodes", differ)
			} else {
				a.log.Info("users, policies, dispatch rules and trunks are the same at all nodes again")
			}
			warned = differ
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// differ are the nodes whose files have differed from ours for more than a minute.
func (k *clustered) differ() (nodes []string) {
	if k.node.Stats().Differs == 0 {
		return nil
	}
	own := k.files.Load()
	for _, m := range k.node.Members() {
		if !m.Self && own != nil && m.Files != "" && m.Files != *own && (m.State == "live" || m.State == "draining") {
			nodes = append(nodes, m.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// keeper is sipflow.Keeper over the node.
type keeper struct{ node *cluster.Node }

// Claim is sipflow.Keeper's, as all below.
func (k keeper) Claim(ctx context.Context, key sipflow.Key, id string, state []byte) error {
	err := k.node.Claim(ctx, keyText(key), id, state)
	var held *cluster.HeldError
	switch {
	case errors.As(err, &held):
		return &sipflow.HeldError{Key: key, Node: held.Node, ID: held.ID}
	case errors.Is(err, cluster.ErrNotOwner):
		return sipflow.ErrNotOwner
	}
	return err
}

func (k keeper) Keep(id string, state []byte) <-chan struct{} { return k.node.Keep(id, state) }

func (k keeper) Move(id string, from, to sipflow.Key, state []byte) {
	k.node.Move(id, keyText(from), keyText(to), state)
}

func (k keeper) Drop(id string, record []byte, keep time.Duration) { k.node.Drop(id, record, keep) }

func (k keeper) Holds() bool { return k.node.Holds() }

// keyText is a key among the nodes. Calls without one have none.
func keyText(key sipflow.Key) string {
	if key == (sipflow.Key{}) {
		return ""
	}
	return key.String()
}

// keepCalls has the switchboard keep the states of its calls, in a cluster.
func (a *App) keepCalls(sc *sipflow.Config) {
	if a.cluster == nil {
		return // a nil interface, not one that holds nil
	}
	sc.Keeper = keeper{a.cluster}
	sc.KeepRecords = a.cfg.Call.ResultCacheTime
	sc.Account = a.account
}

// account is sipflow.Config.Account: states of calls name whose secrets they need, and
// each node has them in its own files.
func (a *App) account(user, gateway string) (sipflow.Credentials, bool) {
	if gateway == "" {
		return a.dialling.secrets(user)
	}
	g := &a.cfg.Dialout.Gateway
	return sipflow.Credentials{Username: g.User, Password: g.Secret}, gateway == g.URI && user == g.User
}

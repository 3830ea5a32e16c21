package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Node is this process among the others.
type Node struct {
	cfg   Config
	e     Engine
	log   *slog.Logger
	names names

	life       atomic.Pointer[life] // the present incarnation; nil: none
	next       atomic.Pointer[string]
	joined     chan struct{}
	draining   atomic.Bool
	forgetting atomic.Bool
	writing    atomic.Bool
	sayAll     atomic.Bool // a node is new: it is told all counts
	namesake   atomic.Pointer[nodeEntry]
	renew      chan struct{}
	hints      chan who // incarnations that somebody tries to fence

	calls   calls
	keys    keyOps
	lease   lease
	members members
	deads   deads
	pace    pace
	asks    asks
	count   counters
	secrets secrets
	room    room
	mark    atomic.Pointer[string]
	tables  map[string]*Counts
	hears   map[string]func(from string, data []byte)
	running atomic.Bool
	handing sync.RWMutex   // a call that was handed over goes to the switchboard, or it forgets
	goes    sync.WaitGroup // goroutines beside the loops of an incarnation
}

// A life is one incarnation of this node.
type life struct {
	who
	number      int
	stream      string
	fence       string
	tickSubject string
	ctx         context.Context // ends with this incarnation: for calls that others hand over

	// Owned by the ticker.
	tick [1]Write
	seen uint64 // the highest sequence that was committed

	// Owned by the goroutine of renewals; before that by who joins.
	nodeSeq  uint64
	beat     uint64
	numbered time.Time // when the number was written last

	end atomic.Bool // it is fenced
}

// tickData is what a tick message says: a message without data would be removed.
var tickData = []byte{'.'}

func (l *life) fenced() bool { return l.end.Load() }

// New returns a node that is not yet among the others. An error names the key that is wrong.
func New(cfg Config, e Engine, log *slog.Logger) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, e: e, log: log, names: names(cfg.Name), joined: make(chan struct{}), renew: make(chan struct{}, 1),
		hints: make(chan who, 64), tables: map[string]*Counts{}, hears: map[string]func(string, []byte){}}
	n.calls.wake, n.keys.wake, n.deads.wake = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	n.lease.base, n.lease.length = time.Now(), cfg.Lease
	n.secrets.init()
	n.room.init()
	n.asks.init(n)
	return n, nil
}

// Run joins the cluster, as soon as the store is there, and returns when ctx has ended and all goroutines of the node have. A
// *NameTakenError is returned at once. Calls that are still live then are taken over by others.
func (n *Node) Run(ctx context.Context) error {
	if n.running.Swap(true) {
		return errors.New("cluster: Run is called once")
	}
	defer n.listen(ctx)()
	for {
		l, err := n.join(ctx)
		if taken := (*NameTakenError)(nil); errors.As(err, &taken) {
			return err
		}
		if err != nil { // ctx has ended
			return nil
		}
		if !errors.Is(n.live(ctx, l), errFenced) {
			n.leave(l)
			return nil
		}
		if n.forget(l); ctx.Err() != nil {
			return nil
		}
	}
}

// listen hears what other nodes say and ask, until stop is called, which waits for the answers.
func (n *Node) listen(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	stops := []func(){
		n.e.Watch(n.names.nodeAll(), n.watchNodes),
		n.e.Watch(n.names.fenceAll(), n.watchFences),
		n.e.Answer(n.names.ask(n.cfg.Node), func(data []byte, reply func([]byte)) { n.asks.serve(ctx, data, reply) }),
	}
	for topic := range n.hears {
		stops = append(stops, n.e.Watch(n.names.gossip(topic), n.gossiped(topic)))
	}
	return func() {
		for _, f := range stops {
			f()
		}
		cancel()
		n.asks.wait()
	}
}

// live does what a node does until ctx ends, or this incarnation is fenced: then it returns errFenced.
func (n *Node) live(ctx context.Context, l *life) error {
	lctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.ctx = lctx
	n.life.Store(l)
	select {
	case <-n.joined:
	default:
		close(n.joined)
	}
	n.log.Info("cluster: this node has joined", "node", l.Node, "incarnation", l.E, "number", l.number)
	var loops sync.WaitGroup
	t := &ticker{n: n, l: l, good: time.Now()}
	for _, run := range []func(context.Context, *life) error{t.run, n.runKeys, n.runRenewals, n.runSilence, n.runHeirs, n.runGossip} {
		loops.Go(func() {
			if err := run(lctx, l); err != nil {
				if errors.Is(err, errFenced) {
					n.lapse(l)
				}
				cancel(err)
			}
		})
	}
	loops.Go(func() { n.runLog(lctx) })
	loops.Wait()
	n.goes.Wait()
	if l.fenced() {
		return errFenced
	}
	n.keys.putBack(n.keysOnce(l, n.keys.take(nil)))
	t.last()
	return nil
}

// leave says to the others that this node has ended. If it has calls it says nothing: they find it silent, and take them over.
func (n *Node) leave(l *life) {
	n.lease.end()
	n.life.Store(nil)
	all, dirty := n.calls.counts()
	n.calls.reset()
	n.keys.reset(nil)
	if all > 0 || dirty > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*commitTime)
	defer cancel()
	if err := errors.Join(n.markNode(ctx, l.who, nodeGone), n.e.Delete(ctx, l.stream)); err != nil {
		n.log.Warn("cluster: the others could not be told that this node ends", "error", err)
	}
}

// forget drops all calls without a word, for this node was fenced: the others have them.
func (n *Node) forget(l *life) {
	n.forgetting.Store(true)
	defer n.forgetting.Store(false)
	n.lease.end()
	n.life.Store(nil)
	all, _ := n.calls.counts()
	n.calls.reset()
	n.keys.reset(nil)
	n.count.forgotten.Add(1)
	n.members.end(l.who)
	n.log.Error("cluster: this node was fenced, so it forgets its calls and begins anew", "incarnation", l.E, "calls", all)
	n.handing.Lock()
	defer n.handing.Unlock()
	n.cfg.Forget()
	n.calls.reset() // what was claimed meanwhile
	n.keys.reset(nil)
}

// nextE is the incarnation that this node has, or will have.
func (n *Node) nextE() string {
	if l := n.life.Load(); l != nil {
		return l.E
	}
	if e := n.next.Load(); e != nil {
		return *e
	}
	return ""
}

// Joined is closed when the node is among the others for the first time: /readyz waits for it.
func (n *Node) Joined() <-chan struct{} { return n.joined }

// Number is this node's, 1 to 4095, for tags and branches. It is 0 before the node has joined.
func (n *Node) Number() int {
	if l := n.life.Load(); l != nil {
		return l.number
	}
	return 0
}

// Incarnation is the id of this node until it is fenced. It is empty before the node has joined.
func (n *Node) Incarnation() string {
	if l := n.life.Load(); l != nil {
		return l.E
	}
	return ""
}

// Name is cluster.node.
func (n *Node) Name() string { return n.cfg.Node }

// Draining reports whether Drain was called.
func (n *Node) Draining() bool { return n.draining.Load() }

// Drain says to the others that this node will end: it inherits no calls from now on, and is given none.
func (n *Node) Drain(ctx context.Context) error {
	n.draining.Store(true)
	select {
	case n.renew <- struct{}{}:
	default:
	}
	l := n.life.Load()
	if l == nil {
		return nil
	}
	for { // until the others can know it
		cctx, cancel := context.WithTimeout(ctx, commitTime)
		e, err := n.e.Last(cctx, n.names.nodes(), n.names.node(n.cfg.Node))
		cancel()
		at, perr := unmarshal[nodeEntry](e)
		if err == nil && perr == nil && (at.State != nodeLive || at.who != l.who) {
			return nil
		}
		if !sleep(ctx, 10*n.cfg.Flush) {
			return fmt.Errorf("cluster: the others do not know yet that this node drains: %w", context.Cause(ctx))
		}
	}
}

// Stream is the name of a further stream of this cluster, such as EVENTS.
func (n *Node) Stream(kind string) string { return n.cfg.Name + "_" + kind }

// Subject is a subject below this cluster's prefix, such as ev.C.n.
func (n *Node) Subject(rest string) string { return n.cfg.Name + "." + rest }

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fenceAgain is how long a node that is silent for longer than its lease is waited for, and
// how soon a fence is tried again that the store did not take: it may have chosen a leader.
const fenceAgain = time.Second

// accuse fences a member that was silent for too long, unless the store knows better.
func (n *Node) accuse(ctx context.Context, m member) error {
	err := n.fence(ctx, m.who, m.Beat, "watcher")
	switch {
	case errors.Is(err, errAlive):
		n.members.spared(m.who, 0)
		return nil
	case err != nil:
		n.members.spared(m.who, n.cfg.Lease)
	}
	return err
}

// errAlive: a node has renewed its lease, and this one has not heard it.
var errAlive = errors.New("cluster: it has renewed its lease")

// accused marks the entry of a node, on the condition that it has not renewed its lease since that beat. From then on no renewal of
// it is acknowledged: so when its fence is stored, all that was acknowledged before is older than a lease.
func (n *Node) accused(ctx context.Context, w who, beat uint64) error {
	subject := n.names.node(w.Node)
	for {
		e, err := n.e.Last(ctx, n.names.nodes(), subject)
		if err != nil && !errors.Is(err, ErrNone) {
			return err
		}
		at, err := unmarshal[nodeEntry](e)
		switch {
		case err != nil: // the store has lost it
			at = nodeEntry{who: w}
		case at.who != w || at.State == nodeFenced || at.State == nodeGone:
			return nil
		case at.Beat > beat:
			return errAlive
		}
		at.State = nodeFenced
		_, err = n.e.Commit(ctx, n.names.nodes(), []Write{{Subject: subject, Data: marshal(at), TTL: nodeAge}}, Cond{subject, e.Seq})
		if err == nil || !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// Fence ends the present incarnation of another node, for an operator who knows that it is dead.
func (n *Node) Fence(ctx context.Context, node string) error {
	m, ok := n.members.get(node)
	if !ok {
		return fmt.Errorf("cluster: no live node has the name %q", node)
	}
	return n.fence(ctx, m.who, anyBeat, "operator")
}

// anyBeat fences a node also if it renews its lease.
const anyBeat = 1<<64 - 1

// fence ends an incarnation, unless it has renewed its lease since that beat: after its fence is committed nothing of it is. Of two that
// try one has its fence stored, and both go on by that one. It may be repeated after any step.
func (n *Node) fence(ctx context.Context, w who, beat uint64, why string) error {
	heirs := n.heirs(w)
	if len(heirs) == 0 { // all of them drain, or this node has not joined yet
		heirs = []who{{n.cfg.Node, n.nextE()}}
	}
	f := fenceEntry{who: w, By: n.cfg.Node, Why: why, Heirs: heirs}
	stream, subject := n.names.stream(w), n.names.fence(w)
	cctx, cancel := context.WithTimeout(ctx, 4*commitTime)
	defer cancel()
	actx, stop := context.WithTimeout(ctx, 2*commitTime) // a question to a leader that has just gone is lost
	defer stop()
	if err := n.accused(actx, w, beat); err != nil {
		return err
	}
	_, err := n.e.Commit(cctx, stream, []Write{{Subject: subject, Data: marshal(f)}}, Cond{Subject: subject})
	if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNoStream) {
		return err
	}
	return n.followFence(ctx, w)
}

// followFence does what follows from a fence that is stored, if one is: it is noted where all nodes see it, and the fenced one too.
func (n *Node) followFence(ctx context.Context, w who) error {
	cctx, cancel := context.WithTimeout(ctx, 3*commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, n.names.stream(w), n.names.fence(w))
	switch {
	case errors.Is(err, ErrNoStream): // it has left nothing, or the store has lost it: there is nothing to inherit, until it is heard again
		n.members.drop(w)
		n.forgetCounts(w)
		return nil
	case err != nil:
		return err
	}
	f, err := unmarshal[fenceEntry](e)
	if err != nil {
		return fmt.Errorf("the fence of %v cannot be read: %w", w, err)
	}
	if f.who != w || !f.readable() {
		return fmt.Errorf("the fence of %v is not its own", w)
	}
	dead := n.names.dead(w)
	if _, err := n.e.Commit(cctx, n.names.nodes(), []Write{{Subject: dead, Data: marshal(f)}}, Cond{Subject: dead}); err != nil &&
		!errors.Is(err, ErrConflict) {
		return err
	}
	if err := n.markNode(cctx, w, nodeFenced); err != nil {
		return err
	}
	n.know(f)
	return nil
}

// markNode writes into the entry of a node what has become of that incarnation, so that its next renewal is refused.
func (n *Node) markNode(ctx context.Context, w who, state string) error {
	subject := n.names.node(w.Node)
	for {
		e, err := n.e.Last(ctx, n.names.nodes(), subject)
		if errors.Is(err, ErrNone) {
			return nil
		} else if err != nil {
			return err
		}
		at, err := unmarshal[nodeEntry](e)
		if err != nil || at.who != w || at.State == state || at.State == nodeGone {
			return nil
		}
		at.State = state
		_, err = n.e.Commit(ctx, n.names.nodes(), []Write{{Subject: subject, Data: marshal(at), TTL: nodeAge}}, Cond{subject, e.Seq})
		if err == nil || !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// know notes a fence, and has the heirs begin.
func (n *Node) know(f fenceEntry) {
	if !n.deads.add(f) {
		return
	}
	n.ended(f.who)
	by := f.Why
	if f.By != n.cfg.Node {
		by = "other"
	}
	n.count.fences.add(by)
	n.log.Warn("cluster: a node is fenced, so others take its calls over", "node", f.Node, "incarnation", f.E, "by", f.By, "reason", f.Why,
		"heirs", len(f.Heirs))
	select {
	case n.deads.wake <- struct{}{}:
	default:
	}
}

// watchFences hears that somebody tries to fence a node. Whether it was done the goroutine of heirs reads from the store.
func (n *Node) watchFences(_ string, data []byte) {
	f, err := unmarshal[fenceEntry](Entry{Data: data})
	if err != nil || !f.valid() {
		return
	}
	select {
	case n.hints <- f.who:
	default: // it is found by the next look at all of them
	}
}

package cluster

import (
	"context"
	"errors"
	"time"
)

const (
	// minKeep is how long the entry of a call that is over stays at least: late states of a fenced node are known by it.
	minKeep = time.Minute
	// maxKeep is how long it stays at most.
	maxKeep = 24 * time.Hour
	// maxOwed is how many changes of keys wait for the store. Without it no more calls are taken then.
	maxOwed = 50_000
	// maxOwedBytes is how many bytes of records wait. Records of further calls are given up.
	maxOwedBytes = 64 << 20
)

// claimWait is how long a claim waits for the store: less than the 5 s that a POST has, so that the
// client hears of the store, and not that there was no time.
const claimWait = maxWait - 500*time.Millisecond

// Claim commits that the key is this call's, that the call is this node's, and its first state. An empty key is none. A *HeldError
// names the call of another node that has the key; one of this node's own gives it up. ErrNotOwner: the lease has lapsed, or the store
// does not answer in 4.5 s. The state must not be changed afterwards.
func (n *Node) Claim(ctx context.Context, key, id string, state []byte) error {
	err := n.claim(ctx, short(key), id, state)
	switch held := (*HeldError)(nil); {
	case err == nil:
		n.count.claims.add("ok")
	case errors.As(err, &held):
		n.count.claims.add("held")
	case errors.Is(err, ErrNotOwner):
		n.count.claims.add("refused")
	default:
		n.count.claims.add("error")
	}
	return err
}

func (n *Node) claim(ctx context.Context, key, id string, state []byte) error {
	if len(state) > MaxState || len(state) == 0 {
		n.count.tooLarge.Add(1)
		return ErrTooLarge
	}
	alone := n.cfg.WithoutStore == StoreServe && !n.lease.holds() && !n.forgetting.Load()
	if !alone && !n.lease.holds() || n.keys.full() {
		return ErrNotOwner
	}
	c := &call{id: id, state: state}
	if key != "" {
		c.keys = []string{key}
	}
	g := n.calls.add(c)
	if g == nil {
		return &HeldError{Key: key, Node: n.cfg.Node, ID: id}
	}
	op := &keyOp{kind: opClaim, c: c, key: key}
	if alone { // its protection begins when the store is back
		n.keys.push(op)
		return nil
	}
	op.done = make(chan error, 1)
	n.keys.push(op)
	late := time.NewTimer(claimWait)
	defer late.Stop()
	err := error(nil)
	for _, wait := range []<-chan struct{}{nil, g.done} { // both go on at once
		answered := op.done
		if wait != nil {
			answered = nil
		}
		select {
		case err = <-answered:
		case <-wait:
			if !g.ok {
				err = ErrNotOwner
			}
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-late.C:
			err = ErrNotOwner
		}
		if err != nil {
			n.unclaim(op)
			return err
		}
	}
	if n.calls.get(id) != c { // this node was fenced meanwhile
		return ErrNotOwner
	}
	return nil
}

// unclaim undoes a claim, whatever has become of it.
func (n *Node) unclaim(op *keyOp) {
	op.given.Store(true)
	if n.calls.get(op.c.id) == op.c {
		n.calls.forget(op.c.id)
		n.keys.push(&keyOp{kind: opDrop, c: op.c, keep: minKeep})
	}
}

// Keep notes the newest state of a call, which must not be changed afterwards. The channel is closed when that, or a newer one, is
// committed, and after 5 s without the store in any case. What is no call of this node, or too large, is not noted.
func (n *Node) Keep(id string, state []byte) <-chan struct{} {
	if len(state) > MaxState || len(state) == 0 {
		if n.count.tooLarge.Add(1) == 1 {
			n.log.Error("cluster: a state is too large, so an older one is kept", "call", id, "bytes", len(state))
		}
		return closed
	}
	return n.calls.keep(id, state)
}

// Move says that the call has another key from now on, and its newest state. Its former keys lead to it, too, the last four of them.
func (n *Node) Move(id, from, to string, state []byte) {
	n.Keep(id, state)
	from, to = short(from), short(to)
	c := n.calls.get(id)
	if c == nil || to == "" || to == from {
		return
	}
	lost := n.calls.rename(c, to)
	n.keys.push(&keyOp{kind: opMove, c: c, key: to, lost: lost})
}

// Drop says that the call is over. The record, which must not be changed afterwards, is what other nodes read for so long, or for a
// minute where that is too much. Of a call that was dropped already it is a newer one.
func (n *Node) Drop(id string, record []byte, keep time.Duration) {
	if len(record) > MaxState {
		n.count.tooLarge.Add(1)
		record = nil
	}
	record, keep = n.fit(record, min(max(keep, minKeep), maxKeep))
	if c := n.calls.forget(id); c != nil {
		n.keys.push(&keyOp{kind: opDrop, c: c, record: record, keep: keep})
	} else if len(record) > 0 {
		n.keys.push(&keyOp{kind: opRecord, c: &call{id: id}, record: record, keep: keep, unsure: true})
	}
}

// Flushed returns when all that was kept, moved and dropped before is committed, or with the error of ctx.
func (n *Node) Flushed(ctx context.Context) error {
	for n.keys.owed() > 0 {
		if !sleep(ctx, n.cfg.Flush) {
			return context.Cause(ctx)
		}
	}
	for {
		if _, dirty := n.calls.counts(); dirty == 0 && !n.writing.Load() {
			return nil
		}
		if !sleep(ctx, n.cfg.Flush) {
			return context.Cause(ctx)
		}
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// atOnce is how many changes of keys are committed one by one at the same time, after a batch was refused.
const atOnce = 16

// What a keyOp does.
const (
	opClaim = iota
	opMove
	opDrop
	opRecord  // a call that is over has a newer record
	opRestore // the store has lost it, or it is old
)

// A keyOp is a change of the keys of one call. Those of one call are done in their order.
type keyOp struct {
	kind   int
	c      *call
	key    string // that is claimed, or moved to
	lost   string // a key that the call gives up
	record []byte
	keep   time.Duration
	done   chan error  // for those who wait for a claim
	given  atomic.Bool // nobody wants the claim any more
	takes  []*call     // calls of this node that give the key up
	writes []Write     // of the batch that is under way
	unsure bool        // what is stored must be read first
}

// keyOps wait for the goroutine of keys.
type keyOps struct {
	mu      sync.Mutex
	ops     []*keyOp
	restore []*call
	working int // taken, and not yet done
	bytes   int
	wake    chan struct{}
}

func (q *keyOps) push(op *keyOp) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes += len(op.record); q.bytes > maxOwedBytes {
		q.bytes -= len(op.record)
		op.record = nil
	}
	q.ops = append(q.ops, op)
	q.kick()
}

func (q *keyOps) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// full reports whether no more calls should be taken.
func (q *keyOps) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ops)+q.working > maxOwed
}

// owed is how many changes are not committed.
func (q *keyOps) owed() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ops) + q.working
}

// take returns what is to be done, after what is left of last time.
func (q *keyOps) take(left []*keyOp) []*keyOp {
	q.mu.Lock()
	defer q.mu.Unlock()
	left = append(left, q.ops...)
	q.ops = nil
	for len(left) < perTick && len(q.restore) > 0 {
		c := q.restore[len(q.restore)-1]
		q.restore = q.restore[:len(q.restore)-1]
		left = append(left, &keyOp{kind: opRestore, c: c, unsure: true})
	}
	q.working = len(left)
	if len(q.restore) > 0 {
		q.kick()
	}
	return left
}

// finished notes that an operation is done.
func (q *keyOps) finished(op *keyOp, err error) {
	q.mu.Lock()
	q.working--
	q.bytes -= len(op.record)
	q.mu.Unlock()
	if op.done != nil {
		op.done <- err
	}
}

// reset gives everything up, for this node was fenced.
func (q *keyOps) reset(left []*keyOp) {
	q.mu.Lock()
	left = append(left, q.ops...)
	q.ops, q.restore, q.working, q.bytes = nil, nil, 0, 0
	q.mu.Unlock()
	for _, op := range left {
		if op.done != nil {
			op.done <- ErrNotOwner
		}
	}
}

// restoreKeys has the entries of all calls be written again. lost: the store may have none of them.
func (n *Node) restoreKeys(lost bool) {
	all := n.calls.all()
	n.keys.mu.Lock()
	n.keys.restore = all
	n.keys.kick()
	n.keys.mu.Unlock()
	if lost {
		n.count.again.Add(1)
		n.log.Warn("cluster: the store has lost data, so this node writes all of its calls again", "calls", len(all))
	}
}

// runKeys commits changes of keys, many at a time, until ctx ends.
func (n *Node) runKeys(ctx context.Context, l *life) error {
	var left []*keyOp
	defer func() { n.keys.putBack(left) }()
	for {
		if len(left) > 0 { // the store did not answer
			if !sleep(ctx, maxPause) {
				return nil
			}
		} else {
			select {
			case <-ctx.Done():
				return nil
			case <-n.keys.wake:
			}
		}
		began := time.Now()
		left = n.commitKeys(ctx, l, n.keys.take(left))
		sleep(ctx, n.cfg.Flush-time.Since(began))
	}
}

// keysOnce does what is left when the node ends.
func (n *Node) keysOnce(l *life, ops []*keyOp) (left []*keyOp) {
	if l.fenced() || len(ops) == 0 {
		return ops
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	return n.commitKeys(ctx, l, ops)
}

// putBack keeps what was not done.
func (q *keyOps) putBack(left []*keyOp) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ops = append(left, q.ops...)
	q.working = 0
}

// commitKeys does what it can, and returns what is left because the store does not answer.
func (n *Node) commitKeys(ctx context.Context, l *life, ops []*keyOp) (left []*keyOp) {
	for len(ops) > 0 && ctx.Err() == nil {
		some, writes, conds := n.batch(l, ops)
		if len(some) == 0 {
			group := aloneGroup(ops)
			ops = ops[len(group):]
			failed := n.oneByOne(ctx, l, group)
			if len(failed) > 0 {
				return append(failed, ops...)
			}
			continue
		}
		seq, err := n.commitKey(ctx, writes, conds)
		if err != nil {
			for _, op := range some {
				op.unsure = true
			}
			if errors.Is(err, ErrConflict) || errors.Is(err, ErrNoStream) {
				continue
			}
			return ops
		}
		at := seq - uint64(len(writes))
		for _, op := range some {
			at += uint64(len(op.writes))
			n.settled(op, op.writes, at, nil)
		}
		ops = ops[len(some):]
	}
	return ops
}

// aloneGroup returns the first operations that are done one by one, no two of them of one call.
func aloneGroup(ops []*keyOp) []*keyOp {
	for i, op := range ops {
		if i == atOnce || !op.unsure {
			return ops[:i]
		}
		for _, other := range ops[:i] {
			if other.c.id == op.c.id {
				return ops[:i]
			}
		}
	}
	return ops
}

// batch returns the first operations that fit into one batch, with their writes.
func (n *Node) batch(l *life, ops []*keyOp) (some []*keyOp, writes []Write, conds []Cond) {
	seen := map[string]bool{}
	for i, op := range ops {
		if op.unsure {
			return ops[:i], writes, conds
		}
		own, cond, fits := n.changes(l, op)
		fits = fits && len(writes)+len(own) <= MaxBatch && !seen[op.c.id]
		for _, w := range own {
			fits = fits && !seen[w.Subject]
		}
		if !fits {
			if i == 0 {
				op.unsure = true
			}
			return ops[:i], writes, conds
		}
		for _, w := range own {
			seen[w.Subject] = true
		}
		op.writes, seen[op.c.id] = own, true
		writes, conds = append(writes, own...), append(conds, cond...)
	}
	return ops, writes, conds
}

// changes returns what an operation writes if the store has what this node has written last. An operation that nobody wants any more,
// or whose call was never claimed, writes nothing.
func (n *Node) changes(l *life, op *keyOp) (writes []Write, conds []Cond, fits bool) {
	c := op.c
	id := n.names.id(c.id)
	add := func(w Write) {
		writes = append(writes, w)
		conds = append(conds, Cond{w.Subject, c.seqOf(w.Subject)})
	}
	live := marshal(keyEntry{who: l.who, ID: c.id})
	switch op.kind {
	case opClaim:
		if op.given.Load() {
			return nil, nil, true
		}
		add(Write{Subject: id, Data: marshal(keyEntry{who: l.who, ID: c.id, Keys: keysIf(op.key)})})
		if op.key != "" {
			add(Write{Subject: n.names.key(op.key), Data: live})
		}
	case opMove:
		if !c.claimed.Load() {
			return nil, nil, false
		}
		add(Write{Subject: id, Data: marshal(keyEntry{who: l.who, ID: c.id, Keys: n.calls.keysOf(c)})})
		add(Write{Subject: n.names.key(op.key), Data: live})
	case opDrop:
		if !c.claimed.Load() {
			return nil, nil, op.c.seqs == nil
		}
		over := marshal(keyEntry{who: l.who, ID: c.id, Over: true})
		keys := n.calls.keysOf(c)
		add(Write{Subject: id, Data: marshal(keyEntry{who: l.who, ID: c.id, Keys: keys, Over: true}), TTL: op.keep})
		for _, k := range keys {
			add(Write{Subject: n.names.key(k), Data: over, TTL: op.keep})
		}
		if len(op.record) > 0 {
			writes = append(writes, Write{Subject: n.names.record(c.id), Data: op.record, TTL: op.keep})
		}
	}
	return writes, conds, op.lost == ""
}

func keysIf(key string) []string {
	if key == "" {
		return nil
	}
	return []string{key}
}

// settled notes that an operation was committed, or was refused for good.
func (n *Node) settled(op *keyOp, writes []Write, seq uint64, err error) {
	if err == nil && len(writes) > 0 {
		op.c.committed(writes, seq)
		op.c.claimed.Store(true)
		for _, other := range op.takes {
			n.calls.unkey(other, op.key)
		}
	}
	if op.kind == opDrop || err != nil && op.kind == opClaim {
		n.calls.empty(op.c)
	}
	n.keys.finished(op, err)
}

// oneByOne does operations of different calls at the same time, and returns those for which the store did not answer.
func (n *Node) oneByOne(ctx context.Context, l *life, ops []*keyOp) (failed []*keyOp) {
	errs := make([]error, len(ops))
	var wg sync.WaitGroup
	for i, op := range ops {
		wg.Go(func() { errs[i] = n.oneKey(ctx, l, op) })
	}
	wg.Wait()
	for i, op := range ops {
		if errs[i] != nil {
			failed = append(failed, op)
		}
	}
	return failed
}

// oneKey does one operation, after having read what is stored. An error means that the store did not answer.
func (n *Node) oneKey(ctx context.Context, l *life, op *keyOp) error {
	for range 8 {
		writes, conds, refused, err := n.readKeys(ctx, l, op)
		if err != nil {
			return err
		}
		if refused != nil || len(writes) == 0 {
			n.settled(op, nil, 0, refused)
			return nil
		}
		seq, err := n.commitKey(ctx, writes, conds)
		switch {
		case err == nil:
			n.settled(op, writes, seq, nil)
			return nil
		case errors.Is(err, ErrConflict) || errors.Is(err, ErrNoStream): // another was quicker, or the stream is new
		default:
			return err
		}
	}
	return fmt.Errorf("cluster: the keys of call %s change all the time", op.c.id)
}

// commitKey commits to the stream of keys, and makes it anew if it is gone.
func (n *Node) commitKey(ctx context.Context, writes []Write, conds []Cond) (uint64, error) {
	if len(writes) == 0 {
		return 0, nil
	}
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	seq, err := n.e.Commit(cctx, n.names.keys(), writes, conds...)
	if errors.Is(err, ErrNoStream) {
		if err := n.e.Ensure(cctx, n.keyStream()); err != nil {
			return 0, err
		}
		n.restoreKeys(true)
	}
	return seq, err
}

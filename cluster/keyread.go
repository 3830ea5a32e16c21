package cluster

import (
	"context"
	"errors"
	"slices"
)

// readKeys returns what an operation writes, on the condition that nothing changes of what is stored now. refused says why it is not
// to be done. With neither there is nothing to do. err means that the store did not answer.
func (n *Node) readKeys(ctx context.Context, l *life, op *keyOp) (writes []Write, conds []Cond, refused, err error) {
	c := op.c
	op.takes = nil
	add := func(subject string, e keyEntry, seq uint64, w Write) {
		w.Subject, w.Data = subject, marshal(e)
		writes, conds = append(writes, w), append(conds, Cond{subject, seq})
	}
	id := n.names.id(c.id)
	at, seq, err := n.readKey(ctx, id)
	if err != nil {
		return nil, nil, nil, err
	}
	mine := at.who == l.who && !at.Over
	switch {
	case op.kind == opClaim && op.given.Load() && at.ID == "": // what is under way must not be committed later
		add(id, keyEntry{who: l.who, ID: c.id, Over: true}, 0, Write{TTL: minKeep})
		return writes, conds, nil, nil
	case op.kind == opClaim && op.given.Load() && !mine:
		return nil, nil, nil, nil
	case op.kind == opClaim && at.ID != "" && !mine:
		return nil, nil, &HeldError{Key: op.key, Node: at.Node, ID: at.ID}, nil
	case op.kind == opRecord:
		if at.who == l.who && at.Over {
			writes = append(writes, Write{Subject: n.names.record(c.id), Data: op.record, TTL: op.keep})
		}
		return writes, nil, nil, nil
	case op.kind == opDrop && (at.ID == "" && !c.claimed.Load() || at.ID != "" && !mine):
		return nil, nil, nil, nil // it was never claimed, is over already, or another node has it
	case op.kind == opRestore && (!c.claimed.Load() || n.calls.get(c.id) != c):
		return nil, nil, nil, nil
	case (op.kind == opRestore || op.kind == opMove) && at.ID != "" && !mine:
		n.log.Error("cluster: a call of this node is another's, too", "call", c.id, "node", at.Node)
		return nil, nil, nil, nil
	}
	over, ttl := op.kind == opDrop, Write{}
	if over {
		ttl.TTL = op.keep
	}
	keys := n.calls.keysOf(c)
	entry := keyEntry{who: l.who, ID: c.id, Keys: keys, Over: over}
	add(id, entry, seq, ttl)
	for _, key := range keys {
		subject := n.names.key(key)
		at, seq, err := n.readKey(ctx, subject)
		if err != nil {
			return nil, nil, nil, err
		}
		free, err := n.mayTake(ctx, l, at, key, op)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case free && (!over || at.ID == c.id):
			add(subject, keyEntry{who: l.who, ID: c.id, Over: over}, seq, ttl)
		case free || over:
		case op.kind == opClaim:
			return nil, nil, &HeldError{Key: key, Node: at.Node, ID: at.ID}, nil
		default:
			n.log.Warn("cluster: another call has this key", "call", c.id, "other", at.ID, "node", at.Node)
			n.calls.unkey(c, key)
		}
	}
	if op.lost != "" {
		subject := n.names.key(op.lost)
		at, seq, err := n.readKey(ctx, subject)
		if err != nil {
			return nil, nil, nil, err
		}
		if at.ID == c.id && !at.Over {
			add(subject, keyEntry{who: l.who, ID: c.id, Over: true}, seq, Write{TTL: minKeep})
		}
	}
	if over && len(op.record) > 0 {
		writes = append(writes, Write{Subject: n.names.record(c.id), Data: op.record, TTL: op.keep})
	}
	return writes, conds, nil, nil
}

// readKey returns what is stored at a subject of keys, and its sequence. Nothing, or nothing that can be read, is an empty entry.
func (n *Node) readKey(ctx context.Context, subject string) (at keyEntry, seq uint64, err error) {
	cctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, n.names.keys(), subject)
	switch {
	case errors.Is(err, ErrNone) || errors.Is(err, ErrNoStream):
		return at, 0, nil
	case err != nil:
		return at, 0, err
	}
	at, err = unmarshal[keyEntry](e)
	if err != nil {
		at = keyEntry{}
	}
	return at, e.Seq, nil
}

// mayTake reports whether a call may have a key at which that is stored. Of two calls of this node the one has it that was entered later.
func (n *Node) mayTake(ctx context.Context, l *life, at keyEntry, key string, op *keyOp) (bool, error) {
	switch {
	case at.ID == "" || at.Over || at.ID == op.c.id:
		return true, nil
	case at.who == l.who:
		other := n.calls.get(at.ID)
		if other == nil || !slices.Contains(n.calls.keysOf(other), key) {
			return true, nil
		}
		if op.kind == opRestore || other.number > op.c.number || !other.claimed.Load() {
			return false, nil
		}
		op.takes = append(op.takes, other)
		return true, nil
	case n.members.live(at.who):
		return false, nil
	}
	// The calls of a node that is not alive have their keys until the heirs have dealt with them: then its stream is gone.
	cctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	_, err := n.e.Last(cctx, n.names.stream(at.who), n.names.fence(at.who))
	if errors.Is(err, ErrNoStream) {
		return true, nil
	}
	if errors.Is(err, ErrNone) {
		err = nil
	}
	return false, err
}

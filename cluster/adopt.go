package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/boundary"
)

// adopters is how many calls are taken over at the same time.
const adopters = 32

// A pace lets so many pass in each second.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// wait returns when it is the caller's turn, and reports whether ctx goes on.
func (p *pace) wait(ctx context.Context, rate int) bool {
	if rate <= 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	turn := p.next
	p.next = p.next.Add(time.Second / time.Duration(rate))
	p.mu.Unlock()
	return sleep(ctx, turn.Sub(now))
}

// adoptAll takes calls of a fenced incarnation over, in this order, and returns how many have become this node's.
func (n *Node) adoptAll(ctx context.Context, l *life, from who, calls []left) int {
	var total atomic.Int64
	var wg sync.WaitGroup
	next := make(chan left)
	for range min(adopters, len(calls)) {
		wg.Go(func() {
			for c := range next {
				ok, err := n.adopt(ctx, l, from, c)
				if ok {
					total.Add(1)
				}
				if err != nil && ctx.Err() == nil {
					n.log.Debug("cluster: a call is not taken over yet", "call", c.id, "error", err)
				}
			}
		})
	}
	for _, c := range calls {
		if !n.lease.holds() || !n.pace.wait(ctx, n.cfg.TakeoverRate) {
			break
		}
		next <- c
	}
	close(next)
	wg.Wait()
	return int(total.Load())
}

// adopt takes one call over. Its own state is committed first, then the entry of the call's id, then the call is handed to the
// switchboard, then the dead one's state is emptied. Whoever finds that half done does the rest.
func (n *Node) adopt(ctx context.Context, l *life, from who, c left) (adopted bool, err error) {
	at, seq, err := n.readKey(ctx, n.names.id(c.id))
	if err != nil {
		return false, err
	}
	gone := func() error { return n.e.Put(n.names.stream(from), n.names.state(from, c.id), nil) }
	if at.ID != "" && (at.Over || at.who != from) {
		return false, gone() // it is over, or another has it
	}
	if len(c.state) == 0 || n.cfg.Takeover == TakeoverNone {
		if err := n.endLeft(ctx, l, from, c, at, seq); err != nil {
			return false, err
		}
		n.taken(c.state, "lost")
		return false, gone()
	}
	own, err := n.takeCall(ctx, l, from, c, seq)
	if errors.Is(err, ErrConflict) {
		n.log.Debug("cluster: a call is not taken over, for its entry has changed", "call", c.id)
		return false, nil // the next sweep finds who has it
	} else if err != nil {
		return false, err
	}
	n.hand(ctx, own, c.state, from.Node, false)
	return true, gone()
}

// hand gives a call to the switchboard that is this node's now.
func (n *Node) hand(ctx context.Context, c *call, state []byte, from string, moved bool) {
	key := ""
	if keys := n.calls.keysOf(c); len(keys) > 0 {
		key = keys[0]
	}
	var once sync.Once
	taken := Taken{ID: c.id, Key: key, State: state, Epoch: c.epoch, From: from, Moved: moved}
	done := func(result string, err error) {
		once.Do(func() {
			if !moved {
				n.taken(state, result)
			}
			if result == "lost" { // nobody goes on with it, so its key becomes free
				n.log.Error("cluster: a call could not be taken over", "call", c.id, "from", from, "error", err)
				n.Drop(c.id, nil, minKeep)
			}
		})
	}
	// A state at which one node fails is the next one's then: each would die of it, one after the other.
	if !boundary.Try(n.log, "a call that is taken over", func() { n.cfg.Adopt(ctx, taken, done) }) {
		done("lost", errFault)
	}
}

// taken counts what has come of a call of a dead node.
func (n *Node) taken(state []byte, result string) {
	k := TakeoverKey{Result: result}
	if n.cfg.Kind != nil {
		k.Flow, k.State = n.cfg.Kind(state)
	}
	n.count.takeovers.add(k)
}

// takeCall makes a call of another incarnation this node's own, if the entry of its id has still that sequence. ErrConflict: another
// node has it.
func (n *Node) takeCall(ctx context.Context, l *life, from who, c left, seq uint64) (*call, error) {
	own := &call{id: c.id, state: c.state, keys: slices.Clone(c.keys), epoch: c.epoch + 1}
	g := n.calls.add(own)
	if g == nil {
		return nil, fmt.Errorf("call %s is being taken over", c.id)
	}
	select {
	case <-g.done:
	case <-ctx.Done():
	}
	if ctx.Err() != nil || !g.ok {
		n.calls.empty(own)
		return nil, ErrNotOwner
	}
	if err := n.takeID(ctx, l, from, c, seq, own); err != nil {
		if errors.Is(err, ErrConflict) {
			n.calls.empty(own)
		} // else this node ends without knowing: its state stays, and whoever inherits it finds out
		return nil, err
	}
	own.claimed.Store(true)
	return own, nil
}

// takeID commits that a call's entries are this node's. It returns when it is known whether they are, or ctx ends: then this node ends or
// is fenced, and another one finds the state where it was.
func (n *Node) takeID(ctx context.Context, l *life, from who, c left, seq uint64, own *call) error {
	for pause := sweepPause / 10; ; pause = min(2*pause, sweepPause) {
		writes, conds, keys, err := n.takeKeys(ctx, c, l.who, seq)
		if err == nil {
			var done uint64
			if done, err = n.commitKey(ctx, writes, conds); err == nil {
				own.committed(writes, done)
				n.calls.rekey(own, keys)
				return nil
			}
		}
		// Was it committed? As long as the entry has the old sequence it still may be, so nothing is given up then.
		switch at, now, rerr := n.readKey(ctx, n.names.id(c.id)); {
		case rerr != nil:
		case at.who == l.who && at.ID == c.id && !at.Over:
			n.calls.rekey(own, at.Keys)
			return nil
		case now != seq:
			return ErrConflict
		case errors.Is(err, ErrConflict): // one of its keys has changed
			continue
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// takeKeys returns the writes that make a call's entries this node's, and which keys it has still: another call may have one since.
func (n *Node) takeKeys(ctx context.Context, c left, to who, seq uint64) (writes []Write, conds []Cond, keys []string, err error) {
	id := n.names.id(c.id)
	writes, conds = make([]Write, 1), []Cond{{id, seq}}
	for _, key := range c.keys {
		subject := n.names.key(key)
		at, seq, err := n.readKey(ctx, subject)
		if err != nil {
			return nil, nil, nil, err
		}
		if at.ID == "" || at.ID == c.id && !at.Over {
			keys = append(keys, key)
			writes = append(writes, Write{Subject: subject, Data: marshal(keyEntry{who: to, ID: c.id})})
			conds = append(conds, Cond{subject, seq})
		}
	}
	writes[0] = Write{Subject: id, Data: marshal(keyEntry{who: to, ID: c.id, Keys: keys})}
	return writes, conds, keys, nil
}

// endLeft notes that a call of a fenced node is over and nobody goes on with it.
func (n *Node) endLeft(ctx context.Context, l *life, from who, c left, at keyEntry, seq uint64) error {
	record, keep := []byte(nil), minKeep
	keys := c.keys
	if len(keys) == 0 {
		keys = at.Keys
	}
	if n.cfg.Lost != nil && len(c.state) > 0 {
		key := ""
		if len(keys) > 0 {
			key = keys[0]
		}
		record, keep = n.cfg.Lost(Taken{ID: c.id, Key: key, State: c.state, Epoch: c.epoch + 1, From: from.Node})
		keep = min(max(keep, minKeep), maxKeep)
	}
	id := n.names.id(c.id)
	writes := []Write{{Subject: id, Data: marshal(keyEntry{who: l.who, ID: c.id, Keys: keys, Over: true}), TTL: keep}}
	conds := []Cond{{id, seq}}
	for _, key := range keys {
		subject := n.names.key(key)
		at, seq, err := n.readKey(ctx, subject)
		if err != nil {
			return err
		}
		if at.ID == c.id {
			writes = append(writes, Write{Subject: subject, Data: marshal(keyEntry{who: l.who, ID: c.id, Over: true}), TTL: keep})
			conds = append(conds, Cond{subject, seq})
		}
	}
	if len(record) > 0 && len(record) <= MaxState {
		writes = append(writes, Write{Subject: n.names.record(c.id), Data: record, TTL: keep})
	}
	_, err := n.commitKey(ctx, writes, conds)
	return err
}

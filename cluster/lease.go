package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A lease is for how long this node surely owns its calls, by its own monotonic clock.
type lease struct {
	base  time.Time    // monotonic
	until atomic.Int64 // ns after base; 0: it does not hold

	mu      sync.Mutex
	length  time.Duration
	renewal time.Time // when the last renewal that was acknowledged was begun
	tick    time.Time // likewise the last tick: it proves that there is no fence
	over    bool      // this incarnation is fenced, or has ended
}

// holds is asked before each INVITE, so it costs one load and one look at the clock.
func (l *lease) holds() bool { return time.Since(l.base) < time.Duration(l.until.Load()) }

// left is what is left of the lease.
func (l *lease) left() time.Duration {
	return max(0, time.Duration(l.until.Load())-time.Since(l.base))
}

// renewed notes an acknowledged renewal by the time before it was sent. ticked does so for a tick.
func (l *lease) renewed(began time.Time) { l.extend(&l.renewal, began) }
func (l *lease) ticked(began time.Time)  { l.extend(&l.tick, began) }

func (l *lease) extend(t *time.Time, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	*t = began
	first := l.renewal
	if l.tick.Before(first) {
		first = l.tick
	}
	if !first.IsZero() {
		l.until.Store(int64(first.Add(l.length).Sub(l.base)))
	}
}

// begin is called when an incarnation begins.
func (l *lease) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = false
}

// end gives the lease up, until the next incarnation begins.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewal, l.tick = time.Time{}, time.Time{}
	l.over = true
	l.until.Store(0)
}

// lapse ends the lease of an incarnation that is fenced.
func (n *Node) lapse(l *life) {
	l.end.Store(true)
	n.lease.end()
}

// Holds reports whether this node is surely still the owner of its calls. With StoreServe it is true unless a fence is known.
func (n *Node) Holds() bool {
	if n.cfg.WithoutStore == StoreServe {
		return !n.forgetting.Load()
	}
	return n.lease.holds()
}

// runRenewals renews the lease until ctx ends. It returns errFenced if another node has ended this incarnation.
func (n *Node) runRenewals(ctx context.Context, l *life) error {
	last := time.Now() // when a renewal was acknowledged
	next, marked := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.renew: // something of the entry has changed
		case <-time.After(time.Until(next)):
		}
		began := time.Now()
		next = began.Add(n.cfg.Lease / 4)
		switch err := n.renewal(ctx, l); {
		case errors.Is(err, errFenced):
			return err
		case err != nil:
			if ctx.Err() == nil {
				n.log.Debug("cluster: a renewal failed", "error", err)
			}
		default:
			// A store that was away was so for the others, too: nobody is accused of having been silent.
			if time.Since(last) > n.cfg.Lease/2 {
				n.members.anew()
			}
			last = time.Now()
			n.lease.renewed(began)
			if began.Sub(marked) > n.cfg.Lease {
				marked = began
				n.checkMark(ctx)
				n.checkSecret(ctx)
				n.checkNumber(ctx, l)
			}
		}
	}
}

// renewal commits this node's entry, on the condition that nobody else has.
func (n *Node) renewal(ctx context.Context, l *life) error {
	cctx, cancel := context.WithTimeout(ctx, n.cfg.Lease/2)
	defer cancel()
	for range 3 {
		l.beat++
		seq, err := n.e.Commit(cctx, n.names.nodes(), []Write{{Subject: n.names.node(n.cfg.Node), Data: marshal(n.renewed(l)), TTL: nodeAge}},
			Cond{n.names.node(n.cfg.Node), l.nodeSeq})
		if err == nil {
			l.nodeSeq = seq
			return nil
		}
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNoStream) {
			return err
		}
		if err := n.reread(cctx, l); err != nil {
			return err
		}
	}
	return ErrConflict
}

// reread finds out why this node's entry is not what it was. errFenced: it belongs to this incarnation no longer.
func (n *Node) reread(ctx context.Context, l *life) error {
	e, err := n.e.Last(ctx, n.names.nodes(), n.names.node(n.cfg.Node))
	switch {
	case errors.Is(err, ErrNoStream):
		l.nodeSeq, l.numbered = 0, time.Time{}
		return n.e.Ensure(ctx, n.nodeStream())
	case errors.Is(err, ErrNone):
		l.nodeSeq, l.numbered = 0, time.Time{}
		return nil
	case err != nil:
		return err
	}
	l.nodeSeq = e.Seq
	at, err := unmarshal[nodeEntry](e)
	switch {
	case errors.Is(err, ErrNone):
		return nil
	case err != nil:
		return fmt.Errorf("the entry of this node cannot be read: %w", err)
	case at.who != l.who || at.State == nodeFenced || at.State == nodeGone:
		return errFenced
	}
	return nil
}

// renewed is entry with its beat, for the goroutine that renews the lease.
func (n *Node) renewed(l *life) nodeEntry {
	e := n.entry(l)
	e.Beat = l.beat
	return e
}

// entry is what this node says of itself.
func (n *Node) entry(l *life) nodeEntry {
	state, files := nodeLive, ""
	if n.draining.Load() {
		state = nodeDraining
	}
	if n.cfg.Files != nil {
		files = n.cfg.Files()
	}
	return nodeEntry{who: l.who, State: state, Number: l.number, Version: n.cfg.Version, Addresses: n.cfg.Addresses,
		Files: files, Capacity: n.cfg.Capacity}
}

// runLog says when this node stops to own its calls surely, and when it does again.
func (n *Node) runLog(ctx context.Context) {
	held, since := false, time.Time{}
	for sleep(ctx, silenceTick) {
		holds := n.lease.holds()
		if holds == held {
			continue
		}
		if held = holds; holds && since.IsZero() {
			// The first tick of an incarnation: it has had no calls before.
		} else if holds {
			n.log.Info("cluster: the store is reached again, so new calls are taken", "after", time.Since(since).Round(time.Millisecond))
		} else {
			n.log.Warn("cluster: the lease has lapsed, so new calls are refused; calls in progress go on")
		}
		since = time.Now()
	}
}

package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// sweepPause is how long an heir waits before it looks again at what is left.
	sweepPause = 500 * time.Millisecond
	// sweepsEmpty is how often nothing must be left, for a sweep may miss messages while the store elects a leader.
	sweepsEmpty = 3
	// deadsPause is how often all fences are looked at whose calls are not all taken.
	deadsPause = 5 * time.Second
	// sweepTime is how long a sweep may take: 20,000 states are 30 MB.
	sweepTime = 5 * time.Second
	// maxDeads is how many fenced incarnations are known whose calls are not all taken.
	maxDeads = 4096
	// maxChain is how often an heir may have died before its turn came.
	maxChain = 16
)

// deads are the fences whose calls are not all taken over.
type deads struct {
	mu   sync.Mutex
	by   map[who]*dead
	wake chan struct{}
}

type dead struct {
	fenceEntry
	since   time.Time
	working bool
}

// add notes a fence, and reports whether it is new.
func (d *deads) add(f fenceEntry) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by[f.who] != nil || len(d.by) >= maxDeads {
		return false
	}
	if d.by == nil {
		d.by = map[who]*dead{}
	}
	d.by[f.who] = &dead{fenceEntry: f, since: time.Now()}
	return true
}

// begin marks those in whose heirs this node has a part, and at which nobody here works, and returns them.
func (d *deads) begin(concerns func(fenceEntry) bool) (out []*dead) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.by {
		if !at.working && concerns(at.fenceEntry) {
			at.working = true
			out = append(out, at)
		}
	}
	return out
}

// stop notes that nobody works at a fence; done: nothing is left of it.
func (d *deads) stop(at *dead, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at.working = false; done {
		delete(d.by, at.who)
	}
}

// get returns the fence of an incarnation.
func (d *deads) get(w who) (fenceEntry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.by[w]; at != nil {
		return at.fenceEntry, true
	}
	return fenceEntry{}, false
}

func (d *deads) all() (out []fenceEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.by {
		out = append(out, at.fenceEntry)
	}
	return out
}

// runHeirs takes over what is left by fenced nodes, as far as it is this node's part.
func (n *Node) runHeirs(ctx context.Context, l *life) error {
	look := time.NewTicker(deadsPause)
	defer look.Stop()
	n.readDeads(ctx)
	for {
		for _, at := range n.deads.begin(func(f fenceEntry) bool { return n.concerns(l, f) }) {
			n.goes.Go(func() { n.deads.stop(at, n.inherit(ctx, l, at)) })
		}
		select {
		case <-ctx.Done():
			return nil
		case w := <-n.hints:
			if _, known := n.deads.get(w); w == l.who {
				if n.fencedSelf(ctx, l) {
					return errFenced
				}
			} else if !known {
				if err := n.followFence(ctx, w); err != nil && !errors.Is(err, ErrNone) {
					n.log.Debug("cluster: a fence is not read yet", "node", w.Node, "error", err)
				}
			}
		case <-n.deads.wake:
		case <-look.C:
			n.readDeads(ctx)
		}
	}
}

// fencedSelf reports whether there is a fence of this incarnation.
func (n *Node) fencedSelf(ctx context.Context, l *life) bool {
	cctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	e, err := n.e.Last(cctx, l.stream, l.fence)
	return err == nil && len(e.Data) > 0
}

// readDeads learns of fences whose calls are not all taken, and that those of others are.
func (n *Node) readDeads(ctx context.Context) {
	cctx, cancel := context.WithTimeout(ctx, 2*commitTime)
	defer cancel()
	var all []fenceEntry
	found, seen := map[who]bool{}, 0
	count, err := n.e.Sweep(cctx, n.names.nodes(), n.names.deadAll(), func(e Entry) {
		seen++
		if f, err := unmarshal[fenceEntry](e); err == nil && f.readable() && e.Subject == n.names.dead(f.who) {
			found[f.who] = true
			all = append(all, f)
		}
	})
	if err != nil {
		return
	}
	for _, f := range all {
		n.know(f)
	}
	if seen == count { // what is not there is over
		n.deads.keepOnly(found)
	}
}

// keepOnly forgets fences that the store has no more.
func (d *deads) keepOnly(found map[who]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w, at := range d.by {
		if !found[w] && !at.working && time.Since(at.since) > deadsPause {
			delete(d.by, w)
		}
	}
}

// concerns reports whether some of a fence's calls may be this node's: it is an heir, or one of the heirs lives no more.
func (n *Node) concerns(l *life, f fenceEntry) bool {
	return slices.ContainsFunc(f.Heirs, func(h who) bool { return h == l.who || !n.members.live(h) })
}

// heirOf says who inherits a call. If that node is fenced itself, its own heirs do. All nodes reckon alike; where they do not, for they
// have not heard the same yet, the entry of the call's id decides.
func (n *Node) heirOf(l *life, id string, f fenceEntry) who {
	for range maxChain {
		h := f.Heirs[place(id, len(f.Heirs))]
		if h == l.who || n.members.live(h) {
			return h
		}
		next, fenced := n.deads.get(h)
		if !fenced {
			break
		}
		f = next
	}
	if live := n.heirs(who{}); len(live) > 0 {
		return live[place(id, len(live))]
	}
	return l.who
}

// A left call is one that a fenced node has not lived to end.
type left struct {
	stored
	id string
}

// class is the priority of a state.
func (s stored) class() byte {
	if len(s.state) == 0 {
		return ClassOther
	}
	return s.state[0]
}

// inherit takes over this node's part of the calls of a fenced incarnation, and looks again until nothing is left of any heir's. It
// reports whether that has come about.
func (n *Node) inherit(ctx context.Context, l *life, at *dead) bool {
	total, began := 0, time.Now()
	for empty := 0; empty < sweepsEmpty; {
		if n.lease.holds() { // a node that may be fenced itself takes nothing over
			mine, others, err := n.sweep(ctx, l, at.fenceEntry)
			switch {
			case errors.Is(err, ErrNoStream):
				return n.inherited(ctx, at, total, began)
			case err != nil:
				empty = 0
				n.log.Debug("cluster: the calls of a fenced node are not read", "node", at.Node, "error", err)
			case len(mine) == 0 && others == 0:
				empty++
			default:
				empty = 0
				total += n.adoptAll(ctx, l, at.who, mine)
			}
		}
		if !sleep(ctx, sweepPause) {
			return false
		}
	}
	return n.inherited(ctx, at, total, began)
}

// sweep reads what a fenced incarnation has left: this node's part, most urgent first, and how much there is beside it, or was not found.
func (n *Node) sweep(ctx context.Context, l *life, f fenceEntry) (mine []left, others int, err error) {
	cctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	prefix, found := n.names.state(f.who, ""), 0
	count, err := n.e.Sweep(cctx, n.names.stream(f.who), prefix+"*", func(e Entry) {
		found++
		id, ok := untoken(strings.TrimPrefix(e.Subject, prefix))
		if len(e.Data) == 0 || !ok {
			return
		}
		s, err := parseStored(e.Data)
		if err != nil {
			n.log.Error("cluster: the state of a call cannot be read, so the call is lost", "call", id, "node", f.Node)
			s = stored{}
		}
		if n.heirOf(l, id, f) != l.who {
			others++
			return
		}
		s.state = slices.Clone(s.state)
		mine = append(mine, left{s, id})
	})
	slices.SortStableFunc(mine, func(a, b left) int { return int(a.class()) - int(b.class()) })
	return mine, others + max(0, count-found), err
}

// inherited removes what is left of an incarnation that has no calls any more.
func (n *Node) inherited(ctx context.Context, at *dead, total int, began time.Time) bool {
	cctx, cancel := context.WithTimeout(ctx, 5*commitTime)
	defer cancel()
	err := n.markNode(cctx, at.who, nodeFenced) // before its stream goes: without it the store would seem to have lost data
	if err == nil {
		err = n.e.Delete(cctx, n.names.stream(at.who))
	}
	if err == nil {
		_, err = n.e.Commit(cctx, n.names.nodes(), []Write{{Subject: n.names.dead(at.who)}})
	}
	if err == nil {
		err = n.markNode(cctx, at.who, nodeGone)
	}
	if err != nil {
		if ctx.Err() == nil {
			n.log.Warn("cluster: what is left of a fenced node is not removed yet", "node", at.Node, "error", err)
		}
		return false
	}
	n.count.takeover.add(time.Since(at.since))
	n.log.Info("cluster: the calls of a fenced node are taken over", "node", at.Node, "incarnation", at.E, "here", total,
		"after", time.Since(began).Round(time.Millisecond))
	return true
}

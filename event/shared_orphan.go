package event

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

const (
	// orphanTime is how long a call may have no node until it is ended: takeovers take
	// seconds.
	orphanTime = time.Minute
	orphanLook = 10 * time.Second
)

// watchOrphans ends the calls whose node is gone and that no other one has taken, until
// stop is closed: those over WebSocket, whose media have gone with it.
func (b *Bus) watchOrphans(stop <-chan struct{}) {
	if b.cfg.Nodes == nil {
		return
	}
	since := map[string]time.Time{}
	tick := time.NewTicker(orphanLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.endOrphans(since, time.Now())
		case <-stop:
			return
		}
	}
}

// endOrphans ends those that have been so for orphanTime. since is kept from look to look.
func (b *Bus) endOrphans(since map[string]time.Time, now time.Time) {
	if b.cfg.Holds != nil && !b.cfg.Holds() {
		clear(since) // who is cut off himself knows nothing of others
		return
	}
	nodes := b.cfg.Nodes()
	found := map[string]bool{}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for id, l := range s.calls {
			if w := l.far.writer.Load(); !l.far.mine && w != nil && b.orphaned(id, *w, nodes) {
				found[id] = true
			}
		}
		s.mu.Unlock()
	}
	for id := range since {
		if !found[id] {
			delete(since, id)
		}
	}
	for id := range found {
		at, known := since[id]
		switch {
		case !known:
			since[id] = now
		case now.Sub(at) >= orphanTime:
			delete(since, id)
			b.endOrphan(id)
		}
	}
}

// orphaned reports whether a call has no node, and this one is to end it.
func (b *Bus) orphaned(id, writer string, nodes []string) bool {
	node := nodeOf(writer)
	if node == b.cfg.Node {
		return writer != b.shared.writer // of a former life, which only this node knows for sure
	}
	return !slices.Contains(nodes, node) && chosen(id, nodes) == b.cfg.Node
}

// endOrphan ends one. Where another node does the same, one of both is refused.
func (b *Bus) endOrphan(id string) {
	s := b.shard(id)
	s.mu.Lock()
	l := s.calls[id]
	if l == nil || l.far.mine {
		s.mu.Unlock()
		return
	}
	c := l.pub.Load()
	s.mu.Unlock()
	if c == nil {
		return
	}
	now := b.cfg.Now()
	b.resume(id, told{what: toldResumed, at: now})
	b.Tell(id, CallEnded, "", Change{
		End:       &End{Reason: "node_lost", Outcome: Unknown, Dialled: "unknown"},
		Knowledge: &Knowledge{Level: "lost", Until: c.updated, Text: "The node that had the call was lost; what the phones did since is not known."},
	})
}

// chosen is the node that does something alone: each of them finds the same one, and
// another one's leaving changes only what that one did.
func chosen(what string, nodes []string) (node string) {
	var most uint64
	for _, n := range nodes {
		sum := sha256.Sum256([]byte(n + "\n" + what))
		if w := binary.BigEndian.Uint64(sum[:]); node == "" || w > most || w == most && n < node {
			node, most = n, w
		}
	}
	return node
}

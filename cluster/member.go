package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// silenceTick is how often the silence of others is counted.
	silenceTick = 100 * time.Millisecond
	// maxMembers is how many nodes are known at most: as many as there are numbers.
	maxMembers = 4095
	// maxEnded is how many incarnations are remembered that are fenced.
	maxEnded = 4096
	// maxEntry is how large a renewal may be that is heard.
	maxEntry = 8 << 10
)

// A Member is what is known of a node, this one included.
type Member struct {
	Node, Incarnation string
	Number            int
	State             string // live, draining, silent, fenced
	Self              bool
	Version           string
	Addresses         []string
	Files             string // hash
	Capacity          int
	Silent            time.Duration // this node's own awake time without a renewal
}

type member struct {
	nodeEntry
	silent  time.Duration
	fencing bool      // this node is about to fence it
	differs time.Time // since when its files are others than ours; zero: they are not
}

// members are the other nodes.
type members struct {
	mu    sync.Mutex
	by    map[string]*member
	ended map[who]bool // fenced, or gone: what they still say is nothing to anybody
	order []who        // of ended, the oldest first
}

// heard notes a renewal of another node. It reports whether this incarnation was not known.
func (m *members) heard(e nodeEntry) (isNew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended[e.who] {
		return false
	}
	old := m.by[e.Node]
	if old == nil && len(m.by) >= maxMembers {
		return false
	}
	if old != nil && old.E == e.E {
		old.nodeEntry, old.silent = e, 0
		return false
	}
	if m.by == nil {
		m.by = map[string]*member{}
	}
	m.by[e.Node] = &member{nodeEntry: e}
	return true
}

// end notes that an incarnation is no more.
func (m *members) end(w who) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.by[w.Node]; at != nil && at.E == w.E {
		delete(m.by, w.Node)
	}
	if m.ended[w] {
		return
	}
	if m.ended == nil {
		m.ended = map[who]bool{}
	}
	if len(m.order) == maxEnded {
		delete(m.ended, m.order[0])
		m.order = m.order[1:]
	}
	m.ended[w] = true
	m.order = append(m.order, w)
}

// drop has no such member until it is heard again.
func (m *members) drop(w who) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.by[w.Node]; at != nil && at.E == w.E {
		delete(m.by, w.Node)
	}
}

// anew has everybody's silence count from now on.
func (m *members) anew() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range m.by {
		at.silent = 0
	}
}

// live reports whether an incarnation was heard of not long ago.
func (m *members) live(w who) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.by[w.Node]
	return at != nil && at.E == w.E && !at.fencing
}

// count adds awake time to everybody's silence, and returns who has been silent for too long.
func (m *members) count(awake, tooLong time.Duration) (silent []member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, at := range m.by {
		if at.silent += awake; at.silent >= tooLong && !at.fencing {
			at.fencing = true
			silent = append(silent, *at)
		}
	}
	return silent
}

// spared notes that a fence did not come about, and how much of the silence still counts.
func (m *members) spared(w who, silent time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.by[w.Node]; at != nil && at.E == w.E {
		at.fencing, at.silent = false, silent
	}
}

// isOver reports whether an incarnation is known to be no more.
func (m *members) isOver(w who) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended[w]
}

// get returns the member of that name.
func (m *members) get(node string) (member, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.by[node]; at != nil {
		return *at, true
	}
	return member{}, false
}

// all returns the members by name.
func (m *members) all() []member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]member, 0, len(m.by))
	for _, at := range m.by {
		out = append(out, *at)
	}
	slices.SortFunc(out, func(a, b member) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// watchNodes hears the renewals of the others.
func (n *Node) watchNodes(_ string, data []byte) {
	var e nodeEntry
	if len(data) > maxEntry || json.Unmarshal(data, &e) != nil || !e.valid() {
		return
	}
	if e.Node == n.cfg.Node {
		if l := n.life.Load(); l == nil || l.E != e.E {
			n.namesake.Store(&e) // another process with our name, or a message of a former run
		}
		return
	}
	switch e.State {
	case nodeLive, nodeDraining:
		if n.members.heard(e) {
			n.sayAll.Store(true)
		}
	case nodeGone: // said by the node itself, or by the last heir
		n.ended(e.who)
	}
}

// ended forgets what an incarnation has told.
func (n *Node) ended(w who) {
	n.members.end(w)
	n.forgetCounts(w)
}

func (n *Node) forgetCounts(w who) {
	for _, c := range n.tables {
		c.forget(w)
	}
}

// runSilence counts this node's own awake time without a word of each other node, and has those fenced that are silent for longer
// than their lease can be. A node that does not own its own calls accuses nobody.
func (n *Node) runSilence(ctx context.Context, l *life) error {
	last := time.Now()
	for sleep(ctx, silenceTick) {
		now := time.Now()
		awake := min(now.Sub(last), 2*silenceTick)
		last = now
		n.compareFiles(now)
		if !n.lease.holds() {
			continue
		}
		for _, m := range n.members.count(awake, n.cfg.Lease+fenceAgain) {
			n.goes.Go(func() {
				if err := n.accuse(ctx, m); err != nil && ctx.Err() == nil {
					n.log.Warn("cluster: a silent node could not be fenced", "node", m.Node, "error", err)
				}
			})
		}
	}
	return nil
}

// compareFiles notes whose files are others than ours.
func (n *Node) compareFiles(now time.Time) {
	if n.cfg.Files == nil {
		return
	}
	own := n.cfg.Files()
	n.members.mu.Lock()
	defer n.members.mu.Unlock()
	for _, at := range n.members.by {
		switch {
		case at.Files == own || at.Files == "":
			at.differs = time.Time{}
		case at.differs.IsZero():
			at.differs = now
		}
	}
}

// Members returns the nodes that are known, by name.
func (n *Node) Members() []Member {
	show := func(e nodeEntry) Member {
		return Member{Node: e.Node, Incarnation: e.E, Number: e.Number, State: e.State, Version: e.Version, Addresses: e.Addresses,
			Files: e.Files, Capacity: e.Capacity}
	}
	var out []Member
	if l := n.life.Load(); l != nil {
		self := show(n.entry(l))
		self.Self = true
		out = append(out, self)
	}
	for _, at := range n.members.all() {
		m := show(at.nodeEntry)
		m.Silent = at.silent
		if at.silent > n.cfg.Lease {
			m.State = "silent"
		}
		out = append(out, m)
	}
	for _, d := range n.deads.all() {
		out = append(out, Member{Node: d.Node, Incarnation: d.E, State: nodeFenced})
	}
	slices.SortStableFunc(out, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// heirs are the nodes that inherit calls now, sorted by name, but for w. Those that may be dead themselves are not among them.
func (n *Node) heirs(w who) []who {
	var out []who
	if l := n.life.Load(); l != nil && l.who != w && !n.draining.Load() {
		out = append(out, l.who)
	}
	for _, at := range n.members.all() {
		if at.who != w && at.State == nodeLive && at.silent <= n.cfg.Lease/2+silenceTick && !at.fencing {
			out = append(out, at.who)
		}
	}
	slices.SortFunc(out, func(a, b who) int { return strings.Compare(a.Node, b.Node) })
	return out
}

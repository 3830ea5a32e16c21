package cluster

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// countsPause is how often changed counts are told.
	countsPause = time.Second
	// countsWhole is how often all of them are, for a message may be lost.
	countsWhole = 10 * time.Second
	// maxNames is how many names of one node are counted in one table.
	maxNames = 16_384
	// maxTold is how large one message of counts is.
	maxTold = 16 << 10
	// maxCounted is how long a name may be.
	maxCounted = 256
	// maxAllNames is how many names of all other nodes are counted in one table.
	maxAllNames = 16 * maxNames
	// maxCount is how much one node may say of a name: all together do not overflow.
	maxCount = 1 << 31
)

// Tell says something to all nodes that listen now. It may be lost.
func (n *Node) Tell(topic string, data []byte) {
	l := n.life.Load()
	if l == nil {
		return
	}
	msg := append([]byte{byte(len(l.Node))}, l.Node...)
	msg = append(append(msg, byte(len(l.E))), l.E...)
	if err := n.e.Tell(n.names.gossip(topic), append(msg, data...)); err != nil {
		n.log.Debug("cluster: the others were not told", "topic", topic, "error", err)
	}
}

// Hear has f called for what the others tell. It is called before Run. f returns at once, and keeps data only as a copy.
func (n *Node) Hear(topic string, f func(from string, data []byte)) {
	if n.running.Load() || n.tables[topic] != nil {
		panic("cluster: Hear after Run, or of a topic of counts")
	}
	n.hears[topic] = f
}

// gossiped hears a topic. What a fenced incarnation still says is not heard.
func (n *Node) gossiped(topic string) func(string, []byte) {
	f, table := n.hears[topic], n.tables[topic]
	return func(_ string, data []byte) {
		node, data, ok := cutShort(data)
		e, data, ok2 := cutShort(data)
		w := who{node, e}
		if !ok || !ok2 || !w.valid() || node == n.cfg.Node || n.members.isOver(w) {
			return
		}
		if table != nil {
			table.heard(w, data)
		} else {
			f(node, data)
		}
	}
}

// cutShort returns a string with its length before it, and what follows.
func cutShort(data []byte) (string, []byte, bool) {
	if len(data) == 0 || len(data) < 1+int(data[0]) {
		return "", nil, false
	}
	return string(data[1 : 1+data[0]]), data[1+data[0]:], true
}

// Counts are numbers by name that nodes share: each knows its own, and the sum of the others' as of a second ago.
type Counts struct {
	mu      sync.Mutex
	own     map[string]int64
	changed map[string]bool
	others  map[who]map[string]int64
	names   int // of others
}

// Counts returns the table of a topic. It is called before Run.
func (n *Node) Counts(topic string) *Counts {
	if n.running.Load() {
		panic("cluster: Counts after Run")
	}
	if n.tables[topic] == nil {
		n.tables[topic] = &Counts{own: map[string]int64{}, changed: map[string]bool{}, others: map[who]map[string]int64{}}
		n.hears[topic] = nil
	}
	return n.tables[topic]
}

// Set notes this node's own count. It is told within a second, if it has changed. Beyond 16,384 names it is not told.
func (c *Counts) Set(name string, count int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.own[name]
	switch {
	case old == count || len(name) > maxCounted:
		return
	case count == 0:
		delete(c.own, name)
	case !known && len(c.own) >= maxNames:
		return
	default:
		c.own[name] = count
	}
	if len(c.changed) < 2*maxNames {
		c.changed[name] = true
	}
}

// Others is the sum of the other nodes' counts. A node that is fenced, or has gone, has none.
func (c *Counts) Others(name string) (sum int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, counts := range c.others {
		sum += counts[name]
	}
	return sum
}

// The first byte of a message of counts.
const (
	toldSome  = iota // these have changed
	toldFirst        // all follow: forget what was
)

// told returns the messages that say what has changed, or everything.
func (c *Counts) told(whole bool) (msgs [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	msg := []byte{toldSome}
	if whole {
		msg[0] = toldFirst
	}
	add := func(name string, count int64) {
		msg = append(append(msg, byte(len(name)>>8), byte(len(name))), name...)
		if msg = binary.AppendVarint(msg, count); len(msg) >= maxTold {
			msgs = append(msgs, msg)
			msg = []byte{toldSome}
		}
	}
	if whole {
		for name, count := range c.own {
			add(name, count)
		}
	} else {
		for name := range c.changed {
			add(name, c.own[name])
		}
	}
	clear(c.changed)
	if len(msg) > 1 || whole && len(msgs) == 0 {
		msgs = append(msgs, msg)
	}
	return msgs
}

// heard notes what another node has told.
func (c *Counts) heard(from who, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(data) == 0 {
		return
	}
	at := c.others[from]
	if at == nil || data[0] == toldFirst {
		if at == nil && len(c.others) >= maxMembers {
			return
		}
		for w := range c.others { // a node has one incarnation
			if w.Node == from.Node {
				c.drop(w)
			}
		}
		at = map[string]int64{}
		c.others[from] = at
	}
	for data = data[1:]; len(data) >= 2; {
		size := int(data[0])<<8 | int(data[1])
		if size > len(data)-2 {
			return
		}
		name := string(data[2 : 2+size])
		count, n := binary.Varint(data[2+size:])
		if n <= 0 {
			return
		}
		data = data[2+size+n:]
		_, known := at[name]
		switch {
		case count <= 0: // below that a limit would not be one
			if known {
				delete(at, name)
				c.names--
			}
		case known:
			at[name] = min(count, maxCount)
		case size <= maxCounted && len(at) < maxNames && c.names < maxAllNames:
			at[name] = min(count, maxCount)
			c.names++
		}
	}
}

// drop forgets what an incarnation has told. The caller holds mu.
func (c *Counts) drop(w who) {
	c.names -= len(c.others[w])
	delete(c.others, w)
}

// forget drops the counts of an incarnation that is no more.
func (c *Counts) forget(w who) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(w)
}

// runGossip tells changed counts each second, and all of them now and then, or when a node is new.
func (n *Node) runGossip(ctx context.Context, _ *life) error {
	for whole := (time.Time{}); sleep(ctx, countsPause); {
		all := n.sayAll.Swap(false) || time.Since(whole) >= countsWhole
		if all {
			whole = time.Now()
		}
		for topic, c := range n.tables {
			for _, msg := range c.told(all) {
				n.Tell(topic, msg)
			}
		}
	}
	return nil
}

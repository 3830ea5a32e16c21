package cluster

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxWait is how long those who wait for a state to be committed do so while the store is away.
const maxWait = 5 * time.Second

// A call is what this node knows of one of its own.
type call struct {
	id      string
	subject string   // of its state, once it was put
	keys    []string // the newest first; guarded by calls.mu
	state   []byte   // the newest; none: it is over. Guarded by calls.mu
	epoch   uint32
	dirty   bool   // it is in calls.dirty; guarded by calls.mu
	era     int    // calls.era when it was entered
	number  uint64 // of all calls of this node, in the order in which they were entered

	claimed atomic.Bool // its id is committed
	seqs    []keySeq    // owned by the goroutine of keys; before claimed is set by whoever takes the call over
}

// A keySeq is the sequence of what this node has committed at a subject of keys.
type keySeq struct {
	subject string
	seq     uint64
}

// seqOf returns the sequence at a subject, 0 if there is none.
func (c *call) seqOf(subject string) uint64 {
	for _, s := range c.seqs {
		if s.subject == subject {
			return s.seq
		}
	}
	return 0
}

// committed notes what a batch has written for the call: its writes have the sequences up to seq.
func (c *call) committed(writes []Write, seq uint64) {
	for i, w := range writes {
		at := seq - uint64(len(writes)-1-i)
		if k := slices.IndexFunc(c.seqs, func(s keySeq) bool { return s.subject == w.Subject }); k >= 0 {
			c.seqs[k].seq = at
		} else if len(c.seqs) <= maxKeys {
			c.seqs = append(c.seqs, keySeq{w.Subject, at})
		}
	}
}

// A generation is the waiters of one tick.
type generation struct {
	done chan struct{}
	ok   bool // committed; written before done is closed
	born time.Time
}

// calls are those of this node, and which of them have a newer state than the store.
type calls struct {
	mu      sync.Mutex
	by      map[string]*call
	dirty   []*call
	again   []*call     // to be put again, some in each tick: the store has lost them, or they are old
	next    *generation // who waits for what is dirty now; nil: nobody
	under   []*generation
	entered uint64
	era     int  // one more with each incarnation: calls of a former one are written no more
	ticking bool // there is a goroutine that commits
	wake    chan struct{}
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// add enters a call with its first state. It returns nil if there is one with that id.
func (t *calls) add(c *call) *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[c.id] != nil {
		return nil
	}
	if t.by == nil {
		t.by = map[string]*call{}
	}
	t.by[c.id] = c
	t.entered++
	c.era, c.number = t.era, t.entered
	return t.touch(c)
}

// touch notes that a call's state is to be put, and returns who waits for that. The caller holds mu.
func (t *calls) touch(c *call) *generation {
	if !c.dirty && c.era == t.era {
		c.dirty = true
		t.dirty = append(t.dirty, c)
	}
	if t.next == nil {
		t.next = &generation{done: make(chan struct{}), born: time.Now()}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return t.next
}

// keep notes the newest state of a call.
func (t *calls) keep(id string, state []byte) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.by[id]
	if c == nil {
		return closed
	}
	c.state = state
	g := t.touch(c)
	if !t.ticking {
		return closed
	}
	return g.done
}

// rename makes key the newest of a call, and returns the one that it has to give up, if any.
func (t *calls) rename(c *call, key string) (lost string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := []string{key}
	for _, k := range c.keys {
		if k != key {
			keys = append(keys, k)
		}
	}
	if len(keys) > maxKeys {
		lost = keys[maxKeys]
		keys = keys[:maxKeys]
	}
	c.keys = keys
	t.touch(c)
	return lost
}

// rekey notes which keys a call has.
func (t *calls) rekey(c *call, keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(c.keys, keys) {
		c.keys = keys
		t.touch(c)
	}
}

// unkey takes a key away that another call has.
func (t *calls) unkey(c *call, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.keys = slices.DeleteFunc(slices.Clone(c.keys), func(k string) bool { return k == key })
	t.touch(c)
}

// keysOf returns the keys of a call.
func (t *calls) keysOf(c *call) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return c.keys
}

func (t *calls) get(id string) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[id]
}

// forget has no call by that id any more, and leaves its state in the store. It returns the call.
func (t *calls) forget(id string) *call {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.by[id]
	delete(t.by, id)
	return c
}

// empty writes that nothing follows of a call, and forgets it.
func (t *calls) empty(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[c.id] == c {
		delete(t.by, c.id)
	}
	c.state = nil
	t.touch(c)
}

// all returns every call.
func (t *calls) all() []*call {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*call, 0, len(t.by))
	for _, c := range t.by {
		out = append(out, c)
	}
	return out
}

// putAgain has every call be put once more.
func (t *calls) putAgain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again = t.again[:0]
	for _, c := range t.by {
		t.again = append(t.again, c)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take moves what is dirty into batch, and some of what is to be put again.
func (t *calls) take(batch []*call) []*call {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.dirty {
		c.dirty = false
		// A call that was given away and has come back is another one here: the end of the former must not be written after its state.
		if now := t.by[c.id]; now == nil || now == c {
			batch = append(batch, c)
		}
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	for len(t.again) > 0 && len(batch) < perTick {
		c := t.again[len(t.again)-1]
		t.again = t.again[:len(t.again)-1]
		if t.by[c.id] == c && !c.dirty {
			batch = append(batch, c)
		}
	}
	if len(t.again) > 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	if t.next != nil {
		t.under = append(t.under, t.next)
		t.next = nil
	}
	return batch
}

// giveBack has a batch be put again that was not committed.
func (t *calls) giveBack(batch []*call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range batch {
		if !c.dirty && c.era == t.era {
			c.dirty = true
			t.dirty = append(t.dirty, c)
		}
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// release lets waiters go: all, as committed or not, or those who have waited for too long.
func (t *calls) release(all, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.under[:0]
	for _, g := range t.under {
		if !all && time.Since(g.born) < maxWait {
			left = append(left, g)
			continue
		}
		g.ok = ok
		close(g.done)
	}
	clear(t.under[len(left):])
	t.under = left
	if g := t.next; g != nil && !ok && (all || time.Since(g.born) >= maxWait) {
		close(g.done)
		t.next = nil
	}
}

// reset forgets everything, and lets waiters go.
func (t *calls) reset() {
	t.mu.Lock()
	t.by, t.dirty, t.again = nil, nil, nil
	t.era++
	t.mu.Unlock()
	t.release(true, false)
}

// setTicking says whether there is a goroutine that commits.
func (t *calls) setTicking(on bool) {
	t.mu.Lock()
	t.ticking = on
	t.mu.Unlock()
	if !on {
		t.release(true, false)
	}
}

// counts returns how many calls there are, and how many have a state that is not committed.
func (t *calls) counts() (all, dirty int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.by), len(t.dirty) + len(t.again)
}

package cluster_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sipxrest/cluster"
	"sipxrest/cluster/fakeengine"
)

// With the race detector, which makes one take fifteen times as long, there are few.
var seeds = flag.Int("seeds", map[bool]int{false: 25, true: 2}[raceDetector], "how many random histories are played")

// A history is what a random test knows to have happened.
type history struct {
	*rig
	rand *rand.Rand

	mu       sync.Mutex
	versions map[string]int               // the newest state that its owner has written, by call
	kept     map[string]int               // the newest that was certainly committed
	adopted  map[string]map[uint32]string // by call and epoch: who
	placed   map[string]bool              // calls whose claim was committed
	ended    map[string]bool              // calls whose owner has said that they are over
	gone     map[string]bool              // and that was certainly committed
	giving   map[string]bool              // calls that are being handed over
	gives    sync.WaitGroup
	keys     map[string]string // of calls
	keyless  map[string]bool
	next     int
}

func version(v int) []byte { return state(byte(v%3), fmt.Sprintf("v%d", v)) }

// saw checks a takeover: each is the only one of its epoch, of the newest state that is certainly committed, and of a call that goes on.
func (h *history) saw(n *node) func(t cluster.Taken) {
	return func(t cluster.Taken) {
		h.mu.Lock()
		defer h.mu.Unlock()
		by := h.adopted[t.ID]
		if by == nil {
			by = map[uint32]string{}
			h.adopted[t.ID] = by
		}
		if other := by[t.Epoch]; other != "" {
			h.t.Errorf("%s: taken over by %s and by %s in epoch %d", t.ID, other, n.name, t.Epoch)
		}
		by[t.Epoch] = n.name + "/" + n.Incarnation()
		v := 0
		if _, err := fmt.Sscanf(string(t.State[1:]), "v%d", &v); err != nil || v < h.kept[t.ID] {
			h.t.Errorf("%s: taken over with state %q, and version %d was committed", t.ID, t.State, h.kept[t.ID])
		}
		if h.gone[t.ID] {
			h.t.Errorf("%s: taken over by %s after its end", t.ID, n.name)
		}
		h.versions[t.ID] = max(h.versions[t.ID], v)
	}
}

func (h *history) begin(name string) {
	n := h.prepare(name, nil, func(c *cluster.Config) { c.TakeoverRate = 200 })
	n.see = h.saw(n)
}

// running are the processes that run.
func (h *history) running() (out []*node) {
	for _, n := range h.nodes {
		if !n.over {
			out = append(out, n)
		}
	}
	return out
}

// surely reports whether what began at that time was certainly committed: this incarnation has held its lease all the time.
func surely(n *node, incarnation string, began time.Time) bool {
	return !n.dying.Load() && n.Holds() && n.Incarnation() == incarnation && time.Since(began) < 4500*time.Millisecond
}

// work does something with the calls of a node.
func (h *history) work(n *node) {
	incarnation, began := n.Incarnation(), time.Now()
	calls := n.calls()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch what := h.rand.IntN(10); {
	case what < 4 || len(calls) == 0:
		h.next++
		id, key := fmt.Sprintf("call_%d", h.next), fmt.Sprintf("key%d", h.rand.IntN(400))
		for _, other := range calls { // that would take its key
			if h.keys[other] == key {
				return
			}
		}
		h.keys[id] = key
		h.gives.Go(func() { h.claims(n, key, id) })
	case what < 7: // a newer state
		id := calls[h.rand.IntN(len(calls))]
		if h.ended[id] || h.giving[id] {
			return
		}
		h.versions[id]++
		v := h.versions[id]
		n.mu.Lock()
		if _, has := n.has[id]; has { // it may have forgotten meanwhile
			n.has[id] = string(version(v))
		}
		n.mu.Unlock()
		done := n.Keep(id, version(v))
		h.gives.Go(func() {
			<-done
			if surely(n, incarnation, began) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.kept[id] = max(h.kept[id], v)
			}
		})
	case what < 8: // the end
		id := calls[h.rand.IntN(len(calls))]
		if h.giving[id] || h.ended[id] {
			return
		}
		h.ended[id] = true
		n.drop(id, "record of "+id)
		h.gives.Go(func() {
			ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Second)
			defer cancel()
			if n.Flushed(ctx) == nil && surely(n, incarnation, began) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.gone[id] = true
			}
		})
	default: // a hand-over
		id := calls[h.rand.IntN(len(calls))]
		if h.ended[id] || h.giving[id] || !h.placed[id] { // of phones that talk
			return
		}
		h.giving[id] = true
		h.versions[id]++
		v := h.versions[id]
		h.gives.Go(func() {
			ctx, cancel := context.WithTimeout(h.t.Context(), 40*time.Second)
			defer cancel()
			_, err := n.HandOver(ctx, id, version(v))
			if err == nil {
				n.mu.Lock()
				delete(n.has, id)
				n.mu.Unlock()
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if !errors.Is(err, cluster.ErrUnsure) {
				delete(h.giving, id)
			}
		})
	}
}

// claims places a call.
func (h *history) claims(n *node, key, id string) {
	n.mu.Lock()
	n.has[id] = string(version(0))
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(h.t.Context(), 7*time.Second)
	defer cancel()
	err := n.Claim(ctx, key, id, version(0))
	n.mu.Lock()
	_, has := n.has[id]
	if err != nil {
		delete(n.has, id)
	}
	n.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, other := range n.calls() { // one that has come meanwhile has given its key to this one
		if other != id && h.keys[other] == key {
			h.keyless[other] = true
		}
	}
	if err == nil && has {
		h.placed[id] = true
	} else if err == nil {
		h.ended[id] = true
		n.Drop(id, nil, 0) // the switchboard has forgotten it in the same moment
	} else {
		h.ended[id] = true
	}
}

// fault breaks something, and mends it some time later.
func (h *history) fault() {
	all := h.running()
	n := all[h.rand.IntN(len(all))]
	d := time.Duration(h.rand.IntN(15_000)) * time.Millisecond
	later := func(f func()) { time.AfterFunc(d, f) }
	switch h.rand.IntN(12) {
	case 0, 1:
		if len(all) > 2 {
			n.kill()
		}
	case 2:
		n.e.Cut(true, true)
		later(func() { n.e.Cut(false, false) })
	case 3:
		n.e.Cut(true, false)
		later(func() { n.e.Cut(false, false) })
	case 4:
		n.e.Cut(false, true)
		later(func() { n.e.Cut(false, false) })
	case 5:
		h.store.Elect(d)
	case 6:
		h.store.Away(true)
		later(func() { h.store.Away(false) })
	case 7:
		n.e.LoseAnswers(.2, .05)
		later(func() { n.e.LoseAnswers(0, 0) })
	case 8:
		h.store.Miss(.3)
		later(func() { h.store.Miss(0) })
	case 9:
		n.e.Slow(time.Duration(h.rand.IntN(300)) * time.Millisecond)
		later(func() { n.e.Slow(0) })
	case 10:
		n.e.Deaf(true)
		later(func() { n.e.Deaf(false) })
	case 11:
		if len(all) > 2 { // a rolling restart, in a hurry
			n.stop()
		}
	}
	for _, name := range []string{"a", "b", "c", "d"} { // who has died is started again, sometimes
		if at := h.get(name); at.over && h.rand.IntN(3) == 0 {
			h.begin(name)
		}
	}
}

// check looks whether two nodes that hold their leases have one call.
func (h *history) check() {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := map[string]string{}
	for _, n := range h.running() {
		if !n.Node.Stats().Holds {
			continue
		}
		for _, id := range n.calls() {
			if other := at[id]; other != "" && !h.giving[id] {
				h.t.Errorf("%s and %s hold their leases and have call %s", other, n.name, id)
			}
			at[id] = n.name
		}
	}
}

// Random histories: at no time two nodes that hold their leases have one call, no tick is committed after its fence, nobody takes over
// what another has taken, or an older state than was committed; and in the end each call is at one node.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &history{rig: &rig{t: t, store: fakeengine.New(seed)}, rand: rand.New(rand.NewPCG(seed, 2)), versions: map[string]int{},
					kept: map[string]int{}, adopted: map[string]map[uint32]string{}, placed: map[string]bool{}, ended: map[string]bool{},
					gone: map[string]bool{}, keys: map[string]string{}, keyless: map[string]bool{}, giving: map[string]bool{}}
				defer h.show()
				defer h.stop()
				h.play()
			})
		})
	}
}

func (h *history) play() {
	for _, name := range []string{"a", "b", "c", "d"} {
		h.begin(name)
	}
	h.settle()
	h.store.Record()
	fault := time.Now()
	for range 900 { // three minutes
		time.Sleep(200 * time.Millisecond)
		for _, n := range h.running() {
			h.work(n)
		}
		if time.Now().After(fault) {
			fault = time.Now().Add(time.Duration(h.rand.IntN(12_000)) * time.Millisecond)
			h.fault()
		}
		h.check()
	}
	time.Sleep(15 * time.Second) // all is mended
	h.store.Away(false)
	for _, name := range []string{"a", "b", "c", "d"} {
		if h.get(name).over {
			h.begin(name)
		}
	}
	time.Sleep(time.Minute)
	h.gives.Wait()
	h.end()
}

// end compares what the nodes have, what the store has, and what must be.
func (h *history) end() {
	h.fences()
	h.mu.Lock()
	defer h.mu.Unlock()
	var on, moved []string
	for id := range h.placed {
		if !h.ended[id] {
			on = append(on, id)
		}
	}
	for _, by := range h.adopted {
		for range by {
			moved = append(moved, "")
		}
	}
	if len(h.placed) < 200 {
		h.t.Errorf("only %d calls were placed", len(h.placed))
	}
	at := h.owners(on)
	for id, name := range at {
		if h.gone[id] {
			h.t.Errorf("%s has call %s, which is over", name, id)
		}
	}
	keys := map[string]string{}
	for _, n := range h.running() {
		for _, id := range n.calls() {
			p, err := n.FindID(h.t.Context(), id)
			if err != nil || !p.Mine {
				h.t.Errorf("%s has call %s, and finds %+v, %v", n.name, id, p, err)
				continue
			}
			if p.Key == "" && !h.placed[id] || h.keyless[id] {
				continue // its key was another's, and its node died before it could know
			}
			byKey, err := n.Find(h.t.Context(), p.Key)
			if err == nil && byKey.ID == id {
				if other := keys[p.Key]; other != "" {
					h.t.Errorf("calls %s and %s have one key", id, other)
				}
				keys[p.Key] = id
			} else if err != nil || byKey.Node != n.name {
				h.t.Errorf("call %s of %s has the key %s, and that is %+v, %v", id, n.name, p.Key, byKey, err)
			}
		}
		if n.Stats().Calls != len(n.calls()) {
			h.t.Errorf("%s: the switchboard has %d calls, the node %d", n.name, len(n.calls()), n.Stats().Calls)
		}
	}
	if got := h.streams(); len(got) != 4 {
		h.t.Errorf("streams %v", got)
	}
	h.t.Logf("%d calls placed, %d go on, %d takeovers", len(h.placed), len(at), len(moved))
}

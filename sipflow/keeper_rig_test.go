package sipflow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tick is how long fakeKeeper takes to commit.
const tick = 5 * time.Millisecond

// fakeKeeper is a Keeper whose store never dies. It commits a tick after it was told.
type fakeKeeper struct {
	mu      sync.Mutex
	states  map[string][]byte // committed
	records map[string][]byte
	keys    map[Key]string
	newest  map[string][]byte // not committed yet
	waiters map[string][]chan struct{}
	writes  int
	away    bool          // the store is, and with it the lease
	slow    time.Duration // how long a claim takes, where that is longer than a tick
	held    *HeldError
	log     func(format string, args ...any) // told of each write
	closed  bool                             // nothing is committed any more
}

func newFakeKeeper() *fakeKeeper {
	return &fakeKeeper{states: map[string][]byte{}, records: map[string][]byte{}, keys: map[Key]string{}, newest: map[string][]byte{},
		waiters: map[string][]chan struct{}{}, log: func(string, ...any) {}}
}

// stateLine is a state in one line, without what differs from run to run.
func stateLine(state []byte) string {
	s, err := decodeState(state)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	fmt.Fprint(&b, s.step)
	if s.changing {
		b.WriteString(" changing")
	}
	for _, l := range s.legs {
		fmt.Fprintf(&b, ", %s %s", [...]string{"calling", "called", "target", "parked", "aside"}[l.seat],
			[...]string{"inviting", "answered", "up", "caller", "accepted", "over"}[l.at])
		if l.muted != 0 {
			b.WriteString(" muted")
		}
		if l.holding&isHeld != 0 {
			b.WriteString(" held")
		}
	}
	return b.String()
}

func (k *fakeKeeper) Claim(ctx context.Context, key Key, id string, state []byte) error {
	if s, err := decodeState(state); err != nil || s.id != id || s.key != key {
		return fmt.Errorf("claim of %s, %s: %+v, %w", key, id, s, err)
	}
	select {
	case <-time.After(max(tick, k.slow)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.held != nil:
		return k.held
	case k.away:
		return ErrNotOwner
	case !k.closed:
		k.keys[key] = id
		k.states[id] = state
		k.writes++
		k.log("claim: %s", stateLine(state))
	}
	return nil
}

func (k *fakeKeeper) Keep(id string, state []byte) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	done := make(chan struct{})
	if _, waits := k.newest[id]; !waits {
		time.AfterFunc(tick, func() { k.commit(id) })
	}
	k.newest[id] = state
	if k.away {
		time.AfterFunc(5*time.Second, func() { close(done) })
		return done
	}
	k.waiters[id] = append(k.waiters[id], done)
	return done
}

func (k *fakeKeeper) commit(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	state, ok := k.newest[id]
	delete(k.newest, id)
	if ok && !k.closed && !k.away && k.states[id] != nil {
		k.states[id] = state
		k.writes++
		k.log("state: %s", stateLine(state))
	}
	for _, done := range k.waiters[id] {
		close(done)
	}
	delete(k.waiters, id)
}

func (k *fakeKeeper) Move(id string, from, to Key, state []byte) {
	k.Keep(id, state)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	k.log("key: %s", to)
	if k.keys[from] == id {
		delete(k.keys, from)
	}
	k.keys[to] = id
}

func (k *fakeKeeper) Drop(id string, record []byte, _ time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	if k.states[id] != nil {
		k.log("over")
	}
	delete(k.states, id)
	delete(k.newest, id)
	k.records[id] = record
	maps.DeleteFunc(k.keys, func(_ Key, of string) bool { return of == id })
}

func (k *fakeKeeper) Holds() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.away
}

// close has the node be dead: what was committed stays.
func (k *fakeKeeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// left are the states that are committed.
func (k *fakeKeeper) left() map[string][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.states)
}

// empty checks that nothing is kept of any call.
func (k *fakeKeeper) empty(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.states)+len(k.keys)+len(k.newest) != 0 {
		t.Errorf("kept: %d states, keys %v", len(k.states), slices.Collect(maps.Keys(k.keys)))
	}
}

// kept is a switchboard whose calls are kept.
func kept(k *fakeKeeper) func(*Config) {
	return func(c *Config) { c.Keeper, c.NodeNumber = k, func() uint16 { return 7 } }
}

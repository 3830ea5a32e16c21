package event

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// memoryShelf is a Shelf in memory, which several outboxes share, with faults.
type memoryShelf struct {
	mu      sync.Mutex // guards all
	entries map[string]ShelfEntry
	log     []ShelfEntry  // all changes
	times   []time.Time   // of them
	late    time.Duration // how long after its write an entry is told of
	grown   chan struct{}
	refused int
	faults  *rand.Rand // nil: none. Else answers are lost, and followers cut, at random
}

func newMemoryShelf() *memoryShelf {
	return &memoryShelf{entries: map[string]ShelfEntry{}, grown: make(chan struct{})}
}

func (m *memoryShelf) chance(of int) bool { return m.faults != nil && m.faults.IntN(of) == 0 }

func (m *memoryShelf) Write(_ context.Context, list []ShelfEntry, on map[string]int64) (int64, error) {
	m.mu.Lock() // at once: locks are held meanwhile, under which fake time would stand still
	defer m.mu.Unlock()
	if m.chance(30) {
		return 0, errCut
	}
	for name, at := range on {
		if m.entries[name].Seq != at {
			m.refused++
			return 0, ErrTaken
		}
	}
	for _, e := range list {
		e.Seq = int64(len(m.log)) + 1
		m.entries[e.Name] = e
		m.log, m.times = append(m.log, e), append(m.times, time.Now())
	}
	close(m.grown)
	m.grown = make(chan struct{})
	if m.chance(30) {
		return 0, errCut // though it was written
	}
	return int64(len(m.log)), nil
}

func (m *memoryShelf) Follow(ctx context.Context, all func([]ShelfEntry, int64), take func(ShelfEntry)) error {
	m.mu.Lock()
	at := len(m.log)
	list := slices.Collect(maps.Values(m.entries))
	m.mu.Unlock()
	all(slices.DeleteFunc(list, func(e ShelfEntry) bool { return len(e.Data) == 0 }), int64(at))
	for {
		m.mu.Lock()
		if m.chance(200) {
			m.mu.Unlock()
			return errCut
		}
		grown := m.grown
		next, times, late := m.log[at:], m.times[at:], m.late
		at = len(m.log)
		m.mu.Unlock()
		for i, e := range next {
			select {
			case <-time.After(time.Until(times[i].Add(late))):
			case <-ctx.Done():
				return ctx.Err()
			}
			take(e)
		}
		if len(next) > 0 {
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rows are how many entries of a kind there are.
func (m *memoryShelf) rows(kind string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, e := range m.entries {
		if strings.HasPrefix(name, kind) && len(e.Data) > 0 {
			n++
		}
	}
	return n
}

// shelfWay is a node's own connection, which can be cut.
type shelfWay struct {
	*memoryShelf
	cut *atomic.Bool
}

func (w shelfWay) Write(ctx context.Context, list []ShelfEntry, on map[string]int64) (int64, error) {
	if w.cut.Load() {
		return 0, errCut
	}
	return w.memoryShelf.Write(ctx, list, on)
}

func (w shelfWay) Follow(ctx context.Context, all func([]ShelfEntry, int64), take func(ShelfEntry)) error {
	if w.cut.Load() {
		return errCut
	}
	return w.memoryShelf.Follow(ctx, all, func(e ShelfEntry) {
		for w.cut.Load() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		take(e)
	})
}

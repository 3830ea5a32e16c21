package event

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// memoryStream is a Stream in memory, which several Buses share, with faults.
type memoryStream struct {
	mu      sync.Mutex // guards all
	name    string
	run     Run
	first   int64
	records []StreamRecord
	taken   map[string]bool
	refused int           // batches with a name that was taken
	grown   chan struct{} // closed, and made anew, when there is more

	faults *rand.Rand // nil: none. Else answers are lost, and followers cut, at random
	away   bool
}

func newMemoryStream() *memoryStream {
	m := &memoryStream{name: "fake01"}
	m.renew(Run{N: 1000, First: 1001})
	return m
}

// renew is the loss of the stream.
func (m *memoryStream) renew(run Run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run, m.first, m.records, m.taken = run, run.First, nil, map[string]bool{}
	if m.grown != nil {
		close(m.grown)
	}
	m.grown = make(chan struct{})
}

var errCut = errors.New("the connection was cut")

// chance reports whether a fault comes now. It runs under mu.
func (m *memoryStream) chance(of int) bool { return m.faults != nil && m.faults.IntN(of) == 0 }

func (m *memoryStream) Name() string { return m.name }

func (m *memoryStream) Attach(context.Context, int64) (StreamState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return StreamState{}, errCut
	}
	return StreamState{Run: m.run, First: m.first, Last: m.first + int64(len(m.records)) - 1}, nil
}

func (m *memoryStream) Publish(_ context.Context, list []StreamRecord) error {
	time.Sleep(time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away || m.chance(10) {
		return errCut
	}
	for _, r := range list {
		if m.taken[r.Name] {
			m.refused++
			return ErrTaken
		}
	}
	for _, r := range list {
		m.taken[r.Name] = true
		m.records = append(m.records, r)
	}
	close(m.grown)
	m.grown = make(chan struct{})
	if m.chance(10) {
		return errCut // though it is there
	}
	return nil
}

func (m *memoryStream) Follow(ctx context.Context, after int64, take func(int64, StreamRecord)) error {
	m.mu.Lock()
	run := m.run
	m.mu.Unlock()
	for {
		m.mu.Lock()
		if m.away || m.run != run || m.chance(200) {
			m.mu.Unlock()
			return errCut
		}
		grown := m.grown
		var next *StreamRecord
		if i := after + 1 - m.first; i < int64(len(m.records)) {
			next = &m.records[max(i, 0)]
			after = max(after+1, m.first)
		}
		m.mu.Unlock()
		if next != nil {
			take(after, *next)
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// set changes the stream.
func (m *memoryStream) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

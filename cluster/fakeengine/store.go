package fakeengine

import (
	"errors"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"

	"sipxrest/cluster"
)

// ErrAway is the error of what was refused because there is no connection.
var ErrAway = errors.New("fakeengine: no connection")

// A Store is what all nodes share.
type Store struct {
	mu      sync.Mutex
	streams map[string]*stream
	engines []*Engine
	away    bool
	until   time.Time // an election goes on: nothing is committed, and nothing read
	rand    *rand.Rand
	missing float64
	commits []Committed
	record  bool
}

// Committed is a message that was stored, for tests that compare what happened with what should have.
type Committed struct {
	Node, Stream, Subject string
	Data                  []byte
	At                    time.Time
}

type stream struct {
	cluster.Stream
	seq  uint64
	last map[string]stored
}

type stored struct {
	cluster.Entry
	ends time.Time // zero: with the stream's MaxAge
}

// New returns an empty store. Faults that happen at random do so by seed.
func New(seed uint64) *Store {
	return &Store{streams: map[string]*stream{}, rand: rand.New(rand.NewPCG(seed, 1))}
}

// Away stops the store, or starts it again. What it has stored is kept.
func (s *Store) Away(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// Elect has the store elect a leader for so long: nothing is stored or read, though messages between nodes pass.
func (s *Store) Elect(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(d)
}

// Lose removes streams whose name begins so, with all that is in them.
func (s *Store) Lose(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.streams {
		if strings.HasPrefix(name, prefix) {
			delete(s.streams, name)
		}
	}
}

// Rewind takes from streams whose name begins so the last messages, as disks do that were not written in time.
func (s *Store) Rewind(prefix string, messages uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, st := range s.streams {
		if strings.HasPrefix(name, prefix) {
			st.seq -= min(messages, st.seq)
			for subject, e := range st.last {
				if e.Seq > st.seq {
					delete(st.last, subject)
				}
			}
		}
	}
}

// Miss has each message be missing in a sweep with that probability.
func (s *Store) Miss(p float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = p
}

// Record keeps what is stored from now on for Commits.
func (s *Store) Record() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = true
}

// Commits returns what was stored since Record.
func (s *Store) Commits() []Committed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Committed(nil), s.commits...)
}

// Streams are the names of all streams.
func (s *Store) Streams() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.streams {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Entries are the messages of a stream that are not empty, by subject.
func (s *Store) Entries(name string) map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	if st := s.streams[name]; st != nil {
		st.expire()
		for subject, e := range st.last {
			if len(e.Data) > 0 {
				out[subject] = e.Data
			}
		}
	}
	return out
}

// down reports whether nothing can be stored now. The caller holds mu.
func (s *Store) down() bool { return s.away || time.Now().Before(s.until) }

// get returns the last message of a subject, unless it is too old.
func (st *stream) get(subject string) (stored, bool) {
	now := time.Now()
	e, ok := st.last[subject]
	if ok && (!e.ends.IsZero() && !now.Before(e.ends) || st.MaxAge > 0 && now.Sub(e.Time) >= st.MaxAge) {
		delete(st.last, subject)
		return stored{}, false
	}
	return e, ok
}

// expire removes what is too old.
func (st *stream) expire() {
	for subject := range st.last {
		st.get(subject)
	}
}

// commit stores a batch if all conditions are met. The caller holds mu.
func (s *Store) commit(node, name string, batch []cluster.Write, conds []cluster.Cond) (uint64, error) {
	st := s.streams[name]
	if st == nil {
		return 0, cluster.ErrNoStream
	}
	if len(batch) == 0 || len(batch) > cluster.MaxBatch || len(conds) > len(batch) {
		return 0, errors.New("fakeengine: a batch of no good size")
	}
	seen := map[string]bool{}
	for _, c := range conds {
		if seen[c.Subject] {
			return 0, errors.New("fakeengine: two conditions on " + c.Subject)
		}
		seen[c.Subject] = true
		if at, _ := st.get(c.Subject); at.Seq != c.Last {
			return 0, cluster.ErrConflict
		}
	}
	for _, w := range batch {
		if !s.matches(st, w.Subject) {
			return 0, errors.New("fakeengine: " + w.Subject + " is no subject of " + name)
		}
		st.write(w)
		if s.record {
			s.commits = append(s.commits, Committed{node, name, w.Subject, append([]byte(nil), w.Data...), time.Now()})
		}
	}
	return st.seq, nil
}

func (s *Store) matches(st *stream, subject string) bool {
	for _, filter := range st.Subjects {
		if match(filter, subject) {
			return true
		}
	}
	return false
}

func (st *stream) write(w cluster.Write) {
	st.seq++
	e := stored{Entry: cluster.Entry{Subject: w.Subject, Data: append([]byte(nil), w.Data...), Seq: st.seq, Time: time.Now()}}
	switch {
	case w.TTL > 0:
		e.ends = time.Now().Add(w.TTL)
	case len(w.Data) == 0:
		e.ends = time.Now().Add(cluster.EmptyLife)
	}
	st.last[w.Subject] = e
}

// match reports whether a subject matches a filter.
func match(filter, subject string) bool {
	f, t := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, want := range f {
		switch {
		case want == ">":
			return len(t) > i
		case i >= len(t) || want != "*" && want != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// publish has all nodes hear a message that listen for it. The caller holds mu.
func (s *Store) publish(subject string, data []byte) {
	data = append([]byte(nil), data...)
	for _, e := range s.engines {
		for _, w := range e.watches {
			if !e.deaf && match(w.subject, subject) {
				e.deliver(func() { w.f(subject, data) }, &w.stopped)
			}
		}
	}
}

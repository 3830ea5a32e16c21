package event

import (
	"cmp"
	"slices"
	"sort"
	"sync"
	"time"
)

// memoryLog keeps events while the process lives: those of single calls and what ended
// calls came to. The stream itself is the Bus's ring.
type memoryLog struct {
	name string
	max  int64 // bytes

	mu    sync.RWMutex // guards all that follows
	calls map[string]*memoryCall
	ended []*memoryCall // in the order of their ends
	bytes int64
	last  int64
	keys  map[string]*KeyUse
	// answers are the keys that hold one, oldest first; some have been given up since.
	answers     []*KeyUse
	answerBytes int
	cdrs        []*CDR
}

type memoryCall struct {
	id     string
	events []*Event
	last   *Call
	bytes  int64
}

func newMemoryLog(most, recent int64) *memoryLog {
	return &memoryLog{name: newName(), max: min(most, recent), calls: map[string]*memoryCall{}, keys: map[string]*KeyUse{}}
}

func (m *memoryLog) Name() string { return m.name }

func (m *memoryLog) rename(name string) error {
	m.name = name
	return nil
}

// maxMemoryCDRs bounds records of calls that are kept in memory.
const maxMemoryCDRs = 10_000

// maxMemoryAnswers bounds the bytes of answers that are kept in memory for idempotency keys.
const maxMemoryAnswers = 32 << 20

func (m *memoryLog) Append(b *Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range b.Events {
		m.last = e.Seq
		if e.key != nil {
			m.keys[keyName(e.key.Principal, e.key.Key)] = &KeyUse{IdempotencyKey: *e.key, CallID: *e.Data.CallID}
		}
		c := e.Data.Call
		if c == nil {
			continue
		}
		of := m.calls[c.ID]
		if of == nil {
			of = &memoryCall{id: c.ID}
			m.calls[c.ID] = of
		}
		of.events, of.last = append(of.events, e), c
		of.bytes += int64(e.size)
		m.bytes += int64(e.size)
		if e.Final {
			m.ended = append(m.ended, of)
			r := recordOf(c)
			r.Node = cmp.Or(r.Node, b.Node)
			if m.cdrs = append(m.cdrs, r); len(m.cdrs) > maxMemoryCDRs+maxMemoryCDRs/4 {
				m.cdrs = slices.Clone(m.cdrs[maxMemoryCDRs/4:])
			}
		}
	}
	for _, use := range b.Keys {
		m.keys[keyName(use.Principal, use.Key)] = use
		m.answers, m.answerBytes = append(m.answers, use), m.answerBytes+len(use.Answer)
	}
	for m.answerBytes > maxMemoryAnswers {
		m.dropAnswer()
	}
	for _, call := range b.Forget {
		for name, use := range m.keys {
			if use.CallID == call && use.Answer == nil {
				delete(m.keys, name)
			}
		}
	}
	for m.bytes > m.max && len(m.ended) > 0 {
		m.drop()
	}
	return nil
}

// drop lets go of the call that ended first.
func (m *memoryLog) drop() {
	of := m.ended[0]
	m.ended[0] = nil
	m.ended = m.ended[1:]
	m.bytes -= of.bytes
	delete(m.calls, of.id)
}

// dropAnswer lets go of the oldest answer, with its key: who asks with it again is
// served anew.
func (m *memoryLog) dropAnswer() {
	use := m.answers[0]
	m.answers[0] = nil
	m.answers = m.answers[1:]
	m.answerBytes -= len(use.Answer)
	if name := keyName(use.Principal, use.Key); m.keys[name] == use {
		delete(m.keys, name)
	}
}

// Read returns nothing: the ring has all events that are there.
func (m *memoryLog) Read(int64, int) ([]*Event, error) { return nil, nil }

func (m *memoryLog) ReadCall(id string, seq int64, limit int) ([]*Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	of := m.calls[id]
	if of == nil {
		return nil, nil
	}
	list := of.events[sort.Search(len(of.events), func(i int) bool { return of.events[i].CallSeq > seq }):]
	return slices.Clone(list[:min(len(list), limit)]), nil
}

func (m *memoryLog) First() int64 { return 0 }

func (m *memoryLog) Last() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.last
}

func (m *memoryLog) Runs() []Run { return nil }

func (m *memoryLog) Call(id string) (*StoredCall, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	of := m.calls[id]
	if of == nil {
		return nil, nil
	}
	s := &StoredCall{ID: id}
	if of.last.State == Ended {
		s.Ended = of.last
	}
	return s, nil
}

func (m *memoryLog) Calls(f *CallFilter, mark *listMark, limit int) ([]*Call, error) {
	m.mu.RLock()
	list := make([]*Call, 0, min(len(m.ended), 1024))
	for _, of := range m.ended {
		if f.match(of.last) && mark.before(of.last, f.Oldest) {
			list = append(list, of.last)
		}
	}
	m.mu.RUnlock()
	sortCalls(list, f.Oldest)
	return list[:min(len(list), limit)], nil
}

func (m *memoryLog) Open() ([]string, error) { return nil, nil }

func (m *memoryLog) Key(principal, key string, now time.Time) (*KeyUse, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	use := m.keys[keyName(principal, key)]
	if use == nil || !now.Before(use.Until) {
		return nil, nil
	}
	was := *use
	return &was, nil
}

func (m *memoryLog) Trim(t Trim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.ended) > 0 && m.ended[0].last.EndedAt.Before(t.Calls) {
		m.drop()
	}
	for name, use := range m.keys {
		if !t.Now.Before(use.Until) {
			delete(m.keys, name)
		}
	}
	for len(m.answers) > 0 && !t.Now.Before(m.answers[0].Until) {
		m.dropAnswer()
	}
	i := 0
	for i < len(m.cdrs) && m.cdrs[i].EndTime.Before(t.CDRs) {
		i++
	}
	m.cdrs = m.cdrs[i:]
	return nil
}

func (m *memoryLog) Close() error { return nil }

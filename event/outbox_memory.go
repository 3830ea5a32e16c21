package event

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// Bounds of what waits without a database, of all webhooks. What is beyond them
	// is a dead letter.
	maxMemoryRows  = 10_000
	maxMemoryBytes = 32 << 20
	// Bounds of dead letters without a database, of all webhooks; the oldest go.
	maxMemoryDead      = 1_000
	maxMemoryDeadBytes = 8 << 20
)

// memoryOutbox keeps webhooks while the process lives.
type memoryOutbox struct {
	dropped func(n int) // told of dead letters that are forgotten

	mu    sync.Mutex
	kept  map[string]*hookRecord
	rows  map[string]map[place]*delivery
	waits sums // of deliveries that wait
	deads sums // of dead letters

	// Of a cluster: what is beyond the bounds stays, and what changes is noted.
	boundless bool
	journal   map[rowName]*delivery // as it was before; nil: there was none
}

// rowName is a delivery's.
type rowName struct {
	hook string
	at   place
}

// note keeps what a delivery was before it changes. It runs under m.mu.
func (m *memoryOutbox) note(hook string, at place) {
	if m.journal == nil {
		return
	}
	if _, known := m.journal[rowName{hook, at}]; !known {
		m.journal[rowName{hook, at}] = m.rows[hook][at]
	}
}

// sums are how many rows there are, and their bytes.
type sums struct{ n, bytes int }

func (s *sums) add(d *delivery, sign int) {
	s.n += sign
	s.bytes += sign * d.size()
}

// size is about what a delivery takes, in bytes.
func (d *delivery) size() int {
	n := 256 + len(d.body) + len(d.id) + len(d.call)
	for _, a := range d.history {
		n += 64 + len(a.Error) + len(a.Answer)
	}
	return n
}

func newMemoryOutbox(dropped func(n int)) *memoryOutbox {
	return &memoryOutbox{dropped: dropped, kept: map[string]*hookRecord{}, rows: map[string]map[place]*delivery{}}
}

func (m *memoryOutbox) hooks() ([]*hookRecord, error) { return nil, nil } // of a former process: none

func (m *memoryOutbox) saveHook(r *hookRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[r.id] = r
	if m.rows[r.id] == nil {
		m.rows[r.id] = map[place]*delivery{}
	}
	return nil
}

func (m *memoryOutbox) dropHook(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.rows[id] {
		m.remove(id, at)
	}
	delete(m.rows, id)
	delete(m.kept, id)
	return nil
}

// remove forgets a delivery. It runs under m.mu.
func (m *memoryOutbox) remove(hook string, at place) {
	m.note(hook, at)
	d := m.rows[hook][at]
	if d == nil {
		return
	}
	delete(m.rows[hook], at)
	m.sum(d).add(d, -1)
}

func (m *memoryOutbox) sum(d *delivery) *sums {
	if d.dead {
		return &m.deads
	}
	return &m.waits
}

// put keeps a copy of a delivery. It runs under m.mu.
func (m *memoryOutbox) put(d *delivery) {
	m.remove(d.hook, d.at)
	c := *d
	c.history = slices.Clone(d.history)
	m.rows[d.hook][d.at] = &c
	m.sum(&c).add(&c, 1)
}

// change has a delivery be another one. It runs under m.mu.
func (m *memoryOutbox) change(d *delivery, f func(*delivery)) {
	c := *d
	f(&c)
	m.put(&c)
}

// among returns the deliveries of a webhook that fit, the oldest first. It runs
// under m.mu.
func (m *memoryOutbox) among(hook string, fits func(*delivery) bool) []*delivery {
	var list []*delivery
	for _, d := range m.rows[hook] {
		if fits(d) {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, byPlace)
	return list
}

func byPlace(a, b *delivery) int {
	return cmp.Or(cmp.Compare(a.at.run, b.at.run), cmp.Compare(a.at.seq, b.at.seq))
}

// firsts returns those of a list, in its order, that are the first ones of their
// call, and those of no call.
func firsts(list []*delivery) (first []*delivery) {
	seen := map[freed]bool{}
	for _, d := range list {
		key := freed{d.call, d.replay}
		if d.call == "" || !seen[key] {
			first = append(first, d)
		}
		seen[key] = true
	}
	return first
}

func (m *memoryOutbox) commit(batches []*hookBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range batches {
		if m.rows[b.hook] == nil {
			continue // deleted meanwhile
		}
		for at := range b.gone {
			m.remove(b.hook, at)
		}
		for _, d := range b.puts {
			m.put(d)
		}
		for f, taken := range b.freed {
			list := m.among(b.hook, func(d *delivery) bool { return !d.dead && d.call == f.call && d.replay == f.replay })
			if len(list) > 0 && (taken || list[0].tries == 0) {
				m.change(list[0], func(d *delivery) { d.next = earlier(d.next, b.now) })
			}
		}
		if b.all {
			for _, d := range firsts(m.among(b.hook, func(d *delivery) bool { return !d.dead })) {
				m.change(d, func(d *delivery) { d.next = earlier(d.next, b.now) })
			}
		}
		if b.cursor != "" {
			m.kept[b.hook].cursor = b.cursor
		}
	}
	m.bound()
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// bound gives up what is too much: first what has waited longest. It runs under
// m.mu.
func (m *memoryOutbox) bound() {
	if m.boundless {
		return
	}
	if over(m.waits, maxMemoryRows, maxMemoryBytes) {
		for _, d := range m.oldest(false) {
			if !over(m.waits, maxMemoryRows, maxMemoryBytes) {
				break
			}
			m.change(d, func(d *delivery) {
				d.dead = true
				d.history = append(d.history, Attempt{At: At(time.Now()), Error: "given up: too many events wait, and there is no database (events.store: memory)"})
			})
		}
	}
	if over(m.deads, maxMemoryDead, maxMemoryDeadBytes) {
		lost := 0
		for _, d := range m.oldest(true) {
			if !over(m.deads, maxMemoryDead, maxMemoryDeadBytes) {
				break
			}
			m.remove(d.hook, d.at)
			lost++
		}
		m.dropped(lost)
	}
}

func over(s sums, n, bytes int) bool { return s.n > n || s.bytes > bytes }

// oldest are those in a state, first what has been in it longest. It runs under
// m.mu.
func (m *memoryOutbox) oldest(dead bool) (list []*delivery) {
	for _, rows := range m.rows {
		for _, d := range rows {
			if d.dead == dead {
				list = append(list, d)
			}
		}
	}
	slices.SortFunc(list, func(a, b *delivery) int { return cmp.Or(a.since.Compare(b.since), byPlace(a, b)) })
	return list
}

func (m *memoryOutbox) count(hook string) (hookCounts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := hookCounts{calls: map[string]int{}}
	for _, d := range m.rows[hook] {
		if d.dead {
			c.dead++
			continue
		}
		c.waiting++
		if c.next.IsZero() || d.next.Before(c.next) {
			c.next = d.next
		}
		if !d.replay && d.call != "" {
			c.calls[d.call]++
		}
	}
	return c, nil
}

func (m *memoryOutbox) due(hook string, now time.Time, limit int) ([]*delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.among(hook, func(d *delivery) bool { return !d.dead && !d.next.After(now) })
	slices.SortStableFunc(list, func(a, b *delivery) int { return a.next.Compare(b.next) })
	return copies(list[:min(len(list), limit)]), nil
}

// copies returns deliveries that nobody else changes.
func copies(list []*delivery) []*delivery {
	out := make([]*delivery, len(list))
	for i, d := range list {
		c := *d
		c.history = slices.Clone(d.history)
		out[i] = &c
	}
	return out
}

func (m *memoryOutbox) list(hook string, q deliveryQuery) ([]*delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.among(hook, func(d *delivery) bool {
		state := "pending"
		switch {
		case d.dead:
			state = "dead"
		case len(d.history) > 0:
			state = "failed"
		}
		return (q.state == "" || q.state == state) && (q.call == "" || q.call == d.call) && (q.before == nil || d.at.before(*q.before))
	})
	slices.Reverse(list)
	return copies(list[:min(len(list), q.limit)]), nil
}

func (m *memoryOutbox) revive(hook string, r revival) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again := func(d *delivery) {
		d.dead, d.replay, d.tries, d.since, d.next = false, true, 0, r.now, r.now.Add(overtake)
		n++
	}
	if r.dead {
		for _, d := range m.among(hook, func(d *delivery) bool { return d.dead && d.body != nil }) {
			m.change(d, again)
		}
	}
	for _, d := range r.rows {
		d.hook = hook
		switch old := m.rows[hook][d.at]; {
		case old == nil && m.rows[hook] != nil:
			again(d)
			m.put(d)
		case old != nil && old.dead:
			m.change(old, again)
		}
	}
	for _, d := range firsts(m.among(hook, func(d *delivery) bool { return !d.dead && d.replay && d.tries == 0 })) {
		m.change(d, func(d *delivery) { d.next = earlier(d.next, r.now) })
	}
	m.bound()
	return n, nil
}

func (m *memoryOutbox) bury(before time.Time, most int) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for hook := range m.rows {
		n += m.buryIn(hook, before, most)
	}
	return n, nil
}

// buryOf is bury for one webhook.
func (m *memoryOutbox) buryOf(hook string, before time.Time, most int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buryIn(hook, before, most)
}

// buryIn runs under m.mu.
func (m *memoryOutbox) buryIn(hook string, before time.Time, most int) (n int) {
	list := m.among(hook, func(d *delivery) bool { return d.dead })
	for i, d := range list {
		if d.since.Before(before) || i < len(list)-most {
			m.remove(hook, d.at)
			n++
		}
	}
	return n
}

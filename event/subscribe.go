package event

import "sync"

// Subscription wakes its reader when there is something new that may be wanted. What
// it is, the reader gets from Events with a cursor of its own.
type Subscription struct {
	bus    *Bus
	filter Filter
	topic  *topic
	wake   chan struct{}
	once   sync.Once
	digits []*Event // guarded by Bus.mu
}

// topic has the events of one agent, one user or one call, from a number on. It is
// there while somebody listens, so that each reader looks at its own events only.
type topic struct {
	key    topicKey
	since  int64 // number of the last event before the first one
	events []*Event
	subs   map[*Subscription]struct{}
}

type topicKey struct {
	what byte // 'a' agent, 'u' user, 'c' call, 0 all
	name string
}

// topics are guarded by Bus.mu.
type topics struct {
	by          map[topicKey]*topic
	subscribers int
	stored      map[*Subscription]struct{} // that want what is kept only
	hits        []*topic                   // scratch of note
}

func (t *topics) init() {
	t.by, t.stored = map[topicKey]*topic{}, map[*Subscription]struct{}{}
}

// keyOfFilter is the narrowest topic that has all that a filter wants.
func keyOfFilter(f *Filter) topicKey {
	switch {
	case f.CallID != "":
		return topicKey{'c', f.CallID}
	case len(f.Agents) == 1:
		return topicKey{'a', userOf(f.Agents[0])}
	case len(f.Users) == 1:
		return topicKey{'u', userOf(f.Users[0])}
	}
	return topicKey{}
}

// Subscribe begins to listen. Subscribe first and read then: so nothing is missed.
func (b *Bus) Subscribe(f Filter) *Subscription {
	s := &Subscription{bus: b, filter: f, wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics.subscribers++
	if f.Stored {
		b.topics.stored[s] = struct{}{}
		return s
	}
	key := keyOfFilter(&f)
	t := b.topics.by[key]
	if t == nil {
		t = &topic{key: key, since: b.visible.Load(), subs: map[*Subscription]struct{}{}}
		b.topics.by[key] = t
	}
	t.subs[s] = struct{}{}
	s.topic = t
	return s
}

// Wake has something to read when there may be something new.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// Close ends it.
func (s *Subscription) Close() {
	s.once.Do(func() {
		b := s.bus
		b.mu.Lock()
		defer b.mu.Unlock()
		b.topics.subscribers--
		delete(b.topics.stored, s)
		if t := s.topic; t != nil {
			delete(t.subs, s)
			if len(t.subs) == 0 {
				delete(b.topics.by, t.key)
			}
		}
	})
}

// maxDigits bounds how many digits wait for a reader: the oldest go.
const maxDigits = 64

// Digits returns the events leg.dtmf that came since it was asked last. They are not
// kept, and have no place in the stream.
func (s *Subscription) Digits() []*Event {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	list := s.digits
	s.digits = nil
	return list
}

// find calls f with each topic that has an event.
func (t *topics) find(e *Event) []*topic {
	hits := t.hits[:0]
	add := func(key topicKey) {
		if found := t.by[key]; found != nil {
			for _, h := range hits {
				if h == found {
					return
				}
			}
			hits = append(hits, found)
		}
	}
	add(topicKey{})
	c := e.Data.Call
	if c == nil {
		if e.Data.CallID != nil {
			add(topicKey{'c', *e.Data.CallID})
			return hits
		}
		for _, found := range t.by { // everybody's
			if found.key.what == 'a' || found.key.what == 'u' {
				hits = append(hits, found)
			}
		}
		t.hits = hits
		return hits
	}
	add(topicKey{'c', c.ID})
	add(topicKey{'a', userOf(c.Agent)})
	add(topicKey{'u', userOf(c.Agent)})
	for i := range c.Legs {
		add(topicKey{'u', userOf(c.Legs[i].Address)})
	}
	t.hits = hits
	return hits
}

// note adds an event that readers see now, and wakes those who may want it. first is
// the oldest number in memory.
func (t *topics) note(e *Event, first int64) {
	if t.subscribers == 0 {
		return
	}
	for _, found := range t.find(e) {
		if found.key.what != 0 { // the ring has all
			if n := len(found.events); n > 256 && found.events[0].Seq < first {
				found.events = append([]*Event(nil), after(found.events, first-1)...)
				found.since = first - 1
			}
			found.events = append(found.events, e)
		}
		for s := range found.subs {
			if e.Data.Call == nil || s.filter.typed(e.Type) {
				poke(s.wake)
			}
		}
	}
}

// trim lets go of events before a number.
func (t *topics) trim(first int64) {
	for _, found := range t.by {
		if n := len(found.events); n > 0 && found.events[0].Seq < first {
			found.events = append([]*Event(nil), after(found.events, first-1)...)
			found.since = first - 1
		}
	}
}

// digit gives an event leg.dtmf to those who want it.
func (t *topics) digit(e *Event) {
	if t.subscribers == 0 {
		return
	}
	for _, found := range t.find(e) {
		for s := range found.subs {
			if s.filter.DTMF && s.filter.match(e) {
				s.digits = append(s.digits, e)
				if len(s.digits) > maxDigits {
					s.digits = s.digits[1:]
				}
				poke(s.wake)
			}
		}
	}
}

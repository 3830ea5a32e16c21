package event

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"
)

var _ outboxStore = (*sharedStore)(nil)

// sharedStore is a sharedOutbox as an outboxStore.
type sharedStore struct{ *sharedOutbox }

// write writes entries, and notes their numbers. It runs under writing.
func (s *sharedOutbox) write(list []ShelfEntry, on map[string]int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), shelfTime)
	defer cancel()
	last, err := s.shelf.Write(ctx, list, on)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Seq = last - int64(len(list)-1-i)
		s.apply(list[i], true)
	}
	return nil
}

// hooks returns nothing: they come by and by, see Outbox.takeTurns.
func (s sharedStore) hooks() ([]*hookRecord, error) { return nil, nil }

// saveHook writes what others may change: the webhook and, where it is another one, its
// state. Whose turn it is, and where it is, a new one gets only.
func (s sharedStore) saveHook(r *hookRecord) error {
	if !s.known() {
		return errNotYet
	}
	data, err := s.encodeHook(r)
	if err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	var old shelfHook
	if h := s.sharedOutbox.hooks[r.id]; h != nil {
		old = *h
	}
	s.mu.Unlock()
	on := map[string]int64{"h." + r.id: old.recAt}
	var list []ShelfEntry
	if old.rec == nil || !sameHook(old.rec, r) {
		list = append(list, ShelfEntry{Name: "h." + r.id, Data: data})
	}
	if old.rec == nil || old.state != r.hookState {
		list = append(list, ShelfEntry{Name: "s." + r.id, Data: encodeState(&r.hookState)})
	}
	if old.at == 0 {
		turn, _ := json.Marshal(&shelfTurn{Cursor: r.cursor}) // of texts: it cannot fail
		list = append(list, ShelfEntry{Name: "p." + r.id, Data: turn})
		on["p."+r.id] = 0
	}
	if len(list) == 0 {
		return nil
	}
	return s.write(list, on)
}

// sameHook reports whether two records are the same but for what the shelf has elsewhere.
func sameHook(a, b *hookRecord) bool {
	return a.unreadable == nil && a.origin == b.origin && a.owner == b.owner && a.call == b.call && a.made.UnixMilli() == b.made.UnixMilli() &&
		reflect.DeepEqual(a.spec, b.spec) && reflect.DeepEqual(secretsOf(a), secretsOf(b))
}

func secretsOf(r *hookRecord) (list []wireSecret) {
	for _, k := range r.secrets {
		keys, _ := json.Marshal(keyPair(k.key)) // of bytes: it cannot fail
		list = append(list, wireSecret{k.id, keys, ms(k.made), ms(k.retires)})
	}
	return list
}

func (s sharedStore) dropHook(id string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	list := []ShelfEntry{{Name: "h." + id}, {Name: "s." + id}, {Name: "p." + id}}
	for _, at := range s.copy.places(id) {
		list = append(list, ShelfEntry{Name: rowOf(id, at)})
	}
	for len(list) > 0 {
		n := min(len(list), maxShelfBatch)
		if err := s.write(list[:n], nil); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// commit makes the changes of each batch, or none of it.
func (s sharedStore) commit(batches []*hookBatch) error {
	var errs []error
	for _, b := range batches {
		errs = append(errs, s.commitOne(b))
	}
	return errors.Join(errs...)
}

func (s sharedStore) commitOne(b *hookBatch) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	h := s.sharedOutbox.hooks[b.hook]
	var turn shelfTurn
	var at int64
	if h != nil {
		turn, at = h.turn, h.at
	}
	s.mu.Unlock()
	if h == nil {
		return nil // deleted meanwhile
	}
	if turn.Writer != s.writer {
		return errNotMine
	}
	var extra []ShelfEntry
	if b.state != nil {
		extra = append(extra, ShelfEntry{Name: "s." + b.hook, Data: encodeState(b.state)})
	}
	if b.cursor != "" {
		turn.Cursor = b.cursor
	}
	// It is written each time: so whoever takes the turn, on the condition that it is as
	// he knows it, knows all deliveries, too.
	text, _ := json.Marshal(&turn) // of texts: it cannot fail
	extra = append(extra, ShelfEntry{Name: "p." + b.hook, Data: text})
	return s.change(b.hook, map[string]int64{"p." + b.hook: at}, extra, func() { _ = s.copy.commit([]*hookBatch{b}) })
}

// change makes changes of deliveries in the copy and writes them, with others behind
// them. Where they cannot be written the copy is as before. It runs under writing.
func (s *sharedOutbox) change(hook string, on map[string]int64, behind []ShelfEntry, f func()) error {
	s.copy.mu.Lock()
	s.copy.journal = map[rowName]*delivery{}
	s.copy.mu.Unlock()
	f()
	s.copy.mu.Lock()
	journal := s.copy.journal
	s.copy.journal = nil
	var list []ShelfEntry
	var err error
	for name := range journal {
		e := ShelfEntry{Name: rowOf(name.hook, name.at)}
		if d := s.copy.rows[name.hook][name.at]; d != nil {
			if e.Data, err = encodeDelivery(d); err != nil {
				break
			}
		} else if journal[name] == nil {
			continue // neither before nor after
		}
		list = append(list, e)
	}
	s.copy.mu.Unlock()
	// What is removed goes last: those that waited for it must know by then, whatever
	// becomes of a change that takes several writes.
	slices.SortStableFunc(list, func(a, b ShelfEntry) int { return cmp.Compare(min(len(b.Data), 1), min(len(a.Data), 1)) })
	list = append(list, behind...)
	for err == nil && len(list) > 0 {
		n := min(len(list), maxShelfBatch)
		if err = s.write(list[:n:n], on); err == nil {
			list = list[n:]
		}
	}
	if err == nil {
		return nil
	}
	for _, e := range list { // what was not written is as before
		_, rest, _ := strings.Cut(e.Name, ".")
		id, row, _ := strings.Cut(rest, ".")
		if at, ok := parsePlace(row); ok {
			s.copy.set(id, at, journal[rowName{id, at}])
		}
	}
	s.mu.Lock()
	s.moved[hook] = true
	s.mu.Unlock()
	return err
}

func (s sharedStore) count(hook string) (hookCounts, error) { return s.copy.count(hook) }

func (s sharedStore) due(hook string, now time.Time, limit int) ([]*delivery, error) {
	return s.copy.due(hook, now, limit)
}

func (s sharedStore) list(hook string, q deliveryQuery) ([]*delivery, error) {
	return s.copy.list(hook, q)
}

// revive is asked for at any node: who delivers sees it.
func (s sharedStore) revive(hook string, r revival) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	_, there := s.sharedOutbox.hooks[hook]
	s.mu.Unlock()
	if !there {
		return 0, nil
	}
	err = s.change(hook, nil, nil, func() { n, _ = s.copy.revive(hook, r) })
	return n, err
}

// bury forgets those of the webhooks to which this node delivers.
func (s sharedStore) bury(before time.Time, most int) (n int, err error) {
	s.mu.Lock()
	var mine []string
	for id, h := range s.sharedOutbox.hooks {
		if h.turn.Writer == s.writer {
			mine = append(mine, id)
		}
	}
	s.mu.Unlock()
	for _, id := range mine {
		s.writing.Lock()
		err := s.change(id, nil, nil, func() { n += s.copy.buryOf(id, before, most) })
		s.writing.Unlock()
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// takeTurn has it be this node's turn, or nobody's.
func (s *sharedOutbox) takeTurn(id string, take bool) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	h := s.hooks[id]
	if h == nil {
		s.mu.Unlock()
		return ErrNoWebhook
	}
	turn, at := h.turn, h.at
	s.mu.Unlock()
	if !take && turn.Writer != s.writer {
		return nil
	}
	if turn.Writer = ""; take {
		turn.Writer = s.writer
	}
	text, _ := json.Marshal(&turn) // of texts: it cannot fail
	return s.write([]ShelfEntry{{Name: "p." + id, Data: text}}, map[string]int64{"p." + id: at})
}

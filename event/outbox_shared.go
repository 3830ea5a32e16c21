package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sharedOutbox is an outboxStore of a cluster. All nodes have a copy of the shelf in
// memory, and read from it. What one of them changes is written to the shelf first. What
// a webhook has and has not taken is changed by one node at a time: its turn is an entry
// of the shelf, and each change is made on the condition that this is as it was.
//
//	h.HOOK        the webhook, as clients made it    s.HOOK  how it fares
//	p.HOOK        whose turn it is, and the cursor   d.HOOK.RUN-SEQ  a delivery
type sharedOutbox struct {
	shelf  Shelf
	seal   *sealer
	writer string // "<node>/<process>" of this one
	copy   *memoryOutbox
	poke   chan struct{} // of capacity one: something has changed

	writing sync.Mutex // one change at a time, be it of this node or of others; taken before mu

	mu    sync.Mutex            // guards the next ones
	hooks map[string]*shelfHook // by id
	rows  map[string]int64      // numbers of deliveries, by name
	gone  map[string]int64      // what this node has removed, until the shelf tells of that
	moved map[string]bool       // webhooks whose deliveries or state others have changed
	ready bool                  // the copy is whole
	why   error                 // why it is not followed now
}

// shelfHook is a webhook as the shelf has it. Parts may be there before others.
type shelfHook struct {
	rec                *hookRecord // without its state and its cursor; replaced, never changed
	state              hookState
	turn               shelfTurn
	recAt, stateAt, at int64 // numbers of the three entries
}

// shelfTurn is whose turn it is to deliver.
type shelfTurn struct {
	Writer string `json:"writer,omitempty"` // "": nobody's
	Cursor string `json:"cursor"`
}

// maxSharedRows bounds the deliveries of a webhook that wait in a cluster: all nodes have
// them in memory.
const maxSharedRows = 10_000

// shelfTime bounds one change of the shelf.
const shelfTime = 5 * time.Second

// errNotMine says that it is another node's turn to deliver.
var errNotMine = errors.New("another node delivers to this webhook")

// errNotYet says that nothing is known of the cluster's webhooks yet.
var errNotYet = fmt.Errorf("%w: the cluster's store has not told of its webhooks yet", ErrNotNow)

func newSharedOutbox(shelf Shelf, key []byte, writer string) *sharedOutbox {
	s := &sharedOutbox{shelf: shelf, seal: newSealer(key), writer: writer, poke: make(chan struct{}, 1),
		hooks: map[string]*shelfHook{}, rows: map[string]int64{}, gone: map[string]int64{}, moved: map[string]bool{}}
	s.copy = newMemoryOutbox(func(int) {})
	s.copy.boundless = true
	return s
}

// known reports whether the copy is whole.
func (s *sharedOutbox) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// follow keeps the copy until ctx ends.
func (s *sharedOutbox) follow(ctx context.Context) {
	pause := mirrorPause
	for ctx.Err() == nil {
		err := s.shelf.Follow(ctx, func(list []ShelfEntry, upTo int64) {
			pause = mirrorPause
			s.takeAll(list, upTo)
		}, s.take)
		s.mu.Lock()
		s.why = err
		s.mu.Unlock()
		t := time.NewTimer(pause)
		pause = min(2*pause, mirrorMost)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// takeAll makes the copy be what the shelf has. What this node has written since stays.
func (s *sharedOutbox) takeAll(list []ShelfEntry, upTo int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	there := map[string]bool{}
	for _, e := range list {
		there[e.Name] = len(e.Data) > 0
	}
	s.mu.Lock()
	var gone []string
	for name, at := range s.rows {
		if at <= upTo && !there[name] {
			gone = append(gone, name)
		}
	}
	for id, h := range s.hooks {
		if h.recAt <= upTo && !there["h."+id] {
			gone = append(gone, "h."+id)
		}
	}
	s.mu.Unlock()
	for _, e := range list {
		s.apply(e, false)
	}
	for _, name := range gone {
		s.apply(ShelfEntry{Name: name, Seq: upTo}, false)
	}
	s.mu.Lock()
	maps.DeleteFunc(s.gone, func(_ string, at int64) bool { return at <= upTo }) // it is not told of again
	s.ready = true
	s.mu.Unlock()
	poke(s.poke)
}

// take takes a change of any node.
func (s *sharedOutbox) take(e ShelfEntry) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.apply(e, false) {
		poke(s.poke)
	}
}

// apply brings an entry into the copy, and reports whether it was new there. What this
// node has written itself the copy of deliveries has already. It runs under writing.
func (s *sharedOutbox) apply(e ShelfEntry, own bool) bool {
	kind, rest, _ := strings.Cut(e.Name, ".")
	id, row, _ := strings.Cut(rest, ".")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed(e, own) {
		return false
	}
	if kind == "d" {
		return s.applyRow(id, row, e, own)
	}
	h := s.hooks[id]
	if h == nil {
		if len(e.Data) == 0 {
			return false
		}
		h = &shelfHook{}
		s.hooks[id] = h
	}
	switch kind {
	case "h":
		if e.Seq <= h.recAt {
			return false
		}
		h.recAt, h.rec = e.Seq, nil
		if len(e.Data) > 0 {
			h.rec = s.decodeHook(id, e.Data)
		}
		if h.rec == nil {
			delete(s.hooks, id)
			s.dropRows(id)
		} else {
			s.copy.keep(id)
		}
	case "s":
		if e.Seq <= h.stateAt {
			return false
		}
		h.stateAt = e.Seq
		var st wireState
		if json.Unmarshal(e.Data, &st) == nil {
			h.state = st.state()
		}
		s.moved[id] = s.moved[id] || !own
	case "p":
		if e.Seq <= h.at {
			return false
		}
		h.at, h.turn = e.Seq, shelfTurn{}
		_ = json.Unmarshal(e.Data, &h.turn) // what cannot be read is nobody's turn
	}
	return true
}

// removed reports whether an entry is not newer than its removal by this node: the shelf
// tells of both later, and in between the entry must not come back. It runs under mu.
func (s *sharedOutbox) removed(e ShelfEntry, own bool) bool {
	at := s.gone[e.Name]
	if e.Seq < at {
		return true
	}
	if delete(s.gone, e.Name); own && len(e.Data) == 0 {
		s.gone[e.Name] = e.Seq
	}
	return e.Seq == at
}

// applyRow is apply for a delivery.
func (s *sharedOutbox) applyRow(id, row string, e ShelfEntry, own bool) bool {
	if at, known := s.rows[e.Name]; known && (e.Seq < at || e.Seq == at && len(e.Data) > 0) {
		return false
	}
	at, ok := parsePlace(row)
	if !ok {
		return false
	}
	if own {
		if s.rows[e.Name] = e.Seq; len(e.Data) == 0 {
			delete(s.rows, e.Name)
		}
		return true
	}
	var d *delivery
	if len(e.Data) > 0 {
		if d = decodeDelivery(id, at, e.Data); d == nil {
			return false
		}
	}
	s.rows[e.Name] = e.Seq
	s.copy.set(id, at, d)
	if d == nil {
		delete(s.rows, e.Name)
	}
	s.moved[id] = true
	return true
}

// dropRows forgets the deliveries of a webhook. It runs under mu.
func (s *sharedOutbox) dropRows(id string) {
	for _, at := range s.copy.places(id) {
		delete(s.rows, rowOf(id, at))
	}
	_ = s.copy.dropHook(id) // memory does not fail
}

// keep makes room for a webhook's deliveries.
func (m *memoryOutbox) keep(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[id] == nil {
		m.rows[id] = map[place]*delivery{}
	}
	if m.kept[id] == nil {
		m.kept[id] = &hookRecord{id: id}
	}
}

// set has a delivery be another one, or none.
func (m *memoryOutbox) set(id string, at place, d *delivery) {
	m.keep(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if d == nil {
		m.remove(id, at)
		return
	}
	m.put(d)
}

// places are those of all deliveries of a webhook.
func (m *memoryOutbox) places(id string) []place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.rows[id]))
}

func rowOf(id string, at place) string {
	return "d." + id + "." + strconv.FormatInt(at.run, 10) + "-" + strconv.FormatInt(at.seq, 10)
}

func parsePlace(text string) (at place, ok bool) {
	run, seq, _ := strings.Cut(text, "-")
	var err1, err2 error
	at.run, err1 = strconv.ParseInt(run, 10, 64)
	at.seq, err2 = strconv.ParseInt(seq, 10, 64)
	return at, err1 == nil && err2 == nil
}

// wireState, wireHook and wireDelivery are how entries are written.
type wireState struct {
	Enabled bool   `json:"enabled"`
	State   string `json:"state"`
	Since   int64  `json:"since,omitempty"`
	Fails   int    `json:"fails,omitempty"`
	Failing int64  `json:"failing,omitempty"`
	LastErr string `json:"last_error,omitempty"`
}

func (w *wireState) state() hookState {
	return hookState{enabled: w.Enabled, state: w.State, since: fromMS(w.Since), fails: w.Fails, failing: fromMS(w.Failing), lastErr: w.LastErr}
}

func encodeState(st *hookState) []byte {
	text, _ := json.Marshal(&wireState{st.enabled, st.state, ms(st.since), st.fails, ms(st.failing), st.lastErr}) // of texts and numbers: it cannot fail
	return text
}

type wireHook struct {
	Origin  string       `json:"origin"`
	Owner   string       `json:"owner"`
	Call    string       `json:"call,omitempty"`
	Made    int64        `json:"made"`
	Spec    []byte       `json:"spec"` // sealed: its headers may be secrets
	Secrets []wireSecret `json:"secrets"`
}

type wireSecret struct {
	ID      string `json:"id"`
	Keys    []byte `json:"keys"` // sealed
	Made    int64  `json:"made"`
	Retires int64  `json:"retires,omitempty"`
}

func (s *sharedOutbox) encodeHook(r *hookRecord) ([]byte, error) {
	spec, err := json.Marshal(&r.spec)
	if err != nil {
		return nil, err
	}
	w := wireHook{Origin: r.origin, Owner: r.owner, Call: r.call, Made: ms(r.made), Spec: s.seal.seal(spec, r.id)}
	for _, k := range r.secrets {
		keys, err := json.Marshal(keyPair(k.key))
		if err != nil {
			return nil, err
		}
		w.Secrets = append(w.Secrets, wireSecret{k.id, s.seal.seal(keys, r.id+"/"+k.id), ms(k.made), ms(k.retires)})
	}
	return json.Marshal(&w)
}

// decodeHook is nil for what is no webhook. One whose secrets cannot be opened has none.
func (s *sharedOutbox) decodeHook(id string, data []byte) *hookRecord {
	var w wireHook
	if json.Unmarshal(data, &w) != nil {
		return nil
	}
	r := &hookRecord{id: id, origin: w.Origin, owner: w.Owner, call: w.Call, made: fromMS(w.Made)}
	spec, err := s.seal.open(w.Spec, id)
	if err != nil {
		r.unreadable = err
	} else if json.Unmarshal(spec, &r.spec) != nil {
		return nil
	}
	for _, k := range w.Secrets {
		plain, err := s.seal.open(k.Keys, id+"/"+k.ID)
		if err != nil {
			r.unreadable = err
			continue
		}
		key, err := readKey(plain)
		if err != nil {
			return nil
		}
		r.secrets = append(r.secrets, secret{id: k.ID, key: key, made: fromMS(k.Made), retires: fromMS(k.Retires)})
	}
	return r
}

type wireDelivery struct {
	ID      string    `json:"id"`
	Kind    Type      `json:"type"`
	Call    string    `json:"call,omitempty"`
	Dead    bool      `json:"dead,omitempty"`
	Replay  bool      `json:"replay,omitempty"`
	Tries   int       `json:"tries,omitempty"`
	Next    int64     `json:"next,omitempty"`
	Since   int64     `json:"since"`
	History []Attempt `json:"history,omitempty"`
	Body    []byte    `json:"body,omitempty"`
}

func encodeDelivery(d *delivery) ([]byte, error) {
	return json.Marshal(&wireDelivery{d.id, d.kind, d.call, d.dead, d.replay, d.tries, ms(d.next), ms(d.since), d.history, d.body})
}

func decodeDelivery(hook string, at place, data []byte) *delivery {
	var w wireDelivery
	if json.Unmarshal(data, &w) != nil {
		return nil
	}
	return &delivery{hook: hook, at: at, id: w.ID, kind: w.Kind, call: w.Call, dead: w.Dead, replay: w.Replay, tries: w.Tries, next: fromMS(w.Next),
		since: fromMS(w.Since), history: w.History, body: w.Body}
}

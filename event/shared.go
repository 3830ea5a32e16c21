package event

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// In a cluster the order of events is that of a Stream, which all nodes have in common.
// What a node tells goes there first, on the condition that no other event of the call
// has its number. Each node then reads all of the stream into its own log, so that what
// is read, be it by a cursor, of a call or of records, is the same everywhere:
//
//	told ──▶ sequencer ──▶ publisher ──▶ Stream ──▶ mirror ──▶ readers, log (of each node)
//
// What another node has told of a call of ours comes back to the sequencer, which puts
// behind it what is not in the stream yet, or lets go of the call. See ofShared.

// shared is what a Bus has for its cluster.
type shared struct {
	stream  Stream
	node    string
	writer  string // "<node>/<process>"
	process string
	work    chan struct{}              // of capacity one, for the publisher
	came    chan struct{}              // likewise: something has come back
	room    chan struct{}              // likewise, for the mirror: the log has taken some
	index   atomic.Int64               // bytes of events that wait for the log of this node
	unsent  atomic.Pointer[StoreError] // why the last batch was not written
	unread  atomic.Pointer[StoreError] // why the stream is not read
	floor   atomic.Int64               // events before this number were gone before this node got them
	system  int64                      // events of no call so far; owned by the sequencer

	mu    sync.Mutex           // guards the next ones
	out   []*outgoing          // that have not come back, in their order; nil are done
	head  int                  // those before it are done
	names map[string]*outgoing // of out
	ends  map[int64]int64      // last number of a run that is over
}

// outgoing is an event on its way into the stream.
type outgoing struct {
	e     *Event
	l     *live // nil of no call
	name  string
	epoch uint32
	base  bool // the call goes with it
	at    time.Time
	data  []byte    // as it was sent last
	acked bool      // it is in the stream
	hold  time.Time // its name was taken: not before then again
	done  bool      // it has come back, or nobody wants it
}

// liveFar is what a call has in a cluster.
type liveFar struct {
	mine   bool      // this node tells of it; guarded by the shard's lock
	news   []foreign // for toldForeign; guarded by the shard's lock
	once   sync.Once
	epoch  atomic.Uint32          // the highest one that was seen
	writer atomic.Pointer[string] // of the last event in the stream
	landed atomic.Bool            // an event of this node's, since it has the call, is in the stream

	seen *Call // the call as the stream has it; owned by the mirror

	// Owned by the sequencer.
	own     uint32 // epoch of what is told here
	resumed bool   // it was another node's
	moved   bool   // call.moved was told since
	based   int64  // version of the last event of another node that was taken into account
	baseAt  Time   // of the last event with which the call went
}

// baseTime is how often a call goes with an event of its own, for nodes that have missed
// the ones before.
const baseTime = time.Hour

func newShared(cfg *Config) *shared {
	process := strings.ToLower(rand.Text()[:10])
	return &shared{stream: cfg.Stream, node: cfg.Node, writer: cfg.Node + "/" + process, process: process, work: make(chan struct{}, 1),
		came: make(chan struct{}, 1), room: make(chan struct{}, 1), names: map[string]*outgoing{}, ends: map[int64]int64{}}
}

// file is the one in which this node keeps the events of the stream: those of a single
// node, and of other streams, have other numbers.
func (s *shared) file(store string) string {
	if store == "" || store == "memory" {
		return store
	}
	ext := filepath.Ext(store)
	return strings.TrimSuffix(store, ext) + "-" + s.stream.Name() + ext
}

// beginShared goes on where this node has stopped reading. Calls that are open are those
// of others, until somebody says otherwise.
func (b *Bus) beginShared(runs []Run, last int64) error {
	s := b.shared
	b.name = s.stream.Name()
	if n, ok := b.store.(interface{ rename(name string) error }); ok && b.store.Name() != b.name {
		if err := n.rename(b.name); err != nil {
			return err
		}
	}
	if len(runs) == 0 {
		runs = []Run{{N: 1, First: 1}} // until the stream says which
	}
	b.runs.Store(&runs)
	b.visible.Store(last)
	b.stored.Store(last)
	b.sequenced.Store(last)
	open, err := b.store.Open()
	if err != nil {
		return err
	}
	for _, id := range open {
		c, err := b.fold(id, 1<<62)
		if err != nil {
			return err
		}
		if c == nil || c.State == Ended {
			continue
		}
		c.updated.Time = cmp.Or(c.updated.Time, c.CreatedAt.Time)
		l := b.farLive(b.shard(id), id)
		l.far.seen = c
		l.pub.Store(c)
		writer := c.Node + "/"
		l.far.writer.Store(&writer)
	}
	run := runs[len(runs)-1].N
	none := int64(0)
	b.number(&Event{Type: SystemStarted, Timestamp: At(b.cfg.Now()), Data: Data{Change: &Change{Run: run, Calls: &none, Node: b.cfg.Node}}})
	b.publish()
	return nil
}

// farLive is a call that another node tells of.
func (b *Bus) farLive(s *shard, id string) *live {
	l := b.newLive(id, s)
	l.far.mine = false
	l.kept()
	s.calls[id] = l
	return l
}

// ahead is how far behind the last event that this node has a cursor may be: readers
// come from nodes that have more.
func (b *Bus) ahead() int64 {
	if b.shared == nil {
		return 0
	}
	return 1 << 20
}

// endOf is the last number of a run that is over.
func (s *shared) endOf(run int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end, ok := s.ends[run]; ok {
		return end
	}
	return 1 << 62
}

// push takes events that the sequencer has made.
func (s *shared) push(b *Bus, events []*Event) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		o := &outgoing{e: e, l: e.live, at: now}
		if o.l == nil {
			s.system++
			o.name = "_" + s.process + "." + strconv.FormatInt(s.system, 10)
		} else {
			far := o.l.far
			o.name, o.epoch = recordName(o.l.id, e.CallSeq), far.own
			o.base = e.base || e.Final || e.Type == CallMoved || !far.baseAt.IsZero() && e.Timestamp.Sub(far.baseAt.Time) >= baseTime
			if o.base || e.Type == CallCreated {
				far.baseAt = e.Timestamp
			}
		}
		s.out = append(s.out, o)
		s.names[o.name] = o
		b.backlog.Add(int64(e.size))
	}
	poke(s.work)
}

// finish notes that an event need not be sent any more. Shared.mu is held.
func (s *shared) finish(b *Bus, o *outgoing) {
	if o.done {
		return
	}
	o.done = true
	b.backlog.Add(-int64(o.e.size))
	if s.names[o.name] == o {
		delete(s.names, o.name)
	}
	for s.head < len(s.out) && s.out[s.head].done {
		s.out[s.head] = nil
		s.head++
	}
	if s.head > 1024 && s.head > len(s.out)/2 || s.head == len(s.out) {
		s.out = slices.Clone(s.out[s.head:])
		s.head = 0
	}
}

// waiting is how many events have not come back.
func (s *shared) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.names)
}

// age is how long the oldest of them has waited.
func (s *shared) age(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.out) {
		return 0
	}
	return now.Sub(s.out[s.head].at)
}

// indexed notes that the log of this node has taken events.
func (s *shared) indexed(bytes int64) {
	s.index.Add(-bytes)
	poke(s.room)
}

// sharedBehind is why a call of the API may not begin.
func (b *Bus) sharedBehind() error {
	if err := b.shared.fails(); err != nil {
		return err
	}
	if age := b.shared.age(time.Now()); age > commitWait || b.level() > 0 {
		return &StoreError{Store: streamName, Behind: age}
	}
	return nil
}

// streamName is what the stream is called in errors.
const streamName = "the cluster's store of events"

// Mine reports whether this node tells of a call that has not ended.
func (b *Bus) Mine(id string) bool {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.calls[id]
	return l != nil && (l.far == nil || l.far.mine)
}

// share sends and reads until stop is closed and all that was told has come back, or
// cannot for some seconds.
func (b *Bus) share(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mirror sync.WaitGroup
	mirror.Go(func() { b.mirror(ctx) })
	b.publishAll(ctx, stop)
	cancel()
	mirror.Wait()
}

// fails is why the stream cannot be written, or read; nil if it can.
func (s *shared) fails() *StoreError {
	if err := s.unsent.Load(); err != nil {
		return err
	}
	return s.unread.Load()
}

// streamFailed notes that the stream cannot be read or written.
func (b *Bus) streamFailed(at *atomic.Pointer[StoreError], err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if at.Swap(&StoreError{Store: streamName, Err: err}) == nil {
		b.log.Warn("events do not reach all nodes", "error", err)
	}
}

func (b *Bus) streamWorks(at *atomic.Pointer[StoreError]) {
	if at.Swap(nil) != nil && b.shared.fails() == nil {
		b.log.Info("events reach all nodes again")
	}
}

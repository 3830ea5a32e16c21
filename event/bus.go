package event

import (
	"cmp"
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Bus needs. Values that are zero have the defaults named.
type Config struct {
	Store        string        // path of the database; "memory" or empty: nothing outlives the process
	Sync         string        // "normal" (default) survives a crash of the process, "full" a power cut, too
	Retention    time.Duration // of events; 72 h
	MaxBytes     int64         // of the database; 4 GiB
	CallTime     time.Duration // how long ended calls are listed; 72 h
	CDRRetention time.Duration // of their records; 400 d
	Node         string        // that records name; empty where there is one only

	// Stream is what the nodes of a cluster have in common, nil for a single node. Holds
	// reports whether the calls of this node are surely its own still; Nodes are the names
	// of those that live, with this one.
	Stream Stream
	Holds  func() bool
	Nodes  func() []string

	// Recent and RecentBytes bound what is in memory of the latest events: 5 min, 256 MiB.
	Recent      time.Duration
	RecentBytes int64
	// QueueBytes bounds what waits for the database: 64 MiB.
	QueueBytes int64
	// Strict makes an event that Apply refuses a panic. Else it is dropped and counted.
	Strict bool
	// Now is the clock of events; time.Now.
	Now func() time.Time
}

const numShards = 16

// Bus takes what happens to calls from sipflow and from the doors, brings it in one
// order, keeps it, and wakes those who listen. Who tells it something never waits.
type Bus struct {
	cfg    Config
	log    *slog.Logger
	store  Log
	memory bool  // the store is a memoryLog
	why    error // the database could not be opened
	name   string
	runs   atomic.Pointer[[]Run] // replaced, never changed; the last is this one
	shared *shared               // of a cluster; nil for a single node

	seed    maphash.Seed
	shards  [numShards]shard
	queued  atomic.Int64  // bytes in the shards' queues
	backlog atomic.Int64  // bytes of events that wait for the log
	wake    chan struct{} // of capacity one, for the sequencer
	work    chan struct{} // likewise, for the committer
	slots   chan struct{} // one for each reader of the store
	// callSlots are those of readers of one call: they need not wait for those of all.
	callSlots chan struct{}

	sequenced atomic.Int64 // number of the last event that has one
	visible   atomic.Int64 // of the last one that readers see
	stored    atomic.Int64 // of the last one that is kept
	failing   atomic.Pointer[StoreError]

	seq sequencer // owned by the sequencer's goroutine

	mu      sync.RWMutex // guards the next ones
	ring    ring
	pending pending
	topics  topics

	keymu   sync.Mutex         // guards the next two
	keys    map[string]*KeyUse // that are not kept yet
	dropped map[string]string  // that the log may still have, with the call that gave them up

	stats counters
	done  chan struct{} // closed when Run has returned
}

// shard has calls by id, and what was told of them.
type shard struct {
	mu    sync.Mutex // guards all
	calls map[string]*live
	queue []told
	spare []told // the queue before, empty again
}

// live is a call that has not ended, or whose end is not kept yet.
type live struct {
	id     string
	shard  *shard
	pub    atomic.Pointer[Call] // as readers see it; nil before call.created
	stored chan struct{}        // closed when call.created is kept, or will not be
	err    error                // why not; valid then

	// Guarded by the shard's lock.
	req    *Request // that was announced
	actor  *Actor   // who is ending the call
	reason string   // why the service is ending it, where a door has said so
	begun  bool     // its beginning was told

	// Owned by the sequencer.
	cur   *Call
	at    Time // of the last event
	hole  bool // its last event was not kept
	inLog bool // an event of it was kept
	own   bool // its end is told by Tell alone
	// passedOn: a phone has sent the other one elsewhere by REFER, and that is there.
	passedOn bool
	far      *liveFar // of a cluster; nil for a single node
}

func (b *Bus) newLive(id string, s *shard) *live {
	l := &live{id: id, shard: s, stored: make(chan struct{})}
	if b.shared != nil {
		l.far = &liveFar{mine: true}
	}
	return l
}

// kept ends the wait for call.created. In a cluster two may say so.
func (l *live) kept() {
	if l.far == nil {
		close(l.stored)
		return
	}
	l.far.once.Do(func() { close(l.stored) })
}

// Open opens the log, begins a run, and ends the calls that the last run left open.
// A database that cannot be used is told in the log, and memory is used instead.
func Open(cfg Config, log *slog.Logger) (*Bus, error) {
	cfg.Sync = cmp.Or(cfg.Sync, "normal")
	cfg.Retention = cmp.Or(cfg.Retention, 72*time.Hour)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 4<<30)
	cfg.CallTime = cmp.Or(cfg.CallTime, 72*time.Hour)
	cfg.CDRRetention = cmp.Or(cfg.CDRRetention, 400*24*time.Hour)
	cfg.Recent = cmp.Or(cfg.Recent, 5*time.Minute)
	cfg.RecentBytes = cmp.Or(cfg.RecentBytes, 256<<20)
	cfg.QueueBytes = cmp.Or(cfg.QueueBytes, 64<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{cfg: cfg, log: log, seed: maphash.MakeSeed(), wake: make(chan struct{}, 1), work: make(chan struct{}, 1),
		slots: make(chan struct{}, maxReaders), callSlots: make(chan struct{}, maxReaders), keys: map[string]*KeyUse{}, dropped: map[string]string{}, done: make(chan struct{})}
	for i := range b.shards {
		b.shards[i].calls = map[string]*live{}
	}
	b.topics.init()
	if cfg.Stream != nil {
		b.shared = newShared(&b.cfg)
	}
	if err := b.openStore(); err != nil {
		return nil, err
	}
	return b, nil
}

// openStore opens the log and begins a run in it.
func (b *Bus) openStore() error {
	if b.shared != nil {
		b.cfg.Store = b.shared.file(b.cfg.Store)
	}
	if b.cfg.Store != "" && b.cfg.Store != "memory" {
		store, err := openSQLite(&b.cfg)
		if err == nil {
			b.store = store
			if err = b.begin(); err == nil {
				return nil
			}
			store.Close()
			b.reset()
		}
		b.why = err
		b.log.Warn("events are kept in memory only, a restart forgets them", "store", b.cfg.Store, "error", err)
	}
	b.memory = true
	b.store = newMemoryLog(b.cfg.MaxBytes, b.cfg.RecentBytes)
	return b.begin()
}

// reset forgets what a log has left that cannot be used.
func (b *Bus) reset() {
	for i := range b.shards {
		b.shards[i].calls = map[string]*live{}
	}
	b.seq, b.ring, b.pending = sequencer{}, ring{}, pending{}
	b.runs.Store(nil)
}

func (b *Bus) shard(id string) *shard {
	return &b.shards[maphash.String(b.seed, id)%numShards]
}

// find returns a call that has not ended, nil if there is none.
func (b *Bus) find(id string) *live {
	s := b.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

// poke sends to a channel of one: whoever reads it wakes once.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run gives events their order and keeps them, until ctx ends. It returns when all
// that was told before is kept, or cannot be within some seconds. It is called once.
func (b *Bus) Run(ctx context.Context) error {
	defer close(b.done)
	stop := make(chan struct{})
	var end sync.WaitGroup
	told := stop // closed when nothing comes into the log any more
	if b.shared != nil {
		told = make(chan struct{})
		end.Go(func() { b.watchOrphans(stop) })
		end.Go(func() {
			defer close(told)
			b.share(stop)
		})
	}
	if !b.memory {
		end.Go(func() { b.commitAll(told) })
	}
	end.Go(func() { b.trimAll(stop) })
	b.sequence(ctx)
	close(stop)
	end.Wait()
	return b.lastError()
}

// Close closes the log. Call it when Run has returned and nobody reads any more.
func (b *Bus) Close() error { return b.store.Close() }

// lastError is why events were left that could not be kept.
func (b *Bus) lastError() error {
	if b.shared != nil && b.shared.waiting() > 0 {
		return ErrStore
	}
	if b.stored.Load() >= b.sequenced.Load() {
		return nil
	}
	if err := b.failing.Load(); err != nil {
		return err
	}
	return ErrStore
}

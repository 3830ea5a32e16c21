package event

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/webhook"
)

// OutboxConfig is what there is to set of webhooks.
type OutboxConfig struct {
	// Key seals secrets in the database; nil: they are kept as they are.
	Key []byte
	// DeadLetterTime is how long what was given up is kept; default 30 days.
	DeadLetterTime time.Duration
	// AllowPrivate are networks that webhooks may be in though they are not public.
	AllowPrivate []netip.Prefix
	// Webhooks are those of the configuration.
	Webhooks []ConfiguredWebhook
	// UserAgent says who we are; Resolver looks names up, nil is the system's.
	UserAgent string
	Resolver  *net.Resolver
	// Wait is how long the end waits for what is still to be sent; default 5 s.
	Wait time.Duration

	// Shelf is where the webhooks of a cluster are; nil for a single node.
	// Nodes are the names of those that may deliver; nil: those of the Bus.
	Shelf Shelf
	Nodes func() []string

	Now  func() time.Time // default: time.Now
	post postFunc         // tests have another
}

// ConfiguredWebhook is a webhook of the configuration.
type ConfiguredWebhook struct {
	WebhookSpec
	Secrets []string // "whsec_…", the newest first
}

const (
	// MaxWebhooks are those that clients and the configuration make; MaxCallWebhooks
	// those of single calls.
	MaxWebhooks     = 100
	MaxCallWebhooks = 1_000
	// maxDead bounds the dead letters of one webhook; the oldest go.
	maxDead = 100_000
	// buryPause is between looks at dead letters that are too old.
	buryPause = time.Hour
	// deadLetterTime and endWait are defaults of OutboxConfig.
	deadLetterTime = 30 * 24 * time.Hour
	endWait        = 5 * time.Second
)

// outboxLog is what an outbox needs of a Bus.
type outboxLog interface {
	Events(f Filter, after Cursor, limit int) ([]*Event, Cursor, error)
	CallEvents(id string, afterSeq int64, limit int) ([]*Event, error)
	Call(id string) (*Call, bool)
	Head() Cursor
	// listen has wake receive when there may be something new, until stop.
	listen(f Filter) (wake <-chan struct{}, stop func())
	Encoded(e *Event) []byte
	EncodedChange(e *Event) []byte
	Announce(t Type, c Change)
}

func (b *Bus) listen(f Filter) (<-chan struct{}, func()) {
	s := b.Subscribe(f)
	return s.Wake(), s.Close
}

// An Outbox tells webhooks of events: at least once, those of a call in their
// order, for as long as it takes. Each webhook is a cursor into the log, and what
// it has not taken at once is kept with the log. Its methods may be called from
// any goroutine.
type Outbox struct {
	log    outboxLog
	store  outboxStore
	logger *slog.Logger
	now    func() time.Time
	doPost postFunc
	wait   time.Duration
	dead   time.Duration
	agent  string
	lookup *net.Resolver
	// keepBodies says that there is no database, and the log may lose events sooner
	// than they are taken.
	keepBodies bool
	most       int           // deliveries of a webhook that wait: beyond it the webhook reads no further
	shared     *sharedOutbox // of a cluster; nil for a single node

	private atomic.Pointer[[]netip.Prefix]

	places, ofCalls chan struct{} // places of requests
	senders         sync.WaitGroup
	commits         chan commitOf

	mu      sync.Mutex
	hooks   map[string]*hook         // guarded by mu
	owners  map[string]chan struct{} // guarded by mu; places of webhooks of calls, by client
	ctx     context.Context          // guarded by mu; of Run; nil before
	hard    context.Context          // guarded by mu; ends what is under way
	running sync.WaitGroup
	storeAt time.Time // guarded by mu; when the last failure of the store was logged
	times   histogram // guarded by mu

	// Of a cluster.
	node       string
	nodes      func() []string
	holds      func() bool
	begun      bool                // takeTurns has taken up the configuration's; owned by it
	configured []ConfiguredWebhook // guarded by mu; until they are taken up. nil: they are

	changing sync.Mutex // one change of a webhook at a time; taken before mu

	taken, failed, died, lost, forgotten atomic.Uint64
}

// commitOf asks for a batch to be kept.
type commitOf struct {
	batch *hookBatch
	done  chan error
}

// NewOutbox makes an outbox of a bus: its webhooks are those of the bus's store and
// of cfg.
func NewOutbox(cfg OutboxConfig, bus *Bus, logger *slog.Logger) (*Outbox, error) {
	o := newOutbox(cfg, bus, logger)
	if bus.shared != nil {
		return o, o.join(&cfg, bus)
	}
	if db, ok := bus.store.(*sqliteLog); ok {
		o.store = &sqlOutbox{write: db.write, read: db.database(), seal: newSealer(cfg.Key)}
	} else {
		o.store, o.keepBodies = newMemoryOutbox(func(n int) { o.forgotten.Add(uint64(n)) }), true
	}
	return o, o.load(cfg.Webhooks)
}

func newOutbox(cfg OutboxConfig, log outboxLog, logger *slog.Logger) *Outbox {
	o := &Outbox{log: log, logger: logger, now: cfg.Now, doPost: cfg.post, wait: cfg.Wait, dead: cfg.DeadLetterTime, agent: cfg.UserAgent, lookup: cfg.Resolver,
		most:   maxRows,
		places: make(chan struct{}, sharedPlaces), ofCalls: make(chan struct{}, callPlaces), commits: make(chan commitOf),
		hooks: map[string]*hook{}, owners: map[string]chan struct{}{}, times: newHistogram()}
	if o.now == nil {
		o.now = time.Now
	}
	if o.doPost == nil {
		o.doPost = postIt
	}
	if o.wait <= 0 {
		o.wait = endWait
	}
	if o.dead <= 0 {
		o.dead = deadLetterTime
	}
	if o.agent == "" {
		o.agent = "sipxrest"
	}
	o.setPrivate(cfg.AllowPrivate)
	return o
}

func (o *Outbox) setPrivate(list []netip.Prefix) { o.private.Store(&list) }

func (o *Outbox) networks() []netip.Prefix { return *o.private.Load() }

// load takes up the webhooks of the store, and those of the configuration.
func (o *Outbox) load(configured []ConfiguredWebhook) error {
	records, err := o.store.hooks()
	if err != nil {
		return err
	}
	for _, r := range records {
		ended := false
		if r.origin == OriginCall {
			c, known := o.log.Call(r.call)
			if !known { // it was never placed, or it is long over
				if err := o.store.dropHook(r.id); err != nil {
					return err
				}
				continue
			}
			ended = c.State == Ended
		}
		if r.reseal {
			if err := o.store.saveHook(r); err != nil {
				return err
			}
		}
		o.add(r).last = ended
	}
	return o.configure(configured)
}

// add makes a webhook work, as soon as Run does.
func (o *Outbox) add(r *hookRecord) *hook {
	h := &hook{o: o, id: r.id, rec: r, st: r.hookState, own: make(chan struct{}, 1), poke: make(chan struct{}, 1), done: make(chan struct{}), results: make(chan *item, 2*hookRequests),
		inflight: map[place]*item{}, busy: map[freed]int{}, batch: newBatch(r.id), stale: true, more: true}
	h.poster = webhook.NewPoster(o.agent, o.lookup, o.networks, nil)
	var err error
	if h.read, err = ParseCursor(r.cursor); err != nil {
		h.read = o.log.Head()
	}
	h.saved = h.read
	h.known, h.status = h.st, WebhookStatus{State: r.state, Cursor: h.read.String()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hooks[r.id] = h
	if o.ctx != nil && o.shared == nil {
		o.start(h)
	}
	return h
}

// start has a webhook deliver. It runs under o.mu.
func (o *Outbox) start(h *hook) {
	ctx, cancel := context.WithCancel(o.ctx)
	hard, stop := context.WithCancel(o.hard)
	h.cancel = func() { cancel(); stop() }
	o.running.Go(func() {
		defer h.cancel()
		h.run(ctx, hard)
		h.poster.Close()
	})
}

// Run delivers until ctx ends, then what is there for OutboxConfig.Wait. The rest
// goes with the next Run, of another process maybe.
func (o *Outbox) Run(ctx context.Context) {
	hard, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx)) // to the very end
	defer stopWriting()
	var helpers, turns sync.WaitGroup
	helpers.Go(func() { o.write(writing) })
	helpers.Go(func() { o.buryAll(ctx) })

	o.mu.Lock()
	o.ctx, o.hard = ctx, hard
	for _, h := range o.hooks {
		if o.shared == nil {
			o.start(h)
		}
	}
	o.mu.Unlock()
	if o.shared != nil {
		helpers.Go(func() { o.shared.follow(writing) })
		turns.Go(func() { o.takeTurns(ctx) })
	}

	<-ctx.Done()
	late := time.AfterFunc(o.wait, stop)
	defer late.Stop()
	turns.Wait()
	o.changing.Lock() // no webhook is made any more while the last ones end
	o.running.Wait()
	o.mu.Lock()
	o.ctx, o.hard = nil, nil
	o.mu.Unlock()
	o.changing.Unlock()
	o.senders.Wait()
	if o.shared != nil {
		o.leave()
	}
	stopWriting()
	helpers.Wait()
}

// write keeps what webhooks want to be kept: whatever has come meanwhile, in one
// commit.
func (o *Outbox) write(ctx context.Context) {
	for {
		var all []commitOf
		select {
		case c := <-o.commits:
			all = append(all, c)
		case <-ctx.Done():
			return
		}
	more:
		for len(all) < 256 {
			select {
			case c := <-o.commits:
				all = append(all, c)
			default:
				break more
			}
		}
		if o.shared != nil { // one that is another node's to write must not stop the others
			for _, c := range all {
				c.done <- o.store.commit([]*hookBatch{c.batch})
			}
			continue
		}
		batches := make([]*hookBatch, len(all))
		for i, c := range all {
			batches[i] = c.batch
		}
		err := o.store.commit(batches)
		for _, c := range all {
			c.done <- err
		}
	}
}

// commit keeps a batch.
func (o *Outbox) commit(b *hookBatch) error {
	c := commitOf{b, make(chan error, 1)}
	o.commits <- c
	return <-c.done
}

// storeFailed says so, once in a while.
func (o *Outbox) storeFailed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := o.now(); now.Sub(o.storeAt) >= time.Minute {
		o.storeAt = now
		o.logger.Error("what webhooks have taken cannot be kept; sending waits, or repeats what was sent", "error", err)
	}
}

// buryAll forgets dead letters that are too old, or too many.
func (o *Outbox) buryAll(ctx context.Context) {
	look := time.NewTicker(buryPause)
	defer look.Stop()
	for {
		n, err := o.store.bury(o.now().Add(-o.dead), maxDead)
		if err != nil {
			o.storeFailed(err)
		}
		if n > 0 {
			o.forgotten.Add(uint64(n))
			for _, h := range o.all() {
				h.refresh()
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// all returns the webhooks.
func (o *Outbox) all() []*hook {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*hook, 0, len(o.hooks))
	for _, h := range o.hooks {
		list = append(list, h)
	}
	return list
}

func (o *Outbox) find(id string) *hook {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hooks[id]
}

// forget is called by the webhook of a call that is over.
func (o *Outbox) forget(h *hook) {
	o.mu.Lock()
	delete(o.hooks, h.id)
	o.mu.Unlock()
	if err := o.store.dropHook(h.id); err != nil {
		o.storeFailed(err) // it goes at the next start
	}
}

// remove ends a webhook and forgets it.
func (o *Outbox) remove(h *hook) error {
	o.mu.Lock()
	delete(o.hooks, h.id)
	running := o.ctx != nil && h.cancel != nil
	o.mu.Unlock()
	if running {
		h.cancel()
		<-h.done
	}
	return o.store.dropHook(h.id)
}

// Errors of requests about webhooks.
var (
	ErrNoWebhook       = errors.New("there is no such webhook")
	ErrReadOnly        = errors.New("this webhook is in the configuration file; change it there")
	ErrTooManyWebhooks = errors.New("there are as many webhooks as there may be")
	ErrSecretInUse     = errors.New("there are as many secrets as there may be: retire one first")
	ErrNoSecret        = errors.New("there is no such secret, or it is the only one")
	ErrNotNow          = errors.New("the service is starting or ending")
)

// Hears reports how many webhooks will be told of a call, and how many of these
// are not tried at the moment.
func (o *Outbox) Hears(c *Call) (n, off int) {
	for _, h := range o.all() {
		rec := h.record()
		if f := hookFilter(rec); rec.call == "" && f.match(&Event{Type: CallEnded, Data: Data{CallID: &c.ID, Call: c}}) {
			n++
			if h.shown().Status.State != WebhookOK {
				off++
			}
		}
	}
	return n, off
}

// OutboxStats is what an outbox has counted, and how its webhooks fare.
type OutboxStats struct {
	Taken, Failed, Died, Lost, Forgotten uint64
	Webhooks                             map[string]int // by state
	Waiting, Dead, Sending               int
	LagMS                                int64 // the longest one
	Bounds                               []time.Duration
	Buckets                              []uint64
	Sum                                  time.Duration
}

// Stats reads the counters.
func (o *Outbox) Stats() OutboxStats {
	s := OutboxStats{Taken: o.taken.Load(), Failed: o.failed.Load(), Died: o.died.Load(), Lost: o.lost.Load(), Forgotten: o.forgotten.Load(),
		Webhooks: map[string]int{WebhookOK: 0, WebhookFailing: 0, WebhookOff: 0}, Sending: len(o.places) + len(o.ofCalls)}
	for _, h := range o.all() {
		h.mu.Lock()
		st := h.status
		h.mu.Unlock()
		s.Webhooks[st.State]++
		s.Sending += len(h.own)
		s.Waiting += st.Waiting
		s.Dead += st.Dead
		s.LagMS = max(s.LagMS, st.LagMS)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Bounds, s.Buckets, s.Sum = histogramBounds, slices.Clone(o.times.buckets), o.times.sum
	return s
}

// histogram is how long requests took.
type histogram struct {
	buckets []uint64
	sum     time.Duration
}

var histogramBounds = []time.Duration{10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second}

func newHistogram() histogram { return histogram{buckets: make([]uint64, len(histogramBounds)+1)} }

func (o *Outbox) observe(d time.Duration) {
	i, _ := slices.BinarySearch(histogramBounds, d)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.times.buckets[i]++
	o.times.sum += d
}

// Reload takes another configuration of webhooks. On an error all stays as it was.
func (o *Outbox) Reload(private []netip.Prefix, configured []ConfiguredWebhook) error {
	if err := checkConfigured(private, configured); err != nil {
		return err
	}
	o.setPrivate(private)
	for _, h := range o.all() {
		h.poster.Renew() // what is connected may not be allowed any more
	}
	if o.shared != nil { // takeTurns does it: other nodes may do the same at this moment
		o.mu.Lock()
		o.configured = append([]ConfiguredWebhook{}, configured...)
		o.mu.Unlock()
		poke(o.shared.poke)
		return nil
	}
	return o.configure(configured)
}

package sipflow

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/internal/overload"
	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/wire"
)

// HangUpOn says when the REFER flow hangs up on the calling phone.
type HangUpOn string

const (
	Progressing HangUpOn = "progress" // the called phone rings, or the outcome is known
	Outcome     HangUpOn = "outcome"  // the outcome is known
)

// Config is what the switchboard needs to know. Zero values are replaced by
// the defaults given.
type Config struct {
	Listen          []string      // "udp:192.0.2.1:5060", likewise tcp, tls, ws and wss; port 0 takes a free one
	ExternalAddress string        // host for Via and Contact, when it is not the one listened on; "auto": as the outbound proxies see us
	NAT             bool          // requests for a phone whose Contact is a private address go where its messages come from
	OutboundProxies []string      // SIP URIs; default: RFC 3263 on the domain of the Request-URI
	HealthInterval  time.Duration // between the OPTIONS that outbound proxies get; 0: none
	HealthTimeout   time.Duration // for the response to one; default 2 s
	Realm           string        // the only realm that gets the agents' credentials; empty: none does
	HangUpOn        HangUpOn      // default Progressing
	Fallback        bool          // bridge a phone that refuses REFER
	MaxRing         time.Duration // longest ringing, whatever a call asks for; default 1 h
	MaxCalls        int           // calls at once; default 20,000
	Limits          Limits
	UserAgent       string // User-Agent of the INVITEs; empty: none
	// HealthUser is in whose name the health checks are sent, asked each time; a zero
	// Account is nobody's. Nil: nobody's, always.
	HealthUser func() Account
	LogCalls   bool // log every call's end at info, not only of those that failed
	TLS        transport.TLS
	WebSocket  transport.WebSocket
	// FollowRedirects sends INVITEs where 300, 301 and 302 say, for every call
	// and not only for those with Spec.ForwardingAllowed.
	FollowRedirects bool
	// Allow says by an error that a call may not be placed to target, user@host
	// or a URI as on the wire. It is asked about each user that is called, where
	// redirects lead and phones refer each other. It is called from any
	// goroutine and must return soon; nil allows everything.
	Allow func(spec *Spec, target string) error
	// Overload, when set, is told how late messages are, and refuses calls by that. It
	// may be shared with who refuses them before; see Spec.Admitted.
	Overload *overload.Gate
	// Watch is told of each SIP message that comes, or is handed to the kernel, by the
	// goroutine that has it. It returns at once, keeps nothing of it, and calls nothing of
	// the switchboard; nil: nobody is told.
	Watch   func(*OnWire)
	Inbound *Inbound // calls that others place to us; nil: they get 404
	// Account returns the secret of a user, or of a gateway by its URI, for calls that are
	// taken over from another node: states have none. It is false for one who has none,
	// or is not known here. Nil: nobody has.
	Account func(user, gateway string) (Credentials, bool)
	// Resume, when set, is told of a call that is taken over before anything else of it
	// is: record is what Spec.Kept had kept, and joined says that its parties were. It sets
	// Spec.Observe and Spec.Kept.Record, and the functions of Spec.Converse where the media
	// of a call to a phone end here from now on. It reports whether the call may go on;
	// else it is hung up.
	Resume func(spec *Spec, record []byte, joined bool) bool
	// Keeper keeps the states of calls for other nodes; nil: this is a single node.
	Keeper Keeper
	// NodeNumber is that of this node, 1 to 4095, which its tags and branches carry; 0,
	// as long as it has none. It is called from any goroutine; nil: this is a single node.
	NodeNumber func() uint16
	// KeepRecords is for how long the records of calls that are over are kept by Keeper.
	KeepRecords time.Duration
	// Owed appends what else is to be kept with the state of a call: events that are to
	// be told. It is called from any goroutine and must return at once; nil: nothing is.
	Owed     func(call string, dst []byte) []byte
	Resolver *resolve.Resolver // its owner closes it; nil: no call can be placed
	Network  transport.Network // tests only
}

// Switchboard places calls, and serves their phones. Create it with New and run
// it with Serve.
type Switchboard struct {
	cfg        Config
	log        *slog.Logger
	observers  []func(*Event)
	resolver   *resolve.Resolver
	proxies    []resolve.Target
	health     health
	datagrams  datagrams
	transport  transport.Sockets
	host       string // host of our first socket, for Call-ID and SDP
	manyHosts  bool   // sockets have others, or may come to
	shards     [numShards]shard
	phones     phoneMemory
	referred   referred
	leads      leads
	denied     deniedAgents
	stats      stats
	faults     transport.Faults
	limits     limits
	challenger challenger   // of inbound calls
	seed       maphash.Seed // of the tags in responses outside of dialogs
	keys       [32]byte     // secret, see Leg.mediaKey
	keysShown  atomic.Bool  // that keys go in the clear was said

	flows sync.WaitGroup // one per call
	forks sync.WaitGroup // one per 2xx that is hung up on the side

	mu        sync.Mutex // guards calls and draining; taken before a shard's
	calls     map[Key]*Call
	ids       map[string]*Call  // likewise, of those that have an id
	bridges   map[*Call][2]*Leg // the two ends of each bridged call
	active    int
	draining  bool
	forksOver bool // no fork is hung up any more
}

// New binds the sockets. Nothing is read before Serve. The observers are told
// of every call's events; they must return at once and not call the switchboard,
// whose locks may be held. A *fault.Fault says which key of the configuration is wrong.
func New(cfg Config, log *slog.Logger, observe ...func(*Event)) (*Switchboard, error) {
	cfg.HangUpOn = cmp.Or(cfg.HangUpOn, Progressing)
	cfg.MaxRing = cmp.Or(cfg.MaxRing, time.Hour)
	cfg.HealthTimeout = cmp.Or(cfg.HealthTimeout, 2*time.Second)
	cfg.MaxCalls = cmp.Or(cfg.MaxCalls, 20_000)
	sw := &Switchboard{cfg: cfg, log: log, observers: observe, resolver: cfg.Resolver, challenger: newChallenger(),
		calls: map[Key]*Call{}, ids: map[string]*Call{}, bridges: map[*Call][2]*Leg{}, seed: maphash.MakeSeed(),
		referred: referred{seed: maphash.MakeSeed()}}
	rand.Read(sw.keys[:]) //nolint:errcheck // it never fails
	sw.stats.start = time.Now()
	sw.faults.Init(log)
	sw.limits.init(sw)
	if cfg.Inbound != nil && cfg.Inbound.Take == nil {
		return nil, errors.New("inbound calls: Take is not set")
	}
	if cfg.HangUpOn != Progressing && cfg.HangUpOn != Outcome {
		return nil, &fault.Fault{Key: "refer.hangup-on", Told: true, Err: fmt.Errorf("refer.hangup-on %q: want progress or outcome", cfg.HangUpOn)}
	}
	for _, uri := range cfg.OutboundProxies {
		t, err := targetOf(uri)
		if err != nil {
			return nil, &fault.Fault{Key: "sip.outbound-proxy", Told: true, Err: fmt.Errorf("sip.outbound-proxy %q: %w", uri, err)}
		}
		sw.proxies = append(sw.proxies, t)
	}
	for i := range sw.shards {
		sw.shards[i].init(&sw.faults)
	}
	sw.transport = transport.Sockets{Log: log, Network: cfg.Network, TLS: cfg.TLS, WebSocket: cfg.WebSocket, Receive: sw.receive, Malformed: sw.malformed, Failed: sw.failedOn, Lost: sw.lost,
		Admission: sw.limits.admission(), Faults: &sw.faults}
	sw.transport.Watch = cfg.Watch
	if cfg.Overload != nil {
		sw.transport.Waited = cfg.Overload.Waited
	}
	if err := sw.transport.Open(cfg.Listen, cfg.ExternalAddress); err != nil {
		sw.transport.Close()
		return nil, err
	}
	sw.host, sw.manyHosts = sw.transport.Hosts()
	return sw, nil
}

// Addrs are the addresses listened on, as Config.Listen writes them.
func (sw *Switchboard) Addrs() []string {
	return sw.transport.Addrs()
}

// Serve reads the sockets until ctx ends, then hangs every call up. It returns
// once that is done, or ten seconds later: a phone that does not respond to its
// BYE must not keep the process.
func (sw *Switchboard) Serve(ctx context.Context) error {
	sw.transport.Serve()
	sw.flows.Go(func() { sw.watch(ctx) })
	<-ctx.Done()
	sw.stopCalls()
	over := make(chan struct{})
	go func() {
		sw.flows.Wait()
		sw.mu.Lock()
		sw.forksOver = true // nothing may be added to what is waited for
		sw.mu.Unlock()
		sw.forks.Wait()
		close(over)
	}()
	var err error
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		err = fmt.Errorf("not every phone could be hung up within 10 s: those of %d calls, and such as had been given up, do not answer", sw.Active())
	}
	sw.leads.close()
	for i := range sw.shards {
		sw.shards[i].close()
	}
	sw.transport.Close()
	sw.limits.stop()
	select {
	case <-over:
	case <-time.After(time.Second): // a name server that does not respond may hold one up
	}
	return err
}

// Drain refuses new calls from now on. Calls in progress go on.
func (sw *Switchboard) Drain() {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.draining = true
}

// stopCalls refuses new calls and hangs up those in progress. A call that was
// replaced and is not over yet has been stopped already.
func (sw *Switchboard) stopCalls() {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.draining = true
	for _, c := range sw.calls {
		c.stop(ErrStopped)
	}
}

// Active is the number of calls in progress.
func (sw *Switchboard) Active() int {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.active
}

// Place starts a call and returns once its first INVITE is with the transport.
// A call that holds the same key is hung up and replaced. ctx bounds only the
// time until then: the call outlives it.
//
// ErrForbidden means that Config.Allow refuses one of the two users,
// ErrUnreachable that no next hop can be resolved or reached before ctx ends.
// When a call holds the key: an *InProgressError, which is ErrInProgress, means that
// both are by INVITE, or that the Spec wants no other call replaced. ErrReferred means that both are by REFER, and the calling phone has just
// accepted that of the first. Further errors are ErrDraining and *LimitError.
// After an error nothing is left of the call.
func (sw *Switchboard) Place(ctx context.Context, spec Spec, flow Flow) (*Call, error) {
	c := &Call{Spec: spec, sw: sw, id: sw.idIn(newID()), began: sw.stats.elapsed(), sent: make(chan error, 1), wake: make(chan struct{}, 1), done: make(chan struct{})}
	sent := c.sent
	if err := c.rings(); err != nil {
		return nil, fmt.Errorf("place %s: %w", spec.Key, err)
	}
	if err := sw.limits.attempt(&c.Spec); err != nil {
		sw.stats.refused[refusalOf(err)].Add(1)
		return nil, fmt.Errorf("place %s: %w", spec.Key, err)
	}
	// Look the next hop up before anything is given up for the new call.
	hops, err := c.firstHops(ctx)
	if err != nil {
		sw.stats.refused[RefusedUnreachable].Add(1)
		return nil, fmt.Errorf("place %s: %w: %w", spec.Key, ErrUnreachable, err)
	}
	if c.byOurServers() {
		sw.limits.serve(hops)
	}
	c.named()
	c.keeps(stepFirst)
	c.observed()
	c.hops = hops
	c.open.Store(1)
	callCtx, stop := context.WithCancelCause(context.Background())
	c.stop = stop
	old, err := sw.take(c)
	if err != nil {
		stop(err)
		if !errors.Is(err, ErrReferred) { // the call is being made: nobody is refused
			sw.stats.refused[refusalOf(err)].Add(1)
		}
		return nil, fmt.Errorf("place %s: %w", spec.Key, err)
	}
	sw.stats.placed[c.kind()].Add(1)
	go sw.run(callCtx, c, old, flow)
	select {
	case err := <-sent:
		if err != nil && !errors.Is(err, ErrReplaced) { // the phone rings for the call that came after
			return nil, fmt.Errorf("place %s: %w", spec.Key, err)
		}
		return c, nil
	case <-ctx.Done():
		why := ErrUnreachable
		if c.waitsForStore() {
			why = ErrNotOwner
		}
		err := fmt.Errorf("place %s: %w in time", spec.Key, why)
		stop(err)
		return nil, err
	}
}

// take gives the call its key. The one that held it is told to hang up.
func (sw *Switchboard) take(c *Call) (old *Call, err error) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	old = sw.calls[c.Key]
	switch {
	case sw.draining:
		return nil, ErrDraining
	case old == nil && sw.active >= sw.cfg.MaxCalls,
		sw.active >= 2*sw.cfg.MaxCalls: // the replaced ones may take half a minute to end
		return nil, sw.limits.refuse(LimitCalls, c.Agent, sw.cfg.MaxCalls, retryCalls)
	case sw.ids[c.Spec.ID] != nil:
		return nil, ErrIDInUse
	case old != nil && old.keepsKey(c):
		return nil, &InProgressError{ID: old.Spec.ID}
	case c.Method != MethodInvite && sw.referred.lately(c.Key, time.Now()):
		return nil, ErrReferred
	}
	if err := sw.limits.enter(c, old != nil); err != nil {
		return nil, err
	}
	if old != nil {
		old.stop(ErrReplaced)
	}
	sw.referred.forget(c.Key)
	sw.calls[c.Key] = c
	if c.Spec.ID != "" {
		sw.ids[c.Spec.ID] = c
	}
	sw.active++
	sw.flows.Add(1)
	// Under the lock, so that of two calls the later one is reported later.
	c.observe(&Event{Kind: Placed, At: time.Now(), Spec: &c.Spec})
	return old, nil
}

// keepsKey reports whether a new call may not replace this one, which holds its key.
func (c *Call) keepsKey(from *Call) bool {
	if c.ending.Load() || from.Conflict == ConflictReplaceAny {
		return false
	}
	return from.Conflict == ConflictReject || c.Method == MethodInvite && from.Method == MethodInvite
}

// replaceWait is how long a new call waits for the one that it replaces, so
// that a phone with one line is free again when it rings.
const replaceWait = 2 * t1

// run is the call's goroutine.
func (sw *Switchboard) run(ctx context.Context, c, old *Call, flow Flow) {
	defer sw.flows.Done()
	defer close(c.done)
	defer c.stop(nil)
	defer func() {
		if r := recover(); r != nil {
			c.err = fmt.Errorf("%w: %v", ErrInternal, r)
			sw.faults.Note("a call failed", r, "call", c)
		}
		c.record.fell(c.err)
		sw.stats.ended[c.kind()][c.outcome].Add(1)
		c.kept().took = sw.stats.elapsed() - c.began
		sw.leave(c)
		for _, last := range [...]func(){func() { c.placed(c.placeError()) }, c.release, c.settle, c.keptToTheEnd, func() { sw.logEnd(c) }} {
			sw.faults.Try("the end of a call", last)
		}
	}()
	c.record.begins(ctx)
	if old != nil {
		// Not cut short when this call is replaced in its turn: the one after
		// it waits for the phone that rings for the first.
		select {
		case <-old.done:
		case <-time.After(replaceWait):
		}
	}
	if c.err = c.getReady(ctx); c.err != nil {
		c.outcome = outcomeOf(c.err)
		return
	}
	c.err = flow(ctx, c)
	c.cameTo(c.err)
	c.record.fell(c.err)
	c.ending.Store(true) // a phone that does not respond to its BYE keeps nobody from the next call
	for _, wait := range c.byes {
		c.err = errors.Join(c.err, wait())
	}
}

// getReady waits until the call may begin, and returns why it may not.
func (c *Call) getReady(ctx context.Context) error {
	if ctx.Err() == nil && c.Ready != nil {
		if err := c.Ready(ctx); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// leave takes a call that is over out of the tables.
func (sw *Switchboard) leave(c *Call) {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.active--
	sw.limits.leave(c)
	if key := c.Holds(); sw.calls[key] == c {
		delete(sw.calls, key)
	}
	if sw.ids[c.Spec.ID] == c {
		delete(sw.ids, c.Spec.ID)
	}
}

// placeError is why a call ended before its first INVITE was out.
func (c *Call) placeError() error {
	if c.err == nil {
		return errors.New("the flow placed no call")
	}
	return c.err
}

// Find returns the call in progress that holds a key, nil when there is none.
func (sw *Switchboard) Find(key Key) *Call {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.calls[key]
}

// ByID returns the call with an id, nil when there is none or its flow has returned.
func (sw *Switchboard) ByID(id string) *Call {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.ids[id]
}

// maxNode is the highest number of a node, which stands above the shard's in an id.
const maxNode = 1<<12 - 1

// idIn draws an id that belongs to the same shard as id. In a cluster it carries the
// number of this node.
func (sw *Switchboard) idIn(id uint64) uint64 {
	fixed := uint64(numShards - 1)
	id &= fixed
	if sw.cfg.NodeNumber != nil {
		if node := uint64(sw.cfg.NodeNumber()) & maxNode; node != 0 {
			fixed |= maxNode * numShards
			id |= node * numShards
		}
	}
	return newID()&^fixed | id
}

func (sw *Switchboard) shard(id uint64) *shard { return &sw.shards[id%numShards] }

// nextHops says where a request outside of a dialog goes.
func (sw *Switchboard) nextHops(ctx context.Context, uri string) ([]resolve.Hop, error) {
	if len(sw.proxies) == 0 {
		return sw.hopsOf(ctx, uri)
	}
	if len(sw.proxies) == 1 {
		hops, err := sw.lookUp(ctx, sw.proxies[0])
		return sw.health.last(hops), err
	}
	var all []resolve.Hop
	var failed error
	for _, t := range sw.proxies {
		hops, err := sw.lookUp(ctx, t)
		all, failed = append(all, hops...), errors.Join(failed, err)
	}
	if len(all) == 0 {
		return nil, failed
	}
	return sw.health.last(sw.resolver.Last(all)), nil
}

func (sw *Switchboard) hopsOf(ctx context.Context, uri string) ([]resolve.Hop, error) {
	t, err := targetOf(uri)
	if err != nil {
		return nil, err
	}
	return sw.lookUp(ctx, t)
}

func (sw *Switchboard) lookUp(ctx context.Context, t resolve.Target) ([]resolve.Hop, error) {
	if sw.resolver == nil {
		return nil, errors.New("there is no Config.Resolver to find its servers")
	}
	return sw.resolver.Hops(ctx, t)
}

func targetOf(uri string) (resolve.Target, error) {
	u, ok := wire.ParseURI([]byte(uri))
	if !ok {
		return resolve.Target{}, errors.New("not a SIP URI with a host, such as sip:192.0.2.1:5060")
	}
	return resolve.Target{Secure: u.Scheme == "sips", Host: cmp.Or(u.MAddr, u.Host), Port: u.Port, Transport: u.Transport}, nil
}

// holds reports whether this node is surely the owner of its calls.
func (sw *Switchboard) holds() bool { return sw.cfg.Keeper == nil || sw.cfg.Keeper.Holds() }

// mayStart reports whether a request may go out. In a cluster an INVITE that rings a
// phone, and a REFER, may while this node owns its calls, for no other node sends them
// a second time then. All else is harmless: a phone takes nothing of a call that others
// have taken over, and a CANCEL ends what they end as well.
func (sw *Switchboard) mayStart(tx *clientTx) error {
	switch {
	case sw.cfg.Keeper == nil:
	case tx.leg != nil && tx.leg.call.forgotten():
		return ErrForgotten
	case (tx.method == "REFER" || tx.method == "INVITE" && !tx.inside) && !sw.holds():
		return ErrNotOwner
	}
	return nil
}

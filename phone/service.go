package phone

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/internal/limit"
	"sipxrest/restauth"
)

// Config is what a Service needs.
type Config struct {
	Store *Store
	// Address returns where a request comes from, for the count of failed log-ins.
	Address func(*http.Request) netip.Addr
	// Origins are the browser pages, as scheme://host[:port], that may use the
	// service from another site.
	Origins []string
	// MinLevel is the access level from which users may call. Default: DefaultLevel.
	MinLevel string
	// Gateway joins calls with SIP phones; nil: there is none.
	Gateway *Gateway
	// RingTime is how long a call may be unanswered. Default: 60 s.
	RingTime time.Duration
	// MaxCall is how long a call may last; 0: as long as it likes.
	MaxCall time.Duration
	// LogCalls logs the end of every call at info, not only of those that came to
	// nothing.
	LogCalls bool

	// Calls is told of each call; nil: nobody is.
	Calls Calls

	MaxSockets     int // at once, of all users. Default: 10,000
	MaxUserSockets int // notification sockets of one user. Default: 10
	MaxCalls       int // at once. Default: 2,000
	// RequestRate is the requests per second of one user, twice as many at
	// once. Default: 10.
	RequestRate int
}

// A Service serves /api/v3: log-ins, calls, and the sockets that the voices go
// through. Its methods may be called from any goroutine.
type Service struct {
	cfg     Config
	log     *slog.Logger
	origins map[string]bool
	guesses *limit.Failures
	rate    *limit.Names // requests of users
	// strangers is the rate of requests without a token, of an address. Many
	// phones may be behind one.
	strangers *limit.Names
	pace      int         // bytes per second that are read of a socket; 0: all
	off       atomic.Bool // calls are switched off
	// foreignPages are logged a line for many.
	foreignPages limit.Log[limit.Page]
	stats        stats

	serving sync.WaitGroup // sockets; added to under mu while not closed

	// between is for tests: it is called between what the database has said and
	// what follows from that here.
	between func()

	mu       sync.Mutex // before any leg's
	calls    map[ID]*call
	busy     map[ID]*call // by caller and by callee
	devices  map[ID]map[*device]bool
	sockets  int
	draining bool // no new calls
	closed   bool // no new sockets
}

// New returns a service on a store. Its error names the field of cfg.
func New(cfg Config, log *slog.Logger) (*Service, error) {
	cfg.MinLevel = cmp.Or(cfg.MinLevel, DefaultLevel)
	cfg.RingTime = cmp.Or(cfg.RingTime, 60*time.Second)
	cfg.MaxSockets = cmp.Or(cfg.MaxSockets, 10_000)
	cfg.MaxUserSockets = cmp.Or(cfg.MaxUserSockets, 10)
	cfg.MaxCalls = cmp.Or(cfg.MaxCalls, 2_000)
	cfg.RequestRate = cmp.Or(cfg.RequestRate, 10)
	if err := CheckLevel(cfg.MinLevel); err != nil {
		return nil, fmt.Errorf("min-level: %w", err)
	}
	s := &Service{
		cfg: cfg, log: log, origins: map[string]bool{}, guesses: restauth.NewGuesses(),
		rate: limit.NewNames(cfg.RequestRate, 2*cfg.RequestRate), pace: paceBytes,
		strangers: limit.NewNames(strangersShare*cfg.RequestRate, 2*strangersShare*cfg.RequestRate),
		calls:     map[ID]*call{}, busy: map[ID]*call{}, devices: map[ID]map[*device]bool{}, between: func() {},
	}
	s.foreignPages.Say = func(refused uint64, some []limit.Page) {
		log.Info("refused requests of pages of other sites: add them to phone.origins if they may call", "refused", refused, "pages", some)
	}
	for _, text := range cfg.Origins {
		origin, err := restauth.ParseOrigin(text)
		if err != nil {
			return nil, fmt.Errorf("origins: %w", err)
		}
		s.origins[origin] = true
	}
	return s, nil
}

// strangersShare is how many users' requests those without a token have, for an
// address.
const strangersShare = 10

// SetCalls switches calls on or off. While they are off their routes respond
// 451; those in progress go on.
func (s *Service) SetCalls(on bool) { s.off.Store(!on) }

// checkEvery is how often it is looked whether another process has changed the
// database.
const checkEvery = 5 * time.Second

// Run ends the sockets of users who were deleted, or whose token has ended in
// another process, soon after. It returns when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	changed, end, err := s.cfg.Store.changes(ctx)
	if err != nil {
		return err
	}
	defer end()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !changed() {
			continue
		}
		if err := s.recheck(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the tokens of the phone's users cannot be read", "error", err)
		}
	}
}

// recheck ends what was opened with tokens that are no more. What is open is
// looked at first: one that is opened meanwhile may have a token that was made
// meanwhile.
func (s *Service) recheck(ctx context.Context) error {
	open := s.openTokens()
	tokens, err := s.cfg.Store.tokens(ctx)
	if err != nil {
		return err
	}
	s.between()
	stays := func(t tokenHash) bool { return tokens[t] || !open[t] }
	s.mu.Lock()
	defer s.mu.Unlock()
	for user := range s.devices {
		s.drop(user, stays)
	}
	for user := range s.busy {
		s.drop(user, stays)
	}
	return nil
}

// openTokens are those that sockets and calls were opened with.
func (s *Service) openTokens() map[tokenHash]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[tokenHash]bool{}
	for _, mine := range s.devices {
		for d := range mine {
			open[d.token] = true
		}
	}
	for _, c := range s.calls {
		open[c.tokens[0]], open[c.tokens[1]] = true, true
	}
	return open
}

// Active is how many calls there are.
func (s *Service) Active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// Drain refuses new calls; those in progress go on.
func (s *Service) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Shutdown ends all calls and closes all sockets with 1001. It returns when the
// last has ended, which takes a little more than five seconds at most.
func (s *Service) Shutdown() {
	s.mu.Lock()
	s.draining, s.closed = true, true
	for _, c := range s.calls {
		s.end(c, Ended, true)
	}
	for _, mine := range s.devices {
		for d := range mine {
			d.leg.end()
		}
	}
	s.mu.Unlock()
	s.serving.Wait()
	s.foreignPages.Stop()
}

// Gateway is that of the configuration; nil without.
func (s *Service) Gateway() *Gateway { return s.cfg.Gateway }

// Guesses are the wrong passwords that are counted, for nodes of a cluster to share.
func (s *Service) Guesses() *limit.Failures { return s.guesses }

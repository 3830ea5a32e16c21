package dialout

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sipxrest/internal/fault"
	"sipxrest/restauth"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// Service makes calls. Create it with New and run it with Run.
type Service struct {
	cfg     Config
	log     *slog.Logger
	known   *restauth.Users
	gate    *restauth.Gate
	client  *talk.Client // nil without signaling servers; set by Connect
	journal *journal
	handler http.Handler

	// place is that of placeBy, or what a test has in its place.
	place func(context.Context, *placement) (*line, error)
	// taken is the line of a call that another node has placed.
	taken func(id string) *line

	counters counters
	lines    *rate.Limiter   // of the log that others can cause without end
	running  sync.WaitGroup  // goroutines of calls
	hard     context.Context // done when nothing is waited for any more
	giveUp   context.CancelFunc

	mu          sync.Mutex
	stopping    bool
	calls       map[string]*call // in progress, and some that are over
	over        []*call          // of calls, in the order of their ends
	active      int              // in progress
	users       map[string]int   // calls in progress of clients, by agent
	rooms       map[roomKey]int  // likewise of conversations
	busy        map[attendee]bool
	leftovers   map[*talk.Session][]*entry // of an earlier process
	unrejected  map[*talk.Session][]*entry // that Nextcloud could not be told of
	subscribers int
	watchers    map[string]int // of them, and of other nodes that wait, by call
}

const (
	// keepTime is how long a call that is over can be asked about.
	keepTime = 30 * time.Second
	// maxOver bounds how many of those there are.
	maxOver = 1000
	// maxLines is how many lines of the log others can cause at once, and one a
	// second after that.
	maxLines = 20
)

// New checks cfg, makes the journal's folder and reads what an earlier process
// left there. With signaling servers Connect follows, before Run. sw places the calls of the
// users, gate says who clients of the JSON resource are. An error is one
// *fault.Fault or more.
func New(cfg Config, sw *sipflow.Switchboard, users *restauth.Users, gate *restauth.Gate, log *slog.Logger) (*Service, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg.defaults()
	s := &Service{cfg: cfg, log: log, lines: rate.NewLimiter(1, maxLines), known: users, gate: gate, calls: map[string]*call{}, users: map[string]int{}, rooms: map[roomKey]int{},
		busy: map[attendee]bool{}, watchers: map[string]int{}, leftovers: map[*talk.Session][]*entry{}, unrejected: map[*talk.Session][]*entry{}}
	s.place, s.taken = placeBy(sw, &s.cfg), takenBy(sw, &s.cfg)
	s.hard, s.giveUp = context.WithCancel(context.Background())
	s.handler = s.newHandler()
	if cfg.Agent != "" {
		if _, ok := users.Lookup(cfg.Agent); !ok {
			return nil, &fault.Fault{Key: "agent", Err: fmt.Errorf("there is no user %.64q", cfg.Agent)}
		}
	}
	if len(cfg.Servers) == 0 {
		s.journal = &journal{log: log}
		return s, nil
	}
	var err error
	if s.journal, err = openJournal(cfg.Dir, log); err != nil {
		return nil, err
	}
	return s, nil
}

// Signals is what the client of the signaling servers is to tell. It is one of
// several of talk.Handlers.
func (s *Service) Signals() talk.Handler {
	return talk.Handler{Dialout: s.dialout, Control: s.control, Room: s.roomChanged, AddFailed: s.addFailed, InDoubt: s.phoneInDoubt, Up: s.sessionUp, Again: s.roomAgain}
}

// Connect hands over the client, which has Config.Servers and tells Signals. It is
// called once, before the client is served: that has to go on until Run has
// returned.
func (s *Service) Connect(client *talk.Client) {
	s.client = client
	s.adopt(s.journal.leftovers())
}

// adopt assigns the calls of an earlier process to the sessions that must end
// them.
func (s *Service) adopt(list []*entry) {
	for _, e := range list {
		owner := s.sessionOf(e.Server, e.Backend)
		if owner == nil {
			s.log.Warn("a call of a former run cannot be ended: its Nextcloud is no longer configured", "callid", e.CallID, "backend", e.Backend)
			s.journal.remove(e.CallID)
			continue
		}
		s.leftovers[owner] = append(s.leftovers[owner], e)
	}
}

// stopTime bounds how long Run waits for calls to end.
const stopTime = 5 * time.Second

// Run serves until ctx is done. Then it hangs up every call, says so, and takes the
// phones out of their rooms. That takes some seconds at most.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	s.Stop()
	for _, c := range s.callsOf(func(c *call) bool { return true }) {
		c.hangUp(sipflow.ErrStopped)
	}
	ended := make(chan struct{})
	go func() { s.running.Wait(); close(ended) }()
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		// A Nextcloud that does not respond: what is said in the rooms must not wait
		// for it.
		s.giveUp()
		<-ended
	}
	s.giveUp()
	return nil
}

// Stop refuses new calls from now on. Calls in progress go on.
func (s *Service) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

// admit enters a call, or says why it is one too many. release gives its place
// up; the caller calls running.Done in the end.
func (s *Service) admit(c *call) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return refuse(stopping, "")
	case s.active+othersOf(s.cfg.All, "") >= s.cfg.Limits.Calls:
		return refuse(tooMany, "")
	}
	if t := c.talk; t != nil {
		switch {
		case s.busy[t.attendee()]:
			return refuse(alreadyCalled, "")
		case s.rooms[roomKey{t.session, t.roomID}] >= s.cfg.Limits.Room:
			return refuse(tooMany, "Too many phones are in this conversation at once.")
		}
	} else {
		if s.users[c.agent]+othersOf(s.cfg.Users, c.agent) >= s.cfg.Limits.User {
			return tooManyOfUser()
		}
	}
	s.occupy(c)
	return nil
}

// occupy gives a call its place. s.mu is held.
func (s *Service) occupy(c *call) {
	if t := c.talk; t != nil {
		s.busy[t.attendee()] = true
		s.rooms[roomKey{t.session, t.roomID}]++
	}
	s.counted(c.agent, c.talk == nil, 1)
	s.calls[c.id] = c
	s.running.Add(1)
}

// vacate gives the place of a call to others. s.mu is held.
func (s *Service) vacate(c *call) {
	s.counted(c.agent, c.talk == nil, -1)
	if t := c.talk; t != nil {
		key := roomKey{t.session, t.roomID}
		delete(s.busy, t.attendee())
		if s.rooms[key]--; s.rooms[key] == 0 {
			delete(s.rooms, key)
		}
	}
}

// counted counts a call, or takes it off. Those of Talk are no user's. s.mu is held.
func (s *Service) counted(agent string, ofUser bool, n int) {
	s.active += n
	share(s.cfg.All, "", s.active)
	if !ofUser {
		return
	}
	if s.users[agent] += n; s.users[agent] == 0 {
		delete(s.users, agent)
	}
	share(s.cfg.Users, agent, s.users[agent])
}

func (t *conversation) attendee() attendee {
	return attendee{t.session.Backend().URL(), t.roomID, t.options.AttendeeID}
}

// release gives a call's place to others. One that was accepted can be asked
// about for a while.
func (s *Service) release(c *call) {
	_, accepted := c.status()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vacate(c)
	if !accepted {
		delete(s.calls, c.id)
		return
	}
	if s.over = append(s.over, c); len(s.over) > maxOver {
		s.forgetFirst()
	}
	if !s.stopping {
		time.AfterFunc(keepTime, func() { s.forget(c) })
	}
}

func (s *Service) forget(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.over) > 0 && s.calls[c.id] == c {
		s.forgetFirst() // those before it ended earlier
	}
}

func (s *Service) forgetFirst() {
	delete(s.calls, s.over[0].id)
	s.over[0] = nil
	s.over = s.over[1:]
}

// within is ctx, done also when nothing is waited for any more.
func (s *Service) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.hard, cancel)
	return ctx, func() { stop(); cancel() }
}

// find returns a call that was accepted, nil if there is none.
func (s *Service) find(id string) *call {
	s.mu.Lock()
	c := s.calls[id]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if _, accepted := c.status(); !accepted {
		return nil
	}
	return c
}

// callsOf returns the calls for which is holds.
func (s *Service) callsOf(is func(*call) bool) (list []*call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if is(c) {
			list = append(list, c)
		}
	}
	return list
}

func (s *Service) count(from Source, o Outcome) { s.counters[from][o].Add(1) }

// allowed says why an agent ("" for Talk) may not have target called.
func (s *Service) allowed(agent, target string) *refusal {
	if s.cfg.Allow == nil {
		return nil
	}
	if err := s.cfg.Allow(agent, target); err != nil {
		return refuse(notAllowed, "Calling this number is not allowed: "+err.Error())
	}
	return nil
}

// newCallID is unguessable, and good as a file name.
func newCallID() string { return strings.ToLower(rand.Text()) }

package dialin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"sipxrest/internal/limit"
	"sipxrest/media"
	"sipxrest/sipflow"
	"sipxrest/talk"
)

// maxLines bounds the lines of log that strangers cause, one a second after so many.
const maxLines = 20

// Call is what is known of a call before it is answered.
type Call struct {
	// ID names the call in logs.
	ID string
	// Token is the conversation. Empty: the caller is asked for it, or he reaches the
	// user who has the number Called, with Direct.
	Token  string
	Direct bool
	// Backend is the address of the Nextcloud. Empty: the only one.
	Backend string
	// Language is in what language the caller is spoken to. Empty: Config.Language.
	Language string
	// Trunk is by which trunk the call comes, empty for a user's. Source is where it
	// comes from, and From who it claims to be from.
	Trunk  string
	Source netip.Addr
	From   string
	// Caller is the caller's number, empty if it is unknown or shall not be known.
	// Vouched: the trunk says so.
	Caller  string
	Vouched bool
	Called  string
}

// Service takes callers into conversations. Its methods may be called from any
// goroutine.
type Service struct {
	cfg     Config
	parts   Parts
	log     *slog.Logger
	lines   *rate.Limiter
	guesses *limit.Failures
	// clouds are the Nextclouds, each once. They are written before the first call.
	clouds   []Cloud
	sessions [][]*talk.Session // of each

	counted [numOutcomes]atomic.Uint64
	active  atomic.Int64

	mu    sync.Mutex
	asked int               // callers that are being asked for digits
	calls map[string]*call  // that are, or may be, shown in a conversation, by id
	bars  map[bar]time.Time // until when
	seats map[seat]int      // callers who are known, those who wait, too
}

// newService makes a Service with parts of the caller's.
func newService(cfg Config, parts Parts, clouds []Cloud, log *slog.Logger) (*Service, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, parts: parts, log: log, lines: rate.NewLimiter(1, maxLines), guesses: limit.NewFailures(guessTime), clouds: clouds,
		calls: map[string]*call{}, bars: map[bar]time.Time{}, seats: map[seat]int{}}, nil
}

// Stats returns what has been counted.
func (s *Service) Stats() Stats {
	st := Stats{Active: int(s.active.Load())}
	for i := range st.Calls {
		st.Calls[i] = s.counted[i].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Asked = s.asked
	return st
}

// cloud is the Nextcloud of an address, or the only one.
func (s *Service) cloud(address string) (Cloud, error) {
	if address == "" && len(s.clouds) == 1 {
		return s.clouds[0], nil
	}
	for _, c := range s.clouds {
		if SameBackend(c.URL(), address) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("backend: %.200q is no Nextcloud of dialout.servers", address)
}

// SameBackend reports whether two addresses are of one Nextcloud.
func SameBackend(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

// refused is a call that is not answered.
func (s *Service) refused(o Outcome, code int, reason string) error {
	s.counted[o].Add(1)
	return &sipflow.StatusError{Method: "INVITE", Code: code, Reason: reason}
}

// retryAfter is when a caller may try again for whom there is no place.
const retryAfter = "Retry-After: 5"

// Take takes a caller to where his call leads, and stays until it is over. It is called
// as sipflow.Inbound's Take is. Errors before the answer leave the caller unanswered.
func (s *Service) Take(ctx context.Context, in Incoming, q Call) error {
	log := s.log.With("call", q.ID)
	s.active.Add(1)
	defer s.active.Add(-1)
	cloud, err := s.cloud(q.Backend)
	if err != nil { // the rule was checked: its Nextcloud was there
		log.Error("a caller cannot be taken to Talk", "error", err)
		return s.refused(Unavailable, 480, "")
	}
	c := &call{s: s, q: &q, cloud: cloud, log: log, id: strings.ToLower(rand.Text()), language: q.Language, guess: s.guess(&q),
		up: make(chan struct{}), keys: make(chan byte), controls: make(chan talk.Control, maxControls),
		changed: make(chan struct{}, 1), seen: make(chan struct{}, 1), failed: make(chan error, 1)}
	if c.language == "" {
		c.language = s.cfg.Language
	}
	if !q.Direct && !c.guess.allowed() {
		s.say(log, "a caller may not enter anything for now", "error", errGuesses, "minutes", int(guessTime.Minutes()))
		return s.refused(Guesses, 403, "PIN")
	}
	if !s.place() {
		s.say(log, "a caller is refused: as many are asked for digits as may be", "limit", s.cfg.Calls)
		s.counted[Busy].Add(1)
		return in.Refuse(480, "", retryAfter)
	}
	defer c.giveUp()
	if q.Direct {
		if err := c.direct(ctx); err != nil {
			return err
		}
	}
	c.ears, err = s.parts.Open(func(name string) []int16 { return s.parts.Clip(c.language, name) }, c.silent)
	if err != nil {
		s.counted[Busy].Add(1)
		if errors.Is(err, media.ErrNoPorts) {
			s.say(log, "a caller is refused: no RTP ports are left", "error", err)
			return in.Refuse(480, "", retryAfter)
		}
		log.Warn("a caller is refused", "error", err)
		return &sipflow.StatusError{Method: "INVITE", Code: 500}
	}
	defer c.ears.Close()
	return c.converse(ctx, in)
}

// say logs what strangers can cause without end: some lines are left out then.
func (s *Service) say(log *slog.Logger, text string, args ...any) {
	if s.lines.Allow() {
		log.Warn(text, args...)
	}
}

// place takes a place of those who are asked for digits.
func (s *Service) place() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked >= s.cfg.Calls {
		return false
	}
	s.asked++
	return true
}

// giveUp gives the place back, once.
func (c *call) giveUp() {
	if c.placed {
		return
	}
	c.placed = true
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.asked--
}

// seat is a conversation, of a Nextcloud.
type seat struct{ cloud, token string }

// sit takes a place among the callers of a conversation, if there is one: those who
// wait to be let in take ports, too. stand gives it back.
func (s *Service) sit(at seat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seats[at] >= s.cfg.RoomPhones {
		return false
	}
	s.seats[at]++
	return true
}

func (s *Service) stand(at seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seats[at]--; s.seats[at] == 0 {
		delete(s.seats, at)
	}
}

// Guesses are the wrong entries that are counted, for nodes of a cluster to share.
func (s *Service) Guesses() *limit.Failures { return s.guesses }

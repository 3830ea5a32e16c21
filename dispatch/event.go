package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxEvents and maxEventBytes bound the events of all calls that wait to be
	// sent.
	maxEvents     = 10_000
	maxEventBytes = 32 << 20
	// maxSending bounds the requests that carry events at once.
	maxSending = 64
	// attempts is how often an event is sent before it is given up: for about a
	// minute.
	attempts  = 7
	firstWait = time.Second
)

// A sender sends events. Those of a call arrive in their order, one after
// another; nothing of it makes a call wait.
type sender struct {
	log   *slog.Logger
	slots chan struct{}
	// hurry is closed at the end: what waits to be tried again is tried once.
	hurry chan struct{}
	ctx   context.Context // ends the requests
	end   context.CancelFunc

	mu      sync.Mutex
	waiting int // of all calls; guarded by mu
	bytes   int // of those; guarded by mu
	closed  bool
	lines   sync.WaitGroup

	sent, failed, dropped atomic.Uint64
}

func newSender(log *slog.Logger) *sender {
	s := &sender{log: log, slots: make(chan struct{}, maxSending), hurry: make(chan struct{})}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// An event waits to be sent.
type event struct {
	rule *rule
	id   string // the same each time it is sent
	name string
	m    *message
	size int // bytes; set by put
}

// A line is the events of one call. The zero value is not one.
type line struct {
	s       *sender
	callID  string
	queue   []*event // guarded by s.mu
	running bool     // guarded by s.mu
}

func (s *sender) line(callID string) *line { return &line{s: s, callID: callID} }

// put queues an event.
func (l *line) put(e *event) {
	s := l.s
	e.size = len(e.m.json())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting >= maxEvents || s.bytes+e.size > maxEventBytes {
		s.dropped.Add(1)
		s.log.Warn("event of an inbound call dropped: too many wait, or the service ends", "call", l.callID, "event", e.name)
		return
	}
	s.waiting++
	s.bytes += e.size
	l.queue = append(l.queue, e)
	if !l.running {
		l.running = true
		s.lines.Go(l.run)
	}
}

// run sends until there is nothing left.
func (l *line) run() {
	s := l.s
	for {
		s.mu.Lock()
		if len(l.queue) == 0 {
			l.running = false
			s.mu.Unlock()
			return
		}
		e := l.queue[0]
		l.queue[0], l.queue = nil, l.queue[1:]
		s.mu.Unlock()
		err := s.send(e)
		if err != nil {
			s.failed.Add(1)
			s.log.Warn("event of an inbound call not delivered", "call", l.callID, "rule", e.rule.ID, "event", e.name, "error", err)
		} else {
			s.sent.Add(1)
		}
		s.mu.Lock()
		s.waiting--
		s.bytes -= e.size
		s.mu.Unlock()
	}
}

// send sends one event until it has arrived, or will not.
func (s *sender) send(e *event) error {
	address := e.rule.EventsURL
	if address == "" {
		address = e.rule.URL
	}
	wait := firstWait
	last := false // the service ends: no more attempts after this one
	for try := 1; ; try++ {
		select {
		case <-s.hurry:
			last = true
		default:
		}
		err := s.attempt(e, address)
		if err == nil || try == attempts || last || !passing(err) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.hurry:
			timer.Stop()
		}
		wait *= 2
	}
}

func (s *sender) attempt(e *event, address string) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return errEnding
	}
	defer func() { <-s.slots }()
	if s.ctx.Err() != nil {
		return errEnding
	}
	_, err := e.rule.ask(s.ctx, address, e.m, e.id, true)
	return err
}

var errEnding = errors.New("the service ends")

// passing says whether what went wrong may be over soon.
func passing(err error) bool {
	var status *statusError
	var private *errPrivate
	switch {
	case errors.As(err, &private), errors.Is(err, errEnding):
		return false
	case errors.As(err, &status):
		return status.code >= 500 || status.code == http.StatusRequestTimeout || status.code == http.StatusTooEarly || status.code == http.StatusTooManyRequests
	}
	return true
}

// queued is how many events wait, those on their way among them.
func (s *sender) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// close gives what waits until ctx ends, and drops the rest.
func (s *sender) close(ctx context.Context) {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return
	}
	close(s.hurry)
	done := make(chan struct{})
	go func() { s.lines.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.end()
	<-done
}

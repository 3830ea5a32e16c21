package webhook

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxEvents and maxEventBytes bound the events of all lines that wait to be
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

// A Sender sends events. Those of a line arrive in their order, one after another;
// nothing of it makes anybody wait. Its methods may be called from any goroutine.
type Sender struct {
	lost  func(line string, e *Event, err error)
	slots chan struct{}
	// hurry is closed at the end: what waits to be tried again is tried once.
	hurry chan struct{}
	ctx   context.Context // ends the requests
	end   context.CancelFunc

	mu      sync.Mutex
	waiting int // of all lines; guarded by mu
	bytes   int // of those; guarded by mu
	closed  bool
	lines   sync.WaitGroup

	sent, failed, dropped atomic.Uint64
}

// NewSender makes a sender. lost is told of each event that does not arrive, by
// any goroutine, with ErrDropped or what went wrong last. Close must be called.
func NewSender(lost func(line string, e *Event, err error)) *Sender {
	s := &Sender{lost: lost, slots: make(chan struct{}, maxSending), hurry: make(chan struct{})}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// An Event waits to be sent.
type Event struct {
	Client  *Client
	Address string // where it goes
	From    string // for logs: its sender
	ID      string // the same each time it is sent
	Name    string
	Message *Message
	size    int // bytes; set by Put
}

// A Line is the events of one thing that happens, such as a call. The zero value is
// not one.
type Line struct {
	s       *Sender
	name    string
	queue   []*Event // guarded by s.mu
	running bool     // guarded by s.mu
}

// Line makes a line; its name is for logs.
func (s *Sender) Line(name string) *Line { return &Line{s: s, name: name} }

// ErrDropped says that an event was not even queued.
var ErrDropped = errors.New("too many events wait, or the service ends")

// Put queues an event, which must not change any more. It returns at once.
func (l *Line) Put(e *Event) {
	if !l.queued(e) {
		l.s.dropped.Add(1)
		l.s.lost(l.name, e, ErrDropped)
	}
}

// queued queues an event, or reports that there is no room.
func (l *Line) queued(e *Event) bool {
	s := l.s
	e.size = len(e.Message.JSON())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting >= maxEvents || s.bytes+e.size > maxEventBytes {
		return false
	}
	s.waiting++
	s.bytes += e.size
	l.queue = append(l.queue, e)
	if !l.running {
		l.running = true
		s.lines.Go(l.run)
	}
	return true
}

// run sends until there is nothing left.
func (l *Line) run() {
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
			s.lost(l.name, e, err)
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
func (s *Sender) send(e *Event) error {
	wait := firstWait
	last := false // the service ends: no more attempts after this one
	for try := 1; ; try++ {
		select {
		case <-s.hurry:
			last = true
		default:
		}
		err := s.attempt(e)
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

func (s *Sender) attempt(e *Event) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return errEnding
	}
	defer func() { <-s.slots }()
	if s.ctx.Err() != nil {
		return errEnding
	}
	_, err := e.Client.Send(s.ctx, e.Address, e.Message, e.ID, true)
	return err
}

var errEnding = errors.New("the service ends")

// passing reports whether what went wrong may be over soon.
func passing(err error) bool {
	var status *StatusError
	var private *PrivateError
	switch {
	case errors.As(err, &private), errors.Is(err, errEnding):
		return false
	case errors.As(err, &status):
		return status.Code >= 500 || status.Code == http.StatusRequestTimeout || status.Code == http.StatusTooEarly || status.Code == http.StatusTooManyRequests
	}
	return true
}

// SenderStats is what a Sender has counted.
type SenderStats struct {
	Queued                int // events that wait now, those on their way among them
	Sent, Failed, Dropped uint64
}

// Stats returns what has been counted.
func (s *Sender) Stats() SenderStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SenderStats{s.waiting, s.sent.Load(), s.failed.Load(), s.dropped.Load()}
}

// Close gives what waits until ctx ends, and drops the rest.
func (s *Sender) Close(ctx context.Context) {
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

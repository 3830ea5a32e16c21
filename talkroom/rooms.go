package talkroom

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"sipxrest/talk"
)

// ErrRooms says that as many conversations have phones as may.
var ErrRooms = errors.New("too many conversations have phones at once")

// ErrStopped says that the service ends.
var ErrStopped = errors.New("the phone service is being restarted")

// Beep says who hears that a phone joins or leaves.
type Beep string

const (
	BeepPhones Beep = "phones" // the other phones
	BeepAll    Beep = "all"    // participants on the web, too
	BeepNone   Beep = "none"
)

// Config says how conversations have phones.
type Config struct {
	// MaxRooms is how many conversations may have phones at once. Default 50.
	MaxRooms int
	// Speakers is how many participants of a conversation are heard at a time.
	// Default 6.
	Speakers int
	// Beep is BeepPhones by default.
	Beep Beep
}

// Rooms are the conversations that have phones.
type Rooms struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	stopping bool
	rooms    map[key]*conversation
}

// key tells conversations apart.
type key struct {
	session *talk.Session
	token   string
}

// New makes Rooms; each conversation lasts from its first Enter to the last Leave.
func New(cfg Config, log *slog.Logger) *Rooms {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxRooms == 0 {
		cfg.MaxRooms = 50
	}
	if cfg.Speakers == 0 {
		cfg.Speakers = 6
	}
	if cfg.Beep == "" {
		cfg.Beep = BeepPhones
	}
	return &Rooms{cfg: cfg, log: log, rooms: map[key]*conversation{}}
}

// Handler is what the signaling client is to tell. It is one of several of
// talk.Handlers.
func (rs *Rooms) Handler() talk.Handler { return talk.Handler{Room: rs.changed} }

// Run serves until ctx is done: then the conversations that are left lose their
// phones. Those who own the phones end before.
func (rs *Rooms) Run(ctx context.Context) error {
	<-ctx.Done()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.stopping = true
	return nil
}

// Enter joins a conversation until Leave. events is told what happens to it: it
// is called from the conversation's goroutine and returns at once. Errors:
// ErrRooms, ErrStopped.
func (rs *Rooms) Enter(s *talk.Session, token string, events func(Event)) (*Room, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	k := key{s, token}
	c := rs.rooms[k]
	switch {
	case rs.stopping:
		return nil, ErrStopped
	case c == nil && len(rs.rooms) >= rs.cfg.MaxRooms:
		return nil, ErrRooms
	case c == nil:
		c = &conversation{rooms: rs, key: k, members: map[*Room]bool{}}
		c.signal = s.Join(token)
		rs.rooms[k] = c
	}
	r := &Room{conversation: c, events: events}
	c.members[r] = true
	return r, nil
}

func (rs *Rooms) leave(r *Room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	c := r.conversation
	if !c.members[r] {
		return
	}
	delete(c.members, r)
	if len(c.members) == 0 {
		delete(rs.rooms, c.key)
		c.signal.Leave()
	}
}

// changed is talk.Handler.Room.
func (rs *Rooms) changed(s *talk.Session, e talk.RoomEvent) {
	rs.mu.Lock()
	c := rs.rooms[key{s, e.RoomID}]
	rs.mu.Unlock()
	if c == nil {
		return
	}
	switch e.Kind {
	case talk.EndedForEveryone:
		c.tell(EndedForEveryone)
	case talk.Deleted:
		c.tell(Deleted)
	case talk.Empty:
		c.tell(Empty)
	}
}

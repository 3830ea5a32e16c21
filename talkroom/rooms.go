package talkroom

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/media"
	"sipxrest/media/sfu"
	"sipxrest/talk"
)

var (
	// ErrRooms says that as many conversations have phones as may.
	ErrRooms = errors.New("too many conversations have phones at once")
	// ErrStopped says that the service ends.
	ErrStopped = errors.New("the phone service is being restarted")
)

// Beep says who hears that a phone joins or leaves.
type Beep string

const (
	BeepPhones Beep = "phones" // the other phones
	BeepAll    Beep = "all"    // participants on the web, too
	BeepNone   Beep = "none"
)

// Config says how conversations have phones.
type Config struct {
	// SFU makes the connections with media servers.
	SFU *sfu.SFU
	// Codec is the one in which phones are heard. Default G.722.
	Codec media.Codec
	// Speakers is how many participants of a conversation are heard at a time.
	// Default 6.
	Speakers int
	// Beep is BeepPhones by default.
	Beep Beep
	// MaxRooms is how many conversations may have phones at once. Default 50.
	MaxRooms int
}

// Rooms are the conversations that have phones.
type Rooms struct {
	cfg      Config
	log      *slog.Logger
	connects connector
	join     func(*talk.Session, string) signaling
	show     func(*talk.Session, string, talk.Flags) error
	count    counters
	load     *load
	running  sync.WaitGroup // goroutines of conversations
	number   atomic.Uint64  // tells conversations apart in the log: tokens let people in

	mu       sync.Mutex
	stopping bool
	rooms    map[key]*conversation
	joined   map[signaling]*conversation
	ending   map[key]*conversation // the last one that was left, until it has ended
	live     map[*conversation]bool
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
	if cfg.Codec == 0 {
		cfg.Codec = media.G722
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
	return &Rooms{cfg: cfg, log: log, connects: servers{cfg.SFU}, load: newLoad(cfg.Speakers),
		join:  func(s *talk.Session, token string) signaling { return s.Join(token) },
		show:  (*talk.Session).UpdateSession,
		rooms: map[key]*conversation{}, joined: map[signaling]*conversation{}, ending: map[key]*conversation{}, live: map[*conversation]bool{}}
}

// Handler is what the signaling client is to tell. It is one of several of
// talk.Handlers.
func (rs *Rooms) Handler() talk.Handler { return talk.Handler{Room: rs.changed, Media: rs.media} }

// Run serves until ctx is done, then takes no more conversations and returns once
// those that there are have been left by all, and have ended. Their owners have
// been told to end before.
func (rs *Rooms) Run(ctx context.Context) error {
	back := time.NewTimer(reliefTime)
	defer back.Stop()
	said := rs.load.speakers()
	for open := true; open; {
		select {
		case <-rs.load.changed:
			if n := rs.load.speakers(); n != said { // not each time that there can be no fewer
				rs.log.Warn("the clocks of conversations are late: fewer participants are decoded for a while", "speakers", n, "for", reliefTime)
				said = n
			}
			back.Reset(reliefTime)
			rs.setSpeakers()
		case <-back.C:
			rs.load.relieve()
			said = rs.load.speakers()
			rs.setSpeakers()
		case <-ctx.Done():
			open = false
		}
	}
	rs.mu.Lock()
	rs.stopping = true
	var left []*Room
	for _, c := range rs.rooms {
		for r := range c.members {
			left = append(left, r)
		}
	}
	rs.mu.Unlock()
	for _, r := range left { // whatever their owners do
		r.Leave()
	}
	rs.running.Wait()
	return nil
}

// setSpeakers has every conversation decode as many participants as there is
// time for.
func (rs *Rooms) setSpeakers() {
	n := rs.load.speakers()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for c := range rs.live {
		c.setSpeakers(n)
	}
}

// Enter joins a conversation until Leave. events is told what happens to it: it
// is called from the conversation's goroutine and returns at once. It may be nil.
// Errors: ErrRooms, ErrStopped.
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
		c = rs.begin(k)
	}
	r := &Room{conversation: c, events: events}
	c.members[r] = true
	c.post(func() { c.tellWhether(r) })
	return r, nil
}

// begin makes a conversation. The caller holds rs.mu.
func (rs *Rooms) begin(k key) *conversation {
	c := newConversation(rs, k, rs.join(k.session, k.token))
	rs.rooms[k], rs.joined[c.signal], rs.live[c] = c, c, true
	before := rs.ending[k] // what it says last comes before what we say first
	rs.running.Go(func() {
		if before != nil {
			<-before.done
		}
		c.run()
		rs.mu.Lock()
		defer rs.mu.Unlock()
		delete(rs.live, c)
		if rs.ending[k] == c {
			delete(rs.ending, k)
		}
	})
	return c
}

// leave ends one Enter.
func (rs *Rooms) leave(r *Room) {
	c := r.conversation
	c.removeAll(r)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !c.members[r] {
		return
	}
	delete(c.members, r)
	if len(c.members) == 0 {
		rs.forget(c)
		rs.ending[c.key] = c
		c.post(c.end)
	}
}

// forget has the next Enter begin another conversation. The caller holds rs.mu.
func (rs *Rooms) forget(c *conversation) {
	if rs.rooms[c.key] == c {
		delete(rs.rooms, c.key)
	}
	if rs.joined[c.signal] == c {
		delete(rs.joined, c.signal)
	}
}

// changed is talk.Handler.Room.
func (rs *Rooms) changed(s *talk.Session, e talk.RoomEvent) {
	rs.mu.Lock()
	c := rs.rooms[key{s, e.RoomID}]
	if c != nil && e.Kind == talk.Deleted {
		rs.forget(c)
	}
	rs.mu.Unlock()
	if c != nil {
		c.happens(e.Kind)
	}
}

// media is talk.Handler.Media.
func (rs *Rooms) media(r *talk.Room, m talk.MediaMessage) {
	rs.mu.Lock()
	c := rs.joined[r]
	rs.mu.Unlock()
	if c != nil {
		c.hears(m)
	}
}

// membersOf are those who have entered a conversation.
func (rs *Rooms) membersOf(c *conversation) (all []*Room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r := range c.members {
		all = append(all, r)
	}
	return all
}

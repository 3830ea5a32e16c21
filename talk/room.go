package talk

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

const (
	// maxRoomMessage is the longest message read on a room's connection: it lists
	// all participants.
	maxRoomMessage = 4 << 20
	// EmptyTime is how long nobody has to take part in a room's call before Empty
	// is told: somebody may only have a bad connection.
	EmptyTime = 30 * time.Second
	// ReturnTime is in its place when the signaling server has forgotten its
	// sessions, until somebody takes part again. People have to come back first:
	// browsers try every 16 s, and cannot before Nextcloud is there, too.
	ReturnTime = 5 * time.Minute
	// askTime is how often Nextcloud is asked meanwhile whether it is there: ReturnTime
	// begins when it is. It is asked before EmptyTime is over, too.
	askTime = 30 * time.Second
	// shakenTime is how long after an outage those who leave may only have lost the
	// signaling server, too. It keeps their sessions for 30 s.
	shakenTime = time.Minute
	// joinTime is how long the signaling server may take to let us into a room.
	joinTime = 10 * time.Second
	// listTime is how long after that it may take to say who is there.
	listTime = 2 * time.Second
)

// errNoJoin ends a connection over which nothing arrives any more.
var errNoJoin = errors.New("no answer to joining the room")

// Room is a conversation that was joined.
type Room struct {
	session *Session
	id      string
	link    *link
	leave   context.CancelFunc

	// Guarded by Session.mu.
	users int // Joins that were not left
	// lost: the session was begun again, and the signaling server may not know of
	// the room before we are in it: what is sent for it would be lost.
	lost  bool
	named bool            // Handler.Up was told of that
	ctx   context.Context // done once it was left

	mu        sync.Mutex
	sessionID string             // our own, public
	members   map[string]*member // by public session id
	seq       int                // counts them
	away      bool               // there is no connection: members are as they were
	joining   *time.Timer        // since we have asked to join, until we are in it
	inside    bool               // we are in it
	listed    bool               // a list of the participants came since
	unsure    bool               // the connection was lost since: joins may have been, too
	// list is what it said, for those who are named later: the two are not sent by
	// the same part of the server.
	list map[string]member
	over bool // it was left

	media media

	// What was told of the people.
	audible []string
	told    people
	tooMany bool // of those who are to be heard

	vigil vigil
}

// RoomEvent is something that happened in a room that was joined.
type RoomEvent struct {
	RoomID string
	Kind   RoomEventKind
}

// RoomEventKind says what happened.
type RoomEventKind int

const (
	// EndedForEveryone: a moderator has ended the call for everyone.
	EndedForEveryone RoomEventKind = iota + 1
	// Deleted: the room is no more.
	Deleted
	// Empty: for EmptyTime no human has taken part in the call, neither phones nor
	// bridges being counted. It is told of what is known: not while the connection
	// is lost, and only after the signaling server was asked once more. It is told
	// again as long as it is so.
	Empty
	// Entered: we are in the room and publish nothing there: by a new session, or by
	// one that had to join again. All media connections are gone.
	Entered
	// Returned: the connection is there again, by the same session. Media
	// connections go on.
	Returned
	// AudioChanged: Room.Audible returns others than before.
	AudioChanged
	// PeopleChanged: Room.Humans or Room.Others returns another number than before
	// that is not -1.
	PeopleChanged
)

// ID is the token of the conversation.
func (r *Room) ID() string { return r.id }

// Leave ends one Join.
func (r *Room) Leave() {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.users--; r.users > 0 {
		return
	}
	if s.rooms[r.id] == r {
		delete(s.rooms, r.id)
	}
	r.close()
	r.leave()
}

// close ends the timers, and our part in the call.
func (r *Room) close() {
	r.hush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.wait(0)
	r.stopJoining()
}

// hush ends our part in the call, before the connection says bye: browsers look
// for what we publish as long as we are in it.
func (r *Room) hush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.media.flags != 0 {
		_ = r.putInCall(0)
	}
}

// onUp joins the room, unless the session is known to be in it: a request to
// join may have been lost with the connection.
func (r *Room) onUp(hello Hello) {
	r.mu.Lock()
	r.away, r.sessionID = false, r.link.sessionID
	known := hello == Resumed && r.inside && r.listed
	if hello == Resumed {
		r.unsure = true
		r.shaken()
	}
	switch {
	case known:
		r.judge()
		r.sayAgain()
	case hello == Resumed && r.inside: // who is there was lost on the way
		r.look()
	default:
		if hello != Resumed {
			clear(r.members)
		}
		if hello == Renewed {
			r.missing()
		}
		r.link.out.renew(nil)
		r.media.reset()
		r.join()
	}
	r.mu.Unlock()
	if known {
		r.entered()
		r.tell(Returned)
	}
}

func (r *Room) onDown(err error) {
	if errors.Is(err, errNoJoin) {
		r.link.resumeID = "" // older servers do not respond to a member who joins again
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = true
	r.stopJoining()
	r.judge()
}

// join asks to be let in. The caller holds r.mu.
func (r *Room) join() {
	r.inside, r.listed = false, false
	if r.over {
		return
	}
	r.askToJoin("join")
}

// askToJoin sends the request, which must get a response within joinTime. The
// caller holds r.mu.
func (r *Room) askToJoin(id string) {
	// Its outbox holds little else, so it is not full.
	_ = r.link.out.put(&item{data: encode(object{"id": id, "type": "room", "room": object{"roomid": r.id}})})
	r.stopJoining()
	var late *time.Timer
	late = time.AfterFunc(joinTime, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.joining == late {
			r.link.cut(errNoJoin)
		}
	})
	r.joining = late
}

func (r *Room) stopJoining() {
	if r.joining != nil {
		r.joining.Stop()
		r.joining = nil
	}
}

// look leaves the room and joins it anew: then we are told who is there,
// whatever was lost on the way before. What we publish and hear ends with that.
// The caller holds r.mu.
func (r *Room) look() {
	if r.away || !r.inside || r.over {
		return // it is joined in any case
	}
	if r.media.flags != 0 { // the session would keep them
		_ = r.putInCall(0) // its outbox is not full
	}
	_ = r.link.out.put(&item{data: encode(object{"id": "leave", "type": "room", "room": object{"roomid": ""}})})
	r.join()
}

// forgotten is told that the session was begun again: it has to be seen whether
// there is the room. A server that has forgotten us, too, closes the connection,
// and otherwise says that we are there already; an older one says nothing, and
// people may have to come back.
func (r *Room) forgotten() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link.can(featureCodecs) && !r.away && !r.over {
		if r.inside {
			r.askToJoin("still")
		}
		return
	}
	r.missing()
	r.look()
}

// joined is told that we are in the room. Who is there follows.
func (r *Room) joined() {
	r.mu.Lock()
	r.stopJoining()
	clear(r.members)
	r.inside, r.listed, r.list, r.unsure = true, false, nil, false
	r.audible = nil
	r.media.reset()
	if r.vigil.looking {
		r.wait(listTime)
	}
	r.mu.Unlock()
	r.entered()
	r.tell(Entered)
}

// stillThere is told that we have been in the room all the time.
func (r *Room) stillThere() {
	r.mu.Lock()
	r.stopJoining()
	r.mu.Unlock()
	r.entered()
}

// entered tells the owner that there is the room again, once.
func (r *Room) entered() {
	s := r.session
	s.mu.Lock()
	again := s.rooms[r.id] == r && r.lost && r.named
	if again {
		r.lost = false
	}
	s.mu.Unlock()
	if again && s.handler.Again != nil {
		s.handler.Again(s, r.id)
	}
}

// receive follows what happens in the room. What is of another room is not for
// us.
func (r *Room) receive(m *message) error {
	switch m.Type {
	case "error":
		// It has not joined and would not when resumed, or it had (already_joined),
		// and nobody says who is there.
		switch err := m.serverError(); {
		case m.ID == "still" && err.Code == "already_joined":
			r.stillThere()
		case m.ID == "join" || m.ID == "still":
			r.link.resumeID = ""
			return err
		default:
			r.mediaError(m.ID, err)
		}
	case "message":
		r.receiveMedia(m.Message)
	case "room":
		var v struct {
			RoomID string `json:"roomid"`
		}
		switch {
		case !read(m.Room, &v):
		case (m.ID == "join" || m.ID == "still") && v.RoomID == r.id:
			r.joined()
		case m.ID == "" && v.RoomID == "":
			r.deleted()
		}
	case "event":
		r.receiveEvent(m.Event)
	}
	return nil
}

func (r *Room) receiveEvent(raw json.RawMessage) {
	var v struct {
		Target string          `json:"target"`
		Type   string          `json:"type"`
		Join   json.RawMessage `json:"join"`
		Leave  json.RawMessage `json:"leave"`
		Update json.RawMessage `json:"update"`
	}
	if !read(raw, &v) {
		return
	}
	switch v.Target + " " + v.Type {
	case "room join":
		r.came(v.Join)
	case "room leave":
		r.left(v.Leave)
	case "room delete":
		r.deleted()
	case "participants update":
		r.updated(v.Update)
	}
}

// deleted ends the connection. The phones that the session has in the room can
// no longer be removed one by one.
func (r *Room) deleted() {
	s := r.session
	s.mu.Lock()
	first := s.rooms[r.id] == r
	if first {
		delete(s.rooms, r.id)
		for _, p := range s.phones {
			s.stale = s.stale || p.phone.RoomID == r.id
		}
	}
	s.mu.Unlock()
	if !first {
		return
	}
	r.close()
	r.hand(Deleted)
	r.leave()
}

// tell tells what happened in a room that was not left meanwhile: there may be
// another call in it by now, by a connection of its own.
func (r *Room) tell(kind RoomEventKind) {
	s := r.session
	s.mu.Lock()
	current := s.rooms[r.id] == r
	s.mu.Unlock()
	if current {
		r.hand(kind)
	}
}

func (r *Room) hand(kind RoomEventKind) {
	if r.session.handler.Room != nil {
		r.session.handler.Room(r.session, RoomEvent{RoomID: r.id, Kind: kind})
	}
}

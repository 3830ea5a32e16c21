package talk

import (
	"context"
	"encoding/json"
	"sync"
)

// maxRoomMessage is the longest message read on a room's connection: it lists
// all participants.
const maxRoomMessage = 4 << 20

// Room is a conversation that was joined.
type Room struct {
	session *Session
	id      string
	link    *link
	leave   context.CancelFunc
	users   int // Joins that were not left; guarded by Session.mu

	mu      sync.Mutex
	members map[string]*member // by public session id
	known   bool               // a list of the participants came
	told    People
}

// RoomEvent is something that happened in a room that was joined.
type RoomEvent struct {
	RoomID string
	Kind   RoomEventKind
	// People counts humans: neither phones nor bridges.
	People People
}

// RoomEventKind says what happened.
type RoomEventKind int

const (
	// EndedForEveryone: a moderator has ended the call for everyone.
	EndedForEveryone RoomEventKind = iota + 1
	// Deleted: the room is no more.
	Deleted
	// PeopleChanged: somebody came, left, or took part in the call or no more.
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
	r.leave()
}

// onUp joins the room, unless the session is known to be in it: a request to
// join may have been lost with the connection.
func (r *Room) onUp(hello Hello) {
	if hello == Resumed && r.has(r.link.sessionID) {
		return
	}
	if hello != Resumed {
		r.mu.Lock()
		clear(r.members)
		r.known = false
		r.mu.Unlock()
	}
	r.link.out.renew(nil)
	// Its outbox holds nothing else, so it is not full.
	_ = r.link.out.put(&item{data: encode(object{"id": "join", "type": "room", "room": object{"roomid": r.id}})})
}

// receive follows what happens in the room. What is of another room is not for
// us.
func (r *Room) receive(m *message) error {
	switch m.Type {
	case "error":
		if err := m.serverError(); m.ID == "join" && err.Code != "already_joined" {
			r.link.resumeID = "" // it has not joined, and would not when resumed
			return err
		}
	case "room":
		var v struct {
			RoomID string `json:"roomid"`
		}
		if m.ID == "" && read(m.Room, &v) && v.RoomID == "" {
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
		r.joined(v.Join)
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
	r.tell(RoomEvent{RoomID: r.id, Kind: Deleted})
	r.leave()
}

func (r *Room) tell(e RoomEvent) {
	if r.session.handler.Room != nil {
		r.session.handler.Room(r.session, e)
	}
}

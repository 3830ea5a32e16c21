package talk

// Room is a conversation that was joined.
type Room struct{}

// ID is its token.
func (r *Room) ID() string { return "" }

// Leave ends one Join. It may be called more than once by nobody.
func (r *Room) Leave() {}

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

// People counts the humans in a room.
type People struct {
	Present int
	// InCall are those who take part in the call, -1 if that is not known yet.
	InCall int
}

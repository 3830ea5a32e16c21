package talk

import "time"

const (
	// AnswerTime is how long a dial-out request may be answered. Nextcloud asks
	// again after 30 s and does not say that it gave up.
	AnswerTime = 10 * time.Second
	// FlushTime bounds what Serve still does after its context is done.
	FlushTime = 3 * time.Second
)

// Session is what a signaling server and one of its Nextclouds know as one
// bridge. Its methods may be called from any goroutine and, Accept apart,
// never wait: what cannot be sent now goes out in order once the connection is
// there again.
type Session struct{}

// Server is the address of the signaling server's WebSocket.
func (s *Session) Server() string { return "" }

// Backend is the Nextcloud.
func (s *Session) Backend() *Backend { return nil }

// Connected says whether there is a connection that has said hello, and
// otherwise why not: nil before the first attempt has failed.
func (s *Session) Connected() (bool, error) { return false, nil }

// CallState is the state of a call as Talk shows it. A call goes
// Accepted → [Ringing] → (Connected → Cleared) | Rejected | Cleared; Accepted
// is said by Request.Accept.
type CallState string

const (
	Accepted  CallState = "accepted"
	Ringing   CallState = "ringing"
	Connected CallState = "connected"
	Rejected  CallState = "rejected"
	Cleared   CallState = "cleared"
)

// Terminal says whether nothing may follow.
func (s CallState) Terminal() bool { return s == Rejected || s == Cleared }

// Status is how a call fares. Cause is free text (EndedByRemote), Code a SIP
// status, Message its reason; they are left out if empty.
type Status struct {
	CallID  string    `json:"callid"`
	State   CallState `json:"status"`
	Cause   string    `json:"cause,omitempty"`
	Code    int       `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
}

// Status says in the room how a call fares. Whether it arrives is not known:
// nobody answers.
func (s *Session) Status(roomID string, status Status) error { return nil }

// Phone is a phone as participants see it.
type Phone struct {
	CallID      string // also names the phone session
	RoomID      string
	Number      string
	DisplayName string
	// Options are those of the request: without the actor Talk cannot hang up.
	Options Options
}

// AddSession shows a phone among the participants of its room. It is sent once
// the phone has answered, before the status Connected. Errors: ErrAdded,
// ErrBacklog, ErrTooLong, ErrClosed; the signaling server's come to
// Handler.AddFailed.
func (s *Session) AddSession(p Phone) error { return nil }

// Flags are what a phone session shows.
type Flags int

const (
	MutedSpeaking  Flags = 1
	MutedListening Flags = 2
	Talking        Flags = 4
)

// UpdateSession shows flags with a phone. ErrNotAdded if there is none.
func (s *Session) UpdateSession(callID string, flags Flags) error { return nil }

// RemoveSession takes a phone out of its room, which also tells Nextcloud that
// its call is over. Without a phone session of that call it does nothing.
func (s *Session) RemoveSession(callID string) error { return nil }

// Join enters a room by a connection of its own, so that its events reach
// Handler.Room and its participants may control phones: without it all control
// messages are refused. Call it once a request is accepted, not before. Each
// Join is ended by one Leave; the last one leaves the room.
func (s *Session) Join(roomID string) *Room { return &Room{} }

package talk

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

// Terminal reports whether nothing may follow.
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

// Phone is a phone as participants see it.
type Phone struct {
	CallID      string // also names the phone session
	RoomID      string
	Number      string
	DisplayName string
	// Options are those of the request: without the actor Talk cannot hang up.
	Options Options
}

// Flags are what a phone session shows, and what Mute asks for.
type Flags int

const (
	MutedSpeaking  Flags = 1
	MutedListening Flags = 2
	Talking        Flags = 4
	HandRaised     Flags = 8
)

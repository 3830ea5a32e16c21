package talk

import (
	"context"
	"encoding/json"
)

// Request is the signaling server's request to call a number.
type Request struct {
	Session *Session
	// RoomID is the token of the conversation: 1 to 32 digits.
	RoomID string
	// Number is as it came: not checked.
	Number  string
	Options Options
}

// Options say who is called and on whose behalf.
type Options struct {
	AttendeeID int64
	ActorType  string // phones
	ActorID    string
	// Caller is the number that is to be shown, as it came: it may hold
	// anything, CR and LF too. Anonymous: none is to be shown.
	Caller    string
	Anonymous bool
	// Raw are the options as they came, which Nextcloud wants back unchanged.
	Raw json.RawMessage
}

// Context is done once the request can no longer be accepted: it was answered,
// AnswerTime is over (ErrLate) or the signaling server forgot it (ErrGone). It
// is the one to verify the request with.
func (r *Request) Context() context.Context { return context.Background() }

// Accept says that the call is being made and how it is called: callID is
// unguessable, unique and at most 255 characters long. It returns once that was
// sent: only then may the phone be called. ErrLate and ErrGone: it must not be.
// Other errors: ErrAnswered, ErrBacklog, ErrClosed.
func (r *Request) Accept(callID string) error { return nil }

// Refuse says that the call is not made. code is for programs (not_allowed),
// message for the user. ErrAnswered if the request was answered before.
func (r *Request) Refuse(code, message string) error { return nil }

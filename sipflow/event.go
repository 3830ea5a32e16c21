package sipflow

import "time"

// EventKind says what an Event reports.
type EventKind uint8

const (
	// Placed: the call took its key. What held the key before is being hung up.
	Placed EventKind = iota
	// Progress: Event.Text is one more status line of the call.
	Progress
	// DialogChanged: Event.Dialog is new or has a new state. Only calls by INVITE
	// report it.
	DialogChanged
	// Moved: after a transfer the call holds Event.Key in place of the key that
	// it held before.
	Moved
	// Alerted: the phone that Dial calls rings; it may come again.
	Alerted
	// Answered: it has answered.
	Answered
	// Joined: both parties of a call by Dial or Invite are connected.
	Joined
	// Ended: nothing follows, neither from the call nor from its phones.
	Ended
)

// DialogState is a dialog's state in the words of the original's documents.
type DialogState string

// States of a dialog (RFC 3261 §12).
const (
	Calling    DialogState = "null"
	Early      DialogState = "Early Dialog"
	Confirmed  DialogState = "Confirmed Dialog"
	Terminated DialogState = "Terminated Dialog"
)

// Dialog is one of a call's dialogs.
type Dialog struct {
	Leg    uint64 // tells the dialogs of a call apart
	ID     string // call-id:local-tag:remote-tag, lower case; "null" before there is a dialog
	Local  string // URI of the agent
	Remote string // URI of the phone that was called
	State  DialogState
}

// An Event is one thing that happened to a call. Events of one call are
// delivered one at a time, in wire order.
type Event struct {
	Kind   EventKind
	Key    Key
	At     time.Time
	CallID string  // SIP Call-ID of the leg concerned
	Method string  // "INVITE", "NOTIFY", "REFER"
	Text   string  // a status line ("SIP/2.0 180 Ringing") or a NOTIFY body
	Dialog *Dialog // DialogChanged; nil else
	Err    error   // Ended: nil when the call was connected
	By     Party   // Ended, of calls by Dial and inbound ones: who ended the call, or made it fail
	End    *End    // Ended, of calls with Spec.LogsEnd; nil else
	Code   uint16  // Ended, of inbound calls: the final code that the caller got; 0 when it gave up before
}

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

	// What follows is told to the observers that New is given, and to them only. Each
	// has Event.Leg where it is about a leg. Of each leg LegEnded comes once, before
	// Ended and after all else that is told of the leg.

	// LegDialling: the leg's INVITE is out; of a leg Via "refer", its phone is being
	// called by the calling one.
	LegDialling
	// LegAlerted: the leg's phone rings. It comes once.
	LegAlerted
	// LegAnswered: the leg's phone has answered. It comes once.
	LegAnswered
	// LegRedirected: the leg goes from LegReport.From to To, told by LegReport.Code, or
	// by a client when that is 0.
	LegRedirected
	// LegEnded: nothing of the leg follows. Event.Cause says why.
	LegEnded
	// Connecting: the first phone has answered, and the other one is called.
	Connecting
	// FlowChanged: the calling phone refuses REFER, so that both are bridged instead.
	// LegReport.Code is that of the refusal.
	FlowChanged
	// Released: our leg of a call by REFER is hung up, and the phones go on alone.
	// What the calling one still reports is told until Event.FinalBy.
	Released
	// LegHeld, LegResumed: the leg's phone is on hold, or no longer; LegReport.By says
	// by whom.
	LegHeld
	LegResumed
	// LegMuted, LegUnmuted: audio to or from the leg's phone is off, or no longer.
	LegMuted
	LegUnmuted
	// TransferChanged: Event.Transfer is new or has a new state.
	TransferChanged
	// Digit: the leg's phone sent Event.Digit by INFO.
	Digit
	// Resumed: the call was another node's, and goes on, or ends, at this one. What was
	// told of it there is told once more, as far as it is still so, with Event.Again.
	Resumed
)

// Party is one of those that a call is about.
type Party uint8

// Parties.
const (
	Self Party = iota
	CallingParty
	CalledParty
	NetworkParty // a server on the way, before any phone had rung
	ClientParty  // who asked for the call
	UnknownParty // of phones that a REFER has left alone
)

// Role is what a leg is in its call.
type Role string

// The roles.
const (
	RoleCalling Role = "calling" // the phone that rings first
	RoleCalled  Role = "called"  // the other one
	RoleCaller  Role = "caller"  // of an inbound call
	RoleTarget  Role = "target"  // of an inbound call, or of a transfer
	RoleConsult Role = "consult" // second line of an attended transfer
)

// Stage is how far a call is.
type Stage string

// The stages.
const (
	StageRouting         Stage = "routing" // an inbound call has no target yet
	StageDiallingCalling Stage = "dialing_calling"
	StageRingingCalling  Stage = "ringing_calling"
	StageDiallingCalled  Stage = "dialing_called"
	StageRingingCalled   Stage = "ringing_called"
	StageConnected       Stage = "connected"
	StageReleased        Stage = "released"
	StageTransfer        Stage = "transfer"
)

// LegReport is a leg as it is when an event is told.
type LegReport struct {
	N          int // from 1, in the order in which they came
	Role       Role
	Address    string     // user@host
	CallID     string     // SIP Call-ID; empty where no INVITE of ours is out
	Hop        string     // that took the request: "udp:192.0.2.10:5060"
	Contact    string     // URI that the phone is reached at
	Via        string     // "refer": the calling phone calls it; LegAlerted and LegAnswered then come by "notify"
	Code       int        // of the response that the event is about; 0: there is none
	Reason     string     // its phrase
	EarlyMedia bool       // a provisional response had a description
	From, To   string     // LegRedirected: URIs
	Tried      []TriedHop // hops that did not take the request
	By         Party      // LegHeld, LegResumed, LegMuted, LegUnmuted: by whom
}

// TriedHop is a hop that did not take a request.
type TriedHop struct {
	Hop string // "udp:192.0.2.10:5060"
	Why string
}

// Cause is why a leg or a call ended. It is complete: nobody needs to read the texts
// of errors or status lines.
type Cause struct {
	Err         error // nil where nothing failed
	By          Party
	Leg         int   // LegReport.N of the leg that it fell on; 0: on none
	Other       bool  // LegEnded: the leg was hung up because of another one, which is Leg
	NotTried    bool  // LegEnded: the leg was never called
	Elsewhere   bool  // the caller was connected to another phone (RFC 3326 §3.1), and so gave this call up
	Lost        bool  // the phone of a leg that was up is silent, or has lost its dialog
	Stage       Stage // of the call when it happened
	Code        int   // final response, or report of one; 0: there is none
	Reason      string
	Method      string // of the request that was refused, or that ended the leg
	Hop         string // from where the response came
	Synthesized bool   // nobody sent Code: a timer of ours ran out
	Q850        int    // cause of the telephone network; 0: there is none
	Q850Text    string
	Q850Header  bool // Q850 is of a Reason header field (RFC 3326); else it is Code mapped by RFC 3398
}

// The modes of a transfer.
const (
	TransferBlind    = "blind"
	TransferAttended = "attended"
	TransferByPhone  = "phone"
)

// The states of a transfer. The last three are final.
const (
	TransferDialling   = "dialing"
	TransferRinging    = "ringing"
	TransferConsulting = "consulting"
	TransferCompleted  = "completed"
	TransferFailed     = "failed"
	TransferCancelled  = "cancelled"
)

// TransferReport is a transfer as it is when an event is told.
type TransferReport struct {
	N           int    // from 1
	Mode        string // TransferBlind, …
	State       string // TransferDialling, …
	Leaver      Party
	Place       Party  // whose place the target has from now on; Self: it has none
	To          string // URI or user@host of the target
	WithCall    string // ID of the call whose far party is the target; empty else
	RequestedBy int    // LegReport.N of the phone that asked for it; 0: a client did
	Leg         int    // LegReport.N of the target; 0 before it is called
	Cause       *Cause // TransferFailed, TransferCancelled
}

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

	// The rest is for the observers that New is given. What the pointers lead to is
	// changed afterwards: they keep nothing of it.
	ID       string          // of the call
	Spec     *Spec           // Placed, Resumed: what was asked for, with its secrets
	Legs     []LegReport     // Placed, Resumed: the legs that are known, in their order
	Stage    Stage           // of the call after the event
	Leg      *LegReport      // the leg that the event is about; nil when it is about none
	Cause    *Cause          // LegEnded, Ended
	FinalBy  time.Time       // Released: Ended comes by then
	Transfer *TransferReport // TransferChanged
	Digit    byte            // Digit
	Again    bool            // another node has told it before
}

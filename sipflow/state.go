package sipflow

import (
	"errors"
	"net/netip"
	"time"

	"sipxrest/resolve"
)

// A callState is what another node needs to hang a call up, and to go on with it. Its
// encoding has two parts (see state_encode.go). The first one never changes: any
// release can hang up a call of any other by it. No secret is in either.
type callState struct {
	// The first part.
	class  stateClass
	id     string // Spec.ID
	key    Key    // that the call holds
	flow   FlowKind
	step   callStep
	method string
	legs   []keptLeg

	known bool // there is a second part, of a version that is known
	callMore
}

// stateClass is the first byte of a state: who takes calls over begins with the lowest.
type stateClass uint8

const (
	classBridged stateClass = iota // people talk
	classCaller                    // somebody waits for our response to his INVITE
	classOther
	numStateClasses
)

// callMore is the second part of what is known of a call. Times that are left are as of
// the moment at which the state was made.
type callMore struct {
	at       time.Time // when the state was made, by the clock of its node
	changing bool      // an offer is under way between the two phones

	agentName   string
	callingUser string // as it went on the wire, as calledUser
	calledUser  string
	subject     string // while INVITEs are still to go out
	policy      string
	user        string // Credentials.Username: whose secret it is, and whose policy holds
	peer        netip.Addr

	noFallback, forwarding, trusted, logsEnd bool

	timeout  time.Duration // Spec.Timeout
	maxTalk  time.Duration // Spec.MaxTalk; 0: no limit
	ringLeft time.Duration // of the phone that rings; 0: nobody does
	talkLeft time.Duration // of a call that is joined and has a limit
	lasted   time.Duration // since the call was placed
	dial     *dialState    // of a call to a number
	converse bool          // the media end here

	joined, wasUp bool
	by            Party
	callIDs       []string // of legs that it had
	users         [2]string

	referredAgo time.Duration // since the REFER was accepted; 0: it was not
	notified    bool          // the phone has reported of it

	transfers int
	transfer  *transferState
	record    *recordState // nil: nobody is told of the call

	door   string // Kept.Door
	kept   []byte // Kept.Record
	events []byte // Config.Owed
}

// dialState is a Dialling without its secret.
type dialState struct {
	gateway, gatewayDomain, realm, user string
	number, caller, target              string
	anonymous, chosen, last             bool
	targetTime                          time.Duration
}

// transferState is a transfer that is under way.
type transferState struct {
	report   TransferReport // without its cause
	key      *Key
	attended bool
	consults bool
	wasHeld  bool
	byPhone  bool // who takes the place has called us
}

// recordState is what observers have been told of the call.
type recordState struct {
	stage          Stage
	linked, joined bool
	count          int
	legs           []legRecordState
}

type legRecordState struct {
	report  LegReport
	state   legState
	joining bool
}

// legSeat is what a leg is in its call.
type legSeat uint8

const (
	seatCalling legSeat = iota // the phone that rings first, or the caller
	seatCalled                 // the other one
	seatTarget                 // of a transfer
	seatParked                 // on hold in an attended transfer
	seatAside                  // it is hung up while the call goes on without it
	numSeats
)

// legAt is how far a leg's dialog is.
type legAt uint8

const (
	atInviting legAt = iota // our INVITE has no final response
	atAnswered              // it has, and our ACK may not be out
	atUp                    // both sides know the dialog
	atCaller                // the phone's INVITE has no final response of ours
	atAccepted              // our 200 is about to go, or is out, and its ACK has not come
	atOver                  // it has been hung up, or is about to be
	numAts
)

// calleeKind is whom a leg is with.
type calleeKind uint8

const (
	withUser    calleeKind = iota // a phone of a user
	withGateway                   // a phone by way of a gateway
	withTarget                    // what a number is joined with
	withDest                      // the target of a caller
	withCaller                    // who has called us
	numCallees
)

// keptLeg is what another node needs of one dialog, as we see it, whoever called.
type keptLeg struct {
	// The first part.
	at     legAt
	seat   legSeat
	id     uint64 // our tag
	dialog dialog
	cseq   uint32      // of our last request, with what is reserved
	secure bool        // it does not leave encrypted hops
	to     resolve.Hop // where its requests go; unset: that is not known
	source netip.Addr  // where the phone's response came from, if by UDP
	callee calleeKind
	media  bool  // the media end here
	right  right // without the password: whose secret may answer challenges
	invite *inviteState
	caller *callerState

	legMore
}

// legMore is the second part of what is known of a leg.
type legMore struct {
	party     string
	tag       string // the phone's
	userAgent string
	early     string // To tag of the last 18x
	state     DialogState
	record    int // LegReport.N; 0: none

	remoteSeq uint32 // highest CSeq of the phone
	updates   bool   // it takes UPDATE
	lines     int    // m= lines of the session
	version   uint64 // of our last o= line
	told      []byte // our last description that the phone has accepted, whole
	remote    []byte // the phone's last one
	reached   []byte // its last one with addresses, where that is another one
	muted     Mute
	holding   holding
	parks     bool

	session *sessionState // nil: nobody has asked for a timer
	refer   referState
}

// callerState is the INVITE of a phone that called us.
type callerState struct {
	invite  []byte // what of it our responses are made of, as a message
	network string
	source  netip.AddrPort
	header  string // of our 200
	body    []byte
	trunk   string
	most    int // calls that the trunk may have at once
}

// sessionState is a session timer. Times are what is left.
type sessionState struct {
	interval time.Duration
	ours     bool
	due, end time.Duration
}

// referState is the subscription of a REFER.
type referState struct {
	open         bool
	refer, first uint32
	left, before int16
}

// errBadState is a state that no release of this program has made.
var errBadState = errors.New("a call's state cannot be read")

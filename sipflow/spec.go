package sipflow

import (
	"context"
	"net/netip"
	"time"

	"sipxrest/internal/digest"
)

// Key names a call: the agent that placed it and the two that it joins. The
// three parts are addresses of record without a scheme ("201@example.com"),
// aliases resolved. At most one call holds a key at a time.
type Key struct{ Agent, Calling, Called string }

func (k Key) String() string { return k.Agent + ":" + k.Calling + ":" + k.Called }

// Credentials are for SIP digest challenges (RFC 7616, RFC 8760).
type Credentials = digest.Credentials

// The ways to join two phones.
const (
	MethodRefer  = "REFER"  // the calling phone is referred to the other
	MethodInvite = "INVITE" // both are called and bridged
)

// Spec is what a client asks for.
type Spec struct {
	Key

	// ID names the call to its clients, and never goes on the wire. Place makes one
	// where it is empty and the switchboard has observers. An id is of one call.
	ID string
	// Conflict says what becomes of a call that holds the key.
	Conflict Conflict
	// Method is how the client wants the phones joined: MethodRefer or
	// MethodInvite. A call by INVITE is not replaced by another.
	Method string
	// NoFallback has a phone that refuses REFER end the call, whatever Config.Fallback
	// says.
	NoFallback bool
	// AgentName is the display name in From; empty for none.
	AgentName string
	// CallingUser, CalledUser are user@host as the client wrote them, escaped
	// for a SIP URI: this is what goes on the wire.
	CallingUser, CalledUser string
	// Subject goes into the Subject header field of the first INVITE (RFC 3261 §20.36).
	Subject string
	// ConfPIN is handed to a conference bridge as X-ConfPin.
	ConfPIN string
	// ForwardingAllowed lets the proxy follow the calling user's forwarding.
	ForwardingAllowed bool
	// AutoAnswer asks the calling phone to pick up by itself. It opens a
	// microphone: let a client set it only for a phone of its own. With
	// ForwardingAllowed it is not asked, for the proxy may have another one ring.
	AutoAnswer AutoAnswer
	// Trusted says that whoever asks for the call may name any agent, so that
	// the limits of one agent do not hold.
	Trusted bool
	// Admitted says that Config.Overload has been asked already whether there is room
	// for the call.
	Admitted bool
	// LogsEnd says that Observe logs the call's end, by Event.End: the switchboard
	// does not.
	LogsEnd bool
	// Timeout is how long the calling phone is alerted. 0 means no limit but
	// Config.MaxRing.
	Timeout time.Duration
	// MaxTalk is how long the parties may be joined; the call then ends with
	// ErrTimeLimit. 0: no limit.
	MaxTalk time.Duration
	// Ready, when set, is waited for by the call's goroutine after Placed was told and
	// before the first SIP message. Its error ends the call: nobody is called, and
	// Place returns it. Its context ends with the call.
	Ready func(ctx context.Context) error
	// Credentials are the agent's SIP secret.
	Credentials Credentials
	// Policy names a dial policy in place of the agent's, for Config.Allow; empty:
	// the agent's.
	Policy string
	// Dial is for calls by Dial, and by Invite with Dialling.Last; nil for others.
	Dial *Dialling
	// Converse is for calls by Converse only; nil for others. Beside it Dial says
	// which number is called, and Dial.Target is of no use.
	Converse *Conversation
	// Peer is the address from which the call is asked for, for the log.
	Peer netip.Addr
	// Kept is what else is kept with the call's state; nil: nothing is.
	Kept *Kept
	// Observe, when set, is told what happens to this call, in wire order,
	// before the switchboard's own observers. It must return at once, and may
	// not keep the event.
	Observe func(*Event)
}

// Kept is what who places a call wants kept with its state. The switchboard does not
// look at it.
type Kept struct {
	// Door names who has placed the call, so that who takes it over knows whose the
	// record is: "callcontroller".
	Door string
	// Record appends what is to be known of the call elsewhere, and after its end. It is
	// called from any goroutine and must return at once.
	Record func(dst []byte) []byte
	// Time is for how long that is read after the call's end. Default:
	// Config.KeepRecords.
	Time time.Duration
}

// Conflict is what becomes of a call that holds the key of a new one.
type Conflict uint8

const (
	// ConflictReplace hangs it up, unless both are by INVITE: then Place returns an
	// *InProgressError.
	ConflictReplace Conflict = iota
	// ConflictReject leaves it alone. Place returns an *InProgressError.
	ConflictReject
	// ConflictReplaceAny hangs it up, whatever the two are.
	ConflictReplaceAny
)

// A Flow runs one call from its first INVITE to its last BYE, in the call's
// own goroutine. It returns nil when the parties were connected.
type Flow func(ctx context.Context, c *Call) error

// Dialling is what a call by Dial needs beyond its Spec. The Spec's Method is
// MethodInvite, and its CallingUser and CalledUser tell the log whom the call
// joins. Its Key is the caller's to choose: a part without '@' is that of no
// call of two users, and a key that is held already gives ErrInProgress.
type Dialling struct {
	// Gateway is the SIP URI of the way to the telephone network, without a
	// user: sip:gw.example;transport=tls. INVITEs for Number go there, whatever
	// Config.OutboundProxies says.
	Gateway string
	// GatewayDomain is the host of our From there. Default: the host of Gateway.
	GatewayDomain string
	// Credentials are for the gateway's challenges and nobody else's, for Realm
	// when that is set.
	Credentials Credentials
	Realm       string
	// Number is the called number, "+4930123456".
	Number string
	// Caller is the number that the phone is shown.
	Caller string
	// Anonymous hides it (RFC 3323); the gateway is told it all the same (RFC
	// 3325 §9.1).
	Anonymous bool
	// Target is the SIP URI that the phone is joined with when it has answered.
	// Challenges there get Spec.Credentials, as those of any call.
	Target string
	// Chosen says that a client chose Target: without an outbound proxy it must
	// not lead to services of this machine then.
	Chosen bool
	// TargetTime is how long that may ring. Default 30 s.
	TargetTime time.Duration
	// Last says that Number is the called party of a call by Invite: the phone of
	// Spec.CallingUser rings first, and Target is of no use.
	Last bool
}

// Destination is the target that the caller of an inbound call is connected to.
type Destination struct {
	// URI is a SIP URI, or a tel URI where there is an outbound proxy. The
	// INVITE goes there as all others do: through Config.OutboundProxies, or by
	// RFC 3263.
	URI string
	// DisplayName goes into the To header field.
	DisplayName string
	// RingTime is how long the target may ring. Default 30 s.
	RingTime time.Duration
	// Header are further lines of the INVITE, "Name: value".
	Header []string
	// Credentials are for challenges of Realm (default Config.Realm): by the outbound
	// proxies, by the servers of the domain of that name, and where the target is
	// Trusted by those that the URI leads to.
	Credentials Credentials
	Realm       string
	// Check, when it is set, is a target that Config.Allow is asked about.
	Check string
	// Trusted says that the configuration names the target, which may then be a
	// service that only this machine reaches.
	Trusted bool
	// Gateway, when it is set, is the SIP URI of a way to the telephone network. The
	// INVITE goes there, and not by the outbound proxies, and it gets the Credentials:
	// for Realm, or where that is empty for any.
	Gateway string
}

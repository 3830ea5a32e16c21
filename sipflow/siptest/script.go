package siptest

import (
	"net/netip"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Account is the identity of a phone.
type Account struct {
	Name     string         // in the ladder and the log; User if empty
	User     string         // user part of its address of record
	Domain   string         // host part of its address of record; its own IP if empty
	Password string         // for the challenges that it gets
	Proxy    netip.AddrPort // where its own calls go; invalid: to the host of the URI
}

// Script is what a phone does. The zero Script is a good phone: it rings and
// answers at once, with SDP. It accepts a REFER and reports 100, 180 and 200,
// and responds to every other request with 200. Times count from the request
// that is responded to, unless it says otherwise.
type Script struct {
	// Answering an INVITE that starts a call.

	Ring        time.Duration // from 180 to the final response
	Trying      bool          // sends 100 first
	Ringing     int           // the provisional response, 180 if 0, none if negative
	EarlyMedia  bool          // the provisional response carries SDP
	Early       []Early       // provisional responses after that one
	Silent      bool          // does not respond to INVITE at all
	NeverAnswer bool          // rings until it is cancelled
	Status      int           // final response in place of 200
	RefuseOffer bool          // 488, as soon as it rings, to an INVITE with an offer
	NeedOffer   bool          // likewise to one without
	RedirectTo  string        // Contact of a 3xx, "<sip:203@sipx.test>"

	IgnoreCancel   bool // neither responds to CANCEL nor stops ringing
	AnswerOnCancel bool // its 200 crosses the CANCEL

	Challenge   Challenge
	RecordRoute []string // Record-Route values, as if proxies had put them in
	Contact     string   // whole Contact value of 1xx and 2xx; "" for the usual one
	NoContact   bool     // 1xx and 2xx without Contact
	NoToTag     bool     // 2xx without To-tag
	SDP         string   // body of 1xx and 2xx; "" for the usual one
	NoSDP       bool     // 2xx without body
	Allow       string   // what its 2xx says that it takes; "" for all
	Header      []sip.Header

	EarlyForks int // further 180s, each with a To-tag of its own
	Forks      int // further 200s, each with a To-tag of its own

	LoseACKs       int           // so many ACKs are taken for lost
	RepeatAfterACK time.Duration // goes on repeating its 200 for this time after the ACK

	// In the call.

	Media       Media // what its audio can do, where not the usual
	Exacting    bool  // hangs up when a description has a dynamic payload type without rtpmap, as pjproject does
	Reinvite    Reinvite
	Refer       Refer
	Bye         Bye
	Answers     map[sip.RequestMethod]int // final responses to other methods, 200 if absent, none if negative
	HangUpAfter time.Duration             // BYE by the phone, this long after the ACK; 0: does not hang up
	HangUp      Action                    // what that BYE carries; Method and After are ignored
	Do          []Action                  // requests by the phone, timed from the ACK
}

// Early is a provisional response to an INVITE that starts a call.
type Early struct {
	After    time.Duration // from the INVITE
	Status   int           // 183 if 0
	Reliable bool          // repeated until its PRACK comes, for which the 200 waits (RFC 3262 §3)
	SDP      bool          // it describes the session
	Do       []Action      // requests by the phone in the early dialog, timed from the response
}

// Challenge makes a phone ask for credentials (RFC 3261 §22), as a proxy in
// front of it would.
type Challenge struct {
	Methods    []sip.RequestMethod // none if empty
	Status     int                 // 401 or 407; 407 if 0
	Realm      string
	Algorithms []string // one challenge each in this order; MD5 if empty
	NoQOP      bool     // RFC 2069
	StaleOnce  bool     // refuses the first correct response of each call with stale=true
	Always     bool     // refuses every response
	Extra      []string // further challenge values, put first
	User       string   // who may pass; Account.User if empty
	Password   string   // Account.Password if empty
}

// Reinvite is how a phone responds to an INVITE or UPDATE within a call. A
// re-INVITE while its own is pending gets 491 (RFC 3261 §14.2).
type Reinvite struct {
	After  time.Duration
	Status int // 200 if 0
	NoSDP  bool
	SDP    string // "" for the usual body
	Silent bool   // never responds
	Header []sip.Header
}

// Refer is how a phone responds to REFER (RFC 3515).
type Refer struct {
	Status    int      // 202 if 0
	Silent    bool     // neither responds nor reports
	NoNotify  bool     // accepts and never reports
	NotReady  Unready  // accepts what comes too early, and reports that it failed
	Early     bool     // the first NOTIFY goes before the response
	Notify    []Notify // reports; nil for 100 at once, 180 after 1 s, 200 after 3 s
	Overtaken bool     // its BYE comes before the last report, which has the lower CSeq
	Follow    bool     // really calls the Refer-To URI through Account.Proxy and reports what comes
}

// Unready is how a PBX fails a REFER that comes before it has joined its two
// sides.
type Unready struct {
	For  time.Duration // from the ACK
	Line string        // of its only report, "SIP/2.0 400 Bad Request"
}

// Notify is one report about a referred call.
type Notify struct {
	After       time.Duration // from the response to the REFER
	Line        string        // sipfrag status line, "SIP/2.0 180 Ringing"
	State       string        // Subscription-State; "active;expires=60" if empty, no such header field if "-"
	Body        string        // in place of Line and its line end
	ContentType string        // "message/sipfrag;version=2.0" if empty
}

// Bye is how a phone responds to BYE. Whatever the response, the call is over
// for it unless it is Silent.
type Bye struct {
	Status int // 200 if 0
	Silent bool
}

// Action is a request that a phone sends within a call.
type Action struct {
	After       time.Duration // from the ACK
	Method      sip.RequestMethod
	Body        string // re-INVITE and UPDATE: the usual SDP if empty
	ContentType string // application/sdp for the usual SDP
	NoBody      bool   // an INVITE or UPDATE without one
	Header      []sip.Header
	LeaveOut    bool // it leaves a CSeq number out, that of a request which it overtakes
	Overtaken   bool // that request: it has the number that was left out
}

func (c Challenge) wants(m sip.RequestMethod) bool {
	for _, w := range c.Methods {
		if w == m {
			return true
		}
	}
	return false
}

func orDefault(code, or int) int {
	if code == 0 {
		return or
	}
	return code
}

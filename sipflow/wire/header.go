package wire

// Header is a header field that this package knows by name.
type Header uint8

// The header fields that sipflow looks at.
const (
	Other Header = iota
	Via
	From
	To
	CallID
	CSeq
	Contact
	MaxForwards
	Route
	RecordRoute
	ContentLength
	ContentType
	Event
	SubscriptionState
	Expires
	Allow
	Supported
	Require
	Unsupported
	UserAgent
	Server
	Subject
	Reason
	ReferTo
	ReferredBy
	ReferSub
	Replaces
	RetryAfter
	RSeq
	RAck
	SessionExpires
	MinSE
	WWWAuthenticate
	ProxyAuthenticate
	Authorization
	ProxyAuthorization
	Warning
	numHeaders
)

var names = [numHeaders]string{
	Other: "", Via: "Via", From: "From", To: "To", CallID: "Call-ID", CSeq: "CSeq", Contact: "Contact",
	MaxForwards: "Max-Forwards", Route: "Route", RecordRoute: "Record-Route", ContentLength: "Content-Length",
	ContentType: "Content-Type", Event: "Event", SubscriptionState: "Subscription-State", Expires: "Expires",
	Allow: "Allow", Supported: "Supported", Require: "Require", Unsupported: "Unsupported", UserAgent: "User-Agent",
	Server: "Server", Subject: "Subject", Reason: "Reason", ReferTo: "Refer-To", ReferredBy: "Referred-By",
	ReferSub: "Refer-Sub", Replaces: "Replaces", RetryAfter: "Retry-After", RSeq: "RSeq", RAck: "RAck",
	SessionExpires: "Session-Expires", MinSE: "Min-SE", WWWAuthenticate: "WWW-Authenticate",
	ProxyAuthenticate: "Proxy-Authenticate", Authorization: "Authorization", ProxyAuthorization: "Proxy-Authorization",
	Warning: "Warning",
}

// String is the field's name in its long form.
func (h Header) String() string { return names[h] }

// compact forms: RFC 3261 §20 and the registry of SIP header fields.
var compact = [26]Header{
	'v' - 'a': Via, 'f' - 'a': From, 't' - 'a': To, 'i' - 'a': CallID, 'm' - 'a': Contact, 'l' - 'a': ContentLength,
	'c' - 'a': ContentType, 'o' - 'a': Event, 'k' - 'a': Supported, 's' - 'a': Subject, 'r' - 'a': ReferTo,
	'b' - 'a': ReferredBy, 'x' - 'a': SessionExpires,
}

// known finds the fields of one length and first letter: two at most.
var known = func() (t [32][32][2]Header) {
	for h := Via; h < numHeaders; h++ {
		to := &t[len(names[h])][names[h][0]&0x1f]
		if to[0] == Other {
			to[0] = h
		} else if to[1] == Other {
			to[1] = h
		} else {
			panic("a third field like " + names[h])
		}
	}
	return t
}()

func lookup(name []byte) Header {
	c := name[0] & 0x1f
	if name[0] < 'A' || len(name) >= len(known) {
		return Other
	}
	if len(name) == 1 {
		if c < 1 || c > 26 {
			return Other
		}
		return compact[c-1]
	}
	may := &known[len(name)][c]
	switch {
	case string(name) == names[may[0]]: // as nearly everybody writes it
		return may[0]
	case string(name) == names[may[1]]:
		return may[1]
	case equalFold(name, names[may[0]]):
		return may[0]
	case equalFold(name, names[may[1]]):
		return may[1]
	}
	return Other
}

// equalFold compares ASCII without regard to case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		x, y := b[i], s[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

var methods = [...]string{"INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "NOTIFY", "REFER", "INFO", "MESSAGE", "UPDATE",
	"PRACK", "SUBSCRIBE", "REGISTER", "PUBLISH"}

// methodName is a method as a string, without allocating the usual ones; ok is
// false for what is no token. Methods are case-sensitive (RFC 3261 §7.1).
func methodName(b []byte) (name string, ok bool) {
	switch string(b) {
	case "INVITE":
		return "INVITE", true
	case "ACK":
		return "ACK", true
	case "BYE":
		return "BYE", true
	case "NOTIFY":
		return "NOTIFY", true
	case "REFER":
		return "REFER", true
	}
	for _, s := range methods {
		if string(b) == s {
			return s, true
		}
	}
	return string(b), isToken(b)
}

// KnownMethod reports whether the method is one of the registered ones, which
// are refused with 405 rather than 501.
func KnownMethod(m string) bool {
	for _, s := range methods {
		if m == s {
			return true
		}
	}
	return false
}

func isToken(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for _, c := range b {
		if !tokenChar[c] {
			return false
		}
	}
	return true
}

// tokenChar holds the characters of a token (RFC 3261 §25.1).
var tokenChar = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~") {
		t[c] = true
	}
	return t
}()

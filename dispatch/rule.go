package dispatch

import (
	"strconv"

	"sipxrest/internal/webhook"
	"sipxrest/sipflow"
)

// A Rule says who decides on a call, as it is written: either a webhook (URL)
// or the rule itself (Static).
type Rule struct {
	ID, Name string
	// File and Line are where it is written.
	File string
	Line int

	// The calls that it is for. An empty list is any; all three must match.
	Trunks         []string // names of Config.Trunks
	Numbers        []string // called
	InboundNumbers []string // calling
	// DefaultRegion is the ISO 3166 country, "DE", of numbers without a country
	// code. Empty: Config.Region.
	DefaultRegion string

	// Static decides without a webhook; nil if there is one.
	Static *Decision
	Webhook

	// Fallback is what becomes of the call when the webhook fails.
	Fallback Decision
	// Redirect has a transfer refused with 302 (Moved Temporarily). Its Contact is
	// the target, which the server in front of us then calls.
	Redirect bool
	// Events are those that the webhook is told of.
	Events Events
	// Decide are those that it is asked about: its response says how the call goes
	// on.
	Decide Events
	// CheckPIN leaves it to the webhook whether a PIN is right.
	CheckPIN bool
	// Policy is whom transfers may call, and whom a caller may have them refer to.
	// Empty: everybody's.
	Policy string
	// Backend is the address of the Nextcloud that targets in Talk are of, and Language
	// is in what language its callers are spoken to. Empty: the only one of dialout.servers,
	// that of dialin.
	Backend, Language string
}

// Where is the place of the rule, "rules.yaml:3".
func (r *Rule) Where() string { return r.File + ":" + strconv.Itoa(r.Line) }

// Webhook is the one of a rule.
type Webhook struct {
	URL       string
	EventsURL string // where events go; empty: URL
	// SIPHeaders are those of the INVITE that it is told, in canonical form.
	SIPHeaders []string
	ProjectID  string
	webhook.Endpoint
}

// Events is a set of what can happen to a call.
type Events uint8

// The events.
const (
	Answered       Events = 1 << iota // the caller is joined with the room or the target
	Ended                             // the call is over
	TransferFailed                    // the target of a transfer could not be reached, or refused
	TargetFailed                      // a room could not be reached, or refused
)

var eventNames = []string{"answered", "ended", "transfer_failed", "target_failed"}

// names lists the events of a set.
func (e Events) names() (list []string) {
	for i, name := range eventNames {
		if e&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// A Trunk is somebody who may send calls. It is known by the address that the
// INVITE comes from, by a digest user, or both. A From host proves nothing by
// itself, so it only tells trunks at the same address apart.
type Trunk struct {
	Name string
	// Sources are networks, addresses and the word "domain": the domain's SIP
	// proxies.
	Sources   []string
	FromHosts []string
	// Username is a digest user that the INVITE must prove to be from.
	Username string
	// Credentials prove Username. None: those of the user of that name.
	Credentials sipflow.Credentials
	// MaxCalls is how many calls may come in by it at once. 0: as many as may of
	// all.
	MaxCalls int
}

package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sipxrest/order"
	"sipxrest/restauth"
	"sipxrest/sipflow"
)

// The flows that a client may ask for.
const (
	flowAuto      = "auto" // Config.DefaultFlow
	flowInvite    = "invite"
	flowRefer     = "refer"
	flowReferOnly = "refer_only" // refer without a fallback
)

// What a client may want when its agent has a call of these parties already.
const (
	conflictReject  = "reject"
	conflictReplace = "replace"
	conflictReturn  = "return"
)

// Bounds of the members of a create.
const (
	minTimeout  = time.Second
	maxTimeout  = time.Hour
	minDuration = time.Second
	maxDuration = 24 * time.Hour
	maxSubject  = 200 // characters, as the next
	maxConfPIN  = 64
	maxNumber   = 40
	maxTags     = 16
	maxTagKey   = 64
	maxTagValue = 256
	maxMetadata = 4 << 10 // bytes
)

// anonymousWord hides who calls.
const anonymousWord = "anonymous"

// createBody is the body of a create, as it is sent.
type createBody struct {
	Calling           json.RawMessage `json:"calling"`
	Called            json.RawMessage `json:"called"`
	Agent             *string         `json:"agent"`
	Flow              *string         `json:"flow"`
	AutoAnswer        *bool           `json:"auto_answer"`
	TimeoutMS         *int64          `json:"timeout_ms"`
	Subject           *string         `json:"subject"`
	ConfPIN           *string         `json:"conf_pin"`
	ForwardingAllowed *bool           `json:"forwarding_allowed"`
	Caller            json.RawMessage `json:"caller"`
	OnConflict        *string         `json:"on_conflict"`
	MaxDurationMS     *int64          `json:"max_duration_ms"`
	Tags              json.RawMessage `json:"tags"`
	Metadata          json.RawMessage `json:"metadata"`
	Webhook           json.RawMessage `json:"webhook"`
}

// postBody is that of POST /v1/calls, in which the client may name the call.
type postBody struct {
	createBody
	ID *string `json:"id"`
}

// checkBody is that of POST /v1/check.
type checkBody struct {
	postBody
	Probe *bool `json:"probe"`
}

// numberBody is a telephone number.
type numberBody struct {
	Number *string `json:"number"`
}

// A create is what a client asks for.
type create struct {
	id              string // of the client's choice; "" for none
	calling, called party
	agent           string // as given; "" for none
	flow            string // as asked for
	used            string // flowInvite or flowRefer
	autoAnswer      bool
	timeout         time.Duration
	subject         string
	confPIN         string
	forwarding      bool
	caller          string // number to be shown; "" for the usual one
	anonymous       bool
	conflict        string
	maxDuration     time.Duration // 0: none
	tags            map[string]string
	metadata        json.RawMessage
	webhook         json.RawMessage // nil: none
	probe           bool            // of a check
}

// A party is one of the two that a call joins.
type party struct {
	order.Party
	number string // in its international form; "" for a user
}

// String is the party as people know it.
func (p party) String() string { return cmpOr(p.number, p.User) }

// dialsOut reports whether one of the parties is a telephone number.
func (c *create) dialsOut() bool { return c.calling.number != "" || c.called.number != "" }

// idPattern is the id of a call that a client has made. Ours begin with "call_".
var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)

// idRule says what an id must be.
const idRule = `16 to 64 of A-Z, a-z, 0-9, "_" and "-", not beginning with call_`

func validID(id string) bool { return idPattern.MatchString(id) && !strings.HasPrefix(id, "call_") }

// readCreate reads the body of a create into its kind, a pointer to postBody or
// checkBody or createBody, and notes all that is wrong with it.
func (a *API) readCreate(raw []byte, into any) (*create, *Problem) {
	var d decoding
	d.value(raw, reflect.ValueOf(into).Elem(), "")
	c := &create{}
	b, _ := into.(*createBody)
	switch into := into.(type) {
	case *postBody:
		b, c.id = &into.createBody, d.text("/id", into.ID, maxTagKey)
	case *checkBody:
		b, c.id = &into.createBody, d.text("/id", into.ID, maxTagKey)
		c.probe = into.Probe != nil && *into.Probe
	}
	if c.id != "" && !validID(c.id) {
		d.fault("/id", memberInvalid, idRule)
	}
	a.complete(&d, b, c)
	if len(d.wrong) > 0 {
		return nil, invalid(d.wrong...)
	}
	return c, nil
}

// complete reads the members that all creates have.
func (a *API) complete(d *decoding, b *createBody, c *create) {
	c.calling = a.readParty(d, "/calling", b.Calling)
	c.called = a.readParty(d, "/called", b.Called)
	if c.calling.number != "" && c.called.number != "" {
		d.fault("/called", memberInvalid, "one of the two may be a number of the telephone network; the other one is a user or SIP URI")
	}
	c.agent = order.WithoutScheme(d.text("/agent", b.Agent, order.MaxUser))
	c.flow = d.word("/flow", b.Flow, flowAuto, flowInvite, flowRefer, flowReferOnly)
	c.timeout = d.millis("/timeout_ms", b.TimeoutMS, minTimeout, maxTimeout, a.cfg.Calls.Timeout)
	c.subject = d.text("/subject", b.Subject, maxSubject)
	c.confPIN = d.text("/conf_pin", b.ConfPIN, maxConfPIN)
	c.forwarding = b.ForwardingAllowed != nil && *b.ForwardingAllowed
	c.autoAnswer = b.AutoAnswer != nil && *b.AutoAnswer
	c.conflict = d.word("/on_conflict", b.OnConflict, conflictReject, conflictReplace, conflictReturn)
	c.maxDuration = d.millis("/max_duration_ms", b.MaxDurationMS, minDuration, maxDuration, 0)
	c.tags = d.tags("/tags", b.Tags)
	c.metadata = d.metadata("/metadata", b.Metadata)
	if given(b.Webhook) {
		c.webhook = b.Webhook
	}
	a.readCaller(d, b.Caller, c)
	a.chooseFlow(d, c)
	switch {
	case !c.autoAnswer:
	case a.cfg.Calls.AutoAnswer == sipflow.NoAutoAnswer:
		d.fault("/auto_answer", memberInvalid, "call.auto-answer is off")
	case c.forwarding: // whoever the agent's calls are forwarded to would be listened to
		d.fault("/auto_answer", memberInvalid, "does not go with forwarding_allowed: the phone that picks up could be another's")
	case c.calling.number != "":
		d.fault("/auto_answer", memberInvalid, "a telephone cannot be made to pick up by itself")
	}
}

// given reports whether a member is there and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

const partyRule = `a user, alias, number, user@host or SIP URI, or {"number":"+49…"} for the telephone network`

// readParty reads one of the two that are joined.
func (a *API) readParty(d *decoding, at string, raw json.RawMessage) (p party) {
	switch {
	case !given(raw):
		d.fault(at, memberMissing, partyRule)
	case raw[0] == '{':
		text, ok := d.number(at, raw)
		switch {
		case !ok:
		case a.cfg.Calls.Telephony == nil:
			d.fault(at, memberInvalid, "there is no way to the telephone network: dialout is not configured")
		default:
			var err error
			if p.number, err = a.cfg.Calls.Telephony.Number(text); err != nil {
				d.fault(at+"/number", memberInvalid, err.Error())
			}
		}
	case raw[0] == '"':
		var text string
		d.value(raw, reflect.ValueOf(&text).Elem(), at)
		ok := false
		if p.Party, ok = a.order.Party(restauth.TrimBlanks(text)); !ok {
			d.fault(at, memberInvalid, "want "+partyRule)
		}
	default:
		d.fault(at, memberWrongType, "want "+partyRule)
	}
	return p
}

// number reads {"number":"…"}.
func (d *decoding) number(at string, raw json.RawMessage) (text string, ok bool) {
	before := len(d.wrong)
	var n numberBody
	d.value(raw, reflect.ValueOf(&n).Elem(), at)
	if text = d.text(at+"/number", n.Number, maxNumber); text == "" && len(d.wrong) == before {
		d.fault(at+"/number", memberMissing, "such as +49301234567")
	}
	return text, len(d.wrong) == before
}

// readCaller reads what a telephone is shown of who calls.
func (a *API) readCaller(d *decoding, raw json.RawMessage, c *create) {
	const rule = `want "anonymous" or {"number":"+49…"}`
	var word string
	switch {
	case !given(raw):
	case !c.dialsOut():
		d.fault("/caller", memberInvalid, `is for calls to telephones only: {"number":"+49…"} in calling or called`)
	case raw[0] == '{':
		c.caller, _ = d.number("/caller", raw)
	case json.Unmarshal(raw, &word) != nil:
		d.fault("/caller", memberWrongType, rule)
	case word != anonymousWord:
		d.fault("/caller", memberInvalid, rule)
	default:
		c.anonymous = true
	}
}

// chooseFlow notes flows that cannot do what else is asked for.
func (a *API) chooseFlow(d *decoding, c *create) {
	c.used = flowInvite
	switch {
	case c.dialsOut():
		if c.flow == flowRefer || c.flow == flowReferOnly {
			d.fault("/flow", memberInvalid, "calls to telephones are joined by the service: auto or invite")
		}
	case c.flow == flowRefer, c.flow == flowReferOnly, c.flow == flowAuto && a.cfg.DefaultFlow == flowRefer:
		c.used = flowRefer
	}
	if c.maxDuration > 0 && c.used == flowRefer {
		d.fault("/max_duration_ms", memberInvalid, "goes with flow invite only: by REFER the phones are left to themselves")
	}
}

// faulted reports whether something is wrong with a member already.
func (d *decoding) faulted(at string) bool {
	return slices.ContainsFunc(d.wrong, func(f MemberFault) bool { return f.Pointer == at })
}

// text reads a text of at most so many characters without control characters; "" for
// none.
func (d *decoding) text(at string, given *string, most int) string {
	switch {
	case given == nil || d.faulted(at):
	case utf8.RuneCountInString(*given) > most:
		d.fault(at, memberOutOfRange, fmt.Sprintf("at most %d characters", most))
	case strings.ContainsFunc(*given, unicode.IsControl):
		d.fault(at, memberInvalid, "must not have control characters")
	default:
		return *given
	}
	return ""
}

// word reads one of some words, the first for none.
func (d *decoding) word(at string, given *string, words ...string) string {
	switch {
	case given == nil || d.faulted(at):
	case slices.Contains(words, *given):
		return *given
	default:
		d.fault(at, memberInvalid, "one of: "+strings.Join(words, ", "))
	}
	return words[0]
}

// millis reads a time in milliseconds.
func (d *decoding) millis(at string, given *int64, least, most, absent time.Duration) time.Duration {
	if given == nil || d.faulted(at) {
		return absent
	}
	if *given < least.Milliseconds() || *given > most.Milliseconds() {
		d.fault(at, memberOutOfRange, fmt.Sprintf("%d to %d", least.Milliseconds(), most.Milliseconds()))
		return absent
	}
	return time.Duration(*given) * time.Millisecond
}

// tags reads pairs of strings.
func (d *decoding) tags(at string, raw json.RawMessage) map[string]string {
	tags := map[string]string{}
	if !given(raw) {
		return tags
	}
	var pairs map[string]json.RawMessage
	if json.Unmarshal(raw, &pairs) != nil {
		d.fault(at, memberWrongType, "want an object of strings")
		return tags
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		where := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(key, maxTagKey))
		switch {
		case key == "":
			d.fault(where, memberInvalid, "a pair needs a name")
		case !utf8.ValidString(key) || d.text(where, &key, maxTagKey) == "":
		case pairs[key][0] != '"':
			d.fault(where, memberWrongType, "want a string")
		default:
			var value string
			_ = json.Unmarshal(pairs[key], &value) // it is a string
			tags[key] = d.text(where, &value, maxTagValue)
		}
	}
	if len(pairs) > maxTags {
		d.fault(at, memberOutOfRange, fmt.Sprintf("at most %d pairs", maxTags))
	}
	return tags
}

// metadata reads JSON of any form and some size; an empty object for none.
func (d *decoding) metadata(at string, raw json.RawMessage) json.RawMessage {
	if !given(raw) {
		return json.RawMessage("{}")
	}
	short, err := canonical(raw)
	if err != nil || len(short) > maxMetadata {
		d.fault(at, memberOutOfRange, fmt.Sprintf("at most %d bytes", maxMetadata))
	}
	return short
}

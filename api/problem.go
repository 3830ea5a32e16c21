package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sipxrest/event"
)

// Code names an error for programs. It never changes; detail is for people.
type Code string

// A Fault is one row of the table of errors.
type Fault struct {
	Code   Code
	Status int
	// Sentence is what detail begins with, as fmt takes it.
	Sentence string
	// Sample are arguments of Sentence, for documents and tests.
	Sample []any
}

// Title is the code in words.
func (f *Fault) Title() string {
	words := strings.Split(string(f.Code), "_")
	for i, word := range words {
		if short, ok := abbreviations[word]; ok {
			words[i] = short
		}
	}
	text := strings.Join(words, " ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// abbreviations are words of codes that have capital letters.
var abbreviations = map[string]string{"json": "JSON", "url": "URL", "id": "ID", "tls": "TLS", "pins": "PINs", "cdr": "CDR"}

// The codes.
const (
	InvalidJSON           Code = "invalid_json"
	InvalidRequest        Code = "invalid_request"
	UnknownParameter      Code = "unknown_parameter"
	InvalidCursor         Code = "invalid_cursor"
	Unauthenticated       Code = "unauthenticated"
	WrongAgent            Code = "wrong_agent"
	AgentRequired         Code = "agent_required"
	MissingScope          Code = "missing_scope"
	NotTrusted            Code = "not_trusted"
	TLSRequired           Code = "tls_required"
	PolicyDenied          Code = "policy_denied"
	AutoAnswerNotOwn      Code = "auto_answer_not_own"
	CallerIDNotAllowed    Code = "caller_id_not_allowed"
	OriginNotAllowed      Code = "origin_not_allowed"
	NotYourLeg            Code = "not_your_leg"
	NotFound              Code = "not_found"
	CallNotFound          Code = "call_not_found"
	TransferNotFound      Code = "transfer_not_found"
	WebhookNotFound       Code = "webhook_not_found"
	UserNotFound          Code = "user_not_found"
	CDRNotFound           Code = "cdr_not_found"
	NotTraced             Code = "not_traced"
	MethodNotAllowed      Code = "method_not_allowed"
	NotAcceptable         Code = "not_acceptable"
	CallInProgress        Code = "call_in_progress"
	IDInUse               Code = "id_in_use"
	IdempotencyInProgress Code = "idempotency_in_progress"
	NotConnected          Code = "not_connected"
	AlreadyAnswered       Code = "already_answered"
	CallEnded             Code = "call_ended"
	NotInControl          Code = "not_in_control"
	ActionUnsupported     Code = "action_unsupported"
	PhoneRefused          Code = "phone_refused"
	TransferInProgress    Code = "transfer_in_progress"
	TransferOver          Code = "transfer_over"
	ReadOnly              Code = "read_only"
	TooManySecrets        Code = "too_many_secrets"
	CursorExpired         Code = "cursor_expired"
	ChangedMeanwhile      Code = "changed_meanwhile"
	BodyTooLarge          Code = "body_too_large"
	UnsupportedMediaType  Code = "unsupported_media_type"
	WrongHost             Code = "wrong_host"
	UnknownUser           Code = "unknown_user"
	IdempotencyMismatch   Code = "idempotency_mismatch"
	WebhookURLRefused     Code = "webhook_url_refused"
	TooManyCallsOfUser    Code = "too_many_calls_of_user"
	RateLimited           Code = "rate_limited"
	TooManyStreams        Code = "too_many_streams"
	TooManyWebhooks       Code = "too_many_webhooks"
	TooManyWrongPINs      Code = "too_many_wrong_pins"
	HeaderTooLarge        Code = "header_too_large"
	InternalError         Code = "internal_error"
	UnreachableCode       Code = "unreachable"
	TooManyCalls          Code = "too_many_calls"
	Draining              Code = "draining"
	Overloaded            Code = "overloaded"
	StoreUnavailable      Code = "store_unavailable"
	NodeUnavailable       Code = "node_unavailable"
	ClusterUnavailable    Code = "cluster_unavailable"
	PhoneTimeout          Code = "phone_timeout"
)

// faults is the table of errors: no other is ever told.
var faults = []Fault{
	{InvalidJSON, 400, "The body is not JSON: %s.", []any{"at byte 12 a comma or } was expected"}},
	{InvalidRequest, 400, "%s wrong; see errors.", []any{"2 members are"}},
	{UnknownParameter, 400, "There is no parameter %s. There are: %s.", []any{"stat", "state, kind, limit"}},
	{InvalidCursor, 400, "This cursor was not given out here; begin without one.", nil},
	{Unauthenticated, 401, "Give the agent's PIN (%s) or an API key (%s).", []any{"Digest or Basic", "Authorization: Bearer sxk_…"}},
	{WrongAgent, 403, "%s may not act for %s.", []any{"201", "202"}},
	{AgentRequired, 403, "Say for which user this is: add agent=USER to the query, or \"agent\": \"USER\" to the body.", nil},
	{MissingScope, 403, "%s lacks the scope %s.", []any{"The key crm", "calls:write"}},
	{NotTrusted, 403, "This listener serves trusted peers only; your address is none.", nil},
	{TLSRequired, 403, "API keys and tokens are taken over TLS only%s.", []any{", port 6666"}},
	{PolicyDenied, 403, "%s.", []any{"0900 12345 is a premium number, which no-premium denies to 201"}},
	{AutoAnswerNotOwn, 403, "Only the agent's own phone may be made to pick up by itself.", nil},
	{CallerIDNotAllowed, 403, "%s is not a number of this gateway.", []any{"+4930123"}},
	{OriginNotAllowed, 403, "Pages of %s are not in allowed-origins.", []any{"https://portal.example"}},
	{NotYourLeg, 403, "You are a party of this call, not its agent: you may hang up your own leg only.", nil},
	{NotFound, 404, "There is nothing at this path; see /v1/openapi.yaml.", nil},
	{CallNotFound, 404, "There is no such call, it is older than %s, or it is not yours. Ended calls are in /v1/cdrs.", []any{"72 h"}},
	{TransferNotFound, 404, "There is no such transfer of this call.", nil},
	{WebhookNotFound, 404, "There is no such webhook.", nil},
	{UserNotFound, 404, "There is no such user, or you may not see him.", nil},
	{CDRNotFound, 404, "There is no such record, or it is not yours.", nil},
	{NotTraced, 404, "No SIP messages of this call are kept: trace.messages is %s, and they are in memory only.", []any{"off"}},
	{MethodNotAllowed, 405, "Allow names what is possible here: %s.", []any{"GET, HEAD"}},
	{NotAcceptable, 406, "This is to be had as: %s.", []any{"application/json"}},
	{CallInProgress, 409, "%s is already calling %s (%s). End it, or send on_conflict \"replace\" or \"return\".", []any{"201", "202", "call_01KBA8M3YQ7V0T4N2ZJ6"}},
	{IDInUse, 409, "This id names another call. Ids are for one call each; choose a new one.", nil},
	{IdempotencyInProgress, 409, "The first request with this key is still at work; ask again in a second.", nil},
	{NotConnected, 409, "The parties are not connected yet (state %s).", []any{"connecting"}},
	{AlreadyAnswered, 409, "The phone has answered; it cannot be redirected, only transferred.", nil},
	{CallEnded, 409, "The call ended at %s: %s", []any{"2026-11-30T12:00:04.000Z", "202 is busy."}},
	{NotInControl, 409, "The phones have been left to themselves at %s (REFER): only they can do this. Use flow invite for calls that are to be controlled.",
		[]any{"2026-11-30T12:00:04.000Z"}},
	{ActionUnsupported, 409, "%s; see the call's actions.", []any{"websocket calls cannot be held"}},
	{PhoneRefused, 409, "The phone of %s refused: %s. The call is as it was.", []any{"201", "488 Not Acceptable Here"}},
	{TransferInProgress, 409, "Another transfer of this call is at work: %s.", []any{"t1"}},
	{TransferOver, 409, "This transfer is over: %s.", []any{"completed"}},
	{ReadOnly, 409, "This webhook is in the configuration file; change it there.", nil},
	{TooManySecrets, 409, "The webhook has %d secrets that sign, the limit; retire one first.", []any{3}},
	{CursorExpired, 410, "Events before %s (%s) are gone. Read /v1/calls?updated_after=…, then begin at %s.",
		[]any{"evt_k7q2mz_3_1842", "2026-11-30T12:00:00.000Z", "evt_k7q2mz_3_1842"}},
	{ChangedMeanwhile, 412, "The call is at version %d, you said %s; read it again.", []any{9, "7"}},
	{BodyTooLarge, 413, "At most 65,536 bytes.", nil},
	{UnsupportedMediaType, 415, "Send the header Content-Type: %s; this request has %s.", []any{"application/json", "application/x-www-form-urlencoded"}},
	{WrongHost, 421, "This name is not in http-names.", nil},
	{UnknownUser, 422, "The domain has no user %s.", []any{"299"}},
	{IdempotencyMismatch, 422, "This key was used with another body for %s. Use a new key for a new call.", []any{"call_01KBA8M3YQ7V0T4N2ZJ6"}},
	{WebhookURLRefused, 422, "%s.", []any{"https://10.0.0.5/ is a private address; add its network to events.allow-private"}},
	{TooManyCallsOfUser, 429, "%s has %d calls, the limit of one user. Nobody was called.", []any{"201", 100}},
	{RateLimited, 429, "More than %d %s a second. Retry-After says when. Nobody was called.", []any{50, "requests"}},
	{TooManyStreams, 429, "You have %d streams; close one.", []any{32}},
	{TooManyWebhooks, 429, "There are %d webhooks, the limit; delete one.", []any{100}},
	{TooManyWrongPINs, 429, "Too many wrong PINs or keys from this address. Retry-After says when. Nobody was called.", nil},
	{HeaderTooLarge, 431, "At most 16 KiB.", nil},
	{InternalError, 500, "Our fault; the log has it under request_id.", nil},
	{UnreachableCode, 502, "No SIP server took the call: %s.", []any{"udp:192.0.2.10:5060 did not answer within 2 s"}},
	{TooManyCalls, 503, "The service has %d calls, its limit. Nobody was called.", []any{20000}},
	{Draining, 503, "The service is shutting down; ask another one. Nobody was called.", nil},
	{Overloaded, 503, "The service has too many %s. Nobody was called.", []any{"streams"}},
	{StoreUnavailable, 503, "The service cannot write events.db: %s. Nobody was called.", []any{"disk full"}},
	{NodeUnavailable, 503, "The node that has the call does not answer; another one takes the call over within seconds. Ask again then.", nil},
	{ClusterUnavailable, 503, "This node does not reach the store of its cluster. Ask again, or ask another node. Nobody was called.", nil},
	{PhoneTimeout, 504, "The phone has not answered within 10 s. If it does, an event tells.", nil},
}

var faultOf = func() map[Code]*Fault {
	m := make(map[Code]*Fault, len(faults))
	for i := range faults {
		m[faults[i].Code] = &faults[i]
	}
	return m
}()

// Faults are all errors that there are.
func Faults() []Fault { return append([]Fault(nil), faults...) }

// Whether a phone was called, of a Problem.
const (
	DialledNo      = "no" // nobody rang: it is safe to repeat
	DialledYes     = "yes"
	DialledUnknown = "unknown"
)

// problemType is what members "type" begin with.
const problemType = "https://sipxrest.org/errors/"

// A Problem is an error as clients get it (RFC 9457).
type Problem struct {
	Type         string        `json:"type"`
	Title        string        `json:"title"`
	Status       int           `json:"status"`
	Code         Code          `json:"code"`
	Detail       string        `json:"detail"`
	Instance     string        `json:"instance,omitempty"` // the path
	RequestID    string        `json:"request_id"`
	Dialled      string        `json:"dialled"`
	RetryAfterMS *int64        `json:"retry_after_ms"`
	Errors       []MemberFault `json:"errors"`

	// What single codes have beside.
	Existing  string        `json:"existing,omitempty"`  // call_in_progress: that call
	CallID    string        `json:"call_id,omitempty"`   // the call that it is about
	Sent      *int          `json:"sent,omitempty"`      // digits that went through
	SIP       *event.Status `json:"sip,omitempty"`       // what a phone or server said
	End       *event.End    `json:"end,omitempty"`       // call_ended
	Oldest    string        `json:"oldest,omitempty"`    // cursor_expired: where to begin
	Reason    string        `json:"reason,omitempty"`    // cursor_expired: "expired", "other_store"
	Supported []string      `json:"supported,omitempty"` // not_acceptable, unknown_parameter, missing_scope

	header http.Header
}

// A MemberFault says what is wrong with a member of the body, or a parameter.
type MemberFault struct {
	Pointer   string `json:"pointer,omitempty"`   // RFC 6901
	Parameter string `json:"parameter,omitempty"` // of the query, or a header field
	Code      string `json:"code"`
	Detail    string `json:"detail"`
}

// Codes of a MemberFault.
const (
	memberUnknown    = "unknown_member"
	memberTwice      = "duplicate_member"
	memberMissing    = "missing"
	memberWrongType  = "wrong_type"
	memberOutOfRange = "out_of_range"
	memberInvalid    = "invalid"
)

// refuse returns the problem of a code; args are those of its sentence.
func refuse(code Code, args ...any) *Problem {
	f := faultOf[code]
	return &Problem{Type: problemType + string(code), Title: f.Title(), Status: f.Status, Code: code,
		Detail: fmt.Sprintf(f.Sentence, args...), Dialled: DialledNo, Errors: []MemberFault{}}
}

// invalid is the problem of members or parameters that are wrong.
func invalid(wrong ...MemberFault) *Problem {
	text := "1 member is"
	if len(wrong) != 1 {
		text = strconv.Itoa(len(wrong)) + " members are"
	}
	p := refuse(InvalidRequest, text)
	p.Errors = wrong
	return p
}

// because adds a sentence to detail.
func (p *Problem) because(text string) *Problem {
	p.Detail += " " + text
	return p
}

// after says when it may be tried again.
func (p *Problem) after(wait time.Duration) *Problem {
	ms := max(int64(math.Ceil(float64(wait)/float64(time.Millisecond))), 1)
	p.RetryAfterMS = &ms
	return p.with("Retry-After", strconv.FormatInt((ms+999)/1000, 10))
}

// dialled says whether a phone was called.
func (p *Problem) dialled(was string) *Problem {
	p.Dialled = was
	return p
}

// with adds a header field.
func (p *Problem) with(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Add(name, value)
	return p
}

// write responds with p to a request for a path.
func (p *Problem) write(w http.ResponseWriter, instance, requestID string) {
	p.Instance, p.RequestID = clip(instance, 256), requestID
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", requestID)
	h.Del("Content-Encoding")
	data, err := json.Marshal(p)
	if err != nil { // strings and numbers
		data = []byte("{}")
	}
	data = append(data, '\n')
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(data) // nobody is left to be told
}

// clip bounds what is repeated of a client's text, in bytes.
func clip(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// Fail responds for a listener that does not let a request through, or whose
// handler has failed.
func Fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	id := w.Header().Get("X-Request-Id")
	if id == "" {
		id = requestID(r)
	}
	failure(status, text).write(w, r.URL.Path, id)
}

// Words are for what a listener refuses before there is a request, of one whose line
// begins so: they are web.Words.
func Words(begin []byte, status int, text string) (fields, body string) {
	_, target, ok := strings.Cut(string(begin), " ")
	path, rest := target, ""
	if i := strings.IndexAny(target, " ?\r\n"); i >= 0 {
		path, rest = target[:i], target[i:]
	}
	if under, is := strings.CutPrefix(path, Prefix); !ok || !is || under != "" && under[0] != '/' || under == "" && rest == "" {
		return "", ""
	}
	var p *Problem
	switch status {
	case http.StatusBadRequest:
		p = refuse(InvalidRequest, "1 part of the request is").because(text)
	case http.StatusRequestHeaderFieldsTooLarge:
		p = refuse(HeaderTooLarge)
	default:
		return "", ""
	}
	p.RequestID = requestID(nil)
	data, err := json.Marshal(p)
	if err != nil {
		return "", ""
	}
	return "Content-Type: application/problem+json\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nX-Request-Id: " + p.RequestID + "\r\n", string(data) + "\n"
}

// failure is the problem of a status that is not ours.
func failure(status int, text string) *Problem {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return refuse(BodyTooLarge)
	case http.StatusRequestHeaderFieldsTooLarge:
		return refuse(HeaderTooLarge)
	case http.StatusMisdirectedRequest:
		return refuse(WrongHost)
	case http.StatusBadRequest:
		return refuse(InvalidJSON, "it cannot be read to its end").because(text + ".")
	}
	return refuse(InternalError).dialled(DialledUnknown)
}

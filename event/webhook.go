package event

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"sipxrest/internal/fault"
	"sipxrest/internal/webhook"
)

// Where a webhook is from.
const (
	OriginAPI    = "api"    // made by a client
	OriginConfig = "config" // in the configuration: nobody else changes it
	OriginCall   = "call"   // of one call, with which it goes
)

// The states of a webhook.
const (
	WebhookOK      = "ok"
	WebhookFailing = "failing"  // tried once a minute; what it is to be told waits
	WebhookOff     = "disabled" // until it is enabled
)

// The choices of a WebhookSpec.
const (
	IncludeCall   = "call"
	IncludeChange = "change"
	FormatPlain   = "standard"
	FormatCloud   = "cloudevents"
	OrderPerCall  = "per_call"
	OrderNone     = "none"
)

// WebhookSpec is what a client chooses of a webhook.
type WebhookSpec struct {
	Name      string            `json:"name"`
	URL       string            `json:"url"`
	Events    []string          `json:"events"` // types, "leg.*", "*"
	Agents    []string          `json:"agents"` // of whose calls; "*": of all
	Kinds     []Kind            `json:"kinds"`  // of calls; empty: all
	Include   string            `json:"include"`
	Format    string            `json:"format"`
	Order     string            `json:"order"`
	TimeoutMS int64             `json:"timeout_ms"`
	Ed25519   bool              `json:"ed25519"` // signed by v1a, too
	Headers   map[string]string `json:"headers"` // of the operator, sent with each request
}

// Webhook is a webhook as it is shown.
type Webhook struct {
	ID     string `json:"id"`
	Object string `json:"object"` // "webhook"
	WebhookSpec
	Enabled   bool            `json:"enabled"`
	Origin    string          `json:"origin"`
	CallID    string          `json:"call_id,omitempty"` // OriginCall: of which
	Owner     string          `json:"-"`                 // the key that made it
	CreatedAt Time            `json:"created_at"`
	Status    WebhookStatus   `json:"status"`
	Secrets   []WebhookSecret `json:"secrets"` // the newest first
}

// WebhookStatus is how a webhook fares.
type WebhookStatus struct {
	State     string  `json:"state"`
	Cursor    string  `json:"cursor"` // up to which all was taken, or waits to be tried again
	LagMS     int64   `json:"lag_ms"` // age of the oldest event that it has not been asked to take yet
	Waiting   int     `json:"waiting"`
	Dead      int     `json:"dead"`
	Failures  int     `json:"failures"` // in a row
	LastError *string `json:"last_error"`
	Since     Time    `json:"since"` // of a state other than "ok"
}

// WebhookSecret is a secret as it is shown: not itself.
type WebhookSecret struct {
	ID        string `json:"id"`
	CreatedAt Time   `json:"created_at"`
	RetiresAt Time   `json:"retires_at"`
	PublicKey string `json:"public_key,omitempty"` // "whpk_", where it is signed by v1a
}

// Bounds of a WebhookSpec.
const (
	maxHookName    = 64
	maxHookList    = 64 // events, agents
	maxHookHeaders = 4
	maxHookHeader  = 1 << 10 // bytes of a value
	minHookTimeout = time.Second
	maxHookTimeout = 30 * time.Second
	hookTimeout    = 15 * time.Second
)

// webhookTypes are the types that webhooks can be told.
var webhookTypes = []Type{CallCreated, CallRouted, CallConnecting, CallConnected, CallFlowChanged, CallReleased, CallUpdated, CallMoved, CallEnded,
	LegDialled, LegRedirected, LegRang, LegPickedUp, LegHeld, LegResumed, LegMuted, LegUnmuted, LegOver,
	TransferStarted, TransferRinging, TransferConsulting, TransferCompleted, TransferFailed, TransferCancelled,
	WebhookTest, WebhookDisabled, WebhookRecovered, SystemStarted, SystemDraining, StreamGap}

// Complete fills in what was left out.
func (w *WebhookSpec) Complete() {
	if len(w.Events) == 0 {
		w.Events = []string{"*"}
	}
	if len(w.Agents) == 0 {
		w.Agents = []string{"*"}
	}
	if w.Kinds == nil {
		w.Kinds = []Kind{}
	}
	if w.Headers == nil {
		w.Headers = map[string]string{}
	}
	for _, p := range []struct {
		at    *string
		value string
	}{{&w.Include, IncludeCall}, {&w.Format, FormatPlain}, {&w.Order, OrderPerCall}} {
		if *p.at == "" {
			*p.at = p.value
		}
	}
	if w.TimeoutMS == 0 {
		w.TimeoutMS = hookTimeout.Milliseconds()
	}
}

// Check returns everything that is wrong, each with its member. private are the
// networks that webhooks may be in though they are not public.
func (w *WebhookSpec) Check(private []netip.Prefix) (faults []*fault.Fault) {
	bad := func(key string, err error) {
		if err != nil {
			faults = append(faults, &fault.Fault{Key: key, Err: err})
		}
	}
	if w.Name == "" || len(w.Name) > maxHookName || strings.ContainsFunc(w.Name, unicode.IsControl) {
		bad("name", fmt.Errorf("write 1 to %d bytes, without control characters", maxHookName))
	}
	if w.URL == "" {
		bad("url", errors.New("missing: write https://example.com/hooks"))
	} else {
		bad("url", webhook.CheckPostURL(w.URL, private))
	}
	if len(w.Events) > maxHookList {
		bad("events", fmt.Errorf("%d: %d are the most", len(w.Events), maxHookList))
	}
	for i, pattern := range w.Events {
		bad(fmt.Sprintf("events/%d", i), checkPattern(pattern))
	}
	if len(w.Agents) > maxHookList {
		bad("agents", fmt.Errorf("%d: %d are the most; \"*\" stands for all", len(w.Agents), maxHookList))
	}
	for i, name := range w.Agents {
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
			bad(fmt.Sprintf("agents/%d", i), errors.New("write a user such as 201, or \"*\" for all"))
		}
	}
	for i, kind := range w.Kinds {
		if !slices.Contains([]Kind{ClickToCall, DialOut, Inbound, WebSocket}, kind) {
			bad(fmt.Sprintf("kinds/%d", i), fmt.Errorf("%.40q: write click_to_call, dial_out, inbound or websocket", kind))
		}
	}
	for _, choice := range []struct {
		key, value string
		words      [2]string
	}{{"include", w.Include, [2]string{IncludeCall, IncludeChange}}, {"format", w.Format, [2]string{FormatPlain, FormatCloud}},
		{"order", w.Order, [2]string{OrderPerCall, OrderNone}}} {
		if !slices.Contains(choice.words[:], choice.value) {
			bad(choice.key, fmt.Errorf("%.40q: write %s or %s", choice.value, choice.words[0], choice.words[1]))
		}
	}
	if w.TimeoutMS < minHookTimeout.Milliseconds() || w.TimeoutMS > maxHookTimeout.Milliseconds() {
		bad("timeout_ms", fmt.Errorf("%d to %d", minHookTimeout.Milliseconds(), maxHookTimeout.Milliseconds()))
	}
	if len(w.Headers) > maxHookHeaders {
		bad("headers", fmt.Errorf("%d: %d are the most", len(w.Headers), maxHookHeaders))
	}
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		bad("headers", checkHookHeader(name, w.Headers[name]))
	}
	return faults
}

// checkPattern says what is wrong with a type of events, or a pattern of some.
func checkPattern(pattern string) error {
	family, all := strings.CutSuffix(pattern, ".*")
	for _, t := range webhookTypes {
		if pattern == "*" || pattern == string(t) || all && strings.HasPrefix(string(t), family+".") {
			return nil
		}
	}
	if pattern == string(LegDTMF) {
		return errors.New("leg.dtmf is for streams only: what is dialled may be a PIN")
	}
	return fmt.Errorf("%.40q is no type of events: write such as call.ended, leg.* or *", pattern)
}

// checkHookHeader says what is wrong with a header, without its value.
func checkHookHeader(name, value string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name) || len(name) > maxHookName:
		return fmt.Errorf("%.40q is no header", name)
	case len(value) > maxHookHeader || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the value of %.40q: write at most %d bytes, without control characters", name, maxHookHeader)
	case slices.ContainsFunc([]string{"Content-", "Webhook-", "Sipxrest-", "Proxy-", "Ce-"}, func(p string) bool { return strings.HasPrefix(canonical, p) }),
		slices.Contains([]string{"Host", "User-Agent", "Connection", "Transfer-Encoding", "Keep-Alive", "Upgrade", "Trailer", "Te", "Expect",
			"Idempotency-Key", "Accept-Encoding"}, canonical):
		return fmt.Errorf("%.40q is ours to set", name)
	}
	return nil
}

// clone returns a copy that shares nothing.
func (w *WebhookSpec) clone() WebhookSpec {
	c := *w
	c.Events, c.Agents, c.Kinds, c.Headers = slices.Clone(w.Events), slices.Clone(w.Agents), slices.Clone(w.Kinds), maps.Clone(w.Headers)
	return c
}

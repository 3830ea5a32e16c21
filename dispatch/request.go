package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/webhook"
)

// Call is what a webhook is told of a call, and what finds its rule.
type Call struct {
	ID        string // ours
	SIPCallID string
	Trunk     string // name; empty for none
	Source    netip.AddrPort
	FromUser  string
	FromHost  string
	ToUser    string
	ToHost    string
	At        time.Time
	// Header returns the values of a header of the INVITE.
	Header func(name string) []string
}

// Events that ask for a decision, beside those of Events.
const (
	eventInvite     = "invite"
	eventPINEntered = "pin_entered"
)

// message is what a rule's webhook is told of a call.
func (r *rule) message(c *Call, event string) *webhook.Message {
	m := &webhook.Message{}
	m.Add("event", event)
	m.Add("project_id", r.ProjectID)
	m.Add("rule_id", r.ID)
	m.Add("trunk_id", c.Trunk)
	m.Add("call_id", c.ID)
	m.Add("sip_call_id", c.SIPCallID)
	m.Add("from_user", c.FromUser)
	m.Add("from_host", c.FromHost)
	m.Add("to_user", c.ToUser)
	m.Add("to_host", c.ToHost)
	source := ""
	if c.Source.IsValid() {
		source = c.Source.Addr().Unmap().String()
	}
	m.Add("source_ip", source)
	headers := map[string]string{}
	for _, name := range r.SIPHeaders {
		if c.Header == nil {
			break
		}
		if values := c.Header(name); len(values) > 0 {
			headers[name] = strings.ToValidUTF8(strings.Join(values, ", "), "")
		}
	}
	if len(headers) > 0 {
		m.Add("headers", headers)
	}
	return m
}

// errBusy is a webhook that is not asked.
var errBusy = errors.New("too many webhooks are being asked at once")

// newID is a random name of an event or a call.
func newID() string { return rand.Text() }

// decide asks a rule's webhook what becomes of a call.
func (r *rule) decide(ctx context.Context, m *webhook.Message) (Decision, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		return Decision{}, errBusy
	}
	data, err := r.client.Send(ctx, r.URL, m, newID(), false)
	if err != nil {
		return Decision{}, fmt.Errorf("webhook: %w", err)
	}
	d, err := ParseDecision(data)
	if err != nil {
		return Decision{}, fmt.Errorf("webhook's answer: %w", err)
	}
	return d, nil
}

// sipHeader is a header of an INVITE that a webhook may be told.
func sipHeader(name string) (string, error) {
	canonical := http.CanonicalHeaderKey(strings.TrimSpace(name))
	if strings.HasPrefix(canonical, "X-") && len(canonical) > 2 && validToken(canonical) {
		return canonical, nil
	}
	others := []string{"Diversion", "History-Info", "P-Asserted-Identity", "Remote-Party-Id", "User-Agent", "User-To-User"}
	if slices.Contains(others, canonical) {
		return canonical, nil
	}
	return "", fmt.Errorf("%.64q: a header that begins with X- is expected, or one of %s", name, strings.Join(others, ", "))
}

func validToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

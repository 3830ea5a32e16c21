package dispatch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
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
	// Header answers the values of a header of the INVITE.
	Header func(name string) []string
}

// Events that ask for a decision, beside those of Events.
const (
	eventInvite     = "invite"
	eventPINEntered = "pin_entered"
)

// A message is a flat object in the order of its fields.
type message struct {
	names  []string
	values []any // text, number, truth, json.RawMessage or map of texts
}

func (m *message) add(name string, value any) {
	m.names, m.values = append(m.names, name), append(m.values, value)
}

// addText leaves an empty text out.
func (m *message) addText(name, value string) {
	if value != "" {
		m.add(name, value)
	}
}

func (m *message) json() []byte {
	var b bytes.Buffer
	for i, name := range m.names {
		b.WriteByte("{,"[min(i, 1)])
		key, _ := json.Marshal(name)
		value, err := json.Marshal(m.values[i])
		if err != nil {
			value = []byte("null")
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// query is the message as the query of a GET, after what the URL has.
func (m *message) query(before string) string {
	q := url.Values{}
	for i, name := range m.names {
		switch v := m.values[i].(type) {
		case string:
			q.Set(name, v)
		default:
			data, _ := json.Marshal(v)
			q.Set(name, string(data))
		}
	}
	if before != "" {
		return before + "&" + q.Encode()
	}
	return q.Encode()
}

// message is what a rule's webhook is told of a call.
func (r *rule) message(c *Call, event string) *message {
	m := &message{}
	m.add("event", event)
	m.add("project_id", r.ProjectID)
	m.add("rule_id", r.ID)
	m.add("trunk_id", c.Trunk)
	m.add("call_id", c.ID)
	m.add("sip_call_id", c.SIPCallID)
	m.add("from_user", c.FromUser)
	m.add("from_host", c.FromHost)
	m.add("to_user", c.ToUser)
	m.add("to_host", c.ToHost)
	source := ""
	if c.Source.IsValid() {
		source = c.Source.Addr().Unmap().String()
	}
	m.add("source_ip", source)
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
		m.add("headers", headers)
	}
	return m
}

// Errors of a webhook.
var (
	errSlow = errors.New("no answer in time")
	errBusy = errors.New("too many webhooks are being asked at once")
)

// A statusError is an answer other than 200.
type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string {
	if e.code >= 300 && e.code < 400 {
		return fmt.Sprintf("it answers %s, and redirects are not followed: write the URL that it leads to", e.status)
	}
	return fmt.Sprintf("it answers %s instead of 200", e.status)
}

// request makes the HTTP request that carries a message.
func (r *rule) request(ctx context.Context, address string, m *message, id string) (*http.Request, error) {
	var body, payload []byte
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("its URL cannot be read")
	}
	if r.Method == http.MethodGet {
		u.RawQuery = m.query(u.RawQuery)
		payload = []byte(u.RawQuery)
	} else {
		body = m.json()
		payload = body
	}
	q, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header = r.Headers.Clone()
	if q.Header == nil {
		q.Header = http.Header{}
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", r.agent)
	q.Header.Set("X-Event-Id", id)
	if host := q.Header.Get("Host"); host != "" {
		q.Host = host
		q.Header.Del("Host")
	}
	return q, r.sign(q.Header, payload, time.Now())
}

// newID is a random name of an event or a call.
func newID() string { return rand.Text() }

// ask sends a message and answers the body of the 200. It takes as long as the
// rule allows, all together. It is tried again once when no connection was
// made: then nothing has been asked.
func (r *rule) ask(ctx context.Context, address string, m *message, id string, events bool) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, errSlow)
	defer cancel()
	for try := 0; ; try++ {
		q, err := r.request(ctx, address, m, id)
		if err != nil {
			return nil, err
		}
		data, err := r.do(q, events)
		var op *net.OpError
		var private *errPrivate
		switch {
		case err == nil:
			return data, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &private):
			return nil, private
		case try > 0 || !errors.As(err, &op) || op.Op != "dial" && op.Op != "proxyconnect":
			return nil, err
		}
		wait := time.NewTimer(retryPause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// retryPause is before the second try: a server that restarts is away for some
// time.
const retryPause = 200 * time.Millisecond

// do answers the body of a 200; to an event that of any 2xx.
func (r *rule) do(q *http.Request, events bool) ([]byte, error) {
	answer, err := r.client.Do(q)
	if err != nil {
		var wrapped *url.Error // it quotes the URL, whose query may hold a PIN
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && (!events || answer.StatusCode/100 != 2) {
		return nil, &statusError{answer.StatusCode, phrase(answer.Status)}
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	return data, nil
}

// decide asks a rule's webhook what becomes of a call.
func (r *rule) decide(ctx context.Context, m *message) (Decision, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	default:
		return Decision{}, errBusy
	}
	data, err := r.ask(ctx, r.URL, m, newID(), false)
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

package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"sipxrest/internal/webhook"
)

// A Considered is a rule that a call might have.
type Considered struct {
	ID, Name, Where string
	// Why says why it is not the rule of the call; empty for one that fits but
	// says less than the one that is taken.
	Why   string
	Taken bool
}

// A Trial is what would become of a call.
type Trial struct {
	Call       Call
	Considered []Considered
	// Prove says that the caller would have to authenticate by digest.
	Prove bool
	// Request is what the webhook is sent, and Answer what it says, each with
	// its header; empty for a static rule, or if it is not asked. What rules
	// keep secret is not shown, nor are the query of a rule's URL and a PIN.
	Request, Answer string
	Took            time.Duration
	// Err says why the rule's fallback is taken.
	Err error
	// Decision is nil if no rule is for the call.
	Decision *Decision
	// URI is who is called; empty if the call is refused.
	URI string
	// Redirect says that the caller is told to call the URI.
	Redirect bool
}

// Try finds the rule of a call and asks its webhook, without a call. If ask is
// false the webhook is not asked: Request is what it would be sent. The call
// has a trunk, or an address by which that is found.
func (d *Dispatcher) Try(ctx context.Context, c Call, ask bool) (*Trial, error) {
	st := d.now.Load()
	t := &Trial{}
	if c.Trunk == "" && c.Source.IsValid() {
		if trunk, prove := st.trunkOf(c.Source.Addr(), c.FromHost, ""); trunk != nil {
			c.Trunk, t.Prove = trunk.Name, prove
		} else {
			t.Prove = true
		}
	} else if c.Trunk != "" && !slices.ContainsFunc(st.trunks, func(t trunk) bool { return t.Name == c.Trunk }) {
		return nil, fmt.Errorf("there is no trunk %q: those of dispatch.trunks are %s", c.Trunk, trunkNames(st.cfg.Trunks))
	}
	if c.ID == "" {
		c.ID = newID()
	}
	t.Call = c
	taken := st.table.find(&c)
	for _, r := range st.table.rules {
		t.Considered = append(t.Considered, Considered{ID: r.ID, Name: r.Name, Where: r.Where(), Why: st.table.why(r, &c), Taken: r == taken})
	}
	if taken == nil {
		return t, nil
	}
	t.Redirect = taken.Redirect
	decision := taken.Static
	if decision == nil {
		m := taken.message(&c, eventInvite)
		request, err := taken.client.Request(ctx, taken.URL, m, newID())
		if err != nil {
			return nil, err
		}
		t.Request = taken.show(request)
		if !ask {
			return t, nil
		}
		start := time.Now()
		answer, err := taken.client.Send(ctx, taken.URL, m, request.Header.Get("X-Event-Id"), false)
		t.Took = time.Since(start)
		if err != nil {
			err = fmt.Errorf("webhook: %w", err)
		} else {
			t.Answer = withoutPIN(strings.ToValidUTF8(string(answer), "�"))
			var parsed Decision
			if parsed, err = ParseDecision(answer); err == nil {
				decision = &parsed
			} else {
				err = fmt.Errorf("webhook's answer: %w", err)
			}
		}
		t.Err = err
	}
	if t.Err == nil {
		var p plan
		if p, t.Err = st.plan(&taken.Rule, decision, false); t.Err == nil {
			t.Decision, t.URI = decision, p.uri
			return t, nil
		}
	}
	t.Decision = &taken.Fallback
	p, err := st.plan(&taken.Rule, t.Decision, false)
	if err != nil {
		t.Err = errors.Join(t.Err, fmt.Errorf("fallback: %w", err))
		t.Decision = &Decision{Action: Hangup, Code: codeFallback}
	}
	t.URI = p.uri
	return t, nil
}

// show writes a request as it goes out, without what is secret in it.
func (r *rule) show(q *http.Request) string {
	var b strings.Builder
	shown := *q.URL
	if own, err := url.Parse(r.URL); err == nil && own.RawQuery != "" { // as "?token=…": the message comes after it
		shown.RawQuery = webhook.Secret(own.RawQuery).String() + strings.TrimPrefix(shown.RawQuery, own.RawQuery)
	}
	fmt.Fprintf(&b, "%s %s\n", q.Method, &shown)
	names := make([]string, 0, len(q.Header))
	for name := range q.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := q.Header.Get(name)
		if _, own := r.Headers[name]; own || name == "Authorization" || name == webhook.SignatureHeader {
			value = webhook.Secret(value).String()
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	if body, err := io.ReadAll(q.Body); err == nil && len(body) > 0 {
		fmt.Fprintf(&b, "\n%s\n", body)
	}
	return b.String()
}

// pinMember is the PIN of a webhook's answer, which may be no JSON at all.
var pinMember = regexp.MustCompile(`("pin"\s*:\s*)("(?:[^"\\]|\\.)*"|[^\s,}]+)`)

// withoutPIN hides the PIN that a caller would have to enter.
func withoutPIN(answer string) string {
	return pinMember.ReplaceAllString(answer, `${1}"`+webhook.Secret("pin").String()+`"`)
}

// Outcome says what would become of the call, in words.
func (t *Trial) Outcome() string {
	d := t.Decision
	switch {
	case d == nil && t.Request != "":
		return "that of the webhook, which was not asked"
	case d == nil:
		return "404 Not Found: no rule is for the call"
	}
	text := d.Action.String()
	switch {
	case d.Action == Hangup:
		text += fmt.Sprintf(": %d %s", d.Code, d.Reason)
	case d.Action == Transfer && t.Redirect:
		text += ": 302, Contact " + t.URI
	case d.Action == Transfer && strings.HasPrefix(t.URI, "talk:"):
		text += fmt.Sprintf(": %s, Nextcloud Talk: %s", t.URI, intoTalk(t.URI))
	case d.Action == Transfer:
		text += fmt.Sprintf(": %s is called, for at most %v", t.URI, d.Ring)
	default:
		text += fmt.Sprintf(": room %s, %s is called", d.Room, t.URI)
	}
	if d.PIN != "" {
		text += ", once the caller has entered the PIN"
	}
	return strings.TrimSpace(text)
}

// intoTalk says what becomes of a caller by a target in Talk.
func intoTalk(target string) string {
	switch strings.TrimPrefix(target, "talk:") {
	case "":
		return "the caller is asked for a meeting ID and a PIN"
	case "direct":
		return "the caller reaches the user who has the called number, 404 if nobody has it"
	}
	return "the caller is asked for a PIN of that conversation"
}

// Party reads a number, user@host or a SIP or tel URI as an INVITE would have it.
// Without a host it is the domain's.
func Party(text, domain string) (user, host string) {
	for _, scheme := range []string{"sips:", "sip:", "tel:"} {
		text = strings.TrimPrefix(text, scheme)
	}
	user, host, at := strings.Cut(text, "@")
	host, _, _ = strings.Cut(host, ";")
	if !at {
		host = domain
	}
	return user, host
}

// List returns the rules, in the order in which they are written, and the trunks.
// They are not to be changed.
func (d *Dispatcher) List() ([]Rule, []Trunk) {
	st := d.now.Load()
	rules := make([]Rule, len(st.table.rules))
	for i, r := range st.table.rules {
		rules[i] = r.Rule
	}
	return rules, st.cfg.Trunks
}

// Names lists the events of a set.
func (e Events) Names() []string { return e.names() }

package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says where the service is, and who asks it.
type Config struct {
	// URL is the service's, such as https://pbx.example:6666.
	URL string
	// Key is an API key, sxk_…. Without it User and PIN are sent by Basic, which needs
	// https. Trusted peers need neither.
	Key string
	// User is a user's name or alias.
	User string
	PIN  string
	// Agent is the user on whose behalf requests are: for trusted peers, and keys of
	// several users.
	Agent string
	// HTTP sends requests; the default is http.DefaultClient. Its Timeout, if any, must
	// leave room for answers that are waited for.
	HTTP *http.Client
	// Attempts is how often a request is sent, 5 by default.
	Attempts int
	// MaxWait is the longest pause between two attempts, 30 s by default. Where the service
	// asks for a longer one its refusal is returned.
	MaxWait time.Duration
}

const (
	attempts = 5
	maxWait  = 30 * time.Second
	// backoffFirst and backoffMost bound pauses for which the service names no time.
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// Client asks one service. It may be used by several goroutines at once.
type Client struct {
	cfg  Config
	base *url.URL
}

// New returns a client. It sends nothing yet.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("sipxrest: URL: %w", err)
	case base.Scheme != "https" && base.Scheme != "http", base.Host == "":
		return nil, fmt.Errorf("sipxrest: URL %q is not like https://pbx.example:6666", base.Redacted())
	case base.User != nil:
		return nil, errors.New("sipxrest: URL has a user: use User and PIN")
	case cfg.User != "" && cfg.Key != "":
		return nil, errors.New("sipxrest: Key and User exclude each other")
	case cfg.User != "" && base.Scheme != "https":
		return nil, errors.New("sipxrest: a PIN needs https")
	}
	base.Path, base.RawQuery, base.Fragment = strings.TrimSuffix(base.Path, "/"), "", ""
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultClient
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = attempts
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = maxWait
	}
	return &Client{cfg: cfg, base: base}, nil
}

// Option changes one request.
type Option func(http.Header)

// IdempotencyKey names the request, so that whoever repeats it gets the same call. The
// default is a random key for each method call, which covers its own retries.
func IdempotencyKey(key string) Option {
	return func(h http.Header) { h.Set("Idempotency-Key", key) }
}

// IfVersion refuses a change by CodeChangedMeanwhile unless the call is at version.
func IfVersion(version int) Option {
	return func(h http.Header) { h.Set("If-Match", strconv.Quote(strconv.Itoa(version))) }
}

// Wait puts the answer off until something has changed, for at most 25 s.
func Wait(d time.Duration) Option {
	return func(h http.Header) { h.Set("Prefer", fmt.Sprintf("wait=%d", min(25, int(d.Seconds())))) }
}

// RequestID names the request in the service's log.
func RequestID(id string) Option {
	return func(h http.Header) { h.Set("X-Request-Id", id) }
}

// request is what is sent, however often.
type request struct {
	method, path string
	query        url.Values
	body         any
	header       http.Header
	keyed        bool // the service knows a repetition by the Idempotency-Key
}

// path makes a path of segments, each of which is escaped.
func path(segments ...string) string {
	text := "/v1"
	for _, s := range segments {
		text += "/" + url.PathEscape(s)
	}
	return text
}

// do sends a request until it is answered, and reads the answer into out unless that is
// nil.
func (c *Client) do(ctx context.Context, r request, out any, options ...Option) error {
	resp, err := c.open(ctx, r, options...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, bodyMost))
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return fmt.Errorf("sipxrest: %s %s: answer: %w", r.method, r.path, err)
	}
	return nil
}

// open sends a request until it is answered, and returns the answer with its body.
func (c *Client) open(ctx context.Context, r request, options ...Option) (*http.Response, error) {
	if r.header == nil {
		r.header = http.Header{}
	}
	if r.keyed {
		r.header.Set("Idempotency-Key", rand.Text())
	}
	for _, o := range options {
		o(r.header)
	}
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("sipxrest: %s %s: body: %w", r.method, r.path, err)
		}
		if r.header.Get("Content-Type") == "" {
			r.header.Set("Content-Type", "application/json")
		}
	}
	for attempt := 1; ; attempt++ {
		resp, err := c.once(ctx, r, body)
		if err == nil {
			return resp, nil
		}
		pause, again := c.again(r, err, attempt)
		if !again || !sleep(ctx, pause) {
			return nil, err
		}
	}
}

// once sends a request. An answer that is a refusal is a *Problem.
func (c *Client) once(ctx context.Context, r request, body []byte) (*http.Response, error) {
	query := r.query
	if c.cfg.Agent != "" && !query.Has("agent") {
		copied := url.Values{"agent": {c.cfg.Agent}}
		for k, v := range query {
			copied[k] = v
		}
		query = copied
	}
	target := c.base.String() + r.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("sipxrest: %w", err)
	}
	req.Header = r.header.Clone()
	switch {
	case c.cfg.Key != "":
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	case c.cfg.User != "":
		req.SetBasicAuth(c.cfg.User, c.cfg.PIN)
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sipxrest: %w", err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

// again reports whether a request that failed is sent again, and after which pause.
func (c *Client) again(r request, err error, attempt int) (time.Duration, bool) {
	if attempt >= c.cfg.Attempts {
		return 0, false
	}
	pause := backoff(attempt)
	var p *Problem
	if errors.As(err, &p) && !p.unanswered() {
		if p.wait() > 0 {
			pause = p.wait()
		}
		return pause, p.passes() && pause <= c.cfg.MaxWait
	}
	// Nobody knows whether the service has seen it.
	safe := r.keyed || r.method == http.MethodGet || r.method == http.MethodPut || r.method == http.MethodDelete
	return min(pause, c.cfg.MaxWait), safe && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// backoff is the pause after so many attempts, 1 at least. Half of it is random, so that
// clients of a service that starts again do not come all at once.
func backoff(attempt int) time.Duration {
	d := min(backoffFirst<<min(attempt-1, 10), backoffMost)
	return d/2 + mathrand.N(d/2)
}

// sleep pauses, and reports whether time is left. A pause that outlasts the context does
// not begin.
func sleep(ctx context.Context, pause time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"sipxrest/internal/limit"
)

// A Client asks one endpoint. Its methods may be called from any goroutine.
type Client struct {
	*Endpoint
	// HTTP is the guarded client; tests put another in its place.
	HTTP  *http.Client
	agent string // User-Agent
}

// NewClient makes the client of an endpoint, which must not change any more; its
// agent says who we are. resolver looks names up; nil: the system's. The client
// follows no redirect: that could lead anywhere. It keeps no connection: one that
// has just been closed by the other side would cost the request its response.
func NewClient(e *Endpoint, agent string, resolver *net.Resolver) (*Client, error) {
	secure, err := e.tls()
	if err != nil {
		return nil, err
	}
	d := &dialer{resolver: resolver}
	for _, host := range e.AllowPrivate {
		d.private = append(d.private, HostName(host))
	}
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: secure, TLSHandshakeTimeout: maxConnect,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 32 << 10,
		ExpectContinueTimeout: time.Second,
	}
	if e.Proxy != "" { // never that of the environment
		proxy, err := url.Parse(e.Proxy)
		if err != nil {
			return nil, errors.New("proxy: not a URL")
		}
		t.Proxy = http.ProxyURL(proxy)
		d.private = append(d.private, HostName(proxy.Hostname())) // the operator has named it
	}
	return &Client{Endpoint: e, agent: agent, HTTP: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// MaxAnswer bounds the body of a response, in bytes.
const MaxAnswer = 64 << 10

// maxStatus bounds what an error tells of a status line, in bytes.
const maxStatus = 128

// ErrSlow says that Endpoint.Timeout is over.
var ErrSlow = errors.New("no answer in time")

// A StatusError is a response other than 200.
type StatusError struct {
	Code   int
	Status string // of the line, shortened
}

func (e *StatusError) Error() string {
	if e.Code >= 300 && e.Code < 400 {
		return fmt.Sprintf("it answers %s, and redirects are not followed: write the URL that it leads to", e.Status)
	}
	return fmt.Sprintf("it answers %s instead of 200", e.Status)
}

// Request makes the HTTP request that carries a message to an address. id is the
// same each time that it is sent.
func (c *Client) Request(ctx context.Context, address string, m *Message, id string) (*http.Request, error) {
	var body, payload []byte
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("its URL cannot be read")
	}
	if c.Method == http.MethodGet {
		u.RawQuery = m.Query(u.RawQuery)
		payload = []byte(u.RawQuery)
	} else {
		body = m.JSON()
		payload = body
	}
	q, err := http.NewRequestWithContext(ctx, c.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header = c.Headers.Clone()
	if q.Header == nil {
		q.Header = http.Header{}
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", c.agent)
	q.Header.Set("X-Event-Id", id)
	if host := q.Header.Get("Host"); host != "" {
		q.Host = host
		q.Header.Del("Host")
	}
	return q, c.sign(q.Header, payload, time.Now())
}

// Send sends a message and returns the body of the 200; that of any 2xx where that
// will do. It takes as long as the endpoint allows, all together: then the error is
// ErrSlow. Else it is a *StatusError, a *PrivateError, ctx's cause, or one of
// net/http. It is tried again once when no connection was
// made: then nothing has been asked.
func (c *Client) Send(ctx context.Context, address string, m *Message, id string, any2xx bool) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, ErrSlow)
	defer cancel()
	for try := 0; ; try++ {
		q, err := c.Request(ctx, address, m, id)
		if err != nil {
			return nil, err
		}
		data, err := c.do(q, any2xx)
		var op *net.OpError
		var private *PrivateError
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

// do returns the body of a 200, or of any 2xx.
func (c *Client) do(q *http.Request, any2xx bool) ([]byte, error) {
	answer, err := c.HTTP.Do(q)
	if err != nil {
		var wrapped *url.Error // it quotes the URL, whose query may hold a PIN
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && (!any2xx || answer.StatusCode/100 != 2) {
		return nil, &StatusError{answer.StatusCode, limit.Clip(answer.Status, maxStatus)}
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, MaxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > MaxAnswer:
		return nil, fmt.Errorf("its answer is longer than %d bytes", MaxAnswer)
	}
	return data, nil
}

package talk

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Client holds the connections to all signaling servers.
type Client struct {
	sessions []*Session
}

// New makes a Client; nothing is connected before Serve.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{}
	backends := map[BackendConfig]*Backend{}
	client := cfg.httpClient(true)
	for _, server := range cfg.Servers {
		endpoint, _ := serverURL(server.URL) // checked
		for _, b := range server.Backends {
			if backends[b] == nil {
				backends[b] = newBackend(b, cfg)
			}
			c.sessions = append(c.sessions, newSession(endpoint, server.Secret, backends[b], cfg, client, log))
		}
	}
	return c, nil
}

// Sessions are all of them, one for each Nextcloud of each signaling server, in
// the order of the configuration.
func (c *Client) Sessions() []*Session { return c.sessions }

// Serve connects, and stays connected until ctx is done. What was sent before
// that is still delivered, then each connection says bye: all phones leave
// their rooms at once. That takes at most FlushTime. It is called once.
func (c *Client) Serve(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range c.sessions {
		wg.Go(func() { s.serve(ctx) })
	}
	wg.Wait()
	return nil
}

// agent is the User-Agent that is sent.
func (c Config) agent() string {
	if c.UserAgent == "" {
		return "sipxrest"
	}
	return c.UserAgent
}

// httpClient follows no redirection and keeps no connection for later. One for
// WebSocket does not offer HTTP/2.
func (c Config) httpClient(webSocket bool) *http.Client {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: connectTime}).DialContext
	}
	var secure *tls.Config
	if c.TLS != nil {
		secure = c.TLS.Clone()
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSClientConfig: secure, TLSHandshakeTimeout: connectTime,
			ForceAttemptHTTP2: !webSocket, DisableKeepAlives: true,
			MaxResponseHeaderBytes: 32 << 10, ExpectContinueTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

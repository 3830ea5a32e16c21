package talk

import (
	"context"
	"log/slog"
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
	_ = logger(log)
	return &Client{}, nil
}

// Sessions are all of them, one for each Nextcloud of each signaling server, in
// the order of the configuration.
func (c *Client) Sessions() []*Session { return c.sessions }

// Serve connects, and stays connected until ctx is done. What was sent before
// that is still delivered, then each connection says bye: all phones leave
// their rooms at once. That takes at most FlushTime. It is called once.
func (c *Client) Serve(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

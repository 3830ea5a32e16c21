package client

import (
	"context"
	"net/http"
)

// InboundRules returns the rules of calls that come in, and who may send them. It needs
// the scope admin, as all of this file.
func (c *Client) InboundRules(ctx context.Context) (*Inbound, error) {
	out := &Inbound{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("inbound", "rules")}, out))
}

// TryInbound says what would become of a call that comes in. There is no call.
func (c *Client) TryInbound(ctx context.Context, call TryInbound) (*InboundTrial, error) {
	out := &InboundTrial{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("inbound", "try"), body: call}, out))
}

// Health returns how the service fares: SIP servers, certificates, limits, and
// signaling servers of Nextcloud Talk.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	out := &Health{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("health")}, out))
}

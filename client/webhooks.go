package client

import (
	"context"
	"iter"
	"net/http"
)

// Webhooks returns webhooks, the newest first.
func (c *Client) Webhooks(ctx context.Context) iter.Seq2[Webhook, error] {
	return list[Webhook](ctx, c, path("webhooks"), nil)
}

// CreateWebhook makes a webhook. Its secret is in the answer, and never again.
func (c *Client) CreateWebhook(ctx context.Context, hook CreateWebhook, options ...Option) (*WebhookWithSecret, error) {
	out := &WebhookWithSecret{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("webhooks"), body: hook}, out, options...))
}

// WebhookByID returns a webhook, and how it fares.
func (c *Client) WebhookByID(ctx context.Context, id string) (*Webhook, error) {
	out := &Webhook{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("webhooks", id)}, out))
}

// PatchWebhook changes the members that are set.
func (c *Client) PatchWebhook(ctx context.Context, id string, patch PatchWebhook, options ...Option) (*Webhook, error) {
	out := &Webhook{}
	return filled(out, c.do(ctx, request{method: http.MethodPatch, path: path("webhooks", id), body: patch}, out, options...))
}

// DeleteWebhook forgets a webhook, and what waits for it.
func (c *Client) DeleteWebhook(ctx context.Context, id string, options ...Option) error {
	return c.do(ctx, request{method: http.MethodDelete, path: path("webhooks", id)}, nil, options...)
}

// RotateSecret makes a new secret, or ends an old one.
func (c *Client) RotateSecret(ctx context.Context, id string, how RotateSecret, options ...Option) (*WebhookRotated, error) {
	out := &WebhookRotated{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("webhooks", id, "rotate-secret"), body: how}, out, options...))
}

// TestWebhook sends a webhook an event, and returns what came of that.
func (c *Client) TestWebhook(ctx context.Context, id string, how TestWebhook, options ...Option) (*WebhookTestResult, error) {
	out := &WebhookTestResult{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("webhooks", id, "test"), body: how}, out, options...))
}

// EnableWebhook takes a webhook up again, from where it was.
func (c *Client) EnableWebhook(ctx context.Context, id string, options ...Option) (*Webhook, error) {
	out := &Webhook{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("webhooks", id, "enable")}, out, options...))
}

// Deliveries returns events that a webhook has not taken, the newest first.
func (c *Client) Deliveries(ctx context.Context, id string, query DeliveryQuery) iter.Seq2[Delivery, error] {
	return list[Delivery](ctx, c, path("webhooks", id, "deliveries"), values(query))
}

// ReplayWebhook sends events again, with the same ids.
func (c *Client) ReplayWebhook(ctx context.Context, id string, what ReplayWebhook, options ...Option) (*ReplayResult, error) {
	out := &ReplayResult{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("webhooks", id, "replay"), body: what}, out, options...))
}

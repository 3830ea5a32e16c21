package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
)

// CreateCall places a call. It returns once the first phone is called, not once it has
// answered.
func (c *Client) CreateCall(ctx context.Context, call CreateCall, options ...Option) (*Call, error) {
	out := &Call{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("calls"), body: call, keyed: true}, out, options...))
}

// PutCall places a call whose id is yours: 16 to 64 of A-Z a-z 0-9 _ -. Whoever repeats
// it, in another process, too, gets the same call.
func (c *Client) PutCall(ctx context.Context, id string, call PutCall, options ...Option) (*Call, error) {
	out := &Call{}
	return filled(out, c.do(ctx, request{method: http.MethodPut, path: path("calls", id), body: call}, out, options...))
}

// CheckCall says what CreateCall would meet, and calls nobody.
func (c *Client) CheckCall(ctx context.Context, call CheckCall, options ...Option) (*CheckResult, error) {
	out := &CheckResult{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("check"), body: call}, out, options...))
}

// Call returns a call.
func (c *Client) Call(ctx context.Context, id string, options ...Option) (*Call, error) {
	out := &Call{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("calls", id)}, out, options...))
}

// Calls returns calls that go on, and those that ended of late, the newest first.
func (c *Client) Calls(ctx context.Context, query CallQuery) iter.Seq2[Call, error] {
	return list[Call](ctx, c, path("calls"), values(query))
}

// PatchCall changes tags and metadata.
func (c *Client) PatchCall(ctx context.Context, id string, patch PatchCall, options ...Option) (*Call, error) {
	out := &Call{}
	return filled(out, c.do(ctx, request{method: http.MethodPatch, path: path("calls", id), body: patch, keyed: true,
		header: http.Header{"Content-Type": {"application/merge-patch+json"}}}, out, options...))
}

// HangUp ends a call, whatever it is at. A call that is over is no error.
func (c *Client) HangUp(ctx context.Context, id string, options ...Option) (*ActionResult, error) {
	out := &ActionResult{}
	return filled(out, c.do(ctx, request{method: http.MethodDelete, path: path("calls", id), keyed: true}, out, options...))
}

// HangUpLeg ends one leg, or gives the phones a reason.
func (c *Client) HangUpLeg(ctx context.Context, id string, how HangUp, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "hangup", how, options)
}

// Hold puts the phone of a leg on hold; without a leg the called one.
func (c *Client) Hold(ctx context.Context, id, leg string, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "hold", ActionOnLeg{Leg: leg}, options)
}

// Unhold takes the phone of a leg off hold; without a leg the called one.
func (c *Client) Unhold(ctx context.Context, id, leg string, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "unhold", ActionOnLeg{Leg: leg}, options)
}

// Mute has the other party not hear a leg; without a leg the calling one.
func (c *Client) Mute(ctx context.Context, id, leg string, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "mute", ActionOnLeg{Leg: leg}, options)
}

// Unmute has the other party hear a leg again; without a leg the calling one.
func (c *Client) Unmute(ctx context.Context, id, leg string, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "unmute", ActionOnLeg{Leg: leg}, options)
}

// SendDTMF sends digits to a phone.
func (c *Client) SendDTMF(ctx context.Context, id string, digits SendDTMF, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "dtmf", digits, options)
}

// Redirect calls somebody else instead of a phone that has not answered.
func (c *Client) Redirect(ctx context.Context, id string, to Redirect, options ...Option) (*ActionResult, error) {
	return c.act(ctx, id, "redirect", to, options)
}

func (c *Client) act(ctx context.Context, id, action string, body any, options []Option) (*ActionResult, error) {
	out := &ActionResult{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("calls", id, "actions", action), body: body, keyed: true}, out, options...))
}

// Transfer transfers a call. It returns once the target is called; an event tells what
// comes of it.
func (c *Client) Transfer(ctx context.Context, id string, how CreateTransfer, options ...Option) (*Transfer, error) {
	out := &Transfer{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("calls", id, "transfers"), body: how, keyed: true}, out, options...))
}

// Transfers returns transfers of a call, the newest first.
func (c *Client) Transfers(ctx context.Context, id string) iter.Seq2[Transfer, error] {
	return list[Transfer](ctx, c, path("calls", id, "transfers"), nil)
}

// TransferByID returns a transfer.
func (c *Client) TransferByID(ctx context.Context, id, transfer string, options ...Option) (*Transfer, error) {
	out := &Transfer{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("calls", id, "transfers", transfer)}, out, options...))
}

// CancelTransfer calls a transfer off.
func (c *Client) CancelTransfer(ctx context.Context, id, transfer string, options ...Option) (*Transfer, error) {
	out := &Transfer{}
	return filled(out, c.do(ctx, request{method: http.MethodDelete, path: path("calls", id, "transfers", transfer), keyed: true}, out, options...))
}

// CompleteTransfer joins the parties of an attended transfer now.
func (c *Client) CompleteTransfer(ctx context.Context, id, transfer string, options ...Option) (*Transfer, error) {
	out := &Transfer{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("calls", id, "transfers", transfer, "complete"), keyed: true}, out, options...))
}

// Messages returns the SIP messages that are kept of a call.
func (c *Client) Messages(ctx context.Context, id string) (*MessagePage, error) {
	out := &MessagePage{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("calls", id, "messages")}, out))
}

// Me returns who the client is, and what it may.
func (c *Client) Me(ctx context.Context) (*Principal, error) {
	out := &Principal{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("me")}, out))
}

// Users returns users, by their names.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return list[User](ctx, c, path("users"), nil)
}

// UserByName returns a user by any of his names.
func (c *Client) UserByName(ctx context.Context, name string) (*User, error) {
	out := &User{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("users", name)}, out))
}

// Records returns records of calls, the newest first.
func (c *Client) Records(ctx context.Context, query RecordQuery) iter.Seq2[Record, error] {
	return list[Record](ctx, c, path("cdrs"), values(query))
}

// RecordOf returns the record of a call.
func (c *Client) RecordOf(ctx context.Context, id string) (*Record, error) {
	out := &Record{}
	return filled(out, c.do(ctx, request{method: http.MethodGet, path: path("cdrs", id)}, out))
}

// ExportRecords returns records as CSV. The caller closes it. Its reading fails where the
// export broke off.
func (c *Client) ExportRecords(ctx context.Context, query RecordQuery) (io.ReadCloser, error) {
	resp, err := c.open(ctx, request{method: http.MethodGet, path: path("cdrs.csv"), query: values(query)})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// StreamTicket returns a ticket that opens one stream within 60 s, for a page in a
// browser.
func (c *Client) StreamTicket(ctx context.Context, ticket CreateStreamTicket) (*StreamTicket, error) {
	out := &StreamTicket{}
	return filled(out, c.do(ctx, request{method: http.MethodPost, path: path("stream-tickets"), body: ticket}, out))
}

// filled returns an answer, nil with an error.
func filled[T any](out *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}

// IsNotDialled reports whether an error says that no phone was called, so that the order
// may be placed anew.
func IsNotDialled(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Dialled == DialledNo
}

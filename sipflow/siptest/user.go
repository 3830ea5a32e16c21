package siptest

import (
	"context"
	"fmt"
	"slices"

	"github.com/emiago/sipgo/sip"
)

// Call calls uri ("sip:202@sipx.test") and returns once the called party has
// answered and the ACK is sent. The end of ctx cancels the call. A refusal
// wraps [ErrRefused].
func (p *Phone) Call(ctx context.Context, uri string, with ...sip.Header) error {
	return p.CallAs(ctx, Calling{}, uri, with...)
}

// Calling is how a phone places a call. The zero value is the usual way.
type Calling struct {
	NoOffer  bool   // the INVITE carries none: the ACK, or the PRACK, answers that of the 200, or 1xx
	NoAnswer bool   // not even then
	SDP      string // its offer; "" for one of the phone's own
	Reliable bool   // supports 100rel (RFC 3262)
	NoPRACK  bool   // but never acknowledges
	LoseACKs int    // so many ACKs of 2xx are not sent
	GivesUp  string // Reason of its CANCEL
	Header   []sip.Header
}

// CallAs is Call in another way.
func (p *Phone) CallAs(ctx context.Context, how Calling, uri string, with ...sip.Header) error {
	var target sip.Uri
	if err := sip.ParseUri(uri, &target); err != nil {
		return fmt.Errorf("call %s: %w", uri, err)
	}
	done := make(chan error, 1)
	p.mu.Lock()
	o := p.invite(how, target, func(res *sip.Response) {
		switch {
		case res == nil || res.StatusCode >= 300:
			done <- refusal(sip.INVITE, res)
		case res.StatusCode >= 200:
			done <- nil
		}
	}, append(with, how.Header...)...)
	p.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		o.cancel()
		return fmt.Errorf("call %s: %w", uri, context.Cause(ctx))
	}
}

// Do sends a request within the newest call that is up and returns the final
// response of whatever status. Action.After is ignored.
func (p *Phone) Do(ctx context.Context, a Action) (*sip.Response, error) { return p.DoIn(ctx, "", a) }

// DoIn is Do within the call of a Call-ID, the newest one if that is empty.
func (p *Phone) DoIn(ctx context.Context, callID string, a Action) (*sip.Response, error) {
	done := make(chan *sip.Response, 1)
	p.mu.Lock()
	i := len(p.dialogs) - 1
	for i >= 0 && (p.dialogs[i].state != confirmed || callID != "" && p.dialogs[i].callID != callID) {
		i--
	}
	if i < 0 {
		p.mu.Unlock()
		return nil, fmt.Errorf("%s: the phone is in no call", a.Method)
	}
	if a.Method == sip.BYE {
		p.dialogs[i].stop()
	}
	p.act(p.dialogs[i], a, func(res *sip.Response) { done <- res })
	p.mu.Unlock()
	select {
	case res := <-done:
		if res == nil {
			return nil, refusal(a.Method, nil)
		}
		return res, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", a.Method, context.Cause(ctx))
	}
}

// HangUp puts the phone on hook: BYE to each call that is up, CANCEL to each
// that it makes, 603 to each that rings. It does not wait for responses.
func (p *Phone) HangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.calls {
		o.cancel()
	}
	for _, d := range p.dialogs {
		switch d.state {
		case confirmed:
			p.bye(d, Action{})
		case early:
			d.stop()
			p.respond(d.invite, 603, d.localTag)
		}
	}
}

// Register registers the phone's address at Account.Proxy for an hour (RFC 3261
// §10), with credentials if challenged.
func (p *Phone) Register(ctx context.Context) error { return p.register(ctx, "3600") }

// Unregister takes the registration back.
func (p *Phone) Unregister(ctx context.Context) error { return p.register(ctx, "0") }

func (p *Phone) register(ctx context.Context, expires string) error {
	done := make(chan *sip.Response, 1)
	p.mu.Lock()
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: p.account.Domain})
	req.AppendHeader(sip.NewHeader("From", withTag("<"+p.AOR()+">", newTag())))
	req.AppendHeader(sip.NewHeader("To", "<"+p.AOR()+">"))
	req.AppendHeader(sip.NewHeader("Call-ID", newTag()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.REGISTER})
	req.AppendHeader(sip.NewHeader("Contact", p.contact()))
	req.AppendHeader(sip.NewHeader("Expires", expires))
	p.ask(req, p.nextHop(req.Recipient), func() uint32 { return 2 }, func(res *sip.Response) { done <- res })
	p.mu.Unlock()
	select {
	case res := <-done:
		if res == nil || res.StatusCode >= 300 {
			return refusal(sip.REGISTER, res)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("REGISTER: %w", context.Cause(ctx))
	}
}

// Peer is where requests within the newest call that is up go in the end: the ip:port of the
// other side's Contact, "" without a call or where that is a name.
func (p *Phone) Peer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range slices.Backward(p.dialogs) {
		if d.state == confirmed {
			if at, ok := hop(d.target); ok {
				return at.String()
			}
			return ""
		}
	}
	return ""
}

package sipflow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
)

// hops says where the next request of the leg may go, in the order to try.
func (l *Leg) hops(ctx context.Context) ([]resolve.Hop, error) {
	hops, err := l.allHops(ctx)
	if err == nil && l.next != "" {
		hops, err = l.guard(hops)
	}
	if err == nil && (l.secure || isSIPS(l.target)) {
		return l.secureOnly(hops)
	}
	return hops, err
}

func (l *Leg) allHops(ctx context.Context) ([]resolve.Hop, error) {
	sw := l.call.sw
	if l.next != "" {
		return sw.hopsOf(ctx, l.next)
	}
	if first := l.call.hops; first != nil {
		l.call.hops = nil // Place has looked them up
		return first, nil
	}
	return l.callee.route(ctx, l.target)
}

// secureOnly leaves the hops by which a sips request, or one in a dialog that
// was set up over an encrypted hop, may go (RFC 3261 §26.2.2).
//
//go:noinline
func (l *Leg) secureOnly(hops []resolve.Hop) ([]resolve.Hop, error) {
	var kept []resolve.Hop
	for _, h := range hops {
		if transport.Encrypted(h.Transport) {
			kept = append(kept, h)
		}
	}
	if len(kept) == 0 && len(hops) > 0 {
		return nil, fmt.Errorf("%w: it must go over TLS, and the way there is %s", errInsecure, hops[0])
	}
	return kept, nil
}

var errInsecure = errors.New("a secure request does not go over an insecure transport (RFC 3261 §26.2.2)")

// goSecure finds the way within a dialog whose phone asks for encryption,
// although its INVITE went without.
//
//go:noinline
func (l *Leg) goSecure(d *dialog) error {
	ctx, stop := context.WithTimeout(context.Background(), placeTime)
	defer stop()
	hops, err := l.call.sw.hopsOf(ctx, d.next)
	if err == nil {
		hops, err = l.guard(hops)
	}
	if err == nil {
		hops, err = l.secureOnly(hops)
	}
	var failed error
	for _, h := range hops {
		p, dialled := l.call.sw.transport.Path(ctx, h)
		if dialled == nil {
			l.path = p
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", h, dialled))
	}
	return fmt.Errorf("the phone's Contact is %s, and there is no secure way to it: %w", d.target, errors.Join(err, failed))
}

// route fills in where the request may go. A dialog whose encrypted connection
// is gone, or was another node's, first tries the server that it led to: only that one
// is known to be who it says, whatever name its Record-Route has.
//
//go:noinline
func (a *attempt) route(ctx context.Context) error {
	hops, err := a.leg.hops(ctx)
	if err == nil && a.redirects != nil && len(a.leg.call.sw.proxies) == 0 { // a phone has named it
		hops, err = a.leg.guard(hops)
	}
	if s := a.leg.held; a.lost && s != nil && s.Ours && transport.Encrypted(s.Hop.Transport) {
		hops = append([]resolve.Hop{s.Hop}, slices.DeleteFunc(hops, func(h resolve.Hop) bool { return h == s.Hop })...)
		err = nil
	} else if was := a.leg.taken; was != nil && a.leg.secure && transport.Encrypted(was.hop.Transport) {
		hops = append([]resolve.Hop{was.hop}, slices.DeleteFunc(hops, func(h resolve.Hop) bool { return h == was.hop })...)
		err = nil
	}
	if err != nil {
		return err
	}
	a.hops, a.routed = hops, true
	return nil
}

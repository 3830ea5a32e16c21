package sipflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sipxrest/resolve"
	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// Where a phone may send us. It chooses its Contact and, where no proxy looks,
// its route set. They must not lead back to us, nor to what only this machine
// reaches, nor make us open connections to hosts it chose.
var (
	errLocal = errors.New("a phone may not send us to this machine's own or its link's addresses")
	errCrowd = errors.New("a phone has an address of its own: that is one of many at once (broadcast or multicast), or of none")
	errStray = errors.New("no connection is opened to where a phone says, unless its messages come from there")
)

// namedHops are the next hops of somebody whom a client has called. The client
// may name any host where there is no outbound proxy: services of this machine
// are none that he is to reach through us.
func (c *Call) namedHops(ctx context.Context, uri string) ([]resolve.Hop, error) {
	hops, err := c.sw.nextHops(ctx, uri)
	if err != nil || len(c.sw.proxies) > 0 {
		return hops, err
	}
	for _, h := range hops {
		if a := h.Addr.Addr(); c.sw.transport.Local(a) || c.sw.transport.Many(a) {
			return c.foreign(uri, hops)
		}
	}
	return hops, nil
}

//go:noinline
func (c *Call) foreign(uri string, hops []resolve.Hop) ([]resolve.Hop, error) {
	u, _ := wire.ParseURI([]byte(uri))
	if _, domain, _ := strings.Cut(c.Key.Agent, "@"); strings.EqualFold(cmp.Or(u.MAddr, u.Host), domain) {
		return hops, nil // the operator's own
	}
	kept := slices.DeleteFunc(slices.Clone(hops), func(h resolve.Hop) bool {
		return c.sw.transport.Local(h.Addr.Addr()) || c.sw.transport.Many(h.Addr.Addr())
	})
	if len(kept) == 0 {
		return nil, fmt.Errorf("%s leads to %s, which only this machine or its link reaches, or which is no single host's", uri, hops[0])
	}
	return kept, nil
}

// guard leaves the hops to which requests in the dialog may go.
func (l *Leg) guard(hops []resolve.Hop) ([]resolve.Hop, error) {
	for _, h := range hops {
		if l.refused(h) != nil {
			return l.guarded(hops)
		}
	}
	return hops, nil
}

//go:noinline
func (l *Leg) guarded(hops []resolve.Hop) ([]resolve.Hop, error) {
	var kept []resolve.Hop
	var failed error
	for _, h := range hops {
		if err := l.refused(h); err != nil {
			failed = fmt.Errorf("its phone names %s, which leads to %s: %w", cmp.Or(l.next, l.target), h, err)
			continue
		}
		kept = append(kept, h)
	}
	if len(kept) == 0 {
		return nil, failed
	}
	return kept, nil
}

// refused says why no request of the leg may go to a hop.
func (l *Leg) refused(h resolve.Hop) error {
	t := &l.call.sw.transport
	a := h.Addr.Addr()
	switch {
	case t.IsOwn(h.Addr):
		return transport.ErrOwn
	case (a.IsLoopback() || a.IsLinkLocalUnicast()) && t.Local(a) && a != l.source:
		return errLocal
	case t.Many(a):
		return errCrowd
	case h.Transport != "udp" && !l.mayConnect(a):
		return errStray
	}
	return nil
}

// mayConnect reports whether the leg's phone may have us open connections to an
// address. If its INVITE went by UDP, through a proxy as a rule, these are
// allowed: where that INVITE went, the outbound proxies, and the servers of the
// agent's domain or of its own.
func (l *Leg) mayConnect(to netip.Addr) bool {
	if l.source == to || l.servedBy(to) {
		return true
	}
	if l.callee.caller() != nil { // it writes into From what it likes
		return false
	}
	return !l.source.IsValid() || l.call.sw.serves("sip:"+l.party, to)
}

// comesFrom reports whether an address is where messages of the leg's dialog come
// from: its phone's, or that of the server which the INVITE went to.
func (l *Leg) comesFrom(a netip.Addr) bool {
	a = a.Unmap()
	return a == l.source.Unmap() || a == l.path.To.Addr().Unmap() || l.accepted != nil && a == l.accepted.path.To.Addr().Unmap()
}

// barred says why a URI with an address in it is not gone to.
func (sw *Switchboard) barred(target string) error {
	a := uri.AddrPort(target)
	switch {
	case !a.IsValid():
		return nil
	case sw.transport.IsOwn(a):
		return fmt.Errorf("%s: %w", target, transport.ErrOwn)
	case sw.transport.Local(a.Addr()):
		return fmt.Errorf("%s: %w", target, errLocal)
	case sw.transport.Many(a.Addr()):
		return fmt.Errorf("%s: %w", target, errCrowd)
	}
	return nil
}

// barredReply refuses a request of a phone that names where we do not go, as
// its Contact or, in a REFER, for the other phone. Its Code is 0 when it may.
func (l *Leg) barredReply(m *wire.Message) (r wire.Reply) {
	for _, h := range [...]wire.Header{wire.Contact, wire.ReferTo} {
		if h == wire.Contact && !targets(m.Method()) || h == wire.ReferTo && m.Method() != "REFER" {
			continue
		}
		contact, _ := wire.NameAddr(m.Get(h))
		if h == wire.Contact {
			contact = wire.ContactURI(m.Get(h))
		}
		if h == wire.ReferTo && bytes.Contains(bytes.ToLower(contact), []byte("replaces=")) {
			continue // the phone is in another call of ours, see referredHeader
		}
		err := l.call.sw.barred(string(contact))
		if errors.Is(err, errLocal) && uri.AddrPort(string(contact)).Addr() == l.source {
			err = nil
		}
		switch {
		case errors.Is(err, transport.ErrOwn):
			return wire.Reply{Code: 482}
		case err != nil && h == wire.Contact:
			return wire.Reply{Code: 403, Reason: "Contact Not Allowed"}
		}
	}
	return wire.Reply{}
}

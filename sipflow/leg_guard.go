package sipflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"sipxrest/resolve"
	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// Where a phone may send us. It names its Contact and, where no proxy looks,
// its route set as it likes: what it names must lead neither back to us, nor
// to what only this machine reaches, nor make us connect to whom it likes.
var (
	errOwn   = errors.New("that is a socket of this service: what goes there comes back (RFC 3261 §16.3)")
	errLocal = errors.New("a phone may not send us to this machine's own or its link's addresses")
	errCrowd = errors.New("a phone has an address of its own: that is one of many at once (broadcast or multicast), or of none")
	errStray = errors.New("no connection is opened to where a phone says, unless its messages come from there")
)

// ownSockets notes every address at which the sockets can be reached, for a
// socket on all addresses each of this machine's.
func (t *transport) ownSockets(advertised string) {
	t.own = map[netip.AddrPort]struct{}{}
	external, _ := netip.ParseAddr(strings.Trim(advertised, "[]"))
	add := func(a net.Addr) {
		local, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return
		}
		note := func(a netip.Addr) {
			t.own[netip.AddrPortFrom(a.Unmap().WithZone(""), local.Port())] = struct{}{}
		}
		note(local.Addr())
		if external.IsValid() {
			note(external)
		}
		t.loopback = t.loopback || local.Addr().Unmap().IsLoopback()
		t.linkLocal = t.linkLocal || local.Addr().IsLinkLocalUnicast()
		if !local.Addr().IsUnspecified() {
			return
		}
		note(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		note(netip.IPv6Loopback())
		for _, p := range interfaces() {
			note(p.Addr())
		}
	}
	for _, s := range t.udp {
		add(s.conn.LocalAddr())
	}
	for _, l := range t.listeners {
		add(l.Addr())
	}
	t.crowds = map[netip.Addr]struct{}{}
	for _, p := range interfaces() {
		t.crowd(p)
	}
}

// interfaces are this machine's addresses with their networks.
func interfaces() (all []netip.Prefix) {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// crowd notes the broadcast addresses of a network: its last address, and the
// first one, which older systems take for one, too. What is one in the networks
// of others cannot be known here.
func (t *transport) crowd(p netip.Prefix) {
	if !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 1 {
		return
	}
	first := p.Masked().Addr()
	last := first.As4()
	for i := p.Bits(); i < 32; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	t.crowds[first] = struct{}{}
	t.crowds[netip.AddrFrom4(last)] = struct{}{}
}

// many tells the addresses that are those of many, or of nobody.
func (t *transport) many(a netip.Addr) bool {
	_, crowd := t.crowds[a]
	return crowd || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// isOwn reports whether one of our sockets has the address.
func (t *transport) isOwn(a netip.AddrPort) bool {
	if _, own := t.own[a]; own || !t.auto {
		return own
	}
	for _, s := range t.udp {
		if s.seen.is(a) {
			return true
		}
	}
	return t.seen.is(a)
}

// local tells the addresses that mean something on this machine or its links
// only. Where we listen on such ourselves, phones may be there.
func (t *transport) local(a netip.Addr) bool {
	return a.IsLoopback() && !t.loopback || a.IsLinkLocalUnicast() && !t.linkLocal
}

// namedHops are the next hops of somebody whom a client has called. The client
// may name any host where there is no outbound proxy: services of this machine
// are none that he is to reach through us. The target of a call by Dial is the
// operator's as a rule, but not where a redirection leads from there.
func (c *Call) namedHops(ctx context.Context, uri string) ([]resolve.Hop, error) {
	hops, err := c.sw.nextHops(ctx, uri)
	if err != nil || len(c.sw.proxies) > 0 || c.Dial != nil && !c.Dial.Chosen && uri == c.Dial.Target {
		return hops, err
	}
	for _, h := range hops {
		if a := h.Addr.Addr(); c.sw.transport.local(a) || c.sw.transport.many(a) {
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
		return c.sw.transport.local(h.Addr.Addr()) || c.sw.transport.many(h.Addr.Addr())
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
	case t.isOwn(h.Addr):
		return errOwn
	case (a.IsLoopback() || a.IsLinkLocalUnicast()) && t.local(a) && a != l.source:
		return errLocal
	case t.many(a):
		return errCrowd
	case h.Transport != "udp" && !l.mayConnect(a):
		return errStray
	}
	return nil
}

// mayConnect reports whether the leg's phone may have us open connections to
// an address: a call that came to it by UDP, through a proxy as a rule, only to
// where that INVITE went, the outbound proxies, and the servers of the agent's
// domain or of its own.
func (l *Leg) mayConnect(to netip.Addr) bool {
	if l.caller() != nil { // it writes into From what it likes
		return l.source == to || l.servedBy(to)
	}
	return !l.source.IsValid() || l.source == to || l.servedBy(to) || l.call.sw.serves("sip:"+l.party, to)
}

// barred says why a URI with an address in it is not gone to.
func (sw *Switchboard) barred(target string) error {
	a := uri.AddrPort(target)
	switch {
	case !a.IsValid():
		return nil
	case sw.transport.isOwn(a):
		return fmt.Errorf("%s: %w", target, errOwn)
	case sw.transport.local(a.Addr()):
		return fmt.Errorf("%s: %w", target, errLocal)
	case sw.transport.many(a.Addr()):
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
		case errors.Is(err, errOwn):
			return wire.Reply{Code: 482}
		case err != nil && h == wire.Contact:
			return wire.Reply{Code: 403, Reason: "Contact Not Allowed"}
		}
	}
	return wire.Reply{}
}

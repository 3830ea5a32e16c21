package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// ownSockets notes every address at which the sockets can be reached, for a
// socket on all addresses each of this machine's.
func (t *Sockets) ownSockets(advertised string) {
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
		t.Crowd(p)
	}
}

// IsOwn reports whether one of our sockets has the address.
func (t *Sockets) IsOwn(a netip.AddrPort) bool {
	if _, own := t.own[a]; own || !t.Auto {
		return own
	}
	for _, s := range t.udp {
		if s.seen.is(a) {
			return true
		}
	}
	return t.seen.is(a)
}

// Local reports whether an address means something on this machine or its links
// only. Where we listen on such ourselves, phones may be there.
func (t *Sockets) Local(a netip.Addr) bool {
	return a.IsLoopback() && !t.loopback || a.IsLinkLocalUnicast() && !t.linkLocal
}

var (
	ErrOwn = errors.New("that is a socket of this service: what goes there comes back (RFC 3261 §16.3)")
)

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

// Crowd notes the broadcast addresses of a network: its last address, and the
// first one, which older systems take for one, too. What is one in the networks
// of others cannot be known here.
func (t *Sockets) Crowd(p netip.Prefix) {
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

// Many reports whether an address is that of many at once, or of nobody.
func (t *Sockets) Many(a netip.Addr) bool {
	_, crowd := t.crowds[a]
	return crowd || a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

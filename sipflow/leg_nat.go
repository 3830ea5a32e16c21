package sipflow

import (
	"net/netip"

	"sipxrest/sipflow/transport"
	"sipxrest/sipflow/uri"
)

// mediaHost is the address that the leg's session descriptions name: that of
// the socket by which its phone is reached, of the same family (RFC 4566 §5.7).
func (l *Leg) mediaHost() string {
	sw := l.call.sw
	if l.taken != nil && l.taken.origin != "" { // another one would be another session (RFC 3264 §8)
		return l.taken.origin
	}
	if !sw.manyHosts {
		return sw.host
	}
	if l.path.Link != nil {
		return transport.HostOf(l.path.Link)
	}
	if l.accepted != nil { // responded to, and not acknowledged yet
		return transport.HostOf(l.accepted.path.Link)
	}
	if hops := l.call.hops; len(hops) > 0 {
		return sw.transport.HostTowards(hops[0].Transport, hops[0].Addr.Addr())
	}
	return sw.transport.HostTowards("udp", netip.Addr{})
}

// private tells the addresses that mean something in one network only: RFC
// 1918, RFC 4193, RFC 6598, link-local and loopback.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || shared.Contains(a)
}

var shared = netip.MustParsePrefix("100.64.0.0/10")

// hidden reports whether the phone is behind a NAT that nobody on the way has
// made up for: its Contact is an address that means nothing here, while its
// messages come from one that does. Responses then go where the messages come
// from, and so does the dialog.
func (l *Leg) hidden(contact string, from netip.Addr) bool {
	if !l.call.sw.cfg.NAT || l.routes != "" || !from.IsValid() || private(from) {
		return false
	}
	a := uri.AddrPort(contact)
	return a.IsValid() && private(a.Addr())
}

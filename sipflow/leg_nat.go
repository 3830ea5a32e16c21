package sipflow

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"sipxrest/sipflow/uri"
	"sipxrest/sipflow/wire"
)

// autoAddress as Config.ExternalAddress has each socket say the address under
// which the outbound proxies see it.
const autoAddress = "auto"

// seen is the address under which others see a socket behind a NAT, once that
// is known.
type seen struct{ at atomic.Pointer[seenAt] }

type seenAt struct {
	addr netip.AddrPort
	host string // addr as Via and Contact have it
}

// or is the host:port to say: the one seen, else what the socket has.
func (s *seen) or(host string) string {
	if at := s.at.Load(); at != nil {
		return at.host
	}
	return host
}

func (s *seen) is(a netip.AddrPort) bool {
	at := s.at.Load()
	return at != nil && at.addr == a
}

// learn takes over the address under which an outbound proxy saw the OPTIONS
// that it answers (RFC 3581 §4). Only they are believed, and only in answers to
// what they were asked: the branch of its Via cannot be guessed.
func (sw *Switchboard) learn(over link, res *wire.Message) {
	via, ok := res.TopVia()
	if !ok || !sw.transport.auto {
		return
	}
	addr, err := netip.ParseAddr(strings.Trim(string(via.Param("received")), "[]"))
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		return
	}
	at := &seen{}
	_, was := over.local()
	port := was[strings.LastIndexByte(was, ':')+1:]
	switch s := over.(type) {
	case *udpSocket:
		at = &s.seen
		if rport := string(via.Param("rport")); rport != "" {
			port = rport
		}
	case *stream:
		// The port is that of this connection, at which we do not listen: a NAT
		// in front of listeners is one with its ports forwarded.
		at = &sw.transport.seen
	}
	now, err := netip.ParseAddrPort(netip.AddrPortFrom(addr.Unmap(), 0).Addr().String() + ":" + port)
	if addr.Unmap().Is6() {
		now, err = netip.ParseAddrPort("[" + addr.String() + "]:" + port)
	}
	if err != nil || now.Port() == 0 || at.is(now) {
		return
	}
	at.at.Store(&seenAt{now, now.String()})
	if now.String() == was {
		return // no NAT is in between
	}
	sw.log.Info("sip: seen from outside at another address, which Via, Contact and session descriptions say from now on", "address", now.String(), "instead", was)
}

// hostOf is a link's address without its port and brackets, for session
// descriptions.
func hostOf(l link) string {
	_, host := l.local()
	return strings.Trim(host[:strings.LastIndexByte(host, ':')], "[]")
}

// mediaHost is the address that the leg's session descriptions name: that of
// the socket by which its phone is reached, of the same family (RFC 4566 §5.7).
func (l *Leg) mediaHost() string {
	sw := l.call.sw
	if !sw.manyHosts {
		return sw.host
	}
	if l.path.link != nil {
		return hostOf(l.path.link)
	}
	if l.accepted != nil { // answered, and not acknowledged yet
		return hostOf(l.accepted.path.link)
	}
	if hops := l.call.hops; len(hops) > 0 {
		return sw.transport.hostTowards(hops[0].Transport, hops[0].Addr.Addr())
	}
	return sw.transport.hostTowards("udp", netip.Addr{})
}

// hostTowards is the address of the socket by which another is reached.
func (t *transport) hostTowards(transport string, to netip.Addr) string {
	host := ""
	if transport == "udp" {
		for _, s := range t.udp {
			if host == "" || to.IsValid() && s.reaches(to) {
				if host = hostOf(s); to.IsValid() && s.reaches(to) {
					break
				}
			}
		}
	}
	if host == "" {
		host = t.sentBy(transport, to)
		host = strings.Trim(host[:strings.LastIndexByte(host, ':')], "[]")
	}
	return host
}

// private tells the addresses that mean something in one network only: RFC
// 1918, RFC 4193, RFC 6598, link-local and loopback.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || shared.Contains(a)
}

var shared = netip.MustParsePrefix("100.64.0.0/10")

// hidden reports whether the phone is behind a NAT that nobody on the way has
// made up for: its Contact is an address that means nothing here, while its
// messages come from one that does. They are then answered where they come
// from, and so is the dialog.
func (l *Leg) hidden(contact string, from netip.Addr) bool {
	if !l.call.sw.cfg.NAT || l.routes != "" || !from.IsValid() || private(from) {
		return false
	}
	a := uri.AddrPort(contact)
	return a.IsValid() && private(a.Addr())
}

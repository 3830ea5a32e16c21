package transport

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
)

// autoAddress as Config.ExternalAddress has each socket say the address under
// which the outbound proxies see it.
const Auto = "auto"

// seen is the address under which others see a socket behind a NAT, once that
// is known.
type seen struct{ at atomic.Pointer[seenAt] }

type seenAt struct {
	addr netip.AddrPort
	host string // addr as Via and Contact have it
}

// HostOf is a link's address without its port and brackets, for session
// descriptions.
func HostOf(l Link) string {
	_, host := l.Local()
	return strings.Trim(host[:strings.LastIndexByte(host, ':')], "[]")
}

// HostTowards is the address of the socket by which another is reached.
func (t *Sockets) HostTowards(transport string, to netip.Addr) string {
	host := ""
	if transport == "udp" {
		for _, s := range t.udp {
			if host == "" || to.IsValid() && s.reaches(to) {
				if host = HostOf(s); to.IsValid() && s.reaches(to) {
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

// SeenAs notes the address under which a peer sees a socket, and the port where it
// tells it. It returns what Via and Contact say from now on, and what they said
// before; both are the same when nothing is new.
func (t *Sockets) SeenAs(over Link, addr netip.Addr, rport string) (now, was string) {
	_, was = over.Local()
	if addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
		return was, was
	}
	port := was[strings.LastIndexByte(was, ':')+1:]
	at := &t.seen // of a stream
	if s, ok := over.(*udpSocket); ok {
		at = &s.seen
		if rport != "" {
			port = rport
		}
	} // else the port is that of this connection, at which we do not listen: a NAT in front of listeners is one with its ports forwarded
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return was, was
	}
	seen := netip.AddrPortFrom(addr.Unmap(), uint16(p))
	if at.is(seen) {
		return was, was
	}
	at.at.Store(&seenAt{seen, seen.String()})
	return seen.String(), was
}

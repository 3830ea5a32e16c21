package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"sipxrest/sipflow/wire"
)

func (t *Sockets) openUDP(addr, advertised string) error {
	listen := t.Network.ListenUDP
	if listen == nil {
		listen = listenUDP
	}
	c, err := listen(addr)
	if err != nil {
		return err
	}
	s := &udpSocket{conn: c, direct: newDirectUDP(c), traffic: &t.Messages[KindUDP], t: t}
	if s.host, err = hostPort(c.LocalAddr(), advertised); err != nil {
		c.Close()
		return err
	}
	if l, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
		s.at = l.Addr()
	}
	t.udp = append(t.udp, s)
	return nil
}

func listenUDP(addr string) (PacketConn, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	c, err := net.ListenUDP("udp", a)
	if err != nil {
		return nil, err
	}
	c.SetReadBuffer(udpBuffer) //nolint:errcheck // the kernel gives what it may
	c.SetWriteBuffer(udpBuffer)
	return c, nil
}

type udpSocket struct {
	conn    PacketConn
	direct  *directUDP // nil: by conn alone
	at      netip.Addr // its own; invalid if unknown
	host    string
	traffic *Counters
	t       *Sockets
	seen    seen // under ExternalAddress "auto"
}

func (s *udpSocket) close() {
	if s.direct != nil {
		s.direct.close()
	}
	s.conn.Close()
}

// Send implements Link.
func (s *udpSocket) Send(b []byte, to netip.AddrPort) error {
	if s.direct != nil {
		if sent, err := s.direct.send(b, to); sent || err != nil {
			s.wrote(b, to, err)
			return s.explain(err, to)
		}
	}
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	s.wrote(b, to, err)
	return s.explain(err, to)
}

// wrote counts a datagram, and tells of it.
func (s *udpSocket) wrote(b []byte, to netip.AddrPort, err error) {
	s.traffic.sent(err)
	if err == nil && s.t.Watch != nil {
		s.t.watch(s, b, to, true)
	}
}

// explain says what the kernel means by EINVAL.
func (s *udpSocket) explain(err error, to netip.AddrPort) error {
	if errors.Is(err, syscall.EINVAL) && s.loopback() && !to.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s cannot be reached from udp:%s, for loopback leads to this machine only: add an address of the network to sip.listen: %w", to, s.host, err)
	}
	return err
}

func (s *udpSocket) loopback() bool { return s.at.Unmap().IsLoopback() }

// Repeat implements Link.
func (s *udpSocket) Repeat(b []byte, to netip.AddrPort) {
	s.Send(b, to) //nolint:errcheck // as good as lost
}

// Reliable implements Link.
func (s *udpSocket) Reliable() bool { return false }

// Local implements Link.
func (s *udpSocket) Local() (string, string) { return "UDP", s.seen.or(s.host) }

func (s *udpSocket) reaches(a netip.Addr) bool {
	if !s.at.IsValid() {
		return true
	}
	local := s.at.Unmap()
	if local.IsUnspecified() {
		return s.at.Is6() || a.Unmap().Is4()
	}
	return local.Is4() == a.Unmap().Is4()
}

func (t *Sockets) readUDP(s *udpSocket) {
	// An ICMP error of an earlier packet: the socket goes on.
	failed := func(err error) { t.Log.Debug("sip: read", "socket", s.host, "error", err) }
	if s.direct != nil {
		err := s.direct.read(wire.MaxMessage+1, func(data []byte, from netip.AddrPort) {
			t.take(append([]byte(nil), data...), Path{s, from})
		}, t.Waited, failed)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			t.Log.Error("sip: a socket cannot be read any more", "socket", s.host, "error", err)
		}
		return
	}
	buf := make([]byte, wire.MaxMessage+1)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			failed(err)
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		t.take(append([]byte(nil), buf[:n]...), Path{s, from})
	}
}

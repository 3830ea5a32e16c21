package siptest

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	socketBuffer = 4096  // datagrams that wait in one socket
	maxDatagram  = 65507 // bytes, IPv4
)

// Conn is what a [Phone] and a [Proxy] need of a UDP socket: a [*PacketConn]
// or a [*net.UDPConn].
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

var (
	_ Conn           = (*net.UDPConn)(nil)
	_ Conn           = (*PacketConn)(nil)
	_ net.PacketConn = (*PacketConn)(nil)
)

// PacketConn is a UDP socket on a [Network].
type PacketConn struct {
	net   *Network
	local netip.AddrPort
	in    chan Packet

	once     sync.Once
	closed   chan struct{}
	deadline *deadline
}

// Listen opens the UDP socket addr ("10.0.0.1:5060"). It panics if the
// address is malformed or taken, as only a wrong test can make it so.
func (n *Network) Listen(addr string) *PacketConn {
	c := &PacketConn{
		net:      n,
		local:    mustAddr(addr),
		in:       make(chan Packet, socketBuffer),
		closed:   make(chan struct{}),
		deadline: newDeadline(),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[c.local] != nil {
		panic("siptest: " + addr + " is already in use")
	}
	n.conns[c.local] = c
	return c
}

// full reports whether a packet that arrives now is lost, as at a real socket.
func (c *PacketConn) full() bool {
	select {
	case <-c.closed:
		return true
	default:
		return len(c.in) == cap(c.in)
	}
}

// ReadFromUDPAddrPort waits for a datagram, as [net.UDPConn] does.
func (c *PacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	expired := c.deadline.expired()
	select { // an expired deadline and Close go first, as on a real socket
	case <-c.closed:
		return 0, netip.AddrPort{}, c.failure("read", net.ErrClosed)
	case <-expired:
		return 0, netip.AddrPort{}, c.failure("read", os.ErrDeadlineExceeded)
	default:
	}
	select {
	case p := <-c.in:
		return copy(b, p.Data), p.From, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, c.failure("read", net.ErrClosed)
	case <-expired:
		return 0, netip.AddrPort{}, c.failure("read", os.ErrDeadlineExceeded)
	}
}

// WriteToUDPAddrPort sends a datagram. It never blocks, and UDP to nowhere is
// not an error.
func (c *PacketConn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	select {
	case <-c.closed:
		return 0, c.failure("write", net.ErrClosed)
	default:
	}
	if len(b) > maxDatagram {
		return 0, c.failure("write", syscall.EMSGSIZE)
	}
	c.net.carry(Packet{
		Transport: "UDP",
		From:      c.local,
		To:        netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
		Sent:      time.Now(),
		Data:      slices.Clone(b),
	})
	return len(b), nil
}

// ReadFrom is ReadFromUDPAddrPort with a *net.UDPAddr.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is WriteToUDPAddrPort for a *net.UDPAddr.
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	ua, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.failure("write", syscall.EINVAL)
	}
	return c.WriteToUDPAddrPort(b, ua.AddrPort())
}

// Close frees the address; packets still under way to it are lost.
func (c *PacketConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.deadline.at(time.Time{})
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		delete(c.net.conns, c.local)
	})
	return nil
}

// LocalAddr is a *net.UDPAddr.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// SetDeadline sets the read deadline; writes never wait.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline ends reads that wait beyond t; the zero time means never.
func (c *PacketConn) SetReadDeadline(t time.Time) error { c.deadline.at(t); return nil }

// SetWriteDeadline does nothing: writes never wait.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer does nothing; a socket holds 4096 datagrams.
func (c *PacketConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (c *PacketConn) SetWriteBuffer(int) error { return nil }

func (c *PacketConn) failure(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}

// deadline is a channel that is closed when a settable time has come.
type deadline struct {
	mu    sync.Mutex
	set   int // how often it was set: an older timer that fires late does nothing
	timer *time.Timer
	ch    chan struct{}
}

func newDeadline() *deadline { return &deadline{ch: make(chan struct{})} }

func (d *deadline) at(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set++
	if d.timer != nil {
		d.timer.Stop()
	}
	past := !t.IsZero() && time.Until(t) <= 0
	select {
	case <-d.ch: // it was over: those who come from now on wait again
		if !past {
			d.ch = make(chan struct{})
		}
	default:
		if past {
			close(d.ch)
		}
	}
	if past || t.IsZero() {
		return
	}
	set, ch := d.set, d.ch
	d.timer = time.AfterFunc(time.Until(t), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.set == set {
			close(ch)
		}
	})
}

func (d *deadline) expired() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ch
}

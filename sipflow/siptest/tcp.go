package siptest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	tcpWindow  = 256 << 10 // bytes that a writer may be ahead of the reader, if SetWriteBuffer does not say
	tcpBacklog = 128       // connections that wait for Accept
)

type listener struct {
	net    *Network
	local  netip.AddrPort
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// ListenTCP opens the TCP listener addr ("10.0.0.1:5060"). It panics as
// [Network.Listen] does.
func (n *Network) ListenTCP(addr string) net.Listener {
	l := &listener{net: n, local: mustAddr(addr), accept: make(chan net.Conn, tcpBacklog), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[l.local] != nil {
		panic("siptest: " + addr + " is already in use")
	}
	n.listeners[l.local] = l
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.local)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// DialContext connects by TCP from some host of the network; [Network.DialFrom]
// says from which one.
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.DialFrom("10.255.255.254")(ctx, network, addr)
}

// DialFrom returns a dial function for the host ip. A closed port refuses at
// once; a full backlog makes the caller wait for ctx.
func (n *Network) DialFrom(ip string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	host := netip.MustParseAddr(ip)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		fail := func(err error) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: err}
		}
		remote, err := netip.ParseAddrPort(addr)
		if err != nil {
			return fail(err)
		}
		n.mu.Lock()
		l := n.listeners[remote]
		n.lastPort++
		local := netip.AddrPortFrom(host, n.lastPort)
		if n.unplugged[host] || n.unplugged[remote.Addr()] {
			l = nil
		}
		n.mu.Unlock()
		if l == nil {
			return fail(syscall.ECONNREFUSED)
		}
		near, far := n.pipe(local, remote)
		select {
		case l.accept <- far:
			return near, nil
		case <-l.closed:
			return fail(syscall.ECONNREFUSED)
		case <-ctx.Done():
			return fail(context.Cause(ctx))
		}
	}
}

// pipe makes the two ends of a connection.
func (n *Network) pipe(a, b netip.AddrPort) (*tcpConn, *tcpConn) {
	ab, ba := newStream(), newStream()
	end := func(local, remote netip.AddrPort, in, out *stream) *tcpConn {
		return &tcpConn{
			net: n, local: local, remote: remote, in: in, out: out,
			closed: make(chan struct{}), writing: make(chan struct{}, 1),
			readBy: newDeadline(), writeBy: newDeadline(),
		}
	}
	near, far := end(a, b, ba, ab), end(b, a, ab, ba)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streams[near], n.streams[far] = struct{}{}, struct{}{}
	return near, far
}

// stream is one direction of a connection.
type stream struct {
	mu      sync.Mutex
	buf     []byte
	window  int  // bytes that may be pending
	pending int  // bytes written and not yet read
	eof     bool // the writer has closed, and everything arrived
	reset   bool // the reader has closed

	readable, writable chan struct{} // a token after each change
}

func newStream() *stream {
	return &stream{window: tcpWindow, readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// tcpConn is one end of a TCP connection in memory.
type tcpConn struct {
	net           *Network
	local, remote netip.AddrPort
	in, out       *stream

	once            sync.Once
	closed          chan struct{}
	writing         chan struct{} // holds a token while a Write is at work
	readBy, writeBy *deadline
}

func (c *tcpConn) Read(b []byte) (int, error) {
	for {
		expired := c.readBy.expired()
		select {
		case <-c.closed:
			return 0, c.failure("read", net.ErrClosed)
		case <-expired:
			return 0, c.failure("read", os.ErrDeadlineExceeded)
		default:
		}
		c.in.mu.Lock()
		n := copy(b, c.in.buf)
		c.in.buf = c.in.buf[n:]
		c.in.pending -= n
		left, eof := len(c.in.buf) > 0, c.in.eof
		c.in.mu.Unlock()
		switch {
		case n > 0 || len(b) == 0:
			if left {
				wake(c.in.readable)
			}
			wake(c.in.writable)
			return n, nil
		case eof:
			wake(c.in.readable) // for other readers
			return 0, io.EOF
		}
		select {
		case <-c.in.readable:
		case <-c.closed:
		case <-expired:
		}
	}
}

func (c *tcpConn) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		expired := c.writeBy.expired()
		select {
		case <-c.closed:
			return written, c.failure("write", net.ErrClosed)
		case <-expired:
			return written, c.failure("write", os.ErrDeadlineExceeded)
		default:
		}
		select {
		case c.writing <- struct{}{}:
		case <-c.closed:
			continue
		case <-expired:
			continue
		}
		c.out.mu.Lock()
		reset, n := c.out.reset, min(len(b), max(c.out.window-c.out.pending, 0))
		c.out.pending += n
		c.out.mu.Unlock()
		if n > 0 && !reset {
			c.send(slices.Clone(b[:n]))
		}
		<-c.writing
		switch {
		case reset:
			return written, c.failure("write", syscall.EPIPE)
		case n > 0:
			written, b = written+n, b[n:]
		default:
			select {
			case <-c.out.writable:
			case <-c.closed:
			case <-expired:
			}
		}
	}
	return written, nil
}

// send puts bytes on their way, nil for the end of the stream.
func (c *tcpConn) send(data []byte) {
	if data != nil && c.net.isUnplugged(c.local.Addr()) {
		return
	}
	p := Packet{Transport: "TCP", From: c.local, To: c.remote, Sent: time.Now(), Data: data}
	c.net.queue.after(c.net.delay(), c.local.String(), func() {
		c.out.mu.Lock()
		if data == nil {
			c.out.eof = true
		} else if !c.out.reset {
			c.out.buf = append(c.out.buf, data...)
		}
		c.out.mu.Unlock()
		wake(c.out.readable)
		if data != nil {
			c.net.mu.Lock()
			c.net.arrived++
			p.N = c.net.arrived
			c.net.mu.Unlock()
			c.net.record(p)
		}
	})
}

// Close ends both directions: the peer reads what was written and then EOF,
// and cannot write any more.
func (c *tcpConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.send(nil)
		c.net.mu.Lock()
		delete(c.net.streams, c)
		c.net.mu.Unlock()
		c.in.mu.Lock()
		c.in.reset = true
		c.in.mu.Unlock()
		wake(c.in.writable)
	})
	return nil
}

func (c *tcpConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *tcpConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *tcpConn) SetDeadline(t time.Time) error {
	c.readBy.at(t)
	c.writeBy.at(t)
	return nil
}

func (c *tcpConn) SetReadDeadline(t time.Time) error  { c.readBy.at(t); return nil }
func (c *tcpConn) SetWriteDeadline(t time.Time) error { c.writeBy.at(t); return nil }

// SetWriteBuffer bounds the bytes that this end may be ahead of the other's
// reader, as [net.TCPConn.SetWriteBuffer] does those in the kernel.
func (c *tcpConn) SetWriteBuffer(bytes int) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.window = bytes
	return nil
}

func (c *tcpConn) failure(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

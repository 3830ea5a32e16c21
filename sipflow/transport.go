package sipflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sipxrest/sipflow/wire"
)

// PacketConn is what the switchboard needs of a UDP socket.
type PacketConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// Network opens the sockets. Its zero value is the machine's network; tests
// put an in-memory one in its place.
type Network struct {
	ListenUDP func(addr string) (PacketConn, error)
	ListenTCP func(addr string) (net.Listener, error)
	DialTCP   func(ctx context.Context, addr string) (net.Conn, error)
}

const (
	// udpBuffer is asked of the kernel for each UDP socket: at the usual 208 KiB
	// a burst of a few hundred messages is lost.
	udpBuffer = 4 << 20
	// streamIdle closes a connection over which nothing came for so long
	// (RFC 5626 §4.4.1 asks peers to send a keep-alive every two minutes).
	streamIdle = 10 * time.Minute
	// streamMessage bounds the arrival of one message: who says half of it
	// holds memory and a connection.
	streamMessage = 32 * time.Second
	// streamWrite bounds a write to a peer that reads slowly.
	streamWrite = 5 * time.Second
	// dialTime bounds the opening of a connection.
	dialTime = 2 * time.Second
	// maxRepeats bounds the repeats that wait for one connection.
	maxRepeats = 64
	// maxStreams bounds the open stream connections that peers opened, and
	// those that we did: strangers must not keep us from our next hop.
	maxStreams = 4096
)

// A link sends messages over one socket.
type link interface {
	// send hands b to the kernel. It returns within streamWrite.
	send(b []byte, to netip.AddrPort) error
	// repeat sends b without waiting, or drops it: who reads a socket or fires
	// timers must not wait for a peer that reads slowly.
	repeat(b []byte, to netip.AddrPort)
	// reliable links need no retransmissions (RFC 3261 §17.1.1.2).
	reliable() bool
	// local is what Via and Contact say: transport in upper case, and host:port.
	local() (transport, hostPort string)
}

// A path is a link and the address at its other end.
type path struct {
	link link
	to   netip.AddrPort
}

func (p path) send(b []byte) error { return p.link.send(b, p.to) }
func (p path) repeat(b []byte)     { p.link.repeat(b, p.to) }

// transport owns the sockets. Every message that arrives is handed to receive
// by the goroutine that reads its socket, so messages keep their order;
// receive must not block.
type transport struct {
	log     *slog.Logger
	net     Network
	receive func(m *wire.Message, from path)
	// lost is told of a connection that has ended and had requests of ours.
	lost func(l link)
	// malformed is told of what cannot be read: m is what could be.
	malformed func(m *wire.Message, err *wire.ParseError, from path)

	udp       []*udpSocket
	listeners []*tcpListener
	wg        sync.WaitGroup // one per reading or accepting goroutine

	mu      sync.Mutex
	streams map[netip.AddrPort]*stream // by remote address
	number  map[bool]int               // of open connections, by who opened them: true for us
	closed  bool
}

// open binds addresses such as "udp:127.0.0.1:5060". A host may be left out or
// unspecified; advertised then names the host for Via and Contact.
func (t *transport) open(listen []string, advertised string) error {
	t.streams, t.number = map[netip.AddrPort]*stream{}, map[bool]int{}
	for _, l := range listen {
		scheme, addr, ok := strings.Cut(l, ":")
		if !ok {
			return fmt.Errorf("sip.listen %q: want transport:host:port, such as udp:192.0.2.1:5060", l)
		}
		var err error
		switch strings.ToLower(scheme) {
		case "udp":
			err = t.openUDP(addr, advertised)
		case "tcp":
			err = t.openTCP(addr, advertised)
		default:
			err = fmt.Errorf("transport %q is not known: use udp or tcp", scheme)
		}
		if err != nil {
			return fmt.Errorf("sip.listen %q: %w", l, err)
		}
	}
	if len(t.udp) == 0 && len(t.listeners) == 0 {
		return errors.New("sip.listen is empty: give at least one address, such as udp:192.0.2.1:5060")
	}
	return nil
}

func (t *transport) openUDP(addr, advertised string) error {
	listen := t.net.ListenUDP
	if listen == nil {
		listen = listenUDP
	}
	c, err := listen(addr)
	if err != nil {
		return err
	}
	s := &udpSocket{conn: c}
	if s.host, err = hostPort(c.LocalAddr(), advertised); err != nil {
		c.Close()
		return err
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

func (t *transport) openTCP(addr, advertised string) error {
	listen := t.net.ListenTCP
	if listen == nil {
		listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	}
	l, err := listen(addr)
	if err != nil {
		return err
	}
	host, err := hostPort(l.Addr(), advertised)
	if err != nil {
		l.Close()
		return err
	}
	t.listeners = append(t.listeners, &tcpListener{l, host})
	return nil
}

// hostPort is the address to put into Via and Contact.
func hostPort(a net.Addr, advertised string) (string, error) {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "", err
	}
	if advertised != "" {
		return net.JoinHostPort(strings.Trim(advertised, "[]"), port), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsUnspecified() {
		return net.JoinHostPort(host, port), nil
	}
	own, err := ownAddress(ip.Is4() || ip.Is4In6())
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(own, 0).Addr().String() + ":" + port, nil
}

// ownAddress is the first address of this host that others can reach.
func ownAddress(v4 bool) (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	var found netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			return p.Addr(), nil
		}
		if !v4 && !found.IsValid() {
			found = p.Addr()
		}
	}
	if !found.IsValid() {
		return found, errors.New("listens on every address, but this host has none that phones could reach: " +
			"listen on a concrete address or set sip.external-address")
	}
	return found, nil
}

// serve reads every socket until close.
func (t *transport) serve() {
	for _, s := range t.udp {
		t.wg.Go(func() { t.readUDP(s) })
	}
	for _, l := range t.listeners {
		t.wg.Go(func() { t.accept(l) })
	}
}

// close shuts every socket and returns once nothing reads them any more.
func (t *transport) close() {
	t.mu.Lock()
	t.closed = true
	streams := make([]*stream, 0, len(t.streams))
	for _, s := range t.streams {
		streams = append(streams, s)
	}
	t.mu.Unlock()
	for _, s := range t.udp {
		s.conn.Close()
	}
	for _, l := range t.listeners {
		l.Close()
	}
	for _, s := range streams {
		s.conn.Close()
	}
	t.wg.Wait()
}

// path finds how to reach an address: by an own UDP socket of its family, or
// by a TCP connection, an open one if there is one.
func (t *transport) path(ctx context.Context, network string, to netip.AddrPort) (path, error) {
	switch network {
	case "udp":
		for _, s := range t.udp {
			if s.reaches(to.Addr()) {
				return path{s, to}, nil
			}
		}
		return path{}, fmt.Errorf("no UDP socket of ours reaches %s: add one to sip.listen", to)
	case "tcp":
		s, err := t.dial(ctx, to)
		if err != nil {
			return path{}, err
		}
		return path{s, to}, nil
	}
	return path{}, fmt.Errorf("transport %q is not supported", network)
}

type udpSocket struct {
	conn PacketConn
	host string
}

func (s *udpSocket) send(b []byte, to netip.AddrPort) error {
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}
func (s *udpSocket) repeat(b []byte, to netip.AddrPort) {
	s.send(b, to) //nolint:errcheck // as good as lost
}
func (s *udpSocket) reliable() bool          { return false }
func (s *udpSocket) local() (string, string) { return "UDP", s.host }

func (s *udpSocket) reaches(a netip.Addr) bool {
	l, err := netip.ParseAddrPort(s.conn.LocalAddr().String())
	if err != nil {
		return true
	}
	local := l.Addr().Unmap()
	if local.IsUnspecified() {
		return l.Addr().Is6() || a.Unmap().Is4()
	}
	return local.Is4() == a.Unmap().Is4()
}

func (t *transport) readUDP(s *udpSocket) {
	buf := make([]byte, wire.MaxMessage+1)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// An ICMP error of an earlier packet: the socket goes on.
			t.log.Debug("sip: read", "socket", s.host, "error", err)
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		t.take(append([]byte(nil), buf[:n]...), path{s, from})
	}
}

// take parses one datagram and hands it on. What a stranger sends must not end
// the process, so a panic is logged and the message dropped.
func (t *transport) take(data []byte, from path) {
	defer t.recovered(from)
	m, err := wire.Parse(data)
	t.deliver(m, err, from)
}

func (t *transport) recovered(from path) {
	if r := recover(); r != nil {
		t.log.Error("sip: a message was dropped, its handling failed", "from", from.to, "panic", r)
	}
}

func (t *transport) deliver(m *wire.Message, err error, from path) {
	var pe *wire.ParseError
	switch {
	case err == nil:
		t.receive(m, from)
	case errors.As(err, &pe):
		t.malformed(m, pe, from)
	}
}

type tcpListener struct {
	net.Listener
	host string
}

func (t *transport) accept(l *tcpListener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors: wait for some to be freed
			t.log.Warn("sip: accept", "socket", l.host, "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		t.add(c, l.host, false)
	}
}

// stream is one TCP connection, opened by either side.
type stream struct {
	t      *transport
	conn   net.Conn
	remote netip.AddrPort
	host   string // our sent-by
	ours   bool   // we opened it

	used    atomic.Bool  // requests of ours went over it
	repeats atomic.Int32 // that wait

	turn chan struct{} // one message at a time is written
}

func (s *stream) send(b []byte, _ netip.AddrPort) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.conn.SetWriteDeadline(time.Now().Add(streamWrite)) //nolint:errcheck // the write tells
	_, err := s.conn.Write(b)
	if err != nil {
		s.conn.Close() // half a message may be out: nothing can follow it
	}
	return err
}

// repeat leaves the waiting to a goroutine, which a write limit ends.
func (s *stream) repeat(b []byte, to netip.AddrPort) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.closed || s.repeats.Load() >= maxRepeats {
		return
	}
	s.repeats.Add(1)
	s.t.wg.Go(func() {
		s.send(b, to) //nolint:errcheck // the next repeat follows
		s.repeats.Add(-1)
	})
}
func (s *stream) reliable() bool          { return true }
func (s *stream) local() (string, string) { return "TCP", s.host }

// dial returns the connection to an address, a new one if need be.
func (t *transport) dial(ctx context.Context, to netip.AddrPort) (*stream, error) {
	t.mu.Lock()
	s := t.streams[to]
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	dial := t.net.DialTCP
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	// A host that swallows what is sent to it must leave time for the next.
	limited, stop := context.WithTimeout(ctx, dialTime)
	defer stop()
	c, err := dial(limited, to.String())
	if err != nil {
		return nil, err
	}
	// Peers open new connections to where we listen, not to this one's port.
	host := ""
	if len(t.listeners) > 0 {
		host = t.listeners[0].host
	} else if len(t.udp) > 0 {
		host = t.udp[0].host
	}
	if s = t.add(c, host, true); s == nil {
		return nil, errors.New("too many SIP connections are open")
	}
	return s, nil
}

// add starts to read a connection. It is nil when there are too many.
func (t *transport) add(c net.Conn, host string, ours bool) *stream {
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		c.Close()
		return nil
	}
	s := &stream{t: t, turn: make(chan struct{}, 1), conn: c, remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), host: host, ours: ours}
	t.mu.Lock()
	if t.closed || t.number[ours] >= maxStreams {
		t.mu.Unlock()
		c.Close()
		return nil
	}
	t.streams[s.remote] = s
	t.number[ours]++
	t.wg.Add(1)
	t.mu.Unlock()
	go func() {
		defer t.wg.Done()
		t.readStream(s)
	}()
	return s
}

func (t *transport) readStream(s *stream) {
	defer func() {
		s.conn.Close()
		t.mu.Lock()
		if t.streams[s.remote] == s {
			delete(t.streams, s.remote)
		}
		t.number[s.ours]--
		t.mu.Unlock()
		if s.used.Load() { // strangers' connections come and go without a look at every transaction
			t.lost(s)
		}
	}()
	from := path{s, s.remote}
	r := bufio.NewReaderSize(s.conn, 4096)
	limit := func(d time.Duration) { s.conn.SetReadDeadline(time.Now().Add(d)) } //nolint:errcheck // the read tells
	pong := func() error {
		limit(streamIdle)
		return s.send([]byte("\r\n"), s.remote)
	}
	for {
		limit(streamIdle)
		if wire.Await(r, pong) != nil {
			return
		}
		limit(streamMessage)
		m, err := wire.ReadMessage(r, pong)
		if m != nil || err == nil {
			func() {
				defer t.recovered(from)
				t.deliver(m, err, from)
			}()
		}
		var pe *wire.ParseError
		if err != nil && (!errors.As(err, &pe) || errors.Is(err, wire.ErrFraming)) {
			return
		}
	}
}

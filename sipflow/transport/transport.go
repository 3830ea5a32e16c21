// Package transport moves SIP messages (RFC 3261 §18): by UDP, and over TCP, TLS
// (RFC 5630) and WebSocket (RFC 7118) connections, which it opens, takes, bounds,
// keeps alive and closes. It knows messages, and nothing of transactions and calls.
//
// One goroutine reads each UDP socket, one each connection, and one accepts for each
// listener. They hand every message to Sockets.Receive, one at a time and in order.
package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sipxrest/internal/fault"
	"sipxrest/resolve"
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
	// StreamIdle closes a connection over which nothing came for so long
	// (RFC 5626 §4.4.1 asks peers to send a keep-alive every two minutes).
	StreamIdle = 10 * time.Minute
	// StreamMessage bounds the arrival of one message: half a message holds memory
	// and a connection.
	StreamMessage = 32 * time.Second
	// streamWrite bounds a write to a peer that reads slowly.
	streamWrite = 5 * time.Second
	// dialTime bounds the opening of a connection, and once more what TLS and
	// WebSocket then agree on.
	dialTime = 2 * time.Second
	// maxRepeats bounds the repeats that wait for one connection.
	maxRepeats = 64
	// MaxStreams bounds the open stream connections that peers opened, and
	// those that we did: strangers must not keep us from our next hop.
	MaxStreams = 4096
)

// A Link sends messages over one socket.
type Link interface {
	// Send hands b to the kernel. It returns within streamWrite.
	Send(b []byte, to netip.AddrPort) error
	// Repeat sends b without waiting, or drops it: socket readers and timers must
	// not wait for a peer that reads slowly.
	Repeat(b []byte, to netip.AddrPort)
	// Reliable links need no retransmissions (RFC 3261 §17.1.1.2).
	Reliable() bool
	// Local is what Via and Contact say: transport in upper case, and host:port.
	Local() (transport, hostPort string)
}

// A Path is a link and the address at its other end.
type Path struct {
	Link Link
	To   netip.AddrPort
}

// Send hands b to the kernel; see Link.
func (p Path) Send(b []byte) error { return p.Link.Send(b, p.To) }

// Repeat sends b without waiting, or drops it; see Link.
func (p Path) Repeat(b []byte) { p.Link.Repeat(b, p.To) }

// Of is a link's transport as URIs and hops write it: "udp", "tcp",
// "tls", "ws" or "wss".
func Of(l Link) string {
	if s, ok := l.(*Stream); ok {
		return s.Hop.Transport
	}
	return "udp"
}

// Encrypted reports whether a transport keeps what a sips URI promises.
func Encrypted(transport string) bool { return transport == "tls" || transport == "wss" }

// AppendParam appends a link's ;transport= parameter for a URI.
func AppendParam(b []byte, l Link) []byte {
	return append(append(b, ";transport="...), Of(l)...)
}

// Sockets owns the sockets. Every message that arrives is handed to Receive
// by the goroutine that reads its socket, so messages keep their order;
// Receive must not block.
type Sockets struct {
	Log       *slog.Logger
	Network   Network
	TLS       TLS
	WebSocket WebSocket
	Receive   func(m *wire.Message, from Path)
	// Waited is told how long datagrams waited in their socket, of each batch that is
	// read the first; nil: nobody is. The kernel of Linux knows.
	Waited func(time.Duration)
	// Lost is told of a connection that has ended and had requests of ours.
	Lost      func(l Link)
	Admission Admission
	// Malformed is told of what cannot be read: m is what could be.
	Malformed func(m *wire.Message, err *wire.ParseError, from Path)
	// Failed is told of a message whose handling failed.
	Failed func(m *wire.Message, from Path)
	// Watch is told of each message that goes in or out, whole as it is on the wire. It
	// keeps nothing of it and returns at once; nil: nobody is.
	Watch  func(m *OnWire)
	Faults *Faults

	own       map[netip.AddrPort]struct{} // every address of our sockets
	loopback  bool                        // we listen on such
	linkLocal bool
	crowds    map[netip.Addr]struct{} // addresses of everybody on a network of ours
	Auto      bool                    // sockets say the address under which others see them
	seen      seen                    // of the listeners of streams

	udp       []*udpSocket
	listeners []*streamListener
	wg        sync.WaitGroup // one per goroutine that reads, accepts, connects or repeats
	ctx       context.Context
	stop      context.CancelFunc // ends what connects

	mu         sync.Mutex
	streams    map[resolve.Hop]*Stream   // by the hop they reach
	dialing    map[resolve.Hop]*dialing  // connections of ours that are being opened
	conns      map[net.Conn]struct{}     // every open one, for close
	opened     struct{ ours, peers int } // of them, by the side that opened them
	shaking    handshakes
	sources    map[netip.Addr]int // connections that peers opened, by limit.Network
	reconnects reconnects
	closed     bool

	_        [64]byte
	Messages [NumKinds]Counters
}

// atListen says that the sockets of the configuration are at fault.
func atListen(err error) error { return &fault.Fault{Key: "sip.listen", Told: true, Err: err} }

// Open binds addresses such as "udp:127.0.0.1:5060" or "tls:127.0.0.1:5061". A host may be left out or
// unspecified; advertised then names the host for Via and Contact. Its error is a *fault.Fault.
func (t *Sockets) Open(listen []string, advertised string) error {
	t.streams, t.dialing = map[resolve.Hop]*Stream{}, map[resolve.Hop]*dialing{}
	t.conns, t.shaking.of = map[net.Conn]struct{}{}, map[netip.Addr]int{}
	t.sources = map[netip.Addr]int{}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if t.Auto = advertised == Auto; t.Auto {
		advertised = ""
	}
	for _, l := range listen {
		scheme, addr, ok := strings.Cut(l, ":")
		if !ok {
			return atListen(fmt.Errorf("sip.listen %q: want transport:host:port, such as udp:192.0.2.1:5060", l))
		}
		var err error
		switch scheme = strings.ToLower(scheme); scheme {
		case "udp":
			err = t.openUDP(addr, advertised)
		case "tcp", "tls", "ws", "wss":
			err = t.openStream(scheme, addr, advertised)
		default:
			err = fmt.Errorf("transport %q is not known: use udp, tcp, tls, ws or wss", scheme)
		}
		if err != nil {
			return atListen(fmt.Errorf("sip.listen %q: %w", l, err))
		}
	}
	if len(t.udp) == 0 && len(t.listeners) == 0 {
		return atListen(errors.New("sip.listen is empty: give at least one address, such as udp:192.0.2.1:5060"))
	}
	t.ownSockets(advertised)
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

// Serve reads every socket until close.
func (t *Sockets) Serve() {
	for _, s := range t.udp {
		t.wg.Go(func() { t.forever("reading a socket", func() { t.readUDP(s) }) })
	}
	for _, l := range t.listeners {
		t.wg.Go(func() { t.forever("taking connections", func() { t.accept(l) }) })
	}
}

// afterFault is the pause before a socket is served again: what failed once may
// fail at once again.
const afterFault = 50 * time.Millisecond

// forever does what ends with its socket only, faults or not.
func (t *Sockets) forever(doing string, do func()) {
	for !t.Faults.Try(doing, do) {
		select {
		case <-time.After(afterFault):
		case <-t.ctx.Done():
		}
	}
}

// Close shuts every socket and returns once nothing reads them any more.
func (t *Sockets) Close() {
	t.mu.Lock()
	t.closed = true
	conns := make([]net.Conn, 0, len(t.conns))
	for c := range t.conns {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	t.stop()
	for _, s := range t.udp {
		s.close()
	}
	for _, l := range t.listeners {
		l.Close()
	}
	for _, c := range conns {
		c.Close()
	}
	t.wg.Wait()
}

// Path finds how to reach a hop: by an own UDP socket of its family, or by a
// connection, an open one if there is one.
func (t *Sockets) Path(ctx context.Context, hop resolve.Hop) (Path, error) {
	if t.IsOwn(hop.Addr) {
		return Path{}, ErrOwn
	}
	switch hop.Transport {
	case "udp":
		var last *udpSocket
		for _, s := range t.udp {
			if !s.reaches(hop.Addr.Addr()) {
				continue
			}
			if last = s; !s.loopback() || hop.Addr.Addr().Unmap().IsLoopback() { // or else perhaps another one does better
				return Path{s, hop.Addr}, nil
			}
		}
		if last != nil {
			return Path{last, hop.Addr}, nil
		}
		return Path{}, fmt.Errorf("no UDP socket of ours reaches %s: add one to sip.listen", hop.Addr)
	case "tcp", "tls", "ws", "wss":
		s, err := t.dial(ctx, hop)
		if err != nil {
			return Path{}, err
		}
		return Path{s, hop.Addr}, nil
	}
	return Path{}, fmt.Errorf("transport %q is not supported", hop.Transport)
}

// Renew finds a new connection to where one led that is gone.
func (t *Sockets) Renew(ctx context.Context, was Path) (Path, error) {
	s, ok := was.Link.(*Stream)
	if !ok {
		return was, nil
	}
	if !s.Ours && s.Hop.Transport != "tcp" {
		return Path{}, errors.New("the connection is gone, and the peer had opened it")
	}
	return t.Path(ctx, s.Hop)
}

// take parses one datagram and hands it on. What a stranger sends must not end
// the process: a panic costs the message.
func (t *Sockets) take(data []byte, from Path) {
	defer func() {
		if r := recover(); r != nil {
			t.Faults.Note("reading a message", r, "from", from.To)
		}
	}()
	m, err := wire.Parse(data)
	t.deliver(m, err, from)
}

// deliver hands on what was read: m is what could be of it. It does not panic.
func (t *Sockets) deliver(m *wire.Message, err error, from Path) {
	defer func() {
		if r := recover(); r != nil {
			t.Faults.Note("handling a message", r, "from", from.To)
			t.Faults.Try("refusing a message", func() { t.Failed(m, from) })
		}
	}()
	n := t.traffic(from.Link)
	n.In.Add(1)
	if t.Watch != nil && m != nil {
		t.watch(from.Link, m.Raw(), from.To, false)
	}
	if err == nil {
		t.Receive(m, from)
	} else if pe, ok := errors.AsType[*wire.ParseError](err); ok {
		n.Malformed.Add(1)
		t.Malformed(m, pe, from)
	}
}

// traffic counts what goes over a link.
func (t *Sockets) traffic(l Link) *Counters { return &t.Messages[kindOf(l)] }

// Listens reports whether there is a listener of a transport over TCP.
func (t *Sockets) Listens(transport string) bool {
	return slices.ContainsFunc(t.listeners, func(l *streamListener) bool { return l.transport == transport })
}

// Hosts returns the host that Via and Contact name, without brackets, and whether
// sockets differ in it.
func (t *Sockets) Hosts() (host string, differ bool) {
	differ = t.Auto
	for i, s := range t.sentByOf() {
		h := strings.Trim(s[:strings.LastIndexByte(s, ':')], "[]")
		if i == 0 {
			host = h
		}
		differ = differ || h != host
	}
	return host, differ
}

// sentByOf returns the host:port of each socket as Via and Contact have it.
func (t *Sockets) sentByOf() (all []string) {
	for _, s := range t.udp {
		_, host := s.Local()
		all = append(all, host)
	}
	for _, l := range t.listeners {
		all = append(all, l.host)
	}
	return all
}

// Addrs returns the addresses listened on, as open takes them.
func (t *Sockets) Addrs() (all []string) {
	for _, s := range t.udp {
		all = append(all, "udp:"+s.conn.LocalAddr().String())
	}
	for _, l := range t.listeners {
		all = append(all, l.transport+":"+l.Addr().String())
	}
	return all
}

// Connections returns how many stream connections are open, by the side that
// opened them.
func (t *Sockets) Connections() (ours, peers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened.ours, t.opened.peers
}

// Handshaking returns how many peers' connections have not agreed on TLS or
// WebSocket yet.
func (t *Sockets) Handshaking() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.shaking.all, len(t.shaking.of))
}

// Reconnecting is the number of responses that wait for a new connection.
func (t *Sockets) Reconnecting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reconnects.all
}

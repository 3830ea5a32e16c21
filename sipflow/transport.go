package sipflow

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
	// streamIdle closes a connection over which nothing came for so long
	// (RFC 5626 §4.4.1 asks peers to send a keep-alive every two minutes).
	streamIdle = 10 * time.Minute
	// streamMessage bounds the arrival of one message: who says half of it
	// holds memory and a connection.
	streamMessage = 32 * time.Second
	// streamWrite bounds a write to a peer that reads slowly.
	streamWrite = 5 * time.Second
	// dialTime bounds the opening of a connection, and once more what TLS and
	// WebSocket then agree on.
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

// transportOf is a link's transport as URIs and hops write it: "udp", "tcp",
// "tls", "ws" or "wss".
func transportOf(l link) string {
	if s, ok := l.(*stream); ok {
		return s.hop.Transport
	}
	return "udp"
}

// encrypted reports whether a transport keeps what a sips URI promises.
func encrypted(transport string) bool { return transport == "tls" || transport == "wss" }

// appendTransport appends a link's ;transport= parameter for a URI.
func appendTransport(b []byte, l link) []byte {
	return append(append(b, ";transport="...), transportOf(l)...)
}

// transport owns the sockets. Every message that arrives is handed to receive
// by the goroutine that reads its socket, so messages keep their order;
// receive must not block.
type transport struct {
	log     *slog.Logger
	net     Network
	tls     TLS
	ws      WebSocket
	receive func(m *wire.Message, from path)
	// lost is told of a connection that has ended and had requests of ours.
	lost      func(l link)
	admission streamAdmission
	// malformed is told of what cannot be read: m is what could be.
	malformed func(m *wire.Message, err *wire.ParseError, from path)
	// failed is told of a message whose handling failed.
	failed func(m *wire.Message, from path)
	faults *faults

	own       map[netip.AddrPort]struct{} // every address of our sockets
	loopback  bool                        // we listen on such
	linkLocal bool
	crowds    map[netip.Addr]struct{} // addresses of everybody on a network of ours
	auto      bool                    // sockets say the address under which others see them
	seen      seen                    // of the listeners of streams

	udp       []*udpSocket
	listeners []*streamListener
	wg        sync.WaitGroup // one per goroutine that reads, accepts, connects or repeats
	ctx       context.Context
	stop      context.CancelFunc // ends what connects

	mu         sync.Mutex
	streams    map[resolve.Hop]*stream   // by whom they reach
	dialing    map[resolve.Hop]*dialing  // connections of ours that are being opened
	conns      map[net.Conn]struct{}     // every open one, for close
	opened     struct{ ours, peers int } // of them, by who opened them
	shaking    handshakes
	sources    map[netip.Addr]int // connections that peers opened, by neighbours
	reconnects int                // responses that wait for a new connection
	closed     bool

	_        [64]byte
	messages [numTransports]traffic
}

// open binds addresses such as "udp:127.0.0.1:5060" or "tls:127.0.0.1:5061". A host may be left out or
// unspecified; advertised then names the host for Via and Contact.
func (t *transport) open(listen []string, advertised string) error {
	t.streams, t.dialing = map[resolve.Hop]*stream{}, map[resolve.Hop]*dialing{}
	t.conns, t.shaking.of = map[net.Conn]struct{}{}, map[netip.Addr]int{}
	t.sources = map[netip.Addr]int{}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if t.auto = advertised == autoAddress; t.auto {
		advertised = ""
	}
	for _, l := range listen {
		scheme, addr, ok := strings.Cut(l, ":")
		if !ok {
			return fmt.Errorf("sip.listen %q: want transport:host:port, such as udp:192.0.2.1:5060", l)
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
			return fmt.Errorf("sip.listen %q: %w", l, err)
		}
	}
	if len(t.udp) == 0 && len(t.listeners) == 0 {
		return errors.New("sip.listen is empty: give at least one address, such as udp:192.0.2.1:5060")
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

// serve reads every socket until close.
func (t *transport) serve() {
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
func (t *transport) forever(doing string, do func()) {
	for !t.faults.try(doing, do) {
		select {
		case <-time.After(afterFault):
		case <-t.ctx.Done():
		}
	}
}

// close shuts every socket and returns once nothing reads them any more.
func (t *transport) close() {
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

// path finds how to reach a hop: by an own UDP socket of its family, or by a
// connection, an open one if there is one.
func (t *transport) path(ctx context.Context, hop resolve.Hop) (path, error) {
	if t.isOwn(hop.Addr) {
		return path{}, errOwn
	}
	switch hop.Transport {
	case "udp":
		var last *udpSocket
		for _, s := range t.udp {
			if !s.reaches(hop.Addr.Addr()) {
				continue
			}
			if last = s; !s.loopback() || hop.Addr.Addr().Unmap().IsLoopback() { // or else perhaps another one does better
				return path{s, hop.Addr}, nil
			}
		}
		if last != nil {
			return path{last, hop.Addr}, nil
		}
		return path{}, fmt.Errorf("no UDP socket of ours reaches %s: add one to sip.listen", hop.Addr)
	case "tcp", "tls", "ws", "wss":
		s, err := t.dial(ctx, hop)
		if err != nil {
			return path{}, err
		}
		return path{s, hop.Addr}, nil
	}
	return path{}, fmt.Errorf("transport %q is not supported", hop.Transport)
}

// renew finds a new connection to where one led that is gone.
func (t *transport) renew(ctx context.Context, was path) (path, error) {
	s, ok := was.link.(*stream)
	if !ok {
		return was, nil
	}
	if !s.ours && s.hop.Transport != "tcp" {
		return path{}, errors.New("the connection is gone, and the peer had opened it")
	}
	return t.path(ctx, s.hop)
}

// take parses one datagram and hands it on. What a stranger sends must not end
// the process: a panic costs the message.
func (t *transport) take(data []byte, from path) {
	defer func() {
		if r := recover(); r != nil {
			t.faults.note("reading a message", r, "from", from.to)
		}
	}()
	m, err := wire.Parse(data)
	t.deliver(m, err, from)
}

// deliver hands on what was read: m is what could be of it. It does not panic.
func (t *transport) deliver(m *wire.Message, err error, from path) {
	defer func() {
		if r := recover(); r != nil {
			t.faults.note("handling a message", r, "from", from.to)
			t.faults.try("refusing a message", func() { t.failed(m, from) })
		}
	}()
	n := t.traffic(from.link)
	n.in.Add(1)
	var pe *wire.ParseError
	switch {
	case err == nil:
		t.receive(m, from)
	case errors.As(err, &pe):
		n.malformed.Add(1)
		t.malformed(m, pe, from)
	}
}

// traffic counts what goes over a link.
func (t *transport) traffic(l link) *traffic { return &t.messages[kindOf(l)] }

// listens reports whether there is a listener of a transport over TCP.
func (t *transport) listens(transport string) bool {
	return slices.ContainsFunc(t.listeners, func(l *streamListener) bool { return l.transport == transport })
}

// hosts returns the host that Via and Contact name, without brackets, and whether
// sockets differ in it.
func (t *transport) hosts() (host string, differ bool) {
	differ = t.auto
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
func (t *transport) sentByOf() (all []string) {
	for _, s := range t.udp {
		_, host := s.local()
		all = append(all, host)
	}
	for _, l := range t.listeners {
		all = append(all, l.host)
	}
	return all
}

// addrs returns the addresses listened on, as open takes them.
func (t *transport) addrs() (all []string) {
	for _, s := range t.udp {
		all = append(all, "udp:"+s.conn.LocalAddr().String())
	}
	for _, l := range t.listeners {
		all = append(all, l.transport+":"+l.Addr().String())
	}
	return all
}

// connections returns how many stream connections are open, by who opened them.
func (t *transport) connections() (ours, peers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened.ours, t.opened.peers
}

// handshaking returns how many peers' connections have not agreed on TLS or
// WebSocket yet.
func (t *transport) handshaking() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.shaking.all, len(t.shaking.of))
}

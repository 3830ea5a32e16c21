package siptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sipxrest/sipflow/wire"
)

// StreamConn is a [Conn] whose datagrams are the messages of connections: TLS,
// or WebSocket with or without it. A phone on it listens at one address,
// responds over the connection of the request, and opens one to each peer
// without.
type StreamConn struct {
	net            *Network
	transport      string
	local          netip.AddrPort
	server, client *tls.Config // nil without TLS

	listener net.Listener
	http     *http.Server // WebSocket
	in       chan Packet
	running  sync.WaitGroup
	once     sync.Once
	ctx      context.Context
	stop     context.CancelFunc

	mu    sync.Mutex
	conns map[netip.AddrPort]*streamPeer // by remote address
}

// streamPeer is one connection.
type streamPeer struct {
	conn   net.Conn
	frames *websocket.Conn
	remote netip.AddrPort
	out    chan []byte   // to be sent
	over   chan struct{} // closed when nothing is read any more
}

// peerBacklog is how many messages wait for one connection.
const peerBacklog = 64

// ListenStream opens addr ("10.0.0.2:5061") for a transport: tls, ws or wss.
// The configurations are for peers that connect and for those that are
// connected to; ws takes none. It panics as [Network.Listen] does.
func (n *Network) ListenStream(transport, addr string, server, client *tls.Config) *StreamConn {
	c := &StreamConn{net: n, transport: transport, local: mustAddr(addr), server: server, client: client,
		listener: n.ListenTCP(addr), in: make(chan Packet, socketBuffer), conns: map[netip.AddrPort]*streamPeer{}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	l := c.listener
	if server != nil {
		l = tls.NewListener(l, server)
	}
	if strings.HasPrefix(transport, "ws") {
		c.http = &http.Server{Handler: http.HandlerFunc(c.upgrade), ReadHeaderTimeout: 5 * time.Second}
		c.running.Go(func() { c.http.Serve(l) }) //nolint:errcheck // Close ends it
		return c
	}
	c.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() {
				// First, and by one goroutine alone: others would wait for it at a
				// lock, where no fake time goes by.
				if conn.(*tls.Conn).HandshakeContext(c.ctx) != nil {
					conn.Close()
					return
				}
				p := &streamPeer{conn: conn, out: make(chan []byte, peerBacklog), over: make(chan struct{})}
				p.remote, _ = netip.ParseAddrPort(conn.RemoteAddr().String())
				c.enter(p)
				c.running.Go(func() { c.write(p) })
				c.read(p)
			})
		}
	})
	return c
}

// Transport is what the phone says in Via and Contact.
func (c *StreamConn) Transport() string { return c.transport }

func (c *StreamConn) upgrade(w http.ResponseWriter, r *http.Request) {
	frames, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"sip"}})
	if err != nil {
		return
	}
	p := &streamPeer{frames: frames, out: make(chan []byte, peerBacklog), over: make(chan struct{})}
	p.remote, _ = netip.ParseAddrPort(r.RemoteAddr)
	c.running.Add(1)
	defer c.running.Done()
	c.enter(p)
	c.running.Go(func() { c.write(p) })
	c.read(p)
}

func (c *StreamConn) enter(p *streamPeer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[p.remote] = p
}

// read hands the messages of a connection on until it ends.
func (c *StreamConn) read(p *streamPeer) {
	defer c.leave(p)
	var r *bufio.Reader
	if p.frames == nil {
		r = bufio.NewReader(p.conn)
	}
	for {
		var data []byte
		var err error
		if p.frames != nil {
			_, data, err = p.frames.Read(c.ctx)
		} else {
			var m *wire.Message
			m, err = wire.ReadMessage(r, func() error { _, err := p.conn.Write([]byte("\r\n")); return err })
			if m != nil {
				data = m.Raw()
			}
		}
		if err != nil && data == nil {
			return
		}
		select {
		case c.in <- Packet{From: p.remote, To: c.local, Data: data}:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *StreamConn) leave(p *streamPeer) {
	p.close()
	close(p.over)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[p.remote] == p {
		delete(c.conns, p.remote)
	}
}

func (p *streamPeer) close() {
	if p.frames != nil {
		p.frames.CloseNow() //nolint:errcheck // it ends either way
	}
	if p.conn != nil {
		p.conn.Close()
	}
}

// ReadFromUDPAddrPort waits for a message.
func (c *StreamConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-c.in:
		return copy(b, p.Data), p.From, nil
	case <-c.ctx.Done():
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToUDPAddrPort sends a message over the connection to an address.
func (c *StreamConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.conns[to]
	if p == nil {
		p = &streamPeer{remote: to, out: make(chan []byte, peerBacklog), over: make(chan struct{})}
		c.conns[to] = p
		c.running.Go(func() {
			if c.dial(p) != nil {
				c.leave(p)
				return
			}
			c.running.Go(func() { c.write(p) })
			c.read(p)
		})
	}
	select {
	case p.out <- slices.Clone(b): // the phone does not wait
	default:
	}
	return len(b), nil
}

// write sends what is to go to a peer.
func (c *StreamConn) write(p *streamPeer) {
	for {
		select {
		case b := <-p.out:
			if p.frames != nil {
				p.frames.Write(c.ctx, websocket.MessageText, b) //nolint:errcheck // the reading ends
			} else {
				p.conn.Write(b) //nolint:errcheck // likewise
			}
		case <-p.over:
			return
		}
	}
}

func (c *StreamConn) dial(p *streamPeer) error {
	conn, err := c.net.DialFrom(c.local.Addr().String())(c.ctx, "tcp", p.remote.String())
	if err != nil {
		return err
	}
	if c.client != nil {
		secure := tls.Client(conn, c.client)
		if err := secure.HandshakeContext(c.ctx); err != nil {
			conn.Close()
			return err
		}
		conn = secure
	}
	if c.http != nil {
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
		p.frames, _, err = websocket.Dial(c.ctx, "ws://"+p.remote.String()+"/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"sip"}})
		if err != nil {
			conn.Close()
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.conn = conn
	return nil
}

// LocalAddr is the address listened on.
func (c *StreamConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// Close ends the listener and every connection, and returns when nothing of
// them runs.
func (c *StreamConn) Close() error {
	c.once.Do(func() {
		c.stop()
		c.listener.Close()
		if c.http != nil {
			c.http.Close()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range c.conns {
			if p.conn != nil {
				p.conn.Close()
			}
		}
	})
	c.running.Wait()
	return nil
}

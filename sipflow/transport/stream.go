package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"sipxrest/internal/limit"
	"sipxrest/resolve"
	"sipxrest/sipflow/wire"
)

// openStream binds a listener for one of the transports over TCP.
func (t *Sockets) openStream(transport, addr, advertised string) error {
	if Encrypted(transport) && t.TLS.Certificate == nil {
		return errors.New(transport + " needs a certificate: set sip.tls.cert and sip.tls.key")
	}
	listen := t.Network.ListenTCP
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
	t.listeners = append(t.listeners, &streamListener{l, transport, host})
	return nil
}

type streamListener struct {
	net.Listener
	transport string
	host      string
}

// sentBy is what connections of ours say in Via and Contact: peers open new
// Connections to where we listen, not to such a one's port. Of several
// listeners it is one of the transport and, before that, of the peer's family.
func (t *Sockets) sentBy(transport string, to netip.Addr) string {
	best, rank := "", -1
	for _, l := range t.listeners {
		r := 0
		if l.transport == transport {
			r = 1
		}
		if a, err := netip.ParseAddrPort(l.Addr().String()); err == nil && to.IsValid() && a.Addr().Unmap().Is4() == to.Is4() {
			r += 2
		}
		if r > rank {
			best, rank = l.host, r
		}
	}
	if best == "" && len(t.udp) > 0 {
		best = t.udp[0].host
	}
	return best
}

func (t *Sockets) accept(l *streamListener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors: wait for some to be freed
			t.Admission.Starved(l.host)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if !t.Faults.Try("taking a connection", func() { t.admit(c, l) }) {
			c.Close()
		}
	}
}

// admit takes a peer's connection. What is to be agreed on before its first
// message is left to the goroutine that then reads it.
func (t *Sockets) admit(c net.Conn, l *streamListener) {
	addr, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		c.Close()
		return
	}
	remote := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	shakes := l.transport != "tcp"
	if !t.enter(c, remote, shakes) {
		c.Close()
		return
	}
	go func() {
		defer t.wg.Done()
		s := &Stream{t: t, conn: c, Hop: resolve.Hop{Transport: l.transport, Addr: remote}, host: l.host, turn: make(chan struct{}, 1)}
		defer t.forget(s, c)
		err := ErrFault
		t.Faults.Try("agreeing on TLS or WebSocket", func() { err = t.handshake(s, shakes) })
		if err != nil {
			t.Log.Debug("sip: connection refused", "socket", l.transport+":"+l.host, "from", remote, "error", err)
			return
		}
		t.mu.Lock()
		t.streams[s.Hop] = s
		t.mu.Unlock()
		t.readStream(s)
	}()
}

// enter counts a peer's connection. It is false for one too many.
func (t *Sockets) enter(c net.Conn, remote netip.AddrPort, shakes bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	shaking := maxHandshakes
	if !t.Admission.Knows(remote.Addr()) {
		shaking = shaking * 3 / 4
	}
	if t.full(remote.Addr(), false) || (shakes && !t.shaking.begin(remote.Addr(), shaking)) {
		t.refusedStream(remote.Addr())
		return false
	}
	t.count(remote.Addr(), false, 1)
	t.conns[c] = struct{}{}
	t.wg.Add(1)
	return true
}

// full reports whether there may be no further connection with an address:
// ours, or one for which its peer has asked. mu is held.
func (t *Sockets) full(a netip.Addr, ours bool) bool {
	streams := MaxStreams
	if !ours && !t.Admission.Knows(a) { // strangers leave room for the servers that calls go to
		streams = streams * 3 / 4
	}
	open := &t.opened.peers
	if ours {
		open = &t.opened.ours
	}
	return t.closed || *open >= streams || !ours && t.crowded(a)
}

// Count enters a connection, or takes it out. mu is held.
func (t *Sockets) count(a netip.Addr, ours bool, n int) {
	if ours {
		t.opened.ours += n
		return
	}
	t.opened.peers += n
	a = limit.Network(a)
	if t.sources[a] += n; t.sources[a] <= 0 {
		delete(t.sources, a)
	}
}

// handshake agrees with a peer on what its transport puts upon TCP.
func (t *Sockets) handshake(s *Stream, shakes bool) error {
	if !shakes {
		return nil
	}
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.shaking.end(s.Hop.Addr.Addr())
	}()
	return t.acceptHandshake(s)
}

// forget closes a connection that has ended. c is as it was accepted or
// dialled.
func (t *Sockets) forget(s *Stream, c net.Conn) {
	if s.frames != nil {
		s.frames.CloseNow() //nolint:errcheck // it ends either way
	}
	c.Close()
	t.mu.Lock()
	if t.streams[s.Hop] == s {
		delete(t.streams, s.Hop)
	}
	delete(t.conns, c)
	t.count(s.Hop.Addr.Addr(), s.Ours, -1)
	t.mu.Unlock()
}

// Stream is one connection, opened by either side: TCP, or TLS and WebSocket
// over it.
type Stream struct {
	t       *Sockets
	conn    net.Conn
	frames  *websocket.Conn // nil where messages follow each other by their length
	Hop     resolve.Hop     // the hop it reaches; without a name unless we opened it and asked for that
	host    string          // our sent-by
	Ours    bool            // we opened it, and not because its peer has ended the one before
	partial bool            // a message of frames has begun; belongs to the reader

	Used    atomic.Bool  // requests of ours went over it
	calls   atomic.Int32 // legs whose requests go over it
	repeats atomic.Int32 // that wait
	ended   atomic.Pointer[error]
	keep    *time.Timer // of a connection of ours; guarded by t.mu

	turn chan struct{} // one message at a time is written
}

// Send implements Link.
func (s *Stream) Send(b []byte, _ netip.AddrPort) error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.conn.SetWriteDeadline(time.Now().Add(streamWrite)) //nolint:errcheck // the write tells
	// Pongs are written without a limit of their own.
	defer s.conn.SetWriteDeadline(time.Time{}) //nolint:errcheck
	var err error
	if s.frames != nil {
		err = s.sendFrame(b)
	} else {
		_, err = s.conn.Write(b)
	}
	s.t.traffic(s).sent(err)
	if err == nil && s.t.Watch != nil {
		s.t.watch(s, b, s.Hop.Addr, true)
	}
	if err != nil {
		if refused := s.Refused(); refused != nil {
			err = refused
		}
		s.conn.Close() // half a message may be out: nothing can follow it
	}
	return err
}

// Repeat leaves the waiting to a goroutine, which a write limit ends.
func (s *Stream) Repeat(b []byte, to netip.AddrPort) {
	s.aside(func() { s.Send(b, to) }) //nolint:errcheck // the next repeat follows
}

func (s *Stream) aside(do func()) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.closed || s.repeats.Load() >= maxRepeats {
		return
	}
	s.repeats.Add(1)
	s.t.wg.Go(func() {
		defer s.repeats.Add(-1)
		s.t.Faults.Try("sending over a connection", do)
	})
}

// Reliable implements Link.
func (s *Stream) Reliable() bool { return true }

// Local implements Link.
func (s *Stream) Local() (string, string) {
	host := s.t.seen.or(s.host)
	switch s.Hop.Transport {
	case "tls":
		return "TLS", host
	case "ws":
		return "WS", host
	case "wss":
		return "WSS", host
	}
	return "TCP", host
}

func (t *Sockets) readStream(s *Stream) {
	err := ErrFault
	if s.Ours {
		t.keepAlive(s)
	}
	t.Faults.Try("reading a connection", func() {
		if s.frames != nil {
			err = s.readFrames()
		} else {
			err = s.readMessages()
		}
	})
	s.ended.Store(&err)
	s.conn.Close()
	t.mu.Lock()
	if s.keep != nil {
		s.keep.Stop()
	}
	if t.streams[s.Hop] == s {
		delete(t.streams, s.Hop)
	}
	t.mu.Unlock()
	if s.Used.Load() { // strangers' connections come and go without a look at every transaction
		t.Faults.Try("the end of a connection", func() { t.Lost(s) })
	}
}

// limit bounds the time until something comes.
func (s *Stream) limit(d time.Duration) {
	s.conn.SetReadDeadline(time.Now().Add(d)) //nolint:errcheck // the read tells
}

// pong responds to the keep-alive of a peer (RFC 5626 §3.5.1).
func (s *Stream) pong() error {
	s.limit(StreamIdle)
	return s.Send([]byte("\r\n"), s.Hop.Addr)
}

func (s *Stream) readMessages() error {
	from := Path{s, s.Hop.Addr}
	r := bufio.NewReaderSize(s.conn, 4096)
	for {
		s.limit(StreamIdle)
		if err := wire.Await(r, s.pong); err != nil {
			if s.needed(err) {
				continue
			}
			return err
		}
		s.limit(StreamMessage)
		m, err := wire.ReadMessage(r, s.pong)
		if m != nil || err == nil {
			s.t.deliver(m, err, from)
		}
		var pe *wire.ParseError
		if err != nil && (!errors.As(err, &pe) || errors.Is(err, wire.ErrFraming)) {
			return err
		}
	}
}

// needed reports whether a connection of ours that is merely silent is to be
// kept, for calls count on it. Not every peer responds to our keep-alives.
func (s *Stream) needed(err error) bool {
	return s.Ours && s.calls.Load() > 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// dialing is a connection of ours that is being opened, for all who ask for it.
type dialing struct {
	done   chan struct{}
	stream *Stream
	err    error
}

var errTooManyStreams = errors.New("too many SIP connections are open")

// dial returns the connection to a hop, a new one if need be. Connections are
// told apart by the name that they were asked for, too: it is what the peer's
// certificate was verified against (RFC 5922 §7.4).
func (t *Sockets) dial(ctx context.Context, hop resolve.Hop) (*Stream, error) {
	return t.dialFor(ctx, hop, true)
}

// dialFor is dial for ourselves or for a peer, among whose connections a new one
// counts then.
func (t *Sockets) dialFor(ctx context.Context, hop resolve.Hop, ours bool) (*Stream, error) {
	if hop.Transport == "tcp" {
		hop.Name = ""
	}
	t.mu.Lock()
	if s := t.streams[hop]; s != nil {
		t.mu.Unlock()
		return s, nil
	}
	d := t.dialing[hop]
	if d == nil {
		if t.full(hop.Addr.Addr(), ours) {
			t.refusedStream(hop.Addr.Addr())
			t.mu.Unlock()
			return nil, errTooManyStreams
		}
		d = &dialing{done: make(chan struct{})}
		t.dialing[hop] = d
		t.count(hop.Addr.Addr(), ours, 1)
		t.wg.Add(1)
		go t.connect(hop, d, ours) // the caller's stack stays small
	}
	t.mu.Unlock()
	select {
	case <-d.done:
		return d.stream, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect opens a connection, hands it to those who wait, and reads it.
func (t *Sockets) connect(hop resolve.Hop, d *dialing, ours bool) {
	defer t.wg.Done()
	s := &Stream{t: t, Hop: hop, host: t.sentBy(hop.Transport, hop.Addr.Addr()), Ours: ours, turn: make(chan struct{}, 1)}
	c, err := net.Conn(nil), ErrFault
	t.Faults.Try("opening a connection", func() { c, err = t.reach(s) })
	t.mu.Lock()
	delete(t.dialing, hop)
	if err == nil {
		t.streams[hop] = s
		d.stream = s
	} else {
		t.count(hop.Addr.Addr(), ours, -1)
		d.err = err
	}
	t.mu.Unlock()
	close(d.done)
	if err == nil {
		t.readStream(s)
		t.forget(s, c)
	}
}

// reach opens the stream's connection: that of TCP, then what its transport
// puts upon it.
func (t *Sockets) reach(s *Stream) (net.Conn, error) {
	dial := t.Network.DialTCP
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	// A host that swallows what is sent to it must leave time for the next.
	ctx, stop := context.WithTimeout(t.ctx, dialTime)
	c, err := dial(ctx, s.Hop.Addr.String())
	stop()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.conns[c] = struct{}{}
	}
	t.mu.Unlock()
	if closed {
		c.Close()
		return nil, net.ErrClosed
	}
	s.conn = c
	agreed := false
	defer func() {
		if !agreed {
			c.Close()
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.conns, c)
		}
	}()
	if err := t.connectHandshake(s); err != nil {
		return nil, err
	}
	agreed = true
	return c, nil
}

// authority is a hop's name and port, as a URL has them.
func authority(h resolve.Hop) string {
	return net.JoinHostPort(strings.Trim(h.Name, "[]"), strconv.Itoa(int(h.Addr.Port())))
}

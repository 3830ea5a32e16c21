package sipflow

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"sipxrest/sipflow/wire"
)

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

package app

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
)

// A scriptedListener answers connections from the given addresses.
type scriptedListener struct {
	net.Listener
	from []string
}

func (l *scriptedListener) Close() error { return nil }

func (l *scriptedListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *scriptedListener) Accept() (net.Conn, error) {
	if len(l.from) == 0 {
		return nil, io.EOF
	}
	c := &scriptedConn{from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.from[0]))}
	l.from = l.from[1:]
	return c, nil
}

type scriptedConn struct {
	net.Conn
	from *net.TCPAddr
}

func (c *scriptedConn) RemoteAddr() net.Addr { return c.from }
func (c *scriptedConn) Close() error         { return nil }

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	discard := slog.New(slog.DiscardHandler)
	accept := func(total int, exempt []netip.Prefix, from ...string) (l *limitListener, conns []net.Conn) {
		l = newLimitListener(&scriptedListener{from: from}, total, 0, exempt, discard)
		for {
			c, err := l.Accept()
			if err != nil {
				return l, conns
			}
			conns = append(conns, c)
		}
	}
	if _, conns := accept(8, nil, "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "[::ffff:192.0.2.1]:4", "192.0.2.2:1"); len(conns) != 3 {
		t.Errorf("%d connections, want 2 of the first address and 1 of the second", len(conns))
	}
	if _, conns := accept(2, nil, "192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"); len(conns) != 2 {
		t.Errorf("%d connections, want 2 of 3", len(conns))
	}
	if _, conns := accept(8, prefixes([]string{"192.0.2.1"}), "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"); len(conns) != 3 {
		t.Errorf("%d connections of a reverse proxy, want 3", len(conns))
	}
	l, conns := accept(4, nil, "192.0.2.1:1")
	conns[0].Close()
	conns[0].Close()
	l.Close()
	if l.open != 0 || len(l.byAddr) != 0 {
		t.Errorf("after closing (twice) %d are open, %v", l.open, l.byAddr)
	}
}

package app

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A limitListener bounds the connections of one listener, all together and
// per address, so that one client that opens connections and says nothing
// cannot keep the others out. What is too much is closed at once: a client
// that waits in the kernel's queue would not know.
type limitListener struct {
	net.Listener
	total, perAddress int
	exempt            []netip.Prefix // reverse proxies: many clients behind one address
	log               *slog.Logger

	mu       sync.Mutex
	open     int
	refused  uint64
	byAddr   map[netip.Addr]int
	lastSaid time.Time
}

// addressShare is the part of all connections that one address may hold.
const addressShare = 4

func newLimitListener(l net.Listener, total int, exempt []netip.Prefix, log *slog.Logger) *limitListener {
	return &limitListener{
		Listener: l, total: total, perAddress: max(1, total/addressShare), exempt: exempt,
		log: log, byAddr: map[netip.Addr]int{},
	}
}

// Accept answers the next connection that is within the limits.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := remoteAddr(c)
		if l.admit(addr) {
			return &limitedConn{Conn: direct(c), l: l, addr: addr}, nil
		}
		c.Close()
	}
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func (l *limitListener) admit(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.byAddr[addr] >= l.perAddress && !contains(l.exempt, addr) {
		l.refused++
		if now := time.Now(); now.Sub(l.lastSaid) > 10*time.Second {
			l.lastSaid = now
			l.log.Warn("HTTP connection refused: too many at once", "peer", addr, "open", l.open,
				"of this peer", l.byAddr[addr], "listener", l.Addr(), "limits.connections", l.total)
		}
		return false
	}
	l.open++
	l.byAddr[addr]++
	return true
}

func (l *limitListener) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddr[addr]--; l.byAddr[addr] == 0 {
		delete(l.byAddr, addr)
	}
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

type limitedConn struct {
	net.Conn
	l    *limitListener
	addr netip.Addr
	once sync.Once
}

func (c *limitedConn) Close() error {
	c.once.Do(func() { c.l.release(c.addr) })
	return c.Conn.Close()
}

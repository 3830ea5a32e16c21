package app

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"sipxrest/limit"
)

// A limitListener bounds the connections of one listener, all together and
// per address, so that one client that opens connections and says nothing
// cannot keep the others out. What is too much is closed at once: a client
// that waits in the kernel's queue would not know.
type limitListener struct {
	net.Listener
	total, perAddress int
	exempt            []netip.Prefix // reverse proxies: many clients behind one address
	said              limit.Log[netip.Addr]

	mu      sync.Mutex
	open    int
	refused uint64
	byAddr  map[netip.Addr]int // IPv6 by /64
}

// addressShare is the part of all connections that one address may hold, if
// the configuration does not say.
const addressShare = 4

// newLimitListener bounds the connections of l to total, of which one address
// may have perAddress, 0 for a quarter.
func newLimitListener(l net.Listener, total, perAddress int, exempt []netip.Prefix, log *slog.Logger) *limitListener {
	if perAddress == 0 {
		perAddress = max(1, total/addressShare)
	}
	limited := &limitListener{Listener: l, total: total, perAddress: min(perAddress, total), exempt: exempt, byAddr: map[netip.Addr]int{}}
	limited.said.Say = func(refused uint64, peers []netip.Addr) {
		open, _ := limited.counts()
		log.Warn("HTTP connections refused: too many at once", "refused", refused, "peers", peers, "open", open, "listener", l.Addr(),
			"limits.connections", limited.total, "limits.connections-per-address", limited.perAddress)
	}
	return limited
}

func (l *limitListener) Close() error {
	l.said.Stop()
	return l.Listener.Close()
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
	near := limit.Network(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.byAddr[near] >= l.perAddress && !contains(l.exempt, addr) {
		l.refused++
		l.said.Refused(addr)
		return false
	}
	l.open++
	l.byAddr[near]++
	return true
}

func (l *limitListener) release(addr netip.Addr) {
	addr = limit.Network(addr)
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

// NetConn is the connection beneath, as that of a tls.Conn is.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

func (c *limitedConn) Close() error {
	c.once.Do(func() { c.l.release(c.addr) })
	return c.Conn.Close()
}

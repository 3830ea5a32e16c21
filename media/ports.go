package media

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// ErrNoPorts says that every pair of ports of the range is in use.
var ErrNoPorts = errors.New("media: no free RTP port: end a call or widen the range of ports")

// Conn is what a session needs of a UDP socket: a [*net.UDPConn], or a socket
// of a network in memory.
type Conn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
	Close() error
}

// Config is what all sessions share.
type Config struct {
	Address netip.Addr // what the phones are told: o= and c= of our descriptions
	Listen  netip.Addr // what the sockets are bound to, Address if it is zero

	// MinPort and MaxPort bound the ports of RTP and RTCP. RTP takes the even
	// port of a pair, RTCP the odd one above it.
	MinPort, MaxPort uint16

	Allow     []netip.Prefix // peers that are served although their address is refused by default
	LatchFrom []netip.Prefix // sources that may be latched on though no description names them: NATs

	Log *slog.Logger // slog.Default if nil

	// ListenUDP opens a socket, by default one of the system.
	ListenUDP func(netip.AddrPort) (Conn, error)
}

// Ports hands out pairs of ports, and with them sessions. It is safe for
// concurrent use.
type Ports struct {
	cfg   Config
	pairs int
	own   func() ([]net.Addr, error) // addresses of this machine, which may change

	mu   sync.Mutex
	used map[uint16]bool // by RTP port
	next int             // pair that is tried first: one that was freed last comes last
}

// NewPorts checks cfg. Its errors name the field.
func NewPorts(cfg Config) (*Ports, error) {
	if !cfg.Address.IsValid() || cfg.Address.IsUnspecified() || cfg.Address.IsMulticast() {
		return nil, fmt.Errorf("media: Address %q: must be the address where phones reach this machine", cfg.Address)
	}
	cfg.Address = cfg.Address.Unmap()
	if !cfg.Listen.IsValid() {
		cfg.Listen = cfg.Address
	}
	cfg.Listen = cfg.Listen.Unmap()
	if cfg.Listen.Is4() != cfg.Address.Is4() {
		return nil, fmt.Errorf("media: Listen %s: must be of the same IP version as Address %s", cfg.Listen, cfg.Address)
	}
	first := int(cfg.MinPort) + int(cfg.MinPort)%2
	pairs := (int(cfg.MaxPort) - first + 1) / 2
	if cfg.MinPort < 1024 || pairs < 1 {
		return nil, fmt.Errorf("media: MinPort %d, MaxPort %d: must be at least 1024 and hold an even port and the one above it", cfg.MinPort, cfg.MaxPort)
	}
	cfg.MinPort = uint16(first)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.ListenUDP == nil {
		cfg.ListenUDP = listenUDP
	}
	return &Ports{cfg: cfg, pairs: pairs, own: net.InterfaceAddrs, used: make(map[uint16]bool)}, nil
}

func listenUDP(at netip.AddrPort) (Conn, error) {
	network := "udp4" // "udp" would make a socket for both of an unspecified address
	if at.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err // not a Conn that holds a nil
	}
	return conn, nil
}

// Pairs is the number of sessions that can be open at a time.
func (p *Ports) Pairs() int { return p.pairs }

// InUse is the number of sessions that are open.
func (p *Ports) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.used)
}

// take binds the next free pair. A pair of which another process holds a port
// is passed over. The error is ErrNoPorts, with why the last bind failed.
func (p *Ports) take() (port uint16, rtp, rtcp Conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed error
	for range p.pairs {
		port = p.cfg.MinPort + 2*uint16(p.next)
		p.next = (p.next + 1) % p.pairs
		if p.used[port] {
			continue
		}
		if rtp, err = p.cfg.ListenUDP(netip.AddrPortFrom(p.cfg.Listen, port)); err != nil {
			failed = err
			continue
		}
		if rtcp, err = p.cfg.ListenUDP(netip.AddrPortFrom(p.cfg.Listen, port+1)); err != nil {
			_ = rtp.Close()
			failed = err
			continue
		}
		p.used[port] = true
		return port, rtp, rtcp, nil
	}
	if failed != nil {
		return 0, nil, nil, fmt.Errorf("%w (%w)", ErrNoPorts, failed)
	}
	return 0, nil, nil, ErrNoPorts
}

func (p *Ports) free(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, port)
}

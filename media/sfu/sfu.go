package sfu

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

const (
	// socketBuffer is what the kernel may keep for us: 500 connections send
	// 25,000 packets a second.
	socketBuffer = 2 << 20
	// A connection without a packet is doubted after disconnected, and lost
	// after as long again; we speak every keepAlive.
	disconnected, lost, keepAlive = 5 * time.Second, 5 * time.Second, 2 * time.Second
	// serverTime is how long candidates of STUN and TURN servers are waited for.
	serverTime = time.Second
	// connectTime is how long a connection may take, its signaling included.
	connectTime = 12 * time.Second
	receiveMTU  = 1500
	certTime    = 7 * 24 * time.Hour
)

// Config is for one [SFU]: the service has one.
type Config struct {
	// Address is what the UDP socket of all connections is bound to, and what
	// the media server is told.
	Address netip.Addr
	// Port of that socket. 0: any that is free.
	Port uint16
	// External is told in place of Address, behind a NAT. Zero: Address.
	External netip.Addr
	// Servers are asked for further candidates. Empty, as it should be where
	// the media server can be reached: nothing has to be waited for.
	Servers []ICEServer
	// Loopback admits loopback addresses as Address, for tests.
	Loopback bool
	// Log gets what the connections do, most of it at Debug. Nil: nothing.
	Log *slog.Logger
}

// ICEServer is a STUN or TURN server.
type ICEServer struct {
	URLs []string // stun:, turn:, turns:
	// Username and Credential are for TURN, or Secret, coturn's
	// static-auth-secret, of which both are made for each connection.
	Username, Credential, Secret string
}

// SFU is our side of all connections with media servers.
type SFU struct {
	cfg      Config
	log      *slog.Logger
	settings webrtc.SettingEngine // copied for each connection
	mux      ice.UDPMux
	port     uint16
	wg       sync.WaitGroup // what connections do in goroutines of ours

	// connectTime and serverTime, but in tests.
	connectTime, serverTime time.Duration

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
	cert   *webrtc.Certificate // of all connections: making one takes longer than all else
	made   time.Time
}

// Errors that [Events.Failed] and [Publisher.Answer] tell.
var (
	// ErrClosed: the peer has ended the connection, as a media server does that
	// is stopped.
	ErrClosed = errors.New("the media server has closed the connection")
	// ErrLost: nothing has come for 10 s, as from a media server that was killed.
	ErrLost = errors.New("the connection to the media server is lost")
	// ErrTimeout: there was no connection within 12 s of the offer.
	ErrTimeout = errors.New("no connection to the media server in time")
	// ErrCodec: the answer does not take the codec that was offered, or the
	// offer has none of ours.
	ErrCodec = errors.New("the media server does not take the codec")
)

// Events of one connection. They are called from goroutines of the connection,
// each at most once, and must return at once. After Close comes none that was
// not under way.
type Events struct {
	// Connected is told how long after the offer that was.
	Connected func(took time.Duration)
	// Failed is told why the connection is none any more: ErrClosed, ErrLost,
	// ErrTimeout. All that is left to do is Close.
	Failed func(err error)
}

// Candidate is one of ICE (RFC 8839), in the form that browsers give it.
type Candidate struct {
	SDPMid        string `json:"sdpMid"`
	SDPMLineIndex uint16 `json:"sdpMLineIndex"`
	Candidate     string `json:"candidate"`
}

// Check reports what is wrong: an error begins with the field's name in lower
// case, such as "servers: ".
func (c Config) Check() error {
	address, external := c.Address.Unmap(), c.External.Unmap()
	switch {
	case !address.IsValid() || address.IsUnspecified() || address.IsMulticast():
		return fmt.Errorf("address: %v is not one that media servers can send to", c.Address)
	case address.IsLoopback() && !c.Loopback:
		return fmt.Errorf("address: %v is of this machine only", address)
	case external.IsValid() && external.Is4() != address.Is4():
		return fmt.Errorf("external: %v is of another family than %v", external, address)
	}
	for i := range c.Servers {
		if err := c.Servers[i].check(); err != nil {
			return fmt.Errorf("servers: %w", err)
		}
	}
	return nil
}

// New opens the socket. An error is one of [Config.Check], or begins with
// "port: ".
func New(cfg Config) (*SFU, error) {
	s := &SFU{cfg: cfg, log: cfg.Log, conns: map[*conn]struct{}{}, connectTime: connectTime, serverTime: serverTime}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	s.cfg.Address, s.cfg.External = cfg.Address.Unmap(), cfg.External.Unmap()
	if err := s.configure(); err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.cfg.Address, cfg.Port)))
	if err != nil {
		return nil, fmt.Errorf("port: %w", err)
	}
	_ = socket.SetReadBuffer(socketBuffer) // the kernel's limit may be lower
	_ = socket.SetWriteBuffer(socketBuffer)
	s.port = uint16(socket.LocalAddr().(*net.UDPAddr).Port)
	s.mux = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: newGuard(socket), Logger: s.settings.LoggerFactory.NewLogger("mux")})
	s.settings.SetICEUDPMux(s.mux)
	return s, nil
}

// certificate is one for a new connection. pion's last a month, and connections
// with an older one are refused.
func (s *SFU) certificate() ([]webrtc.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert == nil || time.Since(s.made) > certTime {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if s.cert, err = webrtc.GenerateCertificate(key); err != nil {
			return nil, err
		}
		s.made = time.Now()
	}
	return []webrtc.Certificate{*s.cert}, nil
}

func (s *SFU) configure() error {
	e := &s.settings
	e.LoggerFactory = logs{s.log}
	family := webrtc.NetworkTypeUDP4
	if !s.cfg.Address.Is4() {
		family = webrtc.NetworkTypeUDP6
	}
	e.SetNetworkTypes([]webrtc.NetworkType{family})
	e.SetIPFilter(func(ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip)
		return ok && a.Unmap() == s.cfg.Address
	})
	e.SetRemoteIPFilter(func(ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip)
		a = a.Unmap()
		return ok && !a.IsUnspecified() && !a.IsMulticast() && (!a.IsLoopback() || s.cfg.Loopback)
	})
	e.SetIncludeLoopbackCandidate(s.cfg.Loopback)
	e.DisableActiveTCP(true)
	// It would open port 5353.
	e.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	e.SetICETimeouts(disconnected, lost, keepAlive)
	e.SetReceiveMTU(receiveMTU)
	e.SetSTUNGatherTimeout(serverTime)
	if s.cfg.External.IsValid() {
		if err := e.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{External: []string{s.cfg.External.String()},
			Local: s.cfg.Address.String(), AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace}); err != nil {
			return fmt.Errorf("external: %w", err)
		}
	}
	// As the client, pion loses its first ClientHello to Janus now and then,
	// which costs a second.
	return e.SetAnsweringDTLSRole(webrtc.DTLSRoleServer)
}

// Port returns the port of the socket.
func (s *SFU) Port() uint16 { return s.port }

// Close closes all connections and the socket, and returns once that is done.
func (s *SFU) Close() error {
	s.mu.Lock()
	s.closed = true
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.close()
	}
	s.wg.Wait()
	return s.mux.Close()
}

// add takes a connection into the list of those that Close closes.
func (s *SFU) add(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1) // until it has closed
	return nil
}

// servers are those that a connection asks for candidates.
func (s *SFU) servers() []webrtc.ICEServer {
	var all []webrtc.ICEServer
	for i := range s.cfg.Servers {
		all = append(all, s.cfg.Servers[i].server(time.Now()))
	}
	return all
}

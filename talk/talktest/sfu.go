package talktest

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

const levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

var errDown = errors.New("the media server is not there")

// SFU is the stand-in for Janus: an MCU over the loopback interface, outside of
// bubbles. It does what Janus was seen to do.
//
//   - A room has one audio codec, that which was named beside the offer. An offer
//     without it is answered with a=inactive, and nothing is heard.
//   - Its candidates come one by one, never in a description.
//   - It is the client of DTLS with publishers, and says actpass to others.
//   - Offers have a data channel, and video if the publisher has it.
type SFU struct {
	wg sync.WaitGroup

	mu    sync.Mutex
	up    *running // nil: it is down
	ended bool
	timer *time.Timer
}

// running is what ends with a process of Janus.
type running struct {
	sfu   *SFU
	ended atomic.Bool

	mu    sync.Mutex
	peers map[*webrtc.PeerConnection]*port // nil: it has ended
}

// port is the socket of one connection: a bridge that has one for all of its own
// tells them apart by ours.
type port struct {
	*ice.UDPMuxDefault
	socket *muted
}

// muted is a socket that sends nothing any more, as that of a process that was
// killed.
type muted struct {
	*net.UDPConn
	off atomic.Bool
}

func (m *muted) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.off.Load() {
		return len(b), nil
	}
	return m.UDPConn.WriteTo(b, to)
}

// NewSFU starts one that ends with the test.
func NewSFU(t testing.TB) *SFU {
	s := &SFU{}
	s.start()
	t.Cleanup(s.Close)
	return s
}

// AddSFU has the media of the lab go through one of its own. It is called before
// anybody connects.
func (l *Lab) AddSFU() *SFU {
	s := NewSFU(l.t)
	l.MCU = s
	for _, f := range []string{"mcu", "offer-codecs"} {
		if !slices.Contains(l.Features, f) {
			l.Features = append(l.Features, f)
		}
	}
	l.t.Cleanup(l.Close) // before the SFU
	return s
}

// listen opens a socket, on the loopback interface if address is none.
func listen(address netip.Addr) (*port, error) {
	if !address.IsValid() {
		address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
	if err != nil {
		return nil, err
	}
	m := &muted{UDPConn: socket}
	return &port{ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: m, Logger: quiet{}}), m}, nil
}

func (s *SFU) start() {
	s.up = &running{sfu: s, peers: map[*webrtc.PeerConnection]*port{}}
}

// Close ends it. What it plays has to be closed before.
func (s *SFU) Close() {
	s.mu.Lock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.stop(true)
	s.wg.Wait()
}

// Restart has it end as by SIGTERM, which peers are told by DTLS, and not be there
// for a while. What was published is lost.
func (s *SFU) Restart(down time.Duration) { s.away(true, down) }

// Kill has it end without a word, and not be there for a while.
func (s *SFU) Kill(down time.Duration) { s.away(false, down) }

func (s *SFU) away(polite bool, down time.Duration) {
	s.stop(polite)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(down, s.Return)
}

// Return has it be there again at once, after Restart or Kill.
func (s *SFU) Return() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if !s.ended && s.up == nil {
		s.start()
	}
}

func (s *SFU) stop(polite bool) {
	s.mu.Lock()
	up := s.up
	s.up = nil
	s.mu.Unlock()
	if up == nil {
		return
	}
	up.ended.Store(true)
	up.mu.Lock()
	peers := up.peers
	up.peers = nil
	up.mu.Unlock()
	for pc, port := range peers {
		port.socket.off.Store(!polite)
		_ = pc.GracefulClose()
		_ = port.Close()
	}
}

// Peers counts its connections.
func (s *SFU) Peers() int { return s.count(func(*webrtc.PeerConnection) bool { return true }) }

// connected counts those that are up.
func (s *SFU) connected() int {
	return s.count(func(pc *webrtc.PeerConnection) bool {
		return pc.ConnectionState() == webrtc.PeerConnectionStateConnected
	})
}

func (s *SFU) count(which func(*webrtc.PeerConnection) bool) (n int) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	if up == nil {
		return 0
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	for pc := range up.peers {
		if which(pc) {
			n++
		}
	}
	return n
}

// sfuCodecs are those of Janus' rooms, by their names there.
var sfuCodecs = map[string]webrtc.RTPCodecParameters{
	"opus": {PayloadType: 111, RTPCodecCapability: webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2, SDPFmtpLine: "useinbandfec=1"}},
	"g722": {PayloadType: 9, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeG722, ClockRate: 8000}},
	"pcmu": {PayloadType: 0, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMU, ClockRate: 8000}},
	"pcma": {PayloadType: 8, RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypePCMA, ClockRate: 8000}},
}

// peer makes a connection with some of the codecs.
func (r *running) peer(trickle func(Candidate), names ...string) (*webrtc.PeerConnection, error) {
	engine := &webrtc.MediaEngine{}
	for _, name := range names {
		if err := engine.RegisterCodec(sfuCodecs[name], webrtc.RTPCodecTypeAudio); err != nil {
			return nil, err
		}
	}
	if err := engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: levelURI}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	port, err := listen(netip.Addr{})
	if err != nil {
		return nil, err
	}
	var e webrtc.SettingEngine
	local(&e, port)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(e), webrtc.WithMediaEngine(engine),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		_ = port.Close()
		return nil, err
	}
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			trickle(Candidate{SDPMid: "0", Candidate: c.ToJSON().Candidate})
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers == nil {
		_ = pc.GracefulClose()
		_ = port.Close()
		return nil, errDown
	}
	r.peers[pc] = port
	return pc, nil
}

func (r *running) close(pc *webrtc.PeerConnection) {
	r.mu.Lock()
	port := r.peers[pc]
	delete(r.peers, pc)
	r.mu.Unlock()
	_ = pc.GracefulClose()
	if port != nil {
		_ = port.Close()
	}
}

// local is what all connections of the lab have in common.
func local(e *webrtc.SettingEngine, on *port) {
	address := on.LocalAddr().(*net.UDPAddr).IP
	e.LoggerFactory = quiet{}
	e.SetICEUDPMux(on)
	e.SetIncludeLoopbackCandidate(true)
	e.SetIPFilter(address.Equal)
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	e.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	e.SetICETimeouts(5*time.Second, 5*time.Second, 2*time.Second)
}

// quiet is pion's log. What matters of it fails tests otherwise.
type quiet struct{}

func (q quiet) NewLogger(string) logging.LeveledLogger { return q }
func (quiet) Trace(string)                             {}
func (quiet) Tracef(string, ...any)                    {}
func (quiet) Debug(string)                             {}
func (quiet) Debugf(string, ...any)                    {}
func (quiet) Info(string)                              {}
func (quiet) Infof(string, ...any)                     {}
func (quiet) Warn(string)                              {}
func (quiet) Warnf(string, ...any)                     {}
func (quiet) Error(string)                             {}
func (quiet) Errorf(string, ...any)                    {}

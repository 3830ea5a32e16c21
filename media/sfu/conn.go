package sfu

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"sipxrest/internal/boundary"

	"github.com/pion/interceptor"
	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
)

// maxStreams is how many SSRCs a peer may send by: one, in fact. Each costs
// memory in pion.
const maxStreams = 32

var (
	errStreams    = errors.New("the media server sends too many streams")
	errCandidates = errors.New("the media server sends too many candidates")
)

// conn is what a Publisher and a Subscription have in common: a connection of
// pion that ends once, and whose peer cannot make it grow.
type conn struct {
	sfu    *SFU
	log    *slog.Logger
	events Events
	begun  time.Time
	pc     *webrtc.PeerConnection
	// rtp and rtcp take what comes, in pion's reader; nil: nobody does.
	rtp, rtcp func(packet []byte)

	mu         sync.Mutex
	ready      bool        // the peer's description is in
	early      []Candidate // came before it
	candidates int
	streams    int
	connected  bool
	over       bool // failed or closed
	closed     bool
	timer      *time.Timer
}

// open makes the peer connection.
func (c *conn) open(s *SFU, engine *webrtc.MediaEngine, reports *interceptor.Registry) error {
	c.sfu, c.log, c.begun = s, s.log, time.Now()
	settings := s.settings
	settings.BufferFactory = c.buffer
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(reports))
	certs, err := s.certificate()
	if err != nil {
		return err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{Certificates: certs, ICEServers: s.servers(),
		RTPHeaderEncryptionPolicy: webrtc.RTPHeaderEncryptionPolicyDisable})
	if err != nil {
		return err
	}
	c.pc = pc
	c.mu.Lock() // it may be over before the timer is noted
	c.timer = time.AfterFunc(s.connectTime, func() { c.fail(ErrTimeout) })
	c.mu.Unlock()
	if err := s.add(c); err != nil {
		c.timer.Stop()
		_ = pc.GracefulClose()
		return err
	}
	pc.OnConnectionStateChange(c.changed)
	return nil
}

// gather sets the local description and returns it with its candidates. Without
// servers they are there at once.
func (c *conn) gather(d webrtc.SessionDescription) (string, error) {
	done := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(d); err != nil {
		return "", err
	}
	timer := time.NewTimer(2 * c.sfu.serverTime)
	defer timer.Stop()
	if len(c.sfu.cfg.Servers) > 0 {
		timer.Reset(c.sfu.serverTime)
	}
	select {
	case <-done:
	case <-timer.C: // with those that are there
	}
	local := c.pc.LocalDescription()
	if local == nil {
		return "", errors.New("closed meanwhile")
	}
	return local.SDP, nil
}

// remote sets the peer's description, and then what candidates came before it.
func (c *conn) remote(d webrtc.SessionDescription) error {
	if err := guarded(func() error { return c.pc.SetRemoteDescription(d) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = true
	for _, e := range c.early {
		c.give(e)
	}
	c.early = nil
	return nil
}

// candidate takes one of the peer's, of which it takes 64.
func (c *conn) candidate(e Candidate) error {
	if !usable(e.Candidate) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return nil
	case c.candidates == maxCandidates:
		return errCandidates
	}
	c.candidates++
	if !c.ready {
		c.early = append(c.early, e)
		return nil
	}
	return c.give(e)
}

// give hands a candidate to pion. The caller holds c.mu.
func (c *conn) give(e Candidate) error {
	return guarded(func() error {
		return c.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: e.Candidate, SDPMid: &e.SDPMid, SDPMLineIndex: &e.SDPMLineIndex})
	})
}

// guarded makes an error of a panic in code that reads what strangers wrote.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// changed is told by pion how the connection is.
func (c *conn) changed(state webrtc.PeerConnectionState) {
	c.log.Debug("media connection", "state", state.String())
	switch state {
	case webrtc.PeerConnectionStateConnected:
		c.mu.Lock()
		first := !c.connected && !c.over
		c.connected = true
		c.timer.Stop()
		c.mu.Unlock()
		if first && c.events.Connected != nil {
			c.events.Connected(time.Since(c.begun))
		}
	case webrtc.PeerConnectionStateFailed:
		c.fail(ErrLost)
	case webrtc.PeerConnectionStateClosed:
		c.fail(ErrClosed)
	}
}

// fail tells once why the connection is over, unless its owner has closed it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	first := !c.over
	c.over = true
	c.timer.Stop()
	c.mu.Unlock()
	if first && c.events.Failed != nil {
		c.events.Failed(err)
	}
}

// close ends the connection in a goroutine: pion says goodbye, and waits for its
// own ones.
func (c *conn) close() {
	c.mu.Lock()
	first := !c.closed
	c.closed, c.over = true, true
	c.timer.Stop()
	c.mu.Unlock()
	if !first {
		return
	}
	go func() {
		defer c.sfu.wg.Done()
		_ = c.pc.GracefulClose()
		c.sfu.mu.Lock()
		delete(c.sfu.conns, c)
		c.sfu.mu.Unlock()
	}()
}

// buffer is what pion writes the packets of one SSRC to: not one that someone
// would read, which takes a goroutine for each stream and two switches for each
// packet, but our own code. A peer with ever new SSRCs is cut off.
func (c *conn) buffer(kind packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	c.mu.Lock()
	c.streams++
	many := c.streams == 2*maxStreams // of RTP and RTCP
	c.mu.Unlock()
	if many {
		c.fail(errStreams)
		c.close()
	}
	take := c.rtcp
	if kind == packetio.RTPBufferPacket {
		take = c.rtp
	}
	return &inlet{log: c.log, take: take, done: make(chan struct{})}
}

// inlet gives packets to take as they come. Reading from it waits for its end.
type inlet struct {
	log  *slog.Logger
	take func([]byte)
	once sync.Once
	done chan struct{}
}

func (i *inlet) Write(p []byte) (int, error) {
	if i.take != nil { // in pion's goroutine, where nobody else ends a panic
		boundary.Try(i.log, "a packet of a media server", func() { i.take(p) })
	}
	return len(p), nil
}

func (i *inlet) Read([]byte) (int, error) {
	<-i.done
	return 0, io.EOF
}

func (i *inlet) Close() error {
	i.once.Do(func() { close(i.done) })
	return nil
}

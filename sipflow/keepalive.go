package sipflow

import (
	"math/rand/v2"
	"time"
)

const (
	// Connections of ours that calls count on are kept alive at a time between
	// these (RFC 5626 §4.4.1): a NAT or a firewall on the way forgets silent ones.
	keepAliveMin = 95 * time.Second
	keepAliveMax = 120 * time.Second
	// pongTime is how long a WebSocket peer may take for its pong.
	pongTime = 10 * time.Second
)

// hold notes that a call counts on the connection, release that it does no more.
func (s *stream) hold()    { s.calls.Add(1) }
func (s *stream) release() { s.calls.Add(-1) }

func keepAliveWait() time.Duration { return keepAliveMin + rand.N(keepAliveMax-keepAliveMin) }

// keepAlive sees to a connection of ours. The timer is stopped when it ends.
func (t *transport) keepAlive(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.keep = time.AfterFunc(keepAliveWait(), s.stayAlive)
}

// stayAlive asks the peer for a sign of life. Over WebSocket it must give one;
// otherwise not every peer knows the pong of RFC 5626, and it is TCP that
// notices who is gone.
func (s *stream) stayAlive() {
	if s.ended.Load() != nil {
		return
	}
	s.t.faults.try("a keep-alive", func() {
		if s.calls.Load() > 0 && s.frames != nil {
			s.aside(s.ping)
		} else if s.calls.Load() > 0 {
			s.repeat([]byte("\r\n\r\n"), s.hop.Addr)
		}
	})
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.keep.Reset(keepAliveWait())
}

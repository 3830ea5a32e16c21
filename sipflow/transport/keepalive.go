package transport

import (
	"math/rand/v2"
	"time"
)

const (
	// Connections of ours that calls count on are kept alive at a time between
	// these (RFC 5626 §4.4.1): a NAT or a firewall on the way forgets silent ones.
	KeepAliveMin = 95 * time.Second
	KeepAliveMax = 120 * time.Second
	// PongTime is how long a WebSocket peer may take for its pong.
	PongTime = 10 * time.Second
)

// Hold notes that a call counts on the connection, so that it is kept alive
// (RFC 5626 §4.4.1). Release takes that back.
func (s *Stream) Hold() { s.calls.Add(1) }

// Release says that a call counts on the connection no more.
func (s *Stream) Release() { s.calls.Add(-1) }

func keepAliveWait() time.Duration { return KeepAliveMin + rand.N(KeepAliveMax-KeepAliveMin) }

// keepAlive sees to a connection of ours. The timer is stopped when it ends.
func (t *Sockets) keepAlive(s *Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.keep = time.AfterFunc(keepAliveWait(), s.stayAlive)
}

// stayAlive asks the peer for a sign of life. Over WebSocket it must give one;
// otherwise not every peer knows the pong of RFC 5626, and TCP notices that a
// peer is gone.
func (s *Stream) stayAlive() {
	if s.ended.Load() != nil {
		return
	}
	s.t.Faults.Try("a keep-alive", func() {
		if s.calls.Load() > 0 && s.frames != nil {
			s.aside(s.ping)
		} else if s.calls.Load() > 0 {
			s.Repeat([]byte("\r\n\r\n"), s.Hop.Addr)
		}
	})
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.keep.Reset(keepAliveWait())
}

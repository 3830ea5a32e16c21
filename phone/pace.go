package phone

import (
	"net"
	"sync"
	"time"
)

const (
	// paceBytes is what is read of a socket in a second, beyond a first
	// paceBurst: eight times what audio takes. Messages, pings and fragments cost
	// a processor's time by their number, and a client that sends more waits.
	paceBytes = 256 << 10
	// paceBurst is how long paceBytes may come at once after a gap in the network:
	// audio of 16 s.
	paceBurst = 2 * time.Second
)

// paced is a connection of which no more than pace bytes a second are read, if
// it is not 0. TCP has the sender wait. Read is for one goroutine.
type paced struct {
	net.Conn
	pace int
	free time.Time // when all that was read so far is paid for

	closing sync.Once
	closed  chan struct{} // ends a wait: who closes waits for who reads
}

func newPaced(conn net.Conn, pace int) *paced {
	return &paced{Conn: conn, pace: pace, closed: make(chan struct{})}
}

// Close implements net.Conn.
func (p *paced) Close() error {
	p.closing.Do(func() { close(p.closed) })
	return p.Conn.Close()
}

// Read implements net.Conn.
func (p *paced) Read(b []byte) (int, error) {
	if p.pace == 0 {
		return p.Conn.Read(b)
	}
	if now := time.Now(); p.free.After(now.Add(paceBurst)) {
		wait := time.NewTimer(p.free.Sub(now) - paceBurst) // short: no Read is much longer than a message
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-p.closed:
			return 0, net.ErrClosed
		}
	}
	n, err := p.Conn.Read(b)
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.pace))
	return n, err
}

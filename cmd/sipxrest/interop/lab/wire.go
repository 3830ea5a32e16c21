package lab

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Wire is a TCP connection that the test can cut, stop or slow down: a listener whose
// every connection is carried on to another address.
type Wire struct {
	// Addr is where to connect to.
	Addr string

	to       string
	listener net.Listener
	work     sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when the state has changed
	cut     bool
	up      bool          // what the connecting side sends gets through
	down    bool          // what it is sent gets through
	delay   time.Duration // of each piece, both ways
	closed  bool
	open    map[net.Conn]bool
}

// Wire starts a listener on 127.0.0.1 for connections to an address. It ends with the test.
func (l *Lab) Wire(to string) *Wire {
	l.tb.Helper()
	w, err := newWire("127.0.0.1:0", to)
	if err != nil {
		l.tb.Fatal(err)
	}
	tb := l.tb
	tb.Cleanup(func() { w.close(tb) })
	return w
}

func newWire(listen, to string) (*Wire, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	w := &Wire{Addr: listener.Addr().String(), to: to, listener: listener, changed: make(chan struct{}), up: true, down: true, open: map[net.Conn]bool{}}
	w.work.Go(w.accept)
	return w, nil
}

func (w *Wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		if !w.keep(near) {
			near.Close()
			continue
		}
		w.work.Go(func() {
			defer w.drop(near)
			far, err := net.DialTimeout("tcp", w.to, 2*time.Second)
			if err != nil {
				return
			}
			if !w.keep(far) {
				far.Close()
				return
			}
			defer w.drop(far)
			var both sync.WaitGroup
			both.Go(func() { w.carry(far, near, func() bool { return w.up }) })
			both.Go(func() { w.carry(near, far, func() bool { return w.down }) })
			both.Wait()
		})
	}
}

// keep notes a connection. It reports false where there is to be none.
func (w *Wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.cut {
		return false
	}
	w.open[c] = true
	return true
}

func (w *Wire) drop(c net.Conn) {
	w.mu.Lock()
	delete(w.open, c)
	w.mu.Unlock()
	c.Close()
}

// carry copies what may pass, and waits as long as it may not.
func (w *Wire) carry(to, from net.Conn, may func() bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !w.wait(may) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns once a piece may pass, and reports false if that is never.
func (w *Wire) wait(may func() bool) bool {
	waited := false
	for {
		w.mu.Lock()
		changed, delay, cut := w.changed, w.delay, w.cut || w.closed
		pass := may()
		w.mu.Unlock()
		switch {
		case cut:
			return false
		case pass && (delay == 0 || waited):
			return true
		case pass:
			waited = true
			pause := time.NewTimer(delay)
			select {
			case <-pause.C:
			case <-changed:
				pause.Stop()
			}
		default:
			<-changed
		}
	}
}

func (w *Wire) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	if w.cut || w.closed {
		for c := range w.open {
			c.Close()
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// Cut ends all connections, and takes no new ones.
func (w *Wire) Cut() { w.change(func() { w.cut = true }) }

// Stop lets nothing pass: what is sent waits, as in a network that has lost its way.
func (w *Wire) Stop() { w.change(func() { w.up, w.down = false, false }) }

// StopUp and StopDown let nothing pass in one direction: from who connects, and to him.
func (w *Wire) StopUp()   { w.change(func() { w.up = false }) }
func (w *Wire) StopDown() { w.change(func() { w.down = false }) }

// Slow lets each piece wait.
func (w *Wire) Slow(delay time.Duration) { w.change(func() { w.delay = delay }) }

// Mend lets everything pass again.
func (w *Wire) Mend() {
	w.change(func() { w.cut, w.up, w.down, w.delay = false, true, true, 0 })
}

func (w *Wire) close(tb testing.TB) {
	tb.Helper()
	if err := w.listener.Close(); err != nil {
		tb.Error(err)
	}
	w.change(func() { w.closed = true })
	w.work.Wait()
}

package web

import (
	"cmp"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sipxrest/cmd/sipxrest/config"
	"sipxrest/internal/limit"
)

// A limitListener bounds the connections of one listener, all together and
// per address, so that clients that open connections and say nothing cannot
// keep the others out. When there are too many, one that is of no use gives its
// place to the new one; if all are in use the new one is closed at once: a
// client that waits in the kernel's queue would not know.
type limitListener struct {
	net.Listener
	Room
	log       *slog.Logger
	start     time.Time // from which times in connections count
	done      chan struct{}
	end       sync.Once
	said      limit.Log[netip.Addr] // connections refused
	displaced limit.Log[netip.Addr] // connections closed for others
	starved   limit.Log[struct{}]   // attempts to accept one without a file descriptor

	mu     sync.Mutex
	hosts  map[netip.Addr]*host // IPv6 by /64
	open   int
	known  int // of them, peers for whom room is kept
	counts connCounts
	// spare are connections that looked useless when they were last compared.
	strangers, friends spare
}

// Room is how many connections a listener may have.
type Room struct {
	Total, PerAddress int            // perAddress 0: a quarter of total
	Exempt            []netip.Prefix // reverse proxies: many clients behind one address, no limit for each
	// Knows says for whom a tenth of total is kept; nil: for nobody.
	Knows func(netip.Addr) bool
	// Relieve closes a connection of any listener that is of no use, and says
	// whether there was one: the process has too many files open. nil: nobody does.
	Relieve func() bool
}

// connCounts are what a limitListener counts.
type connCounts struct {
	refused   uint64 // closed at once
	displaced uint64 // closed because another needed the place
}

// A host has the connections of one address.
type host struct {
	conns map[*limitedConn]struct{}
	spare spare
}

const (
	// addressShare is the part of all connections that one address may hold, if
	// the configuration does not say.
	addressShare = 4
	// knownShare is the part of all connections that is kept for known peers.
	knownShare = 10
	// stuckAfter is how long a client may leave an answer unread, when others
	// need its place.
	stuckAfter = time.Second
	// promptly is how fast an answer is taken by a client that keeps up.
	promptly = 10 * time.Millisecond
	// pipelined is the time from one answer to the next within which the client
	// has sent its requests in one go. Such a connection never waits for the
	// network, and would have the processor for all of Go's time slice (10 ms),
	// so that some hundred clients could keep all others waiting for seconds. It
	// gives way after each answer.
	pipelined = 50 * time.Microsecond
	// spareBatch is how many connections are chosen at a time to be closed, for
	// comparing them all takes long.
	spareBatch = 1000
	// spareAgain is the pause before all are compared again in vain.
	spareAgain = 100 * time.Millisecond
	// acceptAgain is the pause before the next attempt to accept a connection
	// without a file descriptor, shortAgain the one after a file was closed.
	acceptAgain = 50 * time.Millisecond
	shortAgain  = 5 * time.Millisecond
)

// newLimitListener bounds the connections of l.
func newLimitListener(l net.Listener, r Room, log *slog.Logger) *limitListener {
	if r.PerAddress == 0 {
		r.PerAddress = max(1, r.Total/addressShare)
	}
	r.PerAddress = min(r.PerAddress, r.Total)
	limited := &limitListener{Listener: l, Room: r, log: log, start: time.Now(), done: make(chan struct{}), hosts: map[netip.Addr]*host{}}
	about := func(peers []netip.Addr) []any {
		open, _ := limited.stats()
		return []any{"peers", peers, "open", open, "listener", l.Addr(), "limits.connections", limited.Total, "limits.connections-per-address", limited.PerAddress}
	}
	limited.said.Say = func(refused uint64, peers []netip.Addr) {
		log.Warn("HTTP connections refused: too many at once", append([]any{"refused", refused}, about(peers)...)...)
	}
	limited.displaced.Say = func(closed uint64, peers []netip.Addr) {
		log.Warn("idle HTTP connections closed: others needed their places", append([]any{"closed", closed}, about(peers)...)...)
	}
	limited.starved.Say = func(times uint64, _ []struct{}) {
		log.Warn("HTTP connections have to wait: the process, or the system, has too many files open",
			"attempts", times, "listener", l.Addr(), "advice", "raise LimitNOFILE= of the service (ulimit -n), or lower limits.connections")
	}
	return limited
}

func (l *limitListener) Close() error {
	l.end.Do(func() { close(l.done) })
	l.said.Stop()
	l.displaced.Stop()
	l.starved.Stop()
	return l.Listener.Close()
}

// Accept returns the next connection that is within the limits.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			if !outOfFiles(err) || !l.await() {
				return nil, err
			}
			continue
		}
		addr := remoteAddr(raw)
		c := &limitedConn{Conn: direct(raw), l: l, addr: addr, known: l.Knows != nil && l.Knows(addr)}
		c.idle.Store(l.now())
		loser, ok := l.admit(c)
		if loser != nil {
			l.displaced.Refused(loser.addr)
			loser.Close()
		}
		if ok {
			return c, nil
		}
		l.said.Refused(addr)
		raw.Close()
	}
}

// outOfFiles reports whether err means that the process or the system has no
// descriptor or memory for one more connection.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// await waits until it is worth trying again to accept a connection. It answers
// false when the listener was closed.
func (l *limitListener) await() bool {
	l.starved.Refused(struct{}{})
	pause := acceptAgain
	if l.Relieve != nil && l.Relieve() {
		pause = shortAgain
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.done:
		return false
	}
}

func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// now is the time in a connection's fields; it is never 0.
func (l *limitListener) now() int64 { return int64(time.Since(l.start)) + 1 }

// admit gives c a place, or reports false. loser has lost its place to c and
// must be closed.
func (l *limitListener) admit(c *limitedConn) (loser *limitedConn, ok bool) {
	near := limit.Network(c.addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hosts[near]
	switch {
	case h != nil && len(h.conns) >= l.PerAddress && !config.Contains(l.Exempt, c.addr):
		loser = h.spare.take(l, maps.Keys(h.conns))
	case l.open >= l.Total || !c.known && l.open-l.known >= l.forStrangers():
		if loser = l.strangers.take(l, l.all(false)); loser == nil && c.known {
			loser = l.friends.take(l, l.all(true))
		}
	default:
		l.add(near, c)
		return nil, true
	}
	if loser == nil {
		l.counts.refused++
		return nil, false
	}
	l.counts.displaced++
	l.remove(loser)
	l.add(near, c)
	return loser, true
}

// forStrangers is how many connections may be those of strangers.
func (l *limitListener) forStrangers() int {
	if l.Knows == nil {
		return l.Total
	}
	return l.Total - l.Total/knownShare
}

// all are the connections of known peers, or of the others.
func (l *limitListener) all(known bool) iter.Seq[*limitedConn] {
	return func(yield func(*limitedConn) bool) {
		for _, h := range l.hosts {
			for c := range h.conns {
				if c.known == known && !yield(c) {
					return
				}
			}
		}
	}
}

// l.mu is locked.
func (l *limitListener) add(near netip.Addr, c *limitedConn) {
	h := l.hosts[near]
	if h == nil {
		h = &host{conns: map[*limitedConn]struct{}{}}
		l.hosts[near] = h
	}
	h.conns[c] = struct{}{}
	l.open++
	if c.known {
		l.known++
	}
}

// remove frees c's place, once. l.mu is locked.
func (l *limitListener) remove(c *limitedConn) {
	c.gone.Store(true)
	near := limit.Network(c.addr)
	h := l.hosts[near]
	if h == nil {
		return
	}
	if _, there := h.conns[c]; !there {
		return
	}
	delete(h.conns, c)
	if len(h.conns) == 0 {
		delete(l.hosts, near)
	}
	l.open--
	if c.known {
		l.known--
	}
}

// giveUp closes a connection that is of no use, if there is one: of a stranger,
// or else of anybody.
func (l *limitListener) giveUp(known bool) bool {
	l.mu.Lock()
	s := &l.strangers
	if known {
		s = &l.friends
	}
	loser := s.take(l, l.all(known))
	if loser != nil {
		l.counts.displaced++
		l.remove(loser)
	}
	l.mu.Unlock()
	if loser == nil {
		return false
	}
	l.displaced.Refused(loser.addr)
	loser.Close()
	return true
}

// stats returns the connections that are open, and what became of others.
func (l *limitListener) stats() (open int, counts connCounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.counts
}

// spare are some connections that may be closed, the best ones for that last.
type spare struct {
	conns []*limitedConn
	none  int64 // when all were compared in vain
}

// take returns one of from that may be closed, nil if there is none. The
// listener's lock is held.
func (s *spare) take(l *limitListener, from iter.Seq[*limitedConn]) *limitedConn {
	now := l.now()
	for range 2 {
		for n := len(s.conns); n > 0; n = len(s.conns) {
			c := s.conns[n-1]
			s.conns[n-1], s.conns = nil, s.conns[:n-1]
			if _, _, ok := c.useless(now); ok && !c.gone.Load() {
				return c
			}
		}
		if s.none != 0 && now-s.none < int64(spareAgain) {
			return nil
		}
		if s.conns = worst(l, now, from); len(s.conns) == 0 {
			s.none = now
			return nil
		}
		s.none = 0
	}
	return nil
}

// worst returns the connections that are best closed, the best ones last: those
// that are idle before those that do not read their answer, those of addresses
// with many before those of others, and the oldest first.
func worst(l *limitListener, now int64, from iter.Seq[*limitedConn]) []*limitedConn {
	type candidate struct {
		c     *limitedConn
		stuck bool
		many  int
		since int64
	}
	var all []candidate
	for c := range from {
		if since, stuck, ok := c.useless(now); ok {
			many := 0
			if h := l.hosts[limit.Network(c.addr)]; h != nil {
				many = len(h.conns)
			}
			all = append(all, candidate{c, stuck, many, since})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		switch {
		case a.stuck != b.stuck:
			if a.stuck {
				return 1
			}
			return -1
		case a.many != b.many:
			return cmp.Compare(b.many, a.many)
		}
		return cmp.Compare(a.since, b.since)
	})
	out := make([]*limitedConn, min(len(all), spareBatch))
	for i := range out {
		out[len(out)-1-i] = all[i].c
	}
	return out
}

// A limitedConn has a place of its listener until it is closed. Times are the
// listener's; 0 is none.
type limitedConn struct {
	net.Conn
	l     *limitListener
	addr  netip.Addr
	known bool
	// idle is since when the client has owed a request, or the rest of one.
	idle atomic.Int64
	// stuck is since when a write waits for the client to read, unread since when
	// an answer over HTTP/2 has not come to its end, and streams how many answers
	// are not meant to: those are no sign of anything.
	stuck, unread atomic.Int64
	streams       atomic.Int32
	gone          atomic.Bool
	last          int64 // when a request was answered; owned by the server's goroutine
	late          lag   // of stuck; owned by the one who writes

	requests sync.Mutex // guards asked and owing, and writes to owed
	asked    int        // requests that handlers have
	owing    int        // those of them that wait for more from the client
	// owed is since when all requests wait for more from the client. HTTP/2 may
	// have many at once: one that does not wait keeps the connection in use.
	owed atomic.Int64
}

// useless says since when the connection has served nobody, if it does not, and
// whether it is stuck.
func (c *limitedConn) useless(now int64) (since int64, stuck, ok bool) {
	for _, waits := range [...]*atomic.Int64{&c.idle, &c.owed} {
		if since = waits.Load(); since != 0 {
			return since, false, true
		}
	}
	for _, waits := range [...]*atomic.Int64{&c.stuck, &c.unread} {
		if since = waits.Load(); since != 0 && now-since >= int64(stuckAfter) && (waits == &c.stuck || c.streams.Load() == 0) {
			return since, true, true
		}
	}
	return 0, false, false
}

// state takes what the server says of the connection.
func (c *limitedConn) state(s http.ConnState) {
	switch s {
	case http.StateIdle:
		now := c.l.now()
		c.idle.Store(now)
		if now-c.last < int64(pipelined) {
			runtime.Gosched()
		}
		c.last = now
	case http.StateActive, http.StateHijacked:
		c.idle.Store(0)
	}
}

// serves notes that handlers have so many more requests, and that so many more
// wait for their client. Both may be negative.
func (c *limitedConn) serves(asked, owing int) {
	c.requests.Lock()
	defer c.requests.Unlock()
	c.asked += asked
	c.owing += owing
	switch {
	case c.asked == 0 || c.owing < c.asked:
		c.owed.Store(0)
	case c.owed.Load() == 0:
		c.owed.Store(c.l.now())
	}
}

// done notes that only the client is waited for, until the server says of the
// connection that it is in use again.
func (c *limitedConn) done() { c.idle.Store(c.l.now()) }

func (c *limitedConn) Write(b []byte) (int, error) {
	w := c.late.begin(c.l.now())
	c.stuck.Store(w.since)
	defer func() {
		c.stuck.Store(0)
		c.late.end(w, c.l.now())
	}()
	return c.Conn.Write(b)
}

// A lag is how long a client has kept answers waiting. One that takes each answer
// late serves nobody but itself, too: time is forgiven only by as much time in
// which nothing waits.
type lag struct {
	debt, at int64 // what it was, and when
}

// A wait is for an answer to be taken. It counts from since, which is earlier
// than its begin where answers waited before.
type wait struct {
	began, since int64
}

func (g *lag) begin(now int64) wait {
	return wait{began: now, since: max(1, now-max(0, g.debt-(now-g.at)))}
}

func (g *lag) end(w wait, now int64) {
	if w.late(now) {
		g.debt, g.at = min(now-w.since, int64(stuckAfter)), now
	}
}

// late reports whether the answer is not taken as clients do that keep up.
func (w wait) late(now int64) bool { return now-w.began >= int64(promptly) }

// NetConn is the connection beneath, as that of a tls.Conn is.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

func (c *limitedConn) Close() error {
	if !c.gone.Swap(true) {
		c.l.mu.Lock()
		c.l.remove(c)
		c.l.mu.Unlock()
	}
	return c.Conn.Close()
}

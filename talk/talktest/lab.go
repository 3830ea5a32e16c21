// Package talktest is a signaling server and the Nextclouds behind it, in the
// process of a test: what a SIP bridge talks to. It keeps to what real servers
// do and fails the test for what would harm one (Fault).
//
// Where to look:
//
//	lab.go        the lab: network, what can go wrong with it, waiting
//	fault.go      what a bridge must not do
//	signaling.go  connections: welcome, resume window, bye
//	hello.go      sessions begun, refused and resumed
//	bridge.go     what bridges send
//	room.go       rooms, call statuses, events
//	user.go       Talk clients
//	web.go        Talk clients that come by WebSocket
//	media.go      offers, answers, candidates: who may publish and hear
//	mcu.go        what carries the media
//	sfu.go        a stand-in for Janus, by pion; its rooms are in sfu_room.go
//	judge.go      what a bridge does wrong with media
//	participant.go  Talk clients that publish tones; participant_peer.go their
//	              connections, ear.go what they hear
//	dialout.go    Nextcloud's request to call a number
//	cloud.go      Nextcloud's HTTP for bridges
//	dialin.go     that of calls that come in: conversations, PINs, numbers
//
// All time is the clock's: the lab may be used in a testing/synctest bubble, by
// way of Lab.Dial. Elsewhere Lab is the http.Handler of both servers.
package talktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Secrets and addresses of the lab.
const (
	Secret    = "the-shared-secret-for-internal-clients"
	SIPSecret = "sip-bridge-shared-secret"
	// URL is the signaling server's.
	URL = "http://signaling.example/standalone-signaling"
	// CloudURL is the first Nextcloud's.
	CloudURL = "http://cloud.example/nextcloud/"
)

// Lab is a signaling server with Nextclouds.
type Lab struct {
	// Features are those of the welcome. Set before anybody connects.
	Features []string
	// OnFault is told of faults instead of the test.
	OnFault func(Fault)
	// Cut is asked before each message that the signaling server takes (from a
	// client) or sends: true loses the message and the connection.
	// It is called for one message at a time.
	Cut func(sent bool, message []byte) bool
	// NotFound has the signaling server be something else.
	NotFound bool
	// MCU carries the media, if Features has "mcu". Set before anybody connects.
	MCU MCU
	// PublisherWait is how long somebody who wants to hear a session waits until
	// it publishes. 0: 10 s, as the real server has it.
	PublisherWait time.Duration
	// Address is that of participants' connections. Zero: loopback. A real Janus
	// needs another one.
	Address netip.Addr
	// Cloud is the first Nextcloud.
	Cloud *Cloud

	t      testing.TB
	server *http.Server
	accept chan net.Conn
	closed chan struct{}
	wg     sync.WaitGroup
	cutMu  sync.Mutex // before mu

	mu       sync.Mutex
	changed  chan struct{}
	refusing bool
	stalled  chan struct{} // closed when connections are read again; nil: they are
	conns    map[*conn]bool
	clouds   []*Cloud
	sessions map[string]*session // by public id
	resumes  map[string]*session
	links    map[*link]bool
	rooms    map[string]*room // by cloud and token
	pending  map[string]*request
	answered map[string]bool // ids of requests that had their response, and may not be used again
	bridges  []*session      // in the order of their hello
	count    int
	wrong    []time.Time // failed attempts to say hello
	messages []string
	calls    map[string]*call // by call id
	tones    []int            // Hz, that participants publish
}

// New starts a lab that ends with the test.
func New(t testing.TB) *Lab {
	l := &Lab{t: t, accept: make(chan net.Conn), closed: make(chan struct{}), changed: make(chan struct{}),
		Features: []string{"audio-video-permissions", "dialout", "hello-v2", "incall-all", "mcu", "offer-codecs", "serverinfo", "transient-data",
			"virtual-sessions", "welcome"},
		conns: map[*conn]bool{}, sessions: map[string]*session{}, resumes: map[string]*session{}, links: map[*link]bool{},
		rooms: map[string]*room{}, pending: map[string]*request{}, answered: map[string]bool{}, calls: map[string]*call{}}
	l.Cloud = l.AddCloud(CloudURL)
	l.server = &http.Server{Handler: l}
	l.wg.Go(func() { _ = l.server.Serve(listener{l}) })
	t.Cleanup(l.Close)
	return l
}

// Close ends the lab: calls that are not over then are a fault.
func (l *Lab) Close() {
	l.mu.Lock()
	select {
	case <-l.closed:
		l.mu.Unlock()
		return
	default:
		close(l.closed)
	}
	for _, c := range l.calls {
		if !c.over && !c.gone {
			l.fault(NotCleared, "call %s of room %s is %q for ever", c.id, c.token, c.state)
		}
	}
	for _, s := range l.sessions {
		s.stop()
	}
	for _, r := range l.rooms {
		r.stop()
	}
	l.mu.Unlock()
	l.Stall(false)
	l.server.Close()
	l.Drop()
	l.wg.Wait()
}

// ServeHTTP is the signaling server at /spreed and below any path that ends so,
// the Nextclouds elsewhere.
func (l *Lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/spreed") && !l.NotFound {
		l.serveSignaling(w, r)
		return
	}
	for _, c := range l.clouds {
		if path, ok := strings.CutPrefix(r.URL.Path, c.path); ok && (r.Host == c.host || c.host == "") {
			c.serve(w, r, path)
			return
		}
	}
	http.NotFound(w, r)
}

// Dial reaches the lab's servers, whatever their names: all but "nobody".
func (l *Lab) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	l.mu.Lock()
	refusing := l.refusing
	l.mu.Unlock()
	if refusing || strings.HasPrefix(address, "nobody") {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	theirs, ours := net.Pipe()
	c := &conn{Conn: ours, lab: l, frozen: make(chan struct{}), gone: make(chan struct{})}
	l.mu.Lock()
	l.conns[c] = true
	l.mu.Unlock()
	select {
	case l.accept <- c:
		return theirs, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	theirs.Close()
	c.shut()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
}

// Refuse refuses new connections, or no more.
func (l *Lab) Refuse(refuse bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusing = refuse
}

// Drop loses all connections.
func (l *Lab) Drop() {
	for _, c := range l.connections() {
		c.shut()
	}
}

// Freeze lets all connections go on without a byte getting through, as behind a
// NAT that has forgotten them.
func (l *Lab) Freeze() {
	for _, c := range l.connections() {
		c.once.Do(func() { close(c.frozen) })
	}
}

// Stall has nothing be read of any connection, or all again, as when a server
// is too busy for it.
func (l *Lab) Stall(stall bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case stall && l.stalled == nil:
		l.stalled = make(chan struct{})
	case !stall && l.stalled != nil:
		close(l.stalled)
		l.stalled = nil
	}
}

// Restart has the signaling server forget everything: sessions, rooms, requests.
func (l *Lab) Restart() {
	l.mu.Lock()
	for _, s := range l.sessions {
		s.stop()
		s.closeMedia()
	}
	for _, r := range l.rooms {
		r.stop()
	}
	clear(l.sessions)
	clear(l.resumes)
	clear(l.rooms)
	for id, r := range l.pending {
		delete(l.pending, id)
		r.answer <- answer{err: &DialoutError{http.StatusBadGateway, "", "The signaling server has gone away."}}
	}
	l.bridges = nil
	l.wrong = nil
	l.mu.Unlock()
	l.Drop()
}

func (l *Lab) connections() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// Until waits until what is asked for is so, and fails the test if it is not
// within d.
func (l *Lab) Until(what string, d time.Duration, is func() bool) {
	l.t.Helper()
	timer, look := time.NewTimer(d), time.NewTicker(100*time.Millisecond)
	defer timer.Stop()
	defer look.Stop()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-look.C: // what is no change of the lab's
		case <-timer.C:
			l.t.Fatalf("not within %v: %s\n%s", d, what, strings.Join(l.Messages(), "\n"))
		}
	}
}

// Messages are what the signaling server took ("<- ") and sent ("-> ").
func (l *Lab) Messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.messages...)
}

// note remembers a message and wakes who waits. The caller holds l.mu.
func (l *Lab) note(message string) {
	if message != "" {
		l.messages = append(l.messages, message)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// next is a name that was not used before. The caller holds l.mu.
func (l *Lab) next(prefix string) string {
	l.count++
	return fmt.Sprintf("%s%024d", prefix, l.count)
}

// listener hands out the connections that were dialled.
type listener struct{ *Lab }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// conn is the server's end of a connection.
type conn struct {
	net.Conn
	lab    *Lab
	frozen chan struct{}
	once   sync.Once // closes frozen
	gone   chan struct{}
	ending sync.Once // closes gone

	reading sync.Mutex
	closed  atomic.Bool // by the server, while frozen
}

func (c *conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		c.lab.mu.Lock()
		stalled := c.lab.stalled
		c.lab.mu.Unlock()
		if stalled != nil {
			select {
			case <-stalled:
			case <-c.gone:
			}
		}
		n, err := c.Conn.Read(p)
		select {
		case <-c.frozen:
			if err != nil {
				return n, err
			}
		default:
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	select {
	case <-c.frozen:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

// Close of a connection that is frozen is not noticed by the client: only what
// shuts it is.
func (c *conn) Close() error {
	select {
	case <-c.frozen:
	default:
		return c.shut()
	}
	if c.closed.Swap(true) {
		return nil
	}
	err := c.SetReadDeadline(time.Now()) // ends Read
	go func() {
		c.reading.Lock()
		defer c.reading.Unlock()
		if c.SetReadDeadline(time.Time{}) == nil {
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}()
	return err
}

func (c *conn) shut() error {
	c.lab.mu.Lock()
	delete(c.lab.conns, c)
	c.lab.mu.Unlock()
	c.ending.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// cuts asks Cut, which connections that run side by side share.
func (l *Lab) cuts(sent bool, message []byte) bool {
	l.cutMu.Lock()
	defer l.cutMu.Unlock()
	return l.Cut != nil && l.Cut(sent, message)
}

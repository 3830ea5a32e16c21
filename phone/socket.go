package phone

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// pingEvery is the time between two pings, pongWait how long each may be
	// unanswered: mobile networks take long, and no shorter than a ping's way
	// behind a second of audio.
	pingEvery = 30 * time.Second
	pongWait  = 20 * time.Second
	// closeWait is how long a close may be unanswered, until the connection ends.
	closeWait = 5 * time.Second
)

// A socket is a WebSocket that serves a leg. Three goroutines have part in it,
// and all end with serve: the reader, which is that of the request, the writer,
// and one that pings.
type socket struct {
	leg  *leg
	ws   *websocket.Conn
	conn net.Conn // beneath ws, to end what does not end by itself
	kind websocket.MessageType
	done chan struct{} // closed when the reader has ended
}

// subprotocol is what a browser's page asks for beside its token, and gets.
const subprotocol = "phone"

// accept upgrades a request whose handshake was looked at; kind is what is sent.
// When it fails it has answered.
func accept(w http.ResponseWriter, r *http.Request, l *leg, kind websocket.MessageType) (*socket, error) {
	keep := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(keep, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origins were looked at, before all else
		Subprotocols:       []string{subprotocol},
		CompressionMode:    websocket.CompressionDisabled, // audio does not shrink
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxMessage)
	return &socket{leg: l, ws: ws, conn: keep.conn, kind: kind, done: make(chan struct{})}, nil
}

// hijacker keeps the connection that is taken from the server.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// serve moves messages until the socket has ended, however it ends. gone is
// called once nothing more will be read, before the leg's end.
func (s *socket) serve(gone func()) {
	var others sync.WaitGroup
	others.Go(s.write)
	others.Go(s.ping)
	err := s.read()
	close(s.done)
	gone()
	s.leg.end()
	timer := time.AfterFunc(closeWait, func() { s.conn.Close() })
	defer timer.Stop()
	others.Wait()
	if websocket.CloseStatus(err) == -1 {
		// What was told (1009) must not be lost by closing while more comes.
		_ = s.ws.Close(websocket.StatusProtocolError, "")
	}
	s.conn.Close()
}

// read gives the audio that comes to the leg, until the connection ends. Pings
// and closes are answered meanwhile, and who writes too much gets 1009.
func (s *socket) read() error {
	for {
		kind, r, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary || s.kind != websocket.MessageBinary {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			continue
		}
		f := newFrame()
		if err := f.read(r); err != nil {
			f.free()
			return err
		}
		s.leg.hear(f)
	}
}

// write sends what the leg has, then closes with 1001. A connection that takes
// nothing ends when a ping does not go through, or a close.
func (s *socket) write() {
	for {
		message, f, ended := s.leg.take()
		var err error
		switch {
		case message != nil:
			err = s.ws.Write(context.Background(), s.kind, message)
		case f != nil:
			err = s.ws.Write(context.Background(), websocket.MessageBinary, f.data)
			f.free()
			if err == nil {
				s.leg.sums.sent.Add(1)
			}
		case ended:
			s.close()
			return
		default:
			<-s.leg.wake // end comes at last: serve sees to it
		}
		if err != nil {
			s.conn.Close()
			return
		}
	}
}

// close says 1001 and waits for the answer, or for closeWait.
func (s *socket) close() {
	select {
	case <-s.done: // the other side has closed
		return
	default:
	}
	timer := time.AfterFunc(closeWait, func() { s.conn.Close() })
	defer timer.Stop()
	_ = s.ws.Close(websocket.StatusGoingAway, "") // it ends in any case
}

// ping sees whether the other side is still there.
func (s *socket) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeoutCause(context.Background(), pongWait, errSilent)
		err := s.ws.Ping(ctx)
		cancel()
		if err != nil {
			s.conn.Close()
			return
		}
	}
}

var errSilent = errors.New("the other side does not answer pings")

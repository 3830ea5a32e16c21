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
	// sendBuffer is asked of the kernel for what the other side has not taken, in
	// bytes: a second of audio. By itself it would keep a minute of it, which nobody
	// wants to hear when a connection comes back.
	sendBuffer = 32 << 10
)

// A socket is a WebSocket that serves a leg. Three goroutines serve it, and all
// end with serve: the reader, which is that of the request, the writer, and one
// that watches. Each ping is one more, until its pong.
type socket struct {
	leg  *leg
	ws   *websocket.Conn
	conn net.Conn // beneath ws, to end what does not end by itself
	kind websocket.MessageType
	done chan struct{} // closed when the reader has ended

	pings sync.WaitGroup // those that are under way
}

// subprotocol is what a browser's page asks for beside its token, and gets.
const subprotocol = "phone"

// accept upgrades a request whose handshake was looked at; kind is what is sent.
// When it fails it has responded.
func (s *Service) accept(w http.ResponseWriter, r *http.Request, l *leg, kind websocket.MessageType) (*socket, error) {
	keep := &hijacker{ResponseWriter: w, pace: s.pace}
	ws, err := websocket.Accept(keep, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origins were looked at, before all else
		Subprotocols:       []string{subprotocol},
		CompressionMode:    websocket.CompressionDisabled, // audio does not shrink
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxMessage + 1) // we refuse longer messages ourselves
	return &socket{leg: l, ws: ws, conn: keep.conn, kind: kind, done: make(chan struct{})}, nil
}

// hijacker keeps the connection that is taken from the server.
type hijacker struct {
	http.ResponseWriter
	pace int
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	limitSending(conn)
	h.conn = newPaced(conn, h.pace)
	return h.conn, rw, nil
}

// limitSending sets sendBuffer for a connection of the kernel's, which may lie
// beneath TLS and what counts connections.
func limitSending(conn net.Conn) {
	for conn != nil {
		switch c := conn.(type) {
		case interface{ SetWriteBuffer(int) error }:
			_ = c.SetWriteBuffer(sendBuffer) // without it audio may be late
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}

// serve moves messages until the socket has ended, however it ends. gone is
// called once nothing more will be read, before the leg's end.
func (s *socket) serve(gone func()) {
	var others sync.WaitGroup
	others.Go(s.write)
	others.Go(s.watch)
	err := s.read()
	close(s.done)
	gone()
	s.leg.end()
	timer := time.AfterFunc(closeWait, func() { s.conn.Close() })
	defer timer.Stop()
	others.Wait()
	if websocket.CloseStatus(err) == -1 {
		code := websocket.StatusProtocolError
		if errors.Is(err, errTooLong) {
			code = websocket.StatusMessageTooBig
		}
		_ = s.ws.Close(code, "") // and wait: what is told must not be lost by closing while more comes
	}
	s.conn.Close()
	_ = s.ws.CloseNow() // ends pings that get no pong any more
	s.pings.Wait()
}

// read gives the audio that comes to the leg, until the connection ends. Pings
// and closes get their replies meanwhile, and a peer that writes too much gets
// 1009.
func (s *socket) read() error {
	for {
		kind, r, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageBinary || s.kind != websocket.MessageBinary {
			if n, err := io.Copy(io.Discard, io.LimitReader(r, maxMessage+1)); err != nil {
				return err
			} else if n > maxMessage {
				return errTooLong
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

// close says 1001 and waits for the other side's close; watch sees to it that
// this ends.
func (s *socket) close() {
	select {
	case <-s.done: // the other side has closed
	default:
		_ = s.ws.Close(websocket.StatusGoingAway, "") // it ends in any case
	}
}

// watch sees whether the other side is still there, and cuts the connection
// when a close is not returned, or cannot even be written.
func (s *socket) watch() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for s.leg.over.Err() == nil {
		select {
		case <-s.done:
			return
		case <-s.leg.over.Done():
		case <-tick.C:
			s.pings.Go(s.ping) // pongWait is less than pingEvery: one at a time
		}
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		s.conn.Close()
	}
}

// ping cuts the connection when a ping gets no pong. The leg's end does not
// end its context: a context that ends while a frame is written takes the whole
// connection with it, and the other side would never read why it is closed.
func (s *socket) ping() {
	ctx, cancel := context.WithTimeout(context.Background(), pongWait)
	defer cancel()
	if err := s.ws.Ping(ctx); err != nil && s.leg.over.Err() == nil {
		s.conn.Close() // the peer has closeWait for its close frame
	}
}

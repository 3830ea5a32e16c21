package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"sipxrest/internal/limit"
	"sipxrest/sipflow/wire"
)

// WebSocket says how SIP goes over WebSocket (RFC 7118). Zero values are
// replaced by the defaults given.
type WebSocket struct {
	// AllowedOrigins are the browser pages that may connect, as
	// "https://portal.example"; those of the host that is connected to always
	// may, if it is ours, and so do programs that are no browsers.
	AllowedOrigins []string
	// OurName reports whether a Host header names this service: pages by other
	// names may not connect, for a page may have its own lead here (DNS
	// rebinding). nil: any may.
	OurName func(host string) bool
	// Path is the path of the URL of the servers that we connect to, default "/".
	// Peers may connect to any path.
	Path string
}

const (
	subprotocol = "sip"
	// MaxUpgrade bounds the HTTP request by which a peer begins, in bytes.
	MaxUpgrade = 8192
)

func overWebSocket(transport string) bool { return transport == "ws" || transport == "wss" }

// upgrade responds to the HTTP request by which a peer begins (RFC 6455 §4.2).
// A refusal ends the connection: there is nothing else to ask for here.
func (s *Stream) upgrade() error {
	r := bufio.NewReader(&io.LimitedReader{R: s.conn, N: MaxUpgrade})
	w := &upgradeAnswer{conn: s.conn, in: r, out: bufio.NewWriterSize(s.conn, 4096), header: http.Header{}}
	refuse := func(code int, why string) error {
		http.Error(w, why, code)
		w.out.Flush() //nolint:errcheck // it is refused either way
		return errors.New(why)
	}
	req, err := http.ReadRequest(r)
	if err != nil {
		var timeout net.Error
		if errors.Is(err, io.EOF) || errors.As(err, &timeout) {
			return err
		}
		return refuse(http.StatusBadRequest, "not an HTTP request")
	}
	origin := req.Header.Get("Origin") // no browser leaves it out
	if origin != "" && !s.t.WebSocket.allows(origin, req.Host) {
		s.t.Admission.RefusedPage(limit.RefusedPage(origin, s.Hop.Addr.Addr()))
		return refuse(http.StatusForbidden, "pages of this origin may not connect: it is not in allowed-origins")
	}
	if ours := s.t.WebSocket.OurName; origin != "" && ours != nil && !s.t.WebSocket.listed(origin) && !ours(req.Host) {
		s.t.Admission.RefusedPage(limit.RefusedPage(origin+" at "+req.Host, s.Hop.Addr.Addr()))
		return refuse(http.StatusMisdirectedRequest, "the name in the address is not known to be this service's: add it to http-names, or the page to allowed-origins")
	}
	if req.Header.Get("Upgrade") != "" && !offersSIP(req.Header) {
		return refuse(http.StatusBadRequest, "the subprotocol sip must be offered in Sec-WebSocket-Protocol (RFC 7118 §4.1)")
	}
	alive := s.alive
	s.frames, err = websocket.Accept(w, req, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the origin has been checked
		OnPingReceived:     func(context.Context, []byte) bool { alive(); return true },
		OnPongReceived:     func(context.Context, []byte) { alive() },
	})
	if err != nil {
		w.out.Flush() //nolint:errcheck // it is refused either way
		return err
	}
	s.frames.SetReadLimit(wire.MaxMessage)
	return nil
}

func offersSIP(h http.Header) bool {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), subprotocol) {
				return true
			}
		}
	}
	return false
}

func (c *WebSocket) listed(origin string) bool {
	return slices.ContainsFunc(c.AllowedOrigins, func(a string) bool { return strings.EqualFold(a, origin) })
}

// allows reports whether a page may connect: no browser lets it hide its origin.
func (c *WebSocket) allows(origin, host string) bool {
	if c.listed(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// upgradeAnswer is the one HTTP response of a connection.
type upgradeAnswer struct {
	conn   net.Conn
	in     *bufio.Reader
	out    *bufio.Writer
	header http.Header
	begun  bool
}

func (w *upgradeAnswer) Header() http.Header { return w.header }

func (w *upgradeAnswer) WriteHeader(code int) {
	if w.begun {
		return
	}
	w.begun = true
	if code != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close") // which ends the body
	}
	fmt.Fprintf(w.out, "HTTP/1.1 %d %s\r\n", code, http.StatusText(code))
	w.header.Write(w.out) //nolint:errcheck // Flush tells
	w.out.WriteString("\r\n")
}

func (w *upgradeAnswer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

// Hijack implements http.Hijacker.
func (w *upgradeAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.in, w.out), w.out.Flush()
}

// askForUpgrade begins as a client on a connection of ours (RFC 7118 §4.1).
func (s *Stream) askForUpgrade(ctx context.Context) error {
	path := s.t.WebSocket.Path
	if path == "" {
		path = "/"
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:            func(context.Context, string, string) (net.Conn, error) { return s.conn, nil },
			MaxResponseHeaderBytes: MaxUpgrade,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	alive := s.alive
	// Where TLS is wanted the connection has it already.
	conn, res, err := websocket.Dial(ctx, "ws://"+authority(s.Hop)+path, &websocket.DialOptions{
		HTTPClient:     client,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { alive(); return true },
		OnPongReceived: func(context.Context, []byte) { alive() },
	})
	if err != nil {
		client.CloseIdleConnections()
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("the server answers %s: does it speak SIP over WebSocket at %s (sip.ws-path)?", limit.Clip(res.Status, maxName), path)
		}
		return err
	}
	if conn.Subprotocol() != subprotocol {
		conn.CloseNow() //nolint:errcheck // it is of no use
		return errors.New("the server does not speak the subprotocol sip")
	}
	conn.SetReadLimit(wire.MaxMessage)
	s.frames = conn
	return nil
}

// sendFrame sends one message. What is not UTF-8 must not go as text (RFC 6455
// §5.6).
func (s *Stream) sendFrame(b []byte) error {
	kind := websocket.MessageText
	if !utf8.Valid(b) {
		kind = websocket.MessageBinary
	}
	return s.frames.Write(context.Background(), kind, b)
}

// readFrames reads messages, each of them one SIP message: its length needs no
// Content-Length (RFC 7118 §5.1).
func (s *Stream) readFrames() error {
	from := Path{s, s.Hop.Addr}
	for {
		s.limit(StreamIdle)
		_, r, err := s.frames.Reader(context.Background())
		if err != nil {
			return err
		}
		s.limit(StreamMessage)
		s.partial = true
		data, err := io.ReadAll(r)
		s.partial = false
		if err != nil {
			return err
		}
		if len(bytes.Trim(data, "\r\n")) == 0 {
			if len(data) >= 4 { // a keep-alive that asks for its pong (RFC 5626 §3.5.1)
				if err := s.pong(); err != nil {
					return err
				}
			}
			continue
		}
		s.t.take(data, from)
	}
}

// alive notes a ping or pong. It runs in the goroutine that reads; between the
// pieces of a message it is no sign of the rest.
func (s *Stream) alive() {
	if !s.partial {
		s.limit(StreamIdle)
	}
}

// ping asks a WebSocket peer for a sign of life, and closes a connection that
// gives none.
func (s *Stream) ping() {
	ctx, stop := context.WithTimeout(s.t.ctx, PongTime)
	defer stop()
	s.conn.SetWriteDeadline(time.Now().Add(streamWrite)) //nolint:errcheck // the write tells
	defer s.conn.SetWriteDeadline(time.Time{})           //nolint:errcheck // see send
	if err := s.frames.Ping(ctx); err != nil {
		s.conn.Close()
	}
}

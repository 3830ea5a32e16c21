package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A clientListener makes what net/http sees of the connections of a listener:
// TLS where there is some, and answers where net/http would give none.
//
// TLS is spoken here, and HTTP/2 over it as if without (prior knowledge, RFC
// 9113 §3.3), for net/http lets nobody between its HTTP/2 and its own TLS.
type clientListener struct {
	net.Listener
	tls   *tls.Config // nil: none
	early Early       // nil: none
	words Words       // nil: net/http's
	log   *slog.Logger
}

// Words are for what net/http refuses before there is a request: they return the
// header fields, each with its end of line, and the body of the answer to a request
// line that begins so; "" for no words. text says why.
type Words func(begin []byte, status int, text string) (fields, body string)

// Word has words answer what net/http refuses over HTTP/1. It is called before Serve.
func (l *Listener) Word(words Words) { l.words = words }

// Accept returns the next connection as a *clientConn.
func (l *clientListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &clientConn{Conn: raw, raw: raw, early: l.early, words: l.words, log: l.log}
	if l.tls != nil {
		c.tls = tls.Server(raw, l.tls)
		c.Conn = c.tls
	}
	return c, nil
}

// alpn are the protocols over TLS, the best one first. The last one is for
// clients of HTTP/1.0, which are answered by it in any case.
func alpn(http2 bool) []string {
	if http2 {
		return []string{"h2", "http/1.1", "http/1.0"}
	}
	return []string{"http/1.1", "http/1.0"}
}

const (
	// lingerTime and lingerBytes bound what is still read of a client that was
	// refused: a connection that is closed with something unread is reset, and
	// the answer with it (RFC 9112 §9.6).
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// A clientConn is a client's connection as net/http sees it.
type clientConn struct {
	net.Conn          // what is said, in the clear
	raw      net.Conn // what goes over the network
	log      *slog.Logger

	// Of HTTP/1, and owned by the reader, which serves one request after the other.
	early    Early // nil: none
	words    Words // nil: none
	asked    bool  // about the request that is handled
	answered int64 // when there was an early answer last, in the listener's time

	tls    *tls.Conn // nil: none
	shaken bool      // owned by the first reader
	failed bool      // likewise: there will be no TLS
	// The first reader sets these, before there is any request.
	state tls.ConnectionState
	h2    *http2Watch // nil: HTTP/1
	// preface is how much of HTTP/2's preface has come where HTTP/1 is spoken, -1
	// when something else has. Owned by the reader.
	preface int

	beginning sync.Mutex // guards begin
	begin     []byte     // of the request that is read: what came first of it

	writing sync.Mutex // of HTTP/2: what is sent must stay in order

	farewell atomic.Bool // the client may still be sending when the connection is closed
	ended    atomic.Bool // CloseWrite was called
}

// Read implements net.Conn. The first one agrees on TLS; its deadline bounds
// that, too.
func (c *clientConn) Read(b []byte) (int, error) {
	if c.tls != nil && !c.shaken {
		c.shaken = true
		c.failed = !c.shake()
	}
	if c.failed {
		return 0, io.EOF // net/http would answer any other error in the clear
	}
	n, err := c.Conn.Read(b)
	c.remember(b[:n])
	for c.early != nil && c.h2 == nil && err == nil && c.answersEarly(b[:n]) {
		n, err = c.Conn.Read(b)
		c.remember(b[:n])
	}
	switch {
	case c.h2 != nil:
		c.h2.received(b[:n])
	case c.tls != nil:
		c.spoilPreface(b[:n])
	}
	return n, err
}

// maxBegin is how much of a request line tells whose words its refusal has.
const maxBegin = 32

// remember keeps how a request begins, for words. One that came while another was
// answered is not seen: its refusal has net/http's.
func (c *clientConn) remember(read []byte) {
	if c.words == nil || c.h2 != nil || len(read) == 0 {
		return
	}
	limited, ok := c.raw.(*limitedConn)
	if !ok || limited.idle.Load() == 0 {
		return
	}
	c.beginning.Lock()
	defer c.beginning.Unlock()
	if have := len(c.begin); have < maxBegin {
		c.begin = append(c.begin, read[:min(len(read), maxBegin-have)]...)
	}
}

// began returns what was kept, where it is asked for, and begins anew: the request
// has an answer.
func (c *clientConn) began(ask bool) (begin []byte) {
	if c.words == nil {
		return nil
	}
	c.beginning.Lock()
	defer c.beginning.Unlock()
	if ask {
		begin = bytes.Clone(c.begin)
	}
	c.begin = c.begin[:0]
	return begin
}

// spoilPreface has net/http answer 505 to HTTP/2 that TLS has not agreed on,
// which RFC 9113 §3.2 forbids. net/http knows nothing of our TLS and would speak
// it with anybody who begins so, and nobody would watch it.
func (c *clientConn) spoilPreface(b []byte) {
	const version = len("PRI * HTTP/2.0")
	for i := 0; i < len(b) && c.preface >= 0; i++ {
		switch {
		case b[i] != http2Preface[c.preface]:
			c.preface = -1
		case c.preface == version-1:
			b[i] = '1' // there is no HTTP/2.1
			c.preface = -1
		default:
			c.preface++
		}
	}
}

// shake agrees on TLS and reports whether there is some now.
func (c *clientConn) shake() bool {
	_ = c.raw.SetWriteDeadline(time.Now().Add(readHeaderTimeout))
	err := c.tls.Handshake()
	_ = c.raw.SetWriteDeadline(time.Time{})
	if err == nil {
		if c.state = c.tls.ConnectionState(); c.state.NegotiatedProtocol == "h2" {
			c.h2 = c.watch()
		}
		return true
	}
	var clear tls.RecordHeaderError
	if errors.As(err, &clear) && looksLikeHTTP(clear.RecordHeader) {
		err = errors.New("the client speaks HTTP without TLS")
		_, _ = io.WriteString(c.raw, "HTTP/1.0 400 Bad Request"+refusalFields+"Only HTTPS is spoken at this port: write https:// before the address.\n")
		linger(c.raw, c.raw)
	}
	c.log.Debug("no TLS with a client", "peer", c.RemoteAddr(), "error", err)
	return false
}

// watch looks at the HTTP/2 that is spoken.
func (c *clientConn) watch() *http2Watch {
	limited, ok := c.raw.(*limitedConn)
	if !ok {
		return newHTTP2Watch(func() int64 { return 1 }, func(int64) {})
	}
	return newHTTP2Watch(limited.l.now, limited.unread.Store)
}

func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

// refusalFields are the header fields with which net/http answers requests that
// no handler gets to see.
const refusalFields = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Sentences for what net/http refuses in a word.
var refusalTexts = map[string]string{
	"400": malformedRequest,
	"431": fmt.Sprintf("The request line and the header fields have more than %d bytes.", maxHeaderBytes),
	"501": "The body has a transfer coding that is not known here: only chunked is.",
	"505": "Only HTTP/1.0, HTTP/1.1 and, over TLS, HTTP/2 are spoken here.",
}

// malformedRequest is what most clients need to know whose requests cannot be
// read.
const malformedRequest = "The request is malformed. In its path each % must be followed by two hexadecimal digits, as encodeURIComponent() writes them: escape() does not."

// Write implements net.Conn. Where net/http refuses what it could not read, the
// client is told why, and gets to read it.
func (c *clientConn) Write(b []byte) (int, error) {
	if c.h2 != nil {
		c.writing.Lock()
		defer c.writing.Unlock()
		if _, err := c.Conn.Write(c.h2.sent(b)); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	line, ok := refusal(b)
	begin := c.began(ok)
	if !ok {
		return c.Conn.Write(b)
	}
	out := b
	text := refusalTexts[string(b[9:12])]
	if text != "" && !bytes.Contains(line, []byte(": ")) {
		out = []byte(string(line) + refusalFields + text + "\n")
	}
	if c.words != nil {
		status, _ := strconv.Atoi(string(b[9:12])) // of net/http
		if fields, body := c.words(begin, status, text); body != "" {
			status, _, _ := bytes.Cut(line, []byte(": "))
			out = []byte(string(status) + "\r\n" + fields + "Connection: close\r\n\r\n" + body)
		}
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), c.CloseWrite()
}

// refusal reports whether b is the whole answer of net/http to what it could not
// read, and returns its status line. Answers of handlers have more fields.
func refusal(b []byte) (line []byte, ok bool) {
	if len(b) < 16 || len(b) > 512 || string(b[:9]) != "HTTP/1.1 " || b[9] != '4' && b[9] != '5' {
		return nil, false
	}
	line, _, _ = bytes.Cut(b, []byte("\r\n"))
	return line, bytes.HasPrefix(b[len(line):], []byte(refusalFields)) || string(b[9:12]) == "417"
}

// CloseWrite tells the client that nothing more will come, and then reads for a
// while what the client still sends. net/http calls it before it closes a
// connection on which there may be more.
func (c *clientConn) CloseWrite() error {
	if c.ended.Swap(true) {
		return nil
	}
	if c.tls != nil {
		_ = c.tls.CloseWrite() // a client that has gone need not be told
	}
	if limited, ok := c.raw.(*limitedConn); ok {
		limited.done()
	}
	linger(c.raw, c.Conn)
	return nil
}

// linger ends our side of raw, and reads from c until the client has ended its
// own.
func linger(raw, c net.Conn) {
	if limited, ok := raw.(*limitedConn); ok {
		raw = limited.Conn
	}
	if half, ok := raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c, lingerBytes)
}

// NetConn is the connection beneath TLS, as that of a tls.Conn is.
func (c *clientConn) NetConn() net.Conn { return c.raw }

// Close implements net.Conn.
func (c *clientConn) Close() error {
	if c.farewell.Load() && !c.closing() {
		_ = c.CloseWrite()
	}
	return c.Conn.Close()
}

// closing reports whether the listener was closed: then nobody is waited for.
func (c *clientConn) closing() bool {
	limited, ok := c.raw.(*limitedConn)
	if !ok {
		return false
	}
	select {
	case <-limited.l.done:
		return true
	default:
		return false
	}
}

type clientConnKey struct{}

// inContext keeps a connection with the requests that come over it.
func inContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, clientConnKey{}, c)
}

// connOf is the connection that r came over, nil in a test without.
func connOf(r *http.Request) *clientConn {
	c, _ := r.Context().Value(clientConnKey{}).(*clientConn)
	return c
}

// placeOf is the place of the connection that r came over, nil in a test without.
func placeOf(r *http.Request) *limitedConn {
	c := connOf(r)
	if c == nil {
		return nil
	}
	limited, _ := c.raw.(*limitedConn)
	return limited
}

// aware tells h's requests of the TLS that they came over.
func aware(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r); c != nil {
			r.TLS = &c.state
		}
		h.ServeHTTP(w, r)
	})
}

// followState follows which connections are in use.
func followState(c net.Conn, s http.ConnState) {
	if client, ok := c.(*clientConn); ok {
		if limited, ok := client.raw.(*limitedConn); ok {
			limited.state(s)
		}
	}
}

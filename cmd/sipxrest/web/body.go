package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Bounds of a request's body, in bytes. Hardly any request needs one, but many
// clients send some: forms, a single byte, an empty chunk.
const (
	maxBodyBytes = 64 << 10
	// maxDropped is what is read of a body that is too long, and dropped: most
	// clients look for the answer only when they have sent everything.
	maxDropped = 16 << 20
	// bodyWait bounds how long a body may take that nobody needs. Who keeps it
	// back for longer is answered without it.
	bodyWait = 2 * time.Second
)

// errBodyTooLong says that a body has more than maxBodyBytes.
var errBodyTooLong = errors.New("the body is too long")

// listening has h answer once the client has sent its request to the end. An
// answer that comes before is lost to many clients: over HTTP/2 the stream is
// then reset (RFC 9113 §8.1), over HTTP/1 the connection. It also lets the
// client have its 100 (RFC 9110 §10.1.1) before any phone rings.
//
// Handlers that use the body read it themselves, with maxBodyBytes as its
// bound; what they leave is dropped behind them, before the answer's end.
func listening(routes Routes, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if place := placeOf(r); place != nil {
			place.serves(1, 0)
			defer place.serves(-1, 0)
		}
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			// Together with a Content-Length a Transfer-Encoding may hide a
			// request in a body (RFC 9112 §6.1). net/http drops the one field
			// or the other, so that only the connection's end is safe.
			w.Header().Set("Connection", "close")
		}
		if routes.streams(r) {
			stream := &streamWriter{ResponseWriter: w, conn: connOf(r)}
			defer stream.end()
			w = stream
		}
		switch {
		case r.ContentLength == 0:
			// In HTTP/2 the stream may be open though, and is then about to end.
			if r.ProtoMajor == 2 {
				owes(r, true)
				_, _ = r.Body.Read(nil)
				owes(r, false)
			}
		case r.ContentLength > maxBodyBytes:
			refuseBody(routes, w, r, errBodyTooLong)
			return
		case routes.readsBody(r):
			whole := r
			r = new(http.Request)
			*r = *whole // net/http looks at the Body of its own request
			body := &owedBody{ReadCloser: whole.Body, r: whole}
			r.Body = http.MaxBytesReader(w, body, maxBodyBytes)
			defer dropRest(w, whole, body)
		default:
			if !dropBody(routes, w, r) {
				return
			}
		}
		if r.Method == http.MethodOptions && r.RequestURI == "*" { // of the server, not of a resource (RFC 9110 §9.3.7)
			w.Header().Set("Content-Length", "0")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// dropBody reads a body to its end and reports whether r may be answered by
// others. If not, it has answered, or nobody waits for an answer.
func dropBody(routes Routes, w http.ResponseWriter, r *http.Request) bool {
	within := http.NewResponseController(w)
	_ = within.SetReadDeadline(time.Now().Add(bodyWait)) // a test's recorder has none
	owes(r, true)
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBodyBytes+1))
	owes(r, false)
	switch {
	case n > maxBodyBytes:
		refuseBody(routes, w, r, errBodyTooLong)
		return false
	case err == nil:
		// From here on the deadline is for the client's end of the connection.
		_ = within.SetReadDeadline(time.Now().Add(readTimeout))
		return true
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		// Old clients announce a byte more than they send: they get their call.
		closing(w, r)
		return true
	}
	if isGone(r, err) {
		return false
	}
	refuseBody(routes, w, r, err)
	return false
}

// owes notes whether the rest of r is waited for. A connection all of whose
// requests wait so is of no use meanwhile.
func owes(r *http.Request, rest bool) {
	place := placeOf(r)
	switch {
	case place == nil:
	case rest:
		place.serves(0, 1)
	default:
		place.serves(0, -1)
	}
}

// An owedBody is read by a handler, which may have to wait for the client.
type owedBody struct {
	io.ReadCloser
	r     *http.Request
	ended bool
}

func (b *owedBody) Read(p []byte) (int, error) {
	owes(b.r, true)
	defer owes(b.r, false)
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err == io.EOF
	return n, err
}

// closing has the connection end with the answer, for more of the request may
// come. Over HTTP/2 it need not.
func closing(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 {
		return
	}
	w.Header().Set("Connection", "close")
	if c := connOf(r); c != nil {
		c.farewell.Store(true)
	}
}

// isGone reports whether err, of reading r's body, means that the client has
// given its request up.
func isGone(r *http.Request, err error) bool {
	var broken *net.OpError
	return r.Context().Err() != nil || errors.As(err, &broken)
}

// refuseBody answers 413 to a body that is too long, and 400 to one that
// cannot be read.
func refuseBody(routes Routes, w http.ResponseWriter, r *http.Request, why error) {
	closing(w, r)
	// What still comes is dropped for a while: by net/http when it closes, over
	// HTTP/2 here.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait))
	if why != errBodyTooLong {
		routes.fail(w, r, http.StatusBadRequest, "The body cannot be read: its length or its chunks are not as announced")
		return
	}
	dropInTime(r)
	routes.fail(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes, and none is needed", maxBodyBytes))
}

// dropRest reads what a handler has left of r's body. The answer is still in
// its buffer, or at least its end is.
func dropRest(w http.ResponseWriter, r *http.Request, body *owedBody) {
	if body.ended {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait))
	dropInTime(r)
}

// dropInTime reads the rest of r's body until its deadline. Over HTTP/1 net/http
// does so, after the handler and before the answer.
func dropInTime(r *http.Request) {
	if r.ProtoMajor == 2 {
		owes(r, true)
		_, _ = io.CopyN(io.Discard, r.Body, maxDropped)
		owes(r, false)
	} else if place := placeOf(r); place != nil {
		place.done()
	}
}

// A streamWriter tells the connection of an answer that is a stream of events,
// which may last.
type streamWriter struct {
	http.ResponseWriter
	conn   *clientConn // nil in a test without
	begun  bool
	stream bool
}

func (s *streamWriter) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.stream = s.conn != nil && s.Header().Get("Content-Type") == "text/event-stream"
		s.count(1)
	}
	return s.ResponseWriter.Write(b)
}

func (s *streamWriter) count(n int32) {
	if !s.stream {
		return
	}
	if limited, ok := s.conn.raw.(*limitedConn); ok {
		limited.streams.Add(n)
	}
}

func (s *streamWriter) end() { s.count(-1) }

// Unwrap is for http.ResponseController.
func (s *streamWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

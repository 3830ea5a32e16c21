package web

import (
	"bytes"
	"net/http"
	"time"
)

// An Early answers requests over HTTP/1 before they are handled, and before anything is
// allocated for them. In an overload most requests are refused, so a refusal must cost
// a fraction of what it spares (see BENCHMARKS.md).
//
// It is asked about requests that have come as a whole and have no body. target is
// what the request line says, "/callcontroller/201/202?timeout=30". answer is the
// whole answer, which leaves the connection open; nil has the request handled as any
// other. asked says that the question of an overload is settled: see AskedEarly.
type Early func(method, target []byte) (answer []byte, asked bool)

// AnswerEarly has early asked about the requests of the listener. It is called before
// Serve.
func (l *Listener) AnswerEarly(early Early) { l.early = early }

// AskedEarly reports whether an Early was asked about r, and has let it pass.
func AskedEarly(r *http.Request) bool {
	c := connOf(r)
	return c != nil && c.h2 == nil && c.asked
}

// earlyDeadline is how often the deadlines of a connection are set anew whose
// requests net/http does not see.
const earlyDeadline = time.Second

// answersEarly reports whether what was read is a request that has its answer now.
func (c *clientConn) answersEarly(read []byte) bool {
	c.asked = false
	limited, ok := c.raw.(*limitedConn)
	if !ok || limited.idle.Load() == 0 { // a handler is at work
		return false
	}
	method, target, ok := bodiless(read)
	if !ok {
		return false
	}
	answer, asked := c.early(method, target)
	if answer == nil {
		c.asked = asked
		return false
	}
	now := limited.l.now()
	if time.Duration(now-c.answered) > earlyDeadline {
		c.answered = now
		_ = c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
		_ = c.raw.SetReadDeadline(time.Now().Add(idleTimeout))
	}
	_, err := c.Conn.Write(answer)
	limited.idle.Store(now)
	return err == nil // else the next Read says it, too
}

// bodiless takes the request line of one whole request without a body that leaves its
// connection open, and of no other. What could be read in two ways is left to
// net/http: one of them may have a body.
func bodiless(read []byte) (method, target []byte, ok bool) {
	const end = "\r\n\r\n"
	if len(read) < len(end) || bytes.Index(read, []byte(end)) != len(read)-len(end) {
		return nil, nil, false
	}
	line, fields, _ := bytes.Cut(read, []byte("\r\n"))
	method, rest, _ := bytes.Cut(line, []byte{' '})
	target, version, found := bytes.Cut(rest, []byte{' '})
	if !found || string(version) != "HTTP/1.1" {
		return nil, nil, false
	}
	for field := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte{':'})
		if bytes.ContainsAny(field, "\r\n") || bytes.ContainsAny(name, " \t") {
			return nil, nil, false
		}
		switch len(name) { // of those that follow; names may be in any case
		case len("Content-Length"), len("Expect"), len("Upgrade"), len("Connection"), len("Transfer-Encoding"):
		default:
			continue
		}
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")) && string(value) == "0",
			bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("keep-alive")):
		case bytes.EqualFold(name, []byte("Content-Length")), bytes.EqualFold(name, []byte("Transfer-Encoding")),
			bytes.EqualFold(name, []byte("Expect")), bytes.EqualFold(name, []byte("Upgrade")), bytes.EqualFold(name, []byte("Connection")):
			return nil, nil, false
		}
	}
	return method, target, true
}

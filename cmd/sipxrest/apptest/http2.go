package apptest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An HTTP2Client speaks HTTP/2 frame by frame, as clients do that take any reset
// of a stream for its failure.
type HTTP2Client struct {
	T      *testing.T
	Conn   net.Conn
	Framer *http2.Framer
	fields bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32 // the newest
	got    map[uint32]*HTTP2Answer
}

// HTTP2Answer is what came for one stream.
type HTTP2Answer struct {
	Status int
	Type   string // its Content-Type
	Body   string
	Ended  bool
	Reset  string // "" or the code's name
}

// NewHTTP2Client speaks HTTP/2 over conn, which is to have TLS.
func NewHTTP2Client(t *testing.T, conn net.Conn, settings ...http2.Setting) *HTTP2Client {
	t.Helper()
	c := &HTTP2Client{T: t, got: map[uint32]*HTTP2Answer{}}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	c.Conn = secure
	t.Cleanup(func() { conn.Close() })
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := secure.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("%q is spoken", p)
	}
	c.Framer = http2.NewFramer(secure, secure)
	c.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.fields)
	if _, err := io.WriteString(secure, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c.Must(c.Framer.WriteSettings(settings...))
	return c
}

// Must ends the test by an error.
func (c *HTTP2Client) Must(err error) {
	c.T.Helper()
	if err != nil {
		c.T.Fatal(err)
	}
}

// Begin sends a request's header and returns its stream. The request ends with
// it, unless more is to come.
func (c *HTTP2Client) Begin(method, path string, more bool, fields ...string) uint32 {
	c.T.Helper()
	stream, err := c.Ask(method, path, more, fields...)
	c.Must(err)
	return stream
}

// Ask is Begin over a connection that may have ended, which is no failure.
func (c *HTTP2Client) Ask(method, path string, more bool, fields ...string) (stream uint32, err error) {
	c.T.Helper()
	if c.stream == 0 {
		c.stream = 1
	} else {
		c.stream += 2
	}
	c.fields.Reset()
	host := "127.0.0.1"
	if i := slices.Index(fields, "host"); i >= 0 {
		host = fields[i+1]
		fields = slices.Delete(slices.Clone(fields), i, i+2)
	}
	fields = append([]string{":method", method, ":scheme", "https", ":path", path, ":authority", host}, fields...)
	for i := 0; i < len(fields); i += 2 {
		c.Must(c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return c.stream, c.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.fields.Bytes(), EndStream: !more, EndHeaders: true})
}

// End sends the rest of a request.
func (c *HTTP2Client) End(stream uint32, body string) {
	c.T.Helper()
	c.Must(c.Framer.WriteData(stream, true, []byte(body)))
}

// Read takes the next frame, and reports whether there was one in time.
func (c *HTTP2Client) Read(within time.Duration) bool {
	c.T.Helper()
	c.Must(c.Conn.SetReadDeadline(time.Now().Add(within)))
	f, err := c.Framer.ReadFrame()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return false
	case err != nil:
		c.T.Fatal(err)
	}
	a := c.Answer(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.Must(c.Framer.WriteSettingsAck())
		}
	case *http2.GoAwayFrame:
		c.T.Fatalf("GOAWAY: %v", f)
	case *http2.MetaHeadersFrame:
		a.Status, _ = strconv.Atoi(f.PseudoValue("status"))
		a.Ended = f.StreamEnded()
		for _, field := range f.RegularFields() {
			if field.Name == "content-type" {
				a.Type = field.Value
			}
		}
	case *http2.DataFrame:
		a.Body += string(f.Data())
		a.Ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		a.Reset = f.ErrCode.String()
	}
	return true
}

// Answer is what came for a stream until now.
func (c *HTTP2Client) Answer(stream uint32) *HTTP2Answer {
	if c.got[stream] == nil {
		c.got[stream] = &HTTP2Answer{}
	}
	return c.got[stream]
}

// Await reads until a stream is answered, or reset.
func (c *HTTP2Client) Await(stream uint32) *HTTP2Answer {
	c.T.Helper()
	a := c.Answer(stream)
	for !a.Ended && a.Reset == "" {
		if !c.Read(20 * time.Second) {
			c.T.Fatalf("stream %d: nothing for 20 s after %+v", stream, a)
		}
	}
	return a
}

// Settle has everything read that was on its way: a PING is answered behind it.
func (c *HTTP2Client) Settle() {
	c.T.Helper()
	c.Must(c.Framer.WritePing(false, [8]byte{1}))
	for {
		c.Must(c.Conn.SetReadDeadline(time.Now().Add(20 * time.Second)))
		f, err := c.Framer.ReadFrame()
		c.Must(err)
		if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
			return
		}
		if rst, ok := f.(*http2.RSTStreamFrame); ok {
			c.Answer(rst.StreamID).Reset = rst.ErrCode.String()
		}
	}
}

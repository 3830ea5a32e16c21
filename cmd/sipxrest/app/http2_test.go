package app

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An http2Client speaks HTTP/2 frame by frame, as clients do that take any reset
// of a stream for its failure.
type http2Client struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	fields bytes.Buffer
	hpack  *hpack.Encoder
	stream uint32 // the newest
	got    map[uint32]*http2Answer
}

// http2Answer is what came for one stream.
type http2Answer struct {
	status int
	body   string
	ended  bool
	reset  string // "" or the code's name
}

// newHTTP2Client speaks HTTP/2 over conn, which is to have TLS.
func newHTTP2Client(t *testing.T, conn net.Conn, settings ...http2.Setting) *http2Client {
	t.Helper()
	c := &http2Client{t: t, got: map[uint32]*http2Answer{}}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	c.conn = secure
	t.Cleanup(func() { conn.Close() })
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := secure.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("%q is spoken", p)
	}
	c.framer = http2.NewFramer(secure, secure)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.hpack = hpack.NewEncoder(&c.fields)
	if _, err := io.WriteString(secure, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c.must(c.framer.WriteSettings(settings...))
	return c
}

func (c *http2Client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// begin sends a request's header and answers its stream. The request ends with
// it, unless more is to come.
func (c *http2Client) begin(method, path string, more bool, fields ...string) uint32 {
	c.t.Helper()
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
		c.must(c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	c.must(c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.fields.Bytes(), EndStream: !more, EndHeaders: true}))
	return c.stream
}

// end sends the rest of a request.
func (c *http2Client) end(stream uint32, body string) {
	c.t.Helper()
	c.must(c.framer.WriteData(stream, true, []byte(body)))
}

// read takes the next frame, and reports whether there was one in time.
func (c *http2Client) read(within time.Duration) bool {
	c.t.Helper()
	c.must(c.conn.SetReadDeadline(time.Now().Add(within)))
	f, err := c.framer.ReadFrame()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return false
	case err != nil:
		c.t.Fatal(err)
	}
	a := c.answer(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.must(c.framer.WriteSettingsAck())
		}
	case *http2.GoAwayFrame:
		c.t.Fatalf("GOAWAY: %v", f)
	case *http2.MetaHeadersFrame:
		a.status, _ = strconv.Atoi(f.PseudoValue("status"))
		a.ended = f.StreamEnded()
	case *http2.DataFrame:
		a.body += string(f.Data())
		a.ended = f.StreamEnded()
	case *http2.RSTStreamFrame:
		a.reset = f.ErrCode.String()
	}
	return true
}

func (c *http2Client) answer(stream uint32) *http2Answer {
	if c.got[stream] == nil {
		c.got[stream] = &http2Answer{}
	}
	return c.got[stream]
}

// await reads until a stream is answered, or reset.
func (c *http2Client) await(stream uint32) *http2Answer {
	c.t.Helper()
	a := c.answer(stream)
	for !a.ended && a.reset == "" {
		if !c.read(20 * time.Second) {
			c.t.Fatalf("stream %d: nothing for 20 s after %+v", stream, a)
		}
	}
	return a
}

// settle has everything read that was on its way: a PING is answered behind it.
func (c *http2Client) settle() {
	c.t.Helper()
	c.must(c.framer.WritePing(false, [8]byte{1}))
	for {
		c.must(c.conn.SetReadDeadline(time.Now().Add(20 * time.Second)))
		f, err := c.framer.ReadFrame()
		c.must(err)
		if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
			return
		}
		if rst, ok := f.(*http2.RSTStreamFrame); ok {
			c.answer(rst.StreamID).reset = rst.ErrCode.String()
		}
	}
}

func (s *service) http2() *http2Client {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[0], "https://"))
	if err != nil {
		s.t.Fatal(err)
	}
	return newHTTP2Client(s.t, conn)
}

// What net/http refuses before any handler is answered over HTTP/2, too, whether
// the request has come to its end or goes on. The connection serves others.
func TestMalformedRequestsAreAnsweredOverHTTP2(t *testing.T) {
	s := startPlain(t)
	c := s.http2()
	for _, path := range []string{callPath + "%u20AC", "/%", "/%zz", "/callcontroller/201/100%", "*x"} {
		ended := c.begin("POST", path, false)
		if a := *c.await(ended); a.status != 400 || !strings.Contains(a.body, "% must be followed by two hexadecimal digits") || a.reset != "" {
			t.Errorf("%q: %+v", path, a)
		}
		open := c.begin("POST", path, true, "content-length", "3")
		if a := *c.await(open); a.status != 400 || a.reset != "" {
			t.Errorf("%q with a body: %+v", path, a)
		}
		c.end(open, "x=y")
		c.settle()
		if a := c.answer(open); a.reset != "" {
			t.Errorf("%q with a body: reset with %s behind the answer", path, a.reset)
		}
	}
	if a := *c.await(c.begin("GET", "/callcontroller/201/M%FCller", false)); a.status != 400 || !strings.Contains(a.body, "calledUser = M\uFFFDller: it is not UTF-8") {
		t.Errorf("what is well-formed, but no UTF-8: %+v", a)
	}
	if a := *c.await(c.begin("GET", "/", false)); a.status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
	// The answer to what does not end is not waited for without end.
	endless := c.begin("POST", "/%", true)
	c.await(endless)
	for i := 0; c.answer(endless).reset == ""; i++ {
		if i > 100 {
			t.Fatal("of a request that was refused more than a megabyte is taken")
		}
		c.must(c.framer.WriteData(endless, false, make([]byte, 10_000)))
		c.settle()
	}
	if a := *c.await(c.begin("GET", "/", false)); a.status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
}

// A client that keeps no table of header fields is not given an answer that would
// have to say so first: that would end the connection, not the stream.
func TestMalformedRequestsOfAClientWithASmallHeaderTable(t *testing.T) {
	s := startPlain(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.Addrs()[0], "https://"))
	if err != nil {
		t.Fatal(err)
	}
	c := newHTTP2Client(t, conn, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	if a := *c.await(c.begin("GET", "/%", false)); a.reset != "PROTOCOL_ERROR" || a.status != 0 {
		t.Errorf("%+v", a)
	}
	if a := *c.await(c.begin("GET", "/", false)); a.status != 200 {
		t.Errorf("then GET /: %+v", a)
	}
}

// However the bytes of a connection are cut, the same comes out.
func TestFramesAreFoundHoweverTheyAreCut(t *testing.T) {
	var in, out bytes.Buffer
	in.WriteString(http2Preface)
	client, server := http2.NewFramer(&in, nil), http2.NewFramer(&out, nil)
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(client.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	check(server.WriteSettings())
	for stream := uint32(1); stream < 40; stream += 2 {
		check(client.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("field"), EndStream: stream%4 == 1, EndHeaders: stream%3 == 0}))
		if stream%3 != 0 {
			check(client.WriteContinuation(stream, true, bytes.Repeat([]byte("x"), int(stream))))
		}
		if stream%5 == 0 {
			check(server.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("answer"), EndHeaders: true}))
			check(server.WriteData(stream, true, make([]byte, 100)))
		}
		check(server.WriteRSTStream(stream, http2.ErrCodeProtocol))
	}
	var whole []byte
	for size := range 40 {
		h := newHTTP2Watch(func() int64 { return 1 }, func(int64) {})
		var got []byte
		if size == 0 {
			h.received(in.Bytes())
			got = h.sent(out.Bytes())
			whole = bytes.Clone(got)
			continue
		}
		for b := in.Bytes(); len(b) > 0; b = b[min(size, len(b)):] {
			h.received(b[:min(size, len(b))])
		}
		for b := out.Bytes(); len(b) > 0; b = b[min(size, len(b)):] {
			got = append(got, h.sent(b[:min(size, len(b))])...)
		}
		if !bytes.Equal(got, whole) {
			t.Errorf("in pieces of %d bytes other bytes come out", size)
		}
	}
	answers, resets := 0, 0
	for r := http2.NewFramer(nil, bytes.NewReader(whole)); ; {
		f, err := r.ReadFrame()
		if err != nil {
			break
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			if strings.HasPrefix(string(f.Data()), "The request is malformed") && f.StreamEnded() {
				answers++
			}
		case *http2.RSTStreamFrame:
			resets++
		}
	}
	if answers != 16 || resets != 4 {
		t.Errorf("%d streams of 20 are answered, %d are reset, of which 4 had an answer", answers, resets)
	}
}

// Clients that open streams for nothing are not remembered without end.
func TestRefusedStreamsAreBounded(t *testing.T) {
	h := newHTTP2Watch(func() int64 { return 1 }, func(int64) {})
	var in, out bytes.Buffer
	client, server := http2.NewFramer(&in, nil), http2.NewFramer(&out, nil)
	h.received([]byte(http2Preface))
	for i := range 10_000 {
		stream := uint32(2*i + 1)
		in.Reset()
		out.Reset()
		if err := client.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("x"), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		h.received(in.Bytes())
		if i%2 == 0 {
			if err := server.WriteRSTStream(stream, http2.ErrCodeProtocol); err != nil {
				t.Fatal(err)
			}
			h.sent(out.Bytes())
		}
	}
	if len(h.streams) > maxRefusable || h.spared > maxStreams {
		t.Errorf("%d streams are remembered, %d of them for an answer", len(h.streams), h.spared)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(http2Preface+"\x00\x00\x01\x01\x05\x00\x00\x00\x01x"), []byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01"), uint8(3))
	f.Fuzz(func(t *testing.T, in, out []byte, cut uint8) {
		h := newHTTP2Watch(func() int64 { return 1 }, func(int64) {})
		h.received(in)
		for len(out) > 0 {
			piece := out[:min(int(cut)+1, len(out))]
			if sent := h.sent(piece); len(sent) > len(piece)+frameHead+len(piece)*1000 {
				t.Errorf("%d bytes become %d", len(piece), len(sent))
			}
			out = out[len(piece):]
		}
		if len(h.in.held) > frameHead+maxLookedInto || len(h.out.held) > frameHead+maxLookedInto || len(h.streams) > maxRefusable {
			t.Errorf("%d and %d bytes are held, %d streams", len(h.in.held), len(h.out.held), len(h.streams))
		}
	})
}

// It is known since when the oldest answer has not come to its end, and when all
// have.
func TestAnswersThatGoOnAreKnown(t *testing.T) {
	now, waits := int64(0), int64(-1)
	h := newHTTP2Watch(func() int64 { return now }, func(since int64) { waits = since })
	var in, out bytes.Buffer
	client, server := http2.NewFramer(&in, nil), http2.NewFramer(&out, nil)
	step := func(want int64, f func() error) {
		t.Helper()
		now++
		in.Reset()
		out.Reset()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		h.received(in.Bytes())
		h.sent(out.Bytes())
		if waits != want {
			t.Errorf("step %d: since %d, want %d", now, waits, want)
		}
	}
	h.received([]byte(http2Preface))
	begin := func(stream uint32) func() error {
		return func() error {
			return server.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("x"), EndHeaders: true})
		}
	}
	step(1, begin(1))
	step(1, begin(3))
	step(1, begin(5))
	step(2, func() error { return server.WriteData(1, true, []byte("x")) })
	step(2, func() error { return server.WriteData(3, false, []byte("x")) })
	step(3, func() error { return client.WriteRSTStream(3, http2.ErrCodeCancel) })
	step(0, func() error { return server.WriteRSTStream(5, http2.ErrCodeInternal) })
	step(0, func() error {
		return server.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: []byte("x"), EndHeaders: true, EndStream: true})
	})
}

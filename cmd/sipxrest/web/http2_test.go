package web

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

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
		check(client.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("field"), EndStream: stream%4 == 1,
			EndHeaders: stream%3 == 0}))
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
	f.Add([]byte(http2Preface+"\x00\x00\x01\x01\x05\x00\x00\x00\x01x"), []byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
		uint8(3))
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

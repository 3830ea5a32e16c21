package web

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
)

// An http2Watch looks at the frames of both directions of a connection, for two
// things that net/http's HTTP/2 server keeps to itself.
//
// One are requests that it refuses before there is a handler: it resets the
// stream with PROTOCOL_ERROR, and clients tell their users nothing but that. An
// answer is allowed (RFC 9113 §8.1.1), and put in the place of the reset. Its
// header fields are literals or in HPACK's static table, so that the state of the
// encoder is none of its business.
//
// The other are answers that the client does not let be sent (flow control).
type http2Watch struct {
	mu      sync.Mutex
	in, out frames
	streams map[uint32]*refusable // those that have had no answer yet, and those answered here
	newest  uint32                // the newest stream of the client
	spared  int                   // streams answered here whose request goes on
	over    [64]uint32            // the last ones whose request has come to its end then
	overs   int
	small   bool // the client wants its HPACK table to be changed first
	buf     []byte

	unread map[uint32]wait // streams whose answer has begun
	late   lag
	now    func() int64
	// waits is told since when the oldest answer has not come to its end, 0 for
	// none.
	waits func(since int64)
}

// A refusable stream is one that net/http may still refuse.
type refusable struct {
	ended    bool // there is no more of the request
	answered bool // here
	dropped  int  // bytes of the request since then
}

const (
	// maxRefusable bounds the streams that are remembered. net/http has maxStreams
	// at most; those between it and us are more.
	maxRefusable = 4 * maxStreams

	frameHead    = 9
	frameData    = 0x0
	frameHeaders = 0x1
	frameReset   = 0x3
	frameSetting = 0x4

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4

	codeProtocolError = 0x1
	codeStreamClosed  = 0x5

	settingTableSize = 0x1
	defaultTableSize = 4096

	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

func newHTTP2Watch(now func() int64, waits func(since int64)) *http2Watch {
	return &http2Watch{streams: map[uint32]*refusable{}, unread: map[uint32]wait{}, in: frames{skip: len(http2Preface)}, now: now, waits: waits}
}

// received takes what the client has sent.
func (h *http2Watch) received(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in.scan(b, func(f *frame, _ []byte) {
		if f == nil {
			return
		}
		s := h.streams[f.stream]
		switch f.kind {
		case frameHeaders:
			if s == nil && f.stream > h.newest && len(h.streams) < maxRefusable {
				s = &refusable{}
				h.streams[f.stream] = s
			}
			h.newest = max(h.newest, f.stream)
		case frameData:
			if s != nil {
				s.dropped += f.size
			}
		case frameReset:
			h.forget(f.stream)
			h.answers(f.stream, true)
			return
		case frameSetting:
			if f.flags&flagAck == 0 {
				h.settings(f.payload)
			}
			return
		default:
			return
		}
		if s != nil && f.flags&flagEndStream != 0 {
			if s.ended = true; s.answered {
				h.forget(f.stream)
				h.over[h.overs%len(h.over)] = f.stream
				h.overs++
			}
		}
	})
}

// settings looks for the one that an answer of ours could not heed: a table that
// is to be made smaller is so in the first answer (RFC 7541 §4.2).
func (h *http2Watch) settings(payload []byte) {
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) == settingTableSize && binary.BigEndian.Uint32(payload[2:]) < defaultTableSize {
			h.small = true
		}
	}
}

func (h *http2Watch) forget(stream uint32) {
	if s := h.streams[stream]; s != nil && s.answered {
		h.spared--
	}
	delete(h.streams, stream)
}

// sent takes what net/http sends and returns what is to be sent. It is good
// until the next call.
func (h *http2Watch) sent(b []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = h.buf[:0]
	h.out.scan(b, func(f *frame, raw []byte) {
		switch {
		case f == nil:
		case f.kind == frameHeaders:
			h.forget(f.stream)
			h.answers(f.stream, f.flags&flagEndStream != 0)
		case f.kind == frameData && f.flags&flagEndStream != 0:
			h.answers(f.stream, true)
		case f.kind == frameReset && len(f.payload) == 4:
			h.answers(f.stream, true)
			if h.reset(f.stream, binary.BigEndian.Uint32(f.payload)) {
				return
			}
		}
		h.buf = append(h.buf, raw...)
	})
	return h.buf
}

// answers notes that an answer goes on, or has come to its end.
func (h *http2Watch) answers(stream uint32, ended bool) {
	now := h.now()
	if !ended {
		w := h.late.begin(now)
		if len(h.unread) == 0 {
			h.waits(w.since)
		}
		h.unread[stream] = w
		return
	}
	w, ok := h.unread[stream]
	if !ok {
		return
	}
	delete(h.unread, stream)
	oldest := int64(0)
	for _, other := range h.unread {
		if oldest == 0 || other.since < oldest {
			oldest = other.since
		}
	}
	if w.late(now) { // the others go on with its time
		h.late.end(w, now)
		if oldest != 0 {
			oldest = min(oldest, w.since)
			for id, other := range h.unread {
				other.since = min(other.since, w.since)
				h.unread[id] = other
			}
		}
	}
	h.waits(oldest)
}

// reset reports whether something else was sent in place of a RST_STREAM.
func (h *http2Watch) reset(stream, code uint32) bool {
	s := h.streams[stream]
	switch {
	case s == nil: // net/http knows that one only which it has reset
		return code == codeStreamClosed && slices.Contains(h.over[:], stream)
	case !s.answered && code == codeProtocolError && !h.small && (s.ended || h.spared < maxStreams):
		h.buf = appendRefusal(h.buf, stream)
		if s.ended {
			delete(h.streams, stream)
		} else { // let it come to its end: clients lose an answer that is followed by a reset
			s.answered, s.dropped = true, 0
			h.spared++
		}
		return true
	case s.answered && code == codeStreamClosed && s.dropped <= maxBodyBytes:
		return true
	}
	h.forget(stream)
	return false
}

// appendRefusal appends an answer of 400 with malformedRequest.
func appendRefusal(b []byte, stream uint32) []byte {
	const text = malformedRequest + "\n"
	length := strconv.Itoa(len(text))
	fields := []byte{0x80 | 12} // :status 400
	for _, f := range []struct {
		name  byte // in the static table (RFC 7541 Appendix A)
		value string
	}{{31, "text/plain; charset=utf-8"}, {28, length}} {
		fields = append(fields, 0x0f, f.name-0x0f, byte(len(f.value)))
		fields = append(fields, f.value...)
	}
	b = appendFrameHead(b, len(fields), frameHeaders, flagEndHeaders, stream)
	b = append(b, fields...)
	b = appendFrameHead(b, len(text), frameData, flagEndStream, stream)
	return append(b, text...)
}

func appendFrameHead(b []byte, size int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// frames finds the frames in the bytes of one direction (RFC 9113 §4.1), however
// they are cut.
type frames struct {
	skip int    // bytes before the first frame
	held []byte // the beginning of a frame, until there is enough of it
	left int    // bytes of the frame at hand
}

// A frame is one whose beginning is there.
type frame struct {
	kind, flags byte
	stream      uint32
	size        int    // of the payload
	payload     []byte // of frames that are looked into
}

// maxLookedInto is the payload of a frame that is looked into, in bytes.
const maxLookedInto = 256

// scan calls each with all bytes of b, and with the frame that begins there, nil
// within one. RST_STREAM and SETTINGS are given as a whole, if they are short.
func (s *frames) scan(b []byte, each func(f *frame, raw []byte)) {
	for len(b) > 0 {
		if n := min(max(s.skip, s.left), len(b)); n > 0 {
			if s.skip > 0 {
				s.skip -= n
			} else {
				s.left -= n
			}
			each(nil, b[:n])
			b = b[n:]
			continue
		}
		n := min(s.missing(), len(b))
		s.held, b = append(s.held, b[:n]...), b[n:]
		if s.missing() > 0 {
			continue
		}
		f := frame{kind: s.held[3], flags: s.held[4], stream: binary.BigEndian.Uint32(s.held[5:]) & (1<<31 - 1), size: s.size(), payload: s.held[frameHead:]}
		s.left = f.size - len(f.payload)
		each(&f, s.held)
		s.held = s.held[:0]
	}
}

func (s *frames) size() int { return int(s.held[0])<<16 | int(s.held[1])<<8 | int(s.held[2]) }

// missing is how many bytes more are needed of the frame that is held.
func (s *frames) missing() int {
	if len(s.held) < frameHead {
		return frameHead - len(s.held)
	}
	if kind := s.held[3]; (kind == frameReset || kind == frameSetting) && s.size() <= maxLookedInto {
		return frameHead + s.size() - len(s.held)
	}
	return 0
}

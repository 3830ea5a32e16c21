package sdp

import "bytes"

// RefusedLine is a stream that is not used (RFC 3264 §6).
const RefusedLine = "m=audio 0 RTP/AVP 0\r\n"

// Split takes the version and the origin off a description and counts its
// m= lines. It keeps whatever the lines say, for phones write more than any
// grammar knows; only their ends become CRLF. ok is false when it is no SDP.
func Split(body []byte) (rest []byte, media int, ok bool) {
	rest = make([]byte, 0, len(body)+2*len(RefusedLine))
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case !ok:
			if !bytes.HasPrefix(line, []byte("v=")) {
				return nil, 0, false
			}
			ok = true
			continue
		case len(line) == 0, bytes.HasPrefix(line, []byte("o=")):
			continue
		case bytes.HasPrefix(line, []byte("m=")):
			media++
		}
		rest = append(rest, line...)
		rest = append(rest, "\r\n"...)
	}
	return rest, media, ok
}

// Legible reports whether a session description can be read: its streams, and
// where they go (RFC 8866 §5). One without streams is an offer as well (RFC 3264
// §5).
func Legible(body []byte) bool {
	if !bytes.HasPrefix(body, []byte("v=")) {
		return false
	}
	origin, session, streams, addressed := false, false, 0, 0
	for line := range bytes.Lines(body) {
		switch {
		case bytes.HasPrefix(line, []byte("o=")):
			origin = true
		case bytes.HasPrefix(line, []byte("c=")):
			if streams == 0 {
				session = true
			} else {
				addressed = streams
			}
		case bytes.HasPrefix(line, []byte("m=")):
			if len(bytes.Fields(line)) < 4 {
				return false
			}
			streams++
		}
	}
	return streams == 0 && origin || streams > 0 && (session || addressed > 0)
}

// stream is one m= line with what stands below it (RFC 8866 §5.14). Its parts are
// those of the description that it was read from.
type stream struct {
	media   []byte   // "audio"
	port    []byte   // "5000", "5000/2"
	proto   []byte   // "RTP/AVP"
	formats [][]byte // payload types
	lines   [][]byte // below it, without their ends
}

// readStreams returns the lines above the first m= line, without their ends, and
// the streams. One whose m= line cannot be read has no media.
func readStreams(body []byte) (session [][]byte, streams []stream) {
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		media, isMedia := bytes.CutPrefix(line, []byte("m="))
		switch {
		case isMedia:
			s := stream{}
			if f := bytes.Fields(media); len(f) >= 4 {
				s.media, s.port, s.proto, s.formats = f[0], f[1], f[2], f[3:]
			}
			streams = append(streams, s)
		case len(streams) == 0:
			session = append(session, line)
		default:
			s := &streams[len(streams)-1]
			s.lines = append(s.lines, line)
		}
	}
	return session, streams
}

// used reports whether the stream is neither refused nor ended.
func (s *stream) used() bool {
	port, _, _ := bytes.Cut(s.port, []byte{'/'})
	return len(s.media) > 0 && string(port) != "0"
}

// usesStream is used for an m= line as it stands there, without "m=".
func usesStream(media []byte) bool {
	n, used := 0, false
	for field := range bytes.FieldsSeq(media) {
		if n++; n == 2 {
			port, _, _ := bytes.Cut(field, []byte{'/'})
			used = string(port) != "0"
		}
	}
	return used && n >= 4
}

// attribute returns the value of the first a=name: of the stream, or of the
// session where the stream has none.
func (s *stream) attribute(session [][]byte, name string) ([]byte, bool) {
	for _, lines := range [...][][]byte{s.lines, session} {
		for _, line := range lines {
			if v, ok := bytes.CutPrefix(line, []byte("a=")); ok {
				if key, value, _ := bytes.Cut(v, []byte{':'}); string(key) == name {
					return value, true
				}
			}
		}
	}
	return nil, false
}

// firstOfEach returns the first line of each kind: "c=", or an attribute of that name.
func firstOfEach(lines [][]byte, kinds ...string) (first [][]byte) {
	for _, kind := range kinds {
		for _, line := range lines {
			if rest, ok := bytes.CutPrefix(line, []byte(kind)); ok && (kind == "c=" || len(rest) == 0 || rest[0] == ':') {
				first = append(first, line)
				break
			}
		}
	}
	return first
}

// address returns where the media of the stream go: its c= line, or that of the
// session (RFC 8866 §5.7).
func (s *stream) address(session [][]byte) []byte {
	for _, lines := range [...][][]byte{s.lines, session} {
		for _, line := range lines {
			if v, ok := bytes.CutPrefix(line, []byte("c=")); ok {
				return v
			}
		}
	}
	return nil
}

// nowhere reports whether an address is the one that phones of RFC 2543 hold a
// call with (RFC 3264 §8.4): 0.0.0.0, for IPv6 that of RFC 6157 §5.1 or ::.
func nowhere(address []byte) bool {
	host, n := []byte(nil), 0
	for host = range bytes.FieldsSeq(address) {
		if n++; n == 3 {
			break
		}
	}
	if n < 3 {
		return true
	}
	host, _, _ = bytes.Cut(host, []byte{'/'})
	return string(host) == "0.0.0.0" || string(host) == "::" || bytes.HasSuffix(host, []byte(".invalid"))
}

// Fit gives an answer as many m= lines as the offer has: a leg that had more
// was offered some refused ones (see describe), and some phones forget the
// streams that they refuse. Those are refused as they were offered (RFC 3264 §6).
func Fit(answer, offer []byte) []byte {
	_, have, ok := Split(answer)
	_, want, also := Split(offer)
	if !ok || !also || have == want {
		return answer
	}
	if have > want {
		return answer[:mediaAt(answer, want)]
	}
	b := append(make([]byte, 0, len(answer)+(want-have)*len(RefusedLine)), bytes.TrimRight(answer, "\r\n")...)
	b = append(b, "\r\n"...)
	_, streams := readStreams(offer)
	for i := range streams[have:] {
		b = streams[have+i].appendRefused(b)
	}
	return b
}

// Refused answers an offer with every stream refused (RFC 3264 §6): what an offer in
// a 2xx gets when nothing can come of it. It has no origin; it is nil when the offer
// is no SDP.
func Refused(offer []byte) (rest []byte, lines int) {
	if _, _, ok := Split(offer); !ok {
		return nil, 0
	}
	session, streams := readStreams(offer)
	b := make([]byte, 0, 256)
	keep := func(lines [][]byte, names string) {
		for _, line := range lines {
			if len(line) > 1 && line[1] == '=' && bytes.IndexByte([]byte(names), line[0]) >= 0 {
				b = append(append(b, line...), "\r\n"...)
			}
		}
	}
	keep(session, "sct")
	for i := range streams {
		b = streams[i].appendRefused(b)
		keep(streams[i].lines, "c")
	}
	return b, len(streams)
}

// appendRefused writes the stream's m= line with port 0. One format is enough for a
// stream that is refused.
func (s *stream) appendRefused(b []byte) []byte {
	if len(s.media) == 0 {
		return append(b, RefusedLine...)
	}
	return s.appendMedia(b, "0", s.formats[:1])
}

// appendMedia writes an m= line of the stream's media and profile.
func (s *stream) appendMedia(b []byte, port string, formats [][]byte) []byte {
	b = append(b, "m="...)
	b = append(b, s.media...)
	b = append(b, ' ')
	b = append(b, port...)
	b = append(b, ' ')
	b = append(b, s.proto...)
	for _, f := range formats {
		b = append(append(b, ' '), f...)
	}
	return append(b, "\r\n"...)
}

// mediaAt is where the m= line with the index n begins.
func mediaAt(body []byte, n int) (at int) {
	for line := range bytes.Lines(body) {
		if bytes.HasPrefix(line, []byte("m=")) {
			if n == 0 {
				break
			}
			n--
		}
		at += len(line)
	}
	return at
}

// SameMedia reports whether two descriptions differ in their origin only.
func SameMedia(a, b []byte) bool {
	x, _, _ := Split(a)
	y, _, _ := Split(b)
	return bytes.Equal(x, y)
}

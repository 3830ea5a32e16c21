package sdp

import "bytes"

// Is reports whether a Content-Type is a session description.
func Is(contentType []byte) bool {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	return bytes.EqualFold(bytes.TrimSpace(contentType), []byte(Type))
}

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

// Fit gives an answer as many m= lines as the offer has: a leg that had more
// was offered some refused ones (see describe), and some phones forget the
// streams that they refuse.
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
	for ; have < want; have++ {
		b = append(b, RefusedLine...)
	}
	return b
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

// Unheld takes a phone that was put on hold back for another party: what it
// only receives in its old call it is to send and receive in the next.
func Unheld(body []byte) []byte {
	return bytes.ReplaceAll(body, []byte("\na=recvonly"), []byte("\na=sendrecv"))
}

// SameMedia reports whether two descriptions differ in their origin only.
func SameMedia(a, b []byte) bool {
	x, _, _ := Split(a)
	y, _, _ := Split(b)
	return bytes.Equal(x, y)
}

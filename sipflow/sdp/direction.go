package sdp

import (
	"bytes"
	"slices"
)

// Direction says which way the media of a stream go, from the view of the
// describing side (RFC 8866 §6.7).
type Direction uint8

// The directions.
const (
	Inactive Direction = 0
	SendOnly Direction = 1 << (iota - 1)
	RecvOnly
	SendRecv = SendOnly | RecvOnly
)

var directionLines = [...]string{Inactive: "a=inactive", SendOnly: "a=sendonly", RecvOnly: "a=recvonly", SendRecv: "a=sendrecv"}

// String is the attribute's name: "sendrecv".
func (d Direction) String() string { return directionLines[d&SendRecv][len("a="):] }

// Reverse is the direction as the other side has it (RFC 3264 §6.1).
func (d Direction) Reverse() Direction { return d>>1&1 | d<<1&2 }

// direction reads a line that says one.
func direction(line []byte) (Direction, bool) {
	for d, text := range directionLines {
		if string(line) == text {
			return Direction(d), true
		}
	}
	return 0, false
}

// Directions are those of the streams of a description (RFC 4566 §6).
func Directions(body []byte) (streams []Direction) {
	session := SendRecv
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line) // some end them with blanks
		if bytes.HasPrefix(line, []byte("m=")) {
			streams = append(streams, session)
		}
		if d, ok := direction(line); ok && len(streams) > 0 {
			streams[len(streams)-1] = d
		} else if ok {
			session = d
		}
	}
	return streams
}

// Directed gives the streams of a description their directions. Each says it
// itself then, in its last line.
func Directed(body []byte, streams []Direction) []byte {
	out := make([]byte, 0, len(body)+16*len(streams))
	n := 0
	end := func() {
		if n > 0 && n <= len(streams) {
			out = append(append(out, directionLines[streams[n-1]&SendRecv]...), "\r\n"...)
		}
	}
	for line := range bytes.Lines(body) {
		text := bytes.TrimRight(line, "\r\n")
		if _, ok := direction(bytes.TrimSpace(text)); ok {
			continue
		}
		if bytes.HasPrefix(text, []byte("m=")) {
			end()
			n++
		}
		out = append(append(out, text...), "\r\n"...)
	}
	end()
	return out
}

// SameWay reports whether two descriptions have the media go the same way: to
// the same address with the same keys in the same directions. Whatever an
// answer says of codecs, the offer has said before.
func SameWay(a, b []byte) bool {
	return bytes.Equal(way(a), way(b)) && slices.Equal(Directions(a), Directions(b))
}

// way are the lines of a description that say where its media go and how they
// are encrypted (RFC 4566 §5.7, §5.14; RFC 4568; RFC 8122; RFC 8839; RFC 3605).
func way(body []byte) (lines []byte) {
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		name, _, _ := bytes.Cut(line, []byte{':'})
		switch string(name) {
		case "a=crypto", "a=fingerprint", "a=setup", "a=ice-ufrag", "a=ice-pwd", "a=candidate", "a=rtcp", "a=rtcp-mux":
		default:
			if bytes.HasPrefix(line, []byte("m=")) { // media, port, transport; not the formats
				line = bytes.Join(bytes.Fields(line)[:min(3, len(bytes.Fields(line)))], []byte{' '})
			} else if !bytes.HasPrefix(line, []byte("c=")) {
				continue
			}
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines
}

// Sends and Receives report whether a phone that describes itself so sends media by some
// stream, or takes them. One that is told to send to no address takes none (RFC 3264 §8.4).
func Sends(body []byte) bool { return goes(body, SendOnly) }

// Receives is described with Sends.
func Receives(body []byte) bool { return goes(body, RecvOnly) }

func goes(body []byte, way Direction) bool {
	streams := Directions(body)
	var session, own []byte // addresses of the session and of the stream
	n, used := 0, false
	this := func() bool {
		return used && streams[n-1]&way != 0 && (way == SendOnly || !nowhere(firstOf(own, session)))
	}
	for line := range bytes.Lines(body) {
		line = bytes.TrimSpace(line)
		if media, ok := bytes.CutPrefix(line, []byte("m=")); ok {
			if this() {
				return true
			}
			own, used = nil, usesStream(media)
			n++
		} else if address, ok := bytes.CutPrefix(line, []byte("c=")); ok && n == 0 {
			session = address
		} else if ok {
			own = address
		}
	}
	return this()
}

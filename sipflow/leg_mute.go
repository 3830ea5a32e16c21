package sipflow

import (
	"bytes"
	"slices"
)

// Mute says which directions of a phone's audio are off.
type Mute uint8

// Directions, as the phone's user sees them.
const (
	MuteSpeaking  Mute = 1 << iota // he is not heard
	MuteListening                  // he hears nothing
)

// The directions of a stream, from the view of who describes it, are told with
// the same bits: what MuteSpeaking takes from a phone is its sending.
const (
	sends    = MuteSpeaking
	receives = MuteListening
	both     = sends | receives
)

var directionLines = [...]string{0: "a=inactive", sends: "a=sendonly", receives: "a=recvonly", both: "a=sendrecv"}

// reverse is the direction as the other side has it (RFC 3264 §6.1).
func (m Mute) reverse() Mute { return m>>1&1 | m<<1&2 }

// direction reads a line that says one.
func direction(line []byte) (Mute, bool) {
	for d, text := range directionLines {
		if string(line) == text {
			return Mute(d), true
		}
	}
	return 0, false
}

// directions are those of the streams of a description (RFC 4566 §6).
func directions(body []byte) (streams []Mute) {
	session := both
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

// directed gives the streams of a description their directions. Each says it
// itself then, in its last line.
func directed(body []byte, streams []Mute) []byte {
	out := make([]byte, 0, len(body)+16*len(streams))
	n := 0
	end := func() {
		if n > 0 && n <= len(streams) {
			out = append(append(out, directionLines[streams[n-1]&both]...), "\r\n"...)
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

// apply takes what is muted from a description that the phone gets, whose
// directions are the other phone's (RFC 3264 §5.1).
func (m Mute) apply(body []byte) []byte {
	if m == 0 {
		return body
	}
	streams := directions(body)
	for i := range streams {
		streams[i] &^= m.reverse()
	}
	return directed(body, streams)
}

// unmuted is a description of the leg's phone as the other one is to have it:
// what only our muting keeps the phone from is as it was before, for the other
// phone goes on as if nothing were muted. offer is what it answers, nil for an
// offer of its own.
func (l *Leg) unmuted(body, offer []byte) []byte {
	if l.joint == nil || l.joint.muted == 0 || len(body) == 0 {
		return body
	}
	return l.joint.unmute(body, offer)
}

func (j *joint) unmute(body, offer []byte) []byte {
	streams, known, offered := directions(body), directions(j.remote), directions(offer)
	for i := range streams {
		before := both
		if i < len(known) {
			before = known[i]
		}
		if streams[i] |= before & j.muted; i < len(offered) {
			streams[i] &= offered[i].reverse()
		}
	}
	return directed(body, streams)
}

// sameWay reports whether two descriptions have the media go the same way: to
// the same address with the same keys in the same directions. Whatever an
// answer says of codecs, the offer has said before.
func sameWay(a, b []byte) bool {
	return bytes.Equal(way(a), way(b)) && slices.Equal(directions(a), directions(b))
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

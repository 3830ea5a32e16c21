// Package sdp reads and writes session descriptions (RFC 8866) as far as a call
// between other phones needs it: it counts streams, tells their directions, and
// describes audio that nobody sends. What phones write beyond that passes
// unchanged, for they write more than any grammar knows.
package sdp

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Type is the media type of a session description.
const Type = "application/sdp"

// appendOrigin begins a session description of ours (RFC 4566 §5.2).
func appendOrigin(b []byte, session, version uint64, host string) []byte {
	b = append(b, "v=0\r\no=- "...)
	b = strconv.AppendUint(b, session, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, version, 10)
	b = append(b, ' ')
	b = AppendAddress(b, host)
	b = append(b, "s=SipXconfig\r\nc="...)
	b = AppendAddress(b, host)
	return append(b, "t=0 0\r\n"...)
}

// AppendAddress writes the end of an o= or c= line: "IN IP4 10.0.0.1" and CRLF
// (RFC 8866 §5.7).
func AppendAddress(b []byte, host string) []byte {
	if strings.Contains(host, ":") {
		b = append(b, "IN IP6 "...)
	} else {
		b = append(b, "IN IP4 "...)
	}
	b = append(b, host...)
	return append(b, "\r\n"...)
}

// usualAudio is a stream of the formats of which nearly every phone has one:
// PCMU, PCMA, G.722, G.729 (RFC 3551 §6), Opus (RFC 7587) and telephone events
// (RFC 4733). A phone with none of those offered refuses the call by 488.
const (
	usualAudio = "m=audio 2222 RTP/AVP 0 8 9 18 96 101\r\n"
	usualMaps  = "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\n" +
		"a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n"
)

// Placeholder begins the offer that rings the calling phone: audio that nobody
// sends. PlaceholderAudio is the rest of it, which is always the same. sipXrest: the
// lines are the original's, which offered PCMU only.
func Placeholder(session, version uint64, host string) []byte {
	return appendOrigin(make([]byte, 0, 96+2*len(host)), session>>1, version, host)
}

// PlaceholderAudio follows what Placeholder returns.
const PlaceholderAudio = usualAudio + "a=sendrecv\r\n" + usualMaps

const (
	// maxHeldAnswer bounds the m= lines of an answer of ours, in bytes, that say
	// more than that a stream is refused.
	maxHeldAnswer = 4096
	// maxLines bounds the m= lines of an offer that are answered at all. A
	// description with more is no phone's.
	maxLines = 64
)

// HeldAnswer answers a phone's offer with every stream inactive: there is no
// media here. Each m= line of the offer has its own in the answer (RFC 3264
// §6), and the formats of an accepted one come with their rtpmap and fmtp
// lines: there are phones that hang up where a dynamic payload type has none.
// Without an offer it is one itself, of audio on hold.
func HeldAnswer(offer []byte, session, version uint64, host string) []byte {
	b := appendOrigin(make([]byte, 0, 384), session>>1, version, host)
	if len(offer) == 0 {
		return append(b, usualAudio+"a=inactive\r\n"+usualMaps...)
	}
	streams, accepted := 0, false
	var formats [][]byte // of the stream at work
	for line := range bytes.Lines(offer) {
		line = bytes.TrimRight(line, "\r\n")
		media, ok := bytes.CutPrefix(line, []byte("m="))
		if !ok {
			if accepted && describes(line, formats) && len(b)+len(line) < maxHeldAnswer {
				b = append(append(b, line...), "\r\n"...)
			}
			continue
		}
		// m=<media> <port> <proto> <fmt> ...
		f := bytes.Fields(media)
		if len(f) < 4 {
			continue
		}
		if streams++; streams > maxLines {
			break
		}
		accepted = string(f[0]) == "audio" && string(f[1]) != "0" && len(b)+len(line) < maxHeldAnswer
		formats = f[3:]
		port := "0" // refused
		if accepted {
			port = "2222"
		} else {
			formats = formats[:1] // one is enough for a stream that is refused
		}
		b = append(b, "m="...)
		b = append(b, f[0]...)
		b = append(b, ' ')
		b = append(b, port...)
		b = append(b, ' ')
		b = append(b, f[2]...)
		for _, w := range formats {
			b = append(b, ' ')
			b = append(b, w...)
		}
		b = append(b, "\r\na=inactive\r\n"...)
	}
	return b
}

// describes reports whether a line says what one of a stream's formats is:
// a=rtpmap or a=fmtp (RFC 8866 §6.6, §6.15).
func describes(line []byte, formats [][]byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("a=rtpmap:"))
	if !ok {
		if rest, ok = bytes.CutPrefix(line, []byte("a=fmtp:")); !ok {
			return false
		}
	}
	format, _, ok := bytes.Cut(rest, []byte{' '})
	return ok && slices.ContainsFunc(formats, func(f []byte) bool { return bytes.Equal(f, format) })
}

// HeldMedia is a description of ours, without its origin, that offers audio
// that nobody sends.
func HeldMedia(host string) []byte {
	rest, _, _ := Split(HeldAnswer(nil, 0, 0, host))
	return rest
}

package sdp

import "bytes"

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
	return appendSession(From(session, version, host, nil), host)
}

// PlaceholderAudio follows what Placeholder returns.
const PlaceholderAudio = usualAudio + "a=sendrecv\r\n" + usualMaps

// Held is a description of ours, without its origin, that offers audio on hold. It is
// inactive, for an address of 0.0.0.0 is not to be used (RFC 3725 §4.4).
func Held(host string) []byte {
	return append(appendSession(make([]byte, 0, 384), host), usualAudio+"a=inactive\r\n"+usualMaps...)
}

// browserAudio is audio that browsers take: DTLS-SRTP and ICE (RFC 8827 §6.5, RFC 8835
// §3.4). Its credentials and its certificate are nobody's. It is sent and received,
// for a browser ties the microphone to such a stream alone. Its mid is what browsers
// call their first stream, and the mid of a stream stays (RFC 8829 §5.2.2): the offer
// of the other browser, which follows, has the same.
const browserAudio = "a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8 126\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n" +
	"a=rtpmap:111 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:126 telephone-event/8000\r\na=ice-ufrag:none\r\na=ice-pwd:nobodyIsThereToTalkTo00\r\na=setup:actpass\r\n" +
	"a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n"

// ForBrowser is a placeholder, without its origin, for a phone in a browser. What the
// browser gets by re-INVITE afterwards restarts ICE with another certificate (RFC 8445
// §9, RFC 8842 §4).
func ForBrowser(host string) []byte {
	return append(appendSession(make([]byte, 0, 640), host), browserAudio...)
}

// Others are further offers for a phone that refuses audio as nearly every phone
// takes it, in the order to try: one without streams, which phones of any codec and
// any encryption take (RFC 3725 §4.4, flow IV), and one whose only stream is not
// used, for phones that want to see one. They are without origin, lines is how many
// streams they have.
func Others(host string) [2]struct {
	Lines int
	Rest  []byte
} {
	b := appendSession(make([]byte, 0, 128), host)
	n := len(b)
	b = append(b, RefusedLine...)
	return [2]struct {
		Lines int
		Rest  []byte
	}{{0, b[:n:n]}, {1, b}}
}

// ForAnother makes what a phone has described in one call the offer to another
// party. What it agreed on with the old one does not bind the new: every stream
// that is used is sent and received, whoever was on hold (RFC 3264 §8.4).
//
// The address and port of a phone that held its call by 0.0.0.0 or by port 0 are
// those of reached, the last description of the phone with an address; it may be
// nil. The result is nil when nothing is known that could be offered.
func ForAnother(body, reached []byte) []byte {
	if !Reached(body) {
		if body = withAddresses(body, reached); body == nil {
			return nil
		}
	}
	out := make([]byte, 0, len(body)+16)
	for line := range bytes.Lines(body) {
		text := bytes.TrimRight(line, "\r\n")
		if _, ok := direction(bytes.TrimSpace(text)); ok {
			text = []byte(directionLines[SendRecv])
		}
		out = append(append(out, text...), "\r\n"...)
	}
	return out
}

// Used reports whether a description has a stream that is neither refused nor ended.
func Used(body []byte) bool {
	for line := range bytes.Lines(body) {
		if media, ok := bytes.CutPrefix(line, []byte("m=")); ok && usesStream(media) {
			return true
		}
	}
	return false
}

// Reached reports whether media can be sent to each stream of a description that is
// used, and that there is one.
func Reached(body []byte) bool {
	var session, own []byte // addresses of the session and of the stream
	streams, used, any := false, false, false
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		if media, ok := bytes.CutPrefix(line, []byte("m=")); ok {
			if used && nowhere(firstOf(own, session)) {
				return false
			}
			own, streams, used = nil, true, usesStream(media)
			any = any || used
		} else if address, ok := bytes.CutPrefix(line, []byte("c=")); !ok {
			continue
		} else if !streams {
			session = firstOf(session, address)
		} else {
			own = firstOf(own, address)
		}
	}
	return any && !(used && nowhere(firstOf(own, session)))
}

func firstOf(address, other []byte) []byte {
	if address != nil {
		return address
	}
	return other
}

// withAddresses gives the streams of a description the addresses that they had in
// one that can be reached, and ports where none is used any more.
func withAddresses(body, reached []byte) []byte {
	if !Reached(reached) {
		return nil
	}
	session, streams := readStreams(body)
	before, known := readStreams(reached)
	before = firstOfEach(before, "c=")
	if !Used(body) { // the streams have no port and perhaps no attributes any more
		return reached
	}
	out := make([]byte, 0, len(body)+64)
	for _, line := range session {
		if v, ok := bytes.CutPrefix(line, []byte("c=")); ok && nowhere(v) {
			line = append([]byte("c="), firstAddress(before, known)...)
		}
		out = append(append(out, line...), "\r\n"...)
	}
	session = firstOfEach(session, "c=") // each stream looks for it
	for i := range streams {
		s := &streams[i]
		if len(s.media) == 0 {
			return nil
		}
		out = s.appendMedia(out, string(s.port), s.formats)
		address := s.address(session)
		if s.used() && nowhere(address) {
			if address = firstAddress(before, known); i < len(known) && known[i].used() {
				address = known[i].address(before)
			}
			out = append(append(append(out, "c="...), address...), "\r\n"...)
		}
		for _, line := range s.lines {
			if v, ok := bytes.CutPrefix(line, []byte("c=")); ok && nowhere(v) {
				continue
			}
			out = append(append(out, line...), "\r\n"...)
		}
	}
	return out
}

// firstAddress is that of the first stream that is used.
func firstAddress(session [][]byte, streams []stream) []byte {
	for i := range streams {
		if streams[i].used() {
			return streams[i].address(session)
		}
	}
	return nil
}

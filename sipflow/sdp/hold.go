package sdp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
)

const (
	// maxHeldAnswer bounds the lines of an answer of ours, in bytes, that say more
	// than that a stream is refused.
	maxHeldAnswer = 4096
	// maxLines bounds the m= lines of an offer that are answered at all. A
	// description with more is no phone's.
	maxLines = 64
	// maxFormats bounds the formats of a stream that is held. RTP has no more
	// payload types, and each line below the stream is compared with all of them.
	maxFormats = 128
)

// Why no stream of an offer can be held.
var (
	ErrDTLS    = errors.New("its audio needs DTLS, which nobody speaks here")
	ErrNoAudio = errors.New("it has no audio that can be held")
)

// A Keyer returns so many secret bytes for a stream, the same ones each time.
type Keyer func(stream, size int) []byte

// Hold answers a phone's offer while there is nobody for it to talk to: with every
// stream inactive that can be, and refused where its profile wants more of us than
// there is. Each m= line of the offer has its own in the answer, of the same media
// and profile (RFC 3264 §6). The formats of a held stream come with their rtpmap and
// fmtp lines, for there are phones that hang up where a dynamic payload type has
// none; what AVPF says beyond them is left out (RFC 4585 §4.2). A stream with keys in
// the description gets one of ours (RFC 4568 §5.1.2), though nothing is sent.
//
// The answer is without its origin. With an error no stream is left of those that
// the phone wants to use: it is to be refused by 488, or else told that by what Hold
// returns.
func Hold(offer []byte, host string, key Keyer) (rest []byte, lines int, err error) {
	b := appendSession(make([]byte, 0, 384), host)
	session, streams := readStreams(offer)
	session = securing(session)
	wanted, held, secured := false, false, false
	for i := range streams {
		s := &streams[i]
		if len(s.media) == 0 {
			continue
		}
		if lines++; lines > maxLines {
			lines = maxLines
			break
		}
		crypto, ok := []byte(nil), false
		if s.used() {
			wanted = true
			by := s.security(session)
			if ok = string(s.media) == "audio" && by&Plain != 0; !ok && string(s.media) == "audio" && by&SDES != 0 {
				crypto, ok = s.answerCrypto(lines-1, key)
			}
			secured = secured || !ok && by&(DTLS|WebRTC) != 0
			ok = ok && len(s.formats) <= maxFormats
		}
		if at := len(b); ok {
			b = s.appendHeld(b, crypto)
			if ok = len(b) < maxHeldAnswer; !ok {
				b = b[:at]
			}
		}
		if held = held || ok; !ok {
			b = append(s.appendRefused(b), "a=inactive\r\n"...)
		}
	}
	switch {
	case !wanted || held:
	case secured:
		err = ErrDTLS
	default:
		err = ErrNoAudio
	}
	return b, lines, err
}

// appendHeld writes the stream as it is held: with its formats and what they are.
func (s *stream) appendHeld(b, crypto []byte) []byte {
	b = s.appendMedia(b, "2222", s.formats)
	b = append(b, "a=inactive\r\n"...)
	b = append(b, crypto...)
	for _, line := range s.lines {
		if describes(line, s.formats) {
			b = append(append(b, line...), "\r\n"...)
		}
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

// suites are the crypto suites of which the length of key and salt is known (RFC
// 4568 §6.2, RFC 6188 §2, RFC 7714 §14.2).
var suites = map[string]int{
	"AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30, "F8_128_HMAC_SHA1_80": 30,
	"AES_192_CM_HMAC_SHA1_80": 38, "AES_192_CM_HMAC_SHA1_32": 38,
	"AES_256_CM_HMAC_SHA1_80": 46, "AES_256_CM_HMAC_SHA1_32": 46,
	"AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44,
}

// MaxKey is the most that a Keyer is asked for.
const MaxKey = 46

// answerCrypto returns our a=crypto line for a stream: the tag and suite of the first
// offered one that we can answer, and a key of ours (RFC 4568 §5.1.2).
func (s *stream) answerCrypto(n int, key Keyer) (line []byte, ok bool) {
	for _, l := range s.lines {
		v, isCrypto := bytes.CutPrefix(l, []byte("a=crypto:"))
		f := bytes.Fields(v)
		if !isCrypto || len(f) < 3 || !isTag(f[0]) || !bytes.HasPrefix(f[2], []byte("inline:")) || slices.ContainsFunc(f[3:], negotiated) {
			continue
		}
		size, known := suites[string(f[1])]
		if !known {
			continue
		}
		line = append(line, "a=crypto:"...)
		line = append(line, f[0]...)
		line = append(line, ' ')
		line = append(line, f[1]...)
		line = append(line, " inline:"...)
		line = base64.StdEncoding.AppendEncode(line, key(n, size))
		return append(line, "\r\n"...), true
	}
	return nil, false
}

// isTag reports whether a crypto line's tag is one (RFC 4568 §9.1).
func isTag(tag []byte) bool {
	for _, c := range tag {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(tag) > 0 && len(tag) <= 9
}

// negotiated reports whether a session parameter is one that an answer would have to
// take over (RFC 4568 §6.3): that something is not encrypted or authenticated, or one
// that we do not know.
func negotiated(parameter []byte) bool {
	for _, declared := range [...]string{"KDR=", "WSH=", "FEC_ORDER=", "FEC_KEY=", "-"} {
		if bytes.HasPrefix(parameter, []byte(declared)) {
			return false
		}
	}
	return true
}

// Overlong reports whether a description has more streams than any phone's. They would
// stay in the session for good (RFC 3264 §8).
func Overlong(body []byte) bool { return bytes.Count(body, []byte("\nm=")) > maxLines }

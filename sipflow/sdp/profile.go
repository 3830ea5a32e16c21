package sdp

import "bytes"

// Security says how the streams of a description are secured. Several may hold.
type Security uint8

// The ways: RTP (RFC 3551), SRTP with its keys in the description (RFC 4568), SRTP
// with its keys by DTLS (RFC 5763), and the last of these as browsers do it, whose
// streams need ICE as well (RFC 8834).
const (
	Plain Security = 1 << iota
	SDES
	DTLS
	WebRTC
)

// security returns how a stream can be secured. One by RTP/AVP may say keys as well:
// its phone takes either (RFC 8643).
func (s *stream) security(session [][]byte) (by Security) {
	_, fingerprint := s.attribute(session, "fingerprint")
	_, keys := s.attribute(nil, "crypto")
	_, ice := s.attribute(session, "ice-ufrag")
	proto := string(bytes.ToUpper(s.proto))
	switch proto {
	case "RTP/AVP", "RTP/AVPF":
		by = Plain
	case "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF":
	default:
		return 0
	}
	if keys {
		by |= SDES
	}
	if fingerprint {
		by |= DTLS
	}
	if by == DTLS && ice && proto[len(proto)-1] == 'F' {
		by = WebRTC
	}
	return by
}

// securing leaves what the lines of a session say to security. Each stream looks through
// them all.
func securing(session [][]byte) [][]byte {
	return firstOfEach(session, "a=fingerprint", "a=ice-ufrag")
}

// SecurityOf returns how the streams of a description can be secured.
func SecurityOf(body []byte) (by Security) {
	session, streams := readStreams(body)
	session = securing(session)
	for i := range streams {
		if s := &streams[i]; s.used() {
			by |= s.security(session)
		}
	}
	return by
}

// Clash returns why two phones cannot talk that have described themselves so, each
// of its own accord: one speaks WebRTC, which never is without DTLS and ICE, the
// other does neither. It is empty where they may.
func Clash(a, b []byte) string {
	x, y := SecurityOf(a), SecurityOf(b)
	if x == WebRTC && y != 0 && y&(DTLS|WebRTC) == 0 || y == WebRTC && x != 0 && x&(DTLS|WebRTC) == 0 {
		return OneSpeaksWebRTC
	}
	return ""
}

// OneSpeaksWebRTC is why a browser and a phone without WebRTC are not joined.
const OneSpeaksWebRTC = "One Phone Speaks WebRTC, the Other One RTP"

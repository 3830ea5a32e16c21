package sipflow

import (
	"bytes"
	"strconv"
	"strings"
)

const sdpType = "application/sdp"

// appendOrigin begins a session description of ours (RFC 4566 §5.2).
func appendOrigin(b []byte, session, version uint64, host string) []byte {
	b = append(b, "v=0\r\no=- "...)
	b = strconv.AppendUint(b, session, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, version, 10)
	b = append(b, ' ')
	b = appendAddr(b, host)
	b = append(b, "s=SipXconfig\r\nc="...)
	b = appendAddr(b, host)
	return append(b, "t=0 0\r\n"...)
}

func appendAddr(b []byte, host string) []byte {
	if strings.Contains(host, ":") {
		b = append(b, "IN IP6 "...)
	} else {
		b = append(b, "IN IP4 "...)
	}
	b = append(b, host...)
	return append(b, "\r\n"...)
}

// placeholder is the offer that rings the calling phone: audio that nobody
// sends. sipXrest: the text is the original's to the byte.
func placeholder(session, version uint64, host string) []byte {
	b := appendOrigin(make([]byte, 0, 192), session>>1, version, host)
	return append(b, "m=audio 2222 RTP/AVP 0 101\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"...)
}

// heldAnswer answers a phone's offer with every stream inactive: there is no
// media here. Each m= line of the offer has its own in the answer (RFC 3264 §6).
func heldAnswer(offer []byte, session, version uint64, host string) []byte {
	b := appendOrigin(make([]byte, 0, 192), session>>1, version, host)
	if len(offer) == 0 {
		return append(b, "m=audio 2222 RTP/AVP 0 101\r\na=inactive\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"...)
	}
	for line := range bytes.Lines(offer) {
		line = bytes.TrimRight(line, "\r\n")
		media, ok := bytes.CutPrefix(line, []byte("m="))
		if !ok || len(b) > 2048 {
			continue
		}
		// m=<media> <port> <proto> <fmt> ...
		f := bytes.Fields(media)
		if len(f) < 4 {
			continue
		}
		port := "0" // refused
		if string(f[0]) == "audio" && string(f[1]) != "0" {
			port = "2222"
		}
		b = append(b, "m="...)
		b = append(b, f[0]...)
		b = append(b, ' ')
		b = append(b, port...)
		for _, w := range f[2:] {
			b = append(b, ' ')
			b = append(b, w...)
		}
		b = append(b, "\r\na=inactive\r\n"...)
	}
	return b
}

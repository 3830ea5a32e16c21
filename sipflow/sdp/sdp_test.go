package sdp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// key is one of ours that tests can read.
func key(stream, size int) []byte { return bytes.Repeat([]byte{byte(stream + 1)}, size) }

const (
	head  = "v=0\r\no=phone 7 8 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"
	ours  = "s=SipXconfig\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
	keyed = "a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\r\n"
)

func TestWhatIsHeld(t *testing.T) {
	for _, tt := range []struct{ name, offer, want string }{
		{"RTP", "m=audio 5000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
			"m=audio 2222 RTP/AVP 0 101\r\na=inactive\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"},
		{"feedback", "m=audio 5000 RTP/AVPF 96\r\na=rtpmap:96 opus/48000/2\r\na=rtcp-fb:96 nack\r\n",
			"m=audio 2222 RTP/AVPF 96\r\na=inactive\r\na=rtpmap:96 opus/48000/2\r\n"},
		{"keys in the description", "m=audio 5000 RTP/SAVP 0\r\n" +
			"a=crypto:1 FUTURE inline:x\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:abc|2^20|1:4\r\n",
			"m=audio 2222 RTP/SAVP 0\r\na=inactive\r\n" + keyed},
		{"keys that are optional", "m=audio 5000 RTP/AVP 0\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:abc\r\n",
			"m=audio 2222 RTP/AVP 0\r\na=inactive\r\n"},
		{"keys or DTLS", "a=fingerprint:sha-256 AA\r\nm=audio 5000 RTP/SAVPF 0\r\na=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:abc\r\n",
			"m=audio 2222 RTP/SAVPF 0\r\na=inactive\r\n" + keyed},
		{"not encrypted in truth", "m=audio 5000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc UNENCRYPTED_SRTP\r\n" +
			"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:abc KDR=1 -x=y\r\n", "m=audio 2222 RTP/SAVP 0\r\na=inactive\r\n" + keyed},
		{"two ways to one stream", "m=audio 5000 UDP/TLS/RTP/SAVP 0\r\na=fingerprint:sha-256 AA\r\nm=audio 5002 RTP/AVP 0 8\r\n",
			"m=audio 0 UDP/TLS/RTP/SAVP 0\r\na=inactive\r\nm=audio 2222 RTP/AVP 0 8\r\na=inactive\r\n"},
		{"audio and video", "m=audio 5000 RTP/AVP 0 8\r\nm=video 5002 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\n",
			"m=audio 2222 RTP/AVP 0 8\r\na=inactive\r\nm=video 0 RTP/AVP 96\r\na=inactive\r\n"},
		{"all given up", "m=audio 0 RTP/AVP 0\r\n", "m=audio 0 RTP/AVP 0\r\na=inactive\r\n"},
		{"no streams", "", ""},
		{"DTLS", "m=audio 5000 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 AA\r\n", ErrDTLS.Error()},
		{"secured without keys", "m=audio 5000 RTP/SAVP 0\r\n", ErrNoAudio.Error()},
		{"only what is not encrypted", "m=audio 5000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc UNENCRYPTED_SRTP\r\n",
			ErrNoAudio.Error()},
		{"video", "m=video 5002 RTP/AVP 96\r\n", ErrNoAudio.Error()},
		{"a profile of tomorrow", "m=audio 5000 QUIC/RTP/AVP 0\r\n", ErrNoAudio.Error()},
	} {
		rest, lines, err := Hold([]byte(head+tt.offer), "10.0.0.1", key)
		got := strings.TrimPrefix(string(rest), ours)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want || lines != strings.Count(tt.offer, "m=") {
			t.Errorf("%s: %d lines\n%s\nwant\n%s", tt.name, lines, got, tt.want)
		}
	}
}

func TestWhatAnotherPartyIsOffered(t *testing.T) {
	nowhere := strings.Replace(head, "c=IN IP4 10.0.0.2", "c=IN IP4 0.0.0.0", 1)
	const one = "m=audio 5000 RTP/AVP 0\r\n"
	for _, tt := range []struct{ name, body, reached, want string }{
		{"as it was", head + one + "a=x\r\n", "", head + one + "a=x\r\n"},
		{"held by the old one", head + one + "a=recvonly\r\n", "", head + one + "a=sendrecv\r\n"},
		{"holding the old one", head + "a=sendonly\n" + one, "", head + "a=sendrecv\r\n" + one},
		{"both hold", head + one + "a=inactive \r\n", "", head + one + "a=sendrecv\r\n"},
		{"the address of RFC 2543", nowhere + one + "a=sendonly\r\n", head + one, head + one + "c=IN IP4 10.0.0.2\r\na=sendrecv\r\n"},
		{"of one stream", head + one + "c=IN IP4 0.0.0.0\r\na=x\r\n", strings.Replace(head, "0.2\r\nt", "0.3\r\nt", 1) + one,
			head + one + "c=IN IP4 10.0.0.3\r\na=x\r\n"},
		{"no port", head + "m=audio 0 RTP/AVP 0\r\n", head + one + "a=recvonly\r\n", head + one + "a=sendrecv\r\n"},
		{"a stream that is not used", head + one + "m=video 0 RTP/AVP 96\r\n", "", head + one + "m=video 0 RTP/AVP 96\r\n"},
		{"never an address", nowhere + one, "", ""},
		{"never an address before", nowhere + one, nowhere + one, ""},
		{"no streams", head, "", ""},
		{"nothing", "", "", ""},
		{"no description", "junk", "", ""},
	} {
		if got := string(ForAnother([]byte(tt.body), []byte(tt.reached))); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

func TestHowADescriptionIsSecured(t *testing.T) {
	const browser = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:x\r\na=fingerprint:sha-256 AA\r\n"
	for body, want := range map[string]Security{
		"": 0, "m=audio 0 RTP/AVP 0\r\n": 0, "m=audio 1 X/Y 0\r\n": 0, "m=audio\r\n": 0,
		"m=audio 1 RTP/AVP 0\r\n": Plain, "m=audio 1 RTP/AVPF 0\r\na=crypto:1 x y\r\n": Plain | SDES,
		"m=audio 1 rtp/savp 0\r\na=crypto:1 x y\r\n": SDES, "a=fingerprint:x\r\nm=audio 1 UDP/TLS/RTP/SAVP 0\r\n": DTLS,
		browser: WebRTC, "m=audio 1 RTP/SAVPF 0\r\na=ice-ufrag:x\r\na=fingerprint:x\r\n": WebRTC,
		browser + "m=audio 1 RTP/AVP 0\r\n": WebRTC | Plain,
	} {
		if got := SecurityOf([]byte(head + body)); got != want {
			t.Errorf("%q is secured by %b, want %b", body, got, want)
		}
		clashes := want == Plain || want == SDES || want == Plain|SDES
		if got := Clash([]byte(head+body), []byte(head+browser)); (got != "") != clashes {
			t.Errorf("%q and a browser: %q", body, got)
		}
	}
}

func TestBodies(t *testing.T) {
	sdp := head + "m=audio 5000 RTP/AVP 0\r\n"
	part := func(header, content string) string { return "--b\r\n" + header + "\r\n" + content + "\r\n" }
	sdpPart := part("Content-Type: application/sdp\r\n", sdp)
	isup := func(disposition string) string {
		return part("Content-Type: application/isup;version=ansi\r\n"+disposition, "\x10\x00--b\x01\r\nrest")
	}
	mixed := `multipart/mixed; charset=x ; boundary="b"`
	for _, tt := range []struct {
		name  string
		b     Body
		want  string
		taken bool
	}{
		{"a description", Body{Type: []byte("application/sdp")}, sdp, true},
		{"with parameters", Body{Type: []byte("Application/SDP ;charset=utf-8")}, sdp, true},
		{"without a type", Body{}, sdp, true},
		{"of the session", Body{Type: []byte("application/sdp"), Disposition: []byte("Session;handling=required")}, sdp, true},
		{"of an early session", Body{Type: []byte("application/sdp"), Disposition: []byte("early-session")}, "", false},
		{"of an early session, optional", Body{Type: []byte("application/sdp"), Disposition: []byte("early-session; handling=Optional")}, "",
			true},
		{"as it is", Body{Type: []byte("application/sdp"), Encoding: []byte("identity")}, sdp, true},
		{"packed", Body{Type: []byte("application/sdp"), Encoding: []byte("gzip")}, "", false},
		{"another type", Body{Type: []byte("text/plain")}, "", false},
		{"another type, optional", Body{Type: []byte("text/plain"), Disposition: []byte("render;handling=optional")}, "", true},
		{"no type and no description", Body{Content: []byte("hello")}, "", false},
		{"nothing", Body{Type: []byte("text/plain"), Content: []byte{}}, "", true},
		{"a gateway's", Body{Content: []byte(sdpPart + isup("Content-Disposition: signal; handling=optional\r\n") + "--b--\r\n")}, sdp, true},
		{"ISUP first, bare LF, a preamble and no end", Body{Content: []byte("hello\n" +
			strings.ReplaceAll(isup("Content-Disposition: signal;handling=optional\r\n"), "\r\n", "\n") + strings.TrimSuffix(sdpPart, "\r\n"))},
			sdp, true},
		{"ISUP that is required", Body{Content: []byte(sdpPart + isup("Content-Disposition: signal;handling=required\r\n") + "--b--")}, sdp,
			false},
		{"ISUP that says nothing of it", Body{Content: []byte(sdpPart + isup("Content-Disposition: signal\r\n") + "--b--")}, sdp, false},
		{"ISUP that says nothing", Body{Content: []byte(sdpPart + isup("") + "--b--")}, sdp, true},
		{"short names, a second description", Body{Content: []byte(part("c:application/sdp\r\n", sdp) +
			part("Content-Type: application/sdp\r\n", "v=1") + "--b--")}, sdp, true},
		{"a part in base64", Body{Content: []byte(part("Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n", "dj0wDQo=") +
			"--b--")},
			"", false},
		{"no description among them", Body{Content: []byte(isup("") + "--b--")}, "", false},
		{"alternatives", Body{Type: []byte("multipart/alternative;boundary=b"), Content: []byte(sdpPart +
			part("Content-Type: application/sdpng\r\nContent-Disposition: session;handling=required\r\n", "<x/>") + "--b--")}, sdp, true},
		{"alternatives within", Body{Content: []byte("--b\r\nContent-Type: multipart/alternative;boundary=c\r\n\r\n--c\r\n" +
			"Content-Type: text/plain\r\n\r\nx\r\n--c\r\nContent-Type: application/sdp\r\n\r\n" + sdp + "\r\n--c--\r\n\r\n--b--")}, sdp, true},
		{"too deep", Body{Content: []byte("--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n" +
			"--c\r\nContent-Type: multipart/mixed;boundary=d\r\n\r\n" +
			"--d\r\nContent-Type: application/sdp\r\n\r\n" + sdp + "\r\n--d--\r\n--c--\r\n--b--")}, "", false},
		{"too many", Body{Content: []byte(strings.Repeat(isup(""), maxParts) + sdpPart + "--b--")}, "", false},
		{"no boundary", Body{Type: []byte("multipart/mixed"), Content: []byte(sdpPart + "--b--")}, "", false},
		{"boundary without an end", Body{Type: []byte(`multipart/mixed;boundary="b`), Content: []byte(sdpPart + "--b--")}, "", false},
	} {
		if tt.b.Content == nil {
			tt.b.Content = []byte(sdp)
		}
		if tt.b.Type == nil && bytes.HasPrefix(tt.b.Content, []byte("--b")) || strings.HasPrefix(string(tt.b.Content), "hello\n") {
			tt.b.Type = []byte(mixed)
		}
		if got, taken := tt.b.Read(); string(got) != tt.want || taken != tt.taken {
			t.Errorf("%s: taken %v, %q", tt.name, taken, got)
		}
	}
}

func TestPlainBodiesAreReadInPlace(t *testing.T) {
	b := Body{Type: []byte("application/sdp"), Content: []byte(head)}
	if n := testing.AllocsPerRun(100, func() { b.Read() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLegible(t *testing.T) {
	for body, want := range map[string]bool{
		head: true, head + "m=audio 1 RTP/AVP 0\r\n": true, head + "m=audio 1\r\n": false, "": false, "hello": false, "v=0\r\n": false,
		"v=0\r\nm=audio 1 RTP/AVP 0\r\n": false, "v=0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 10.0.0.2\r\n": true,
	} {
		if Legible([]byte(body)) != want {
			t.Errorf("%q: %v", body, !want)
		}
	}
}

func TestOriginIsOfTheAddressFamily(t *testing.T) {
	for host, want := range map[string]string{"10.0.0.1": "IP4 10.0.0.1", "fd00::1": "IP6 fd00::1"} {
		if got := string(From(7, 8, host, Held(host))); !strings.HasPrefix(got,
			fmt.Sprintf("v=0\r\no=- 7 8 IN %s\r\ns=SipXconfig\r\nc=IN %s\r\n", want, want)) {
			t.Errorf("%s", got)
		}
	}
}

package sdp

import (
	"bytes"
	"testing"
)

const twoStreams = "v=0\r\no=root 1 0 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\n" +
	"m=audio 5000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\nm=video 5002 RTP/AVP 96\r\nc=IN IP4 10.0.0.4\r\na=rtpmap:96 H264/90000\r\n"

// FuzzHeldAnswer: each stream of an offer has its own in our answer, as long
// as there is room, and is inactive.
func FuzzHeldAnswer(f *testing.F) {
	for _, s := range []string{twoStreams, twoStreams + "a=sendonly\r\n", "", "v=0\nm=audio 1 RTP/AVP 0 8\nm=audio 0 x y", "m=\r\nm=audio\r",
		"m=a b c \x85 d"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, offer []byte) {
		answer := HeldAnswer(offer, 84, 7, "10.0.0.1")
		if len(answer) > 4096+len(offer) || !bytes.HasPrefix(answer, []byte("v=0\r\no=- 42 7 IN IP4 10.0.0.1\r\n")) {
			t.Fatalf("%q is answered %q", offer, answer)
		}
		streams, inactive := 0, bytes.Count(answer, []byte("\na=inactive\r\n"))
		for line := range bytes.Lines(answer) {
			if !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Fatalf("%q is answered with the line %q", offer, line)
			}
			if bytes.HasPrefix(line, []byte("m=")) {
				streams++
			}
		}
		if want := bytes.Count(append([]byte("\n"), offer...), []byte("\nm=")); streams != inactive || streams > max(want, 1) {
			t.Fatalf("%d streams are answered with %d, %d of them inactive: %q", want, streams, inactive, answer)
		}
	})
}

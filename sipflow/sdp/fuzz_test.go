package sdp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

const twoStreams = "v=0\r\no=root 1 0 IN IP4 10.0.0.3\r\ns=-\r\nc=IN IP4 10.0.0.3\r\nt=0 0\r\n" +
	"m=audio 5000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\nm=video 5002 RTP/AVP 96\r\nc=IN IP4 10.0.0.4\r\na=rtpmap:96 H264/90000\r\n"

func seeds(f *testing.F) {
	for _, s := range []string{twoStreams, twoStreams + "a=sendonly\r\n", "", "v=0\nm=audio 1 RTP/AVP 0 8\nm=audio 0 x y", "m=\r\nm=audio\r",
		"m=a b c \x85 d", "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 1 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\na=inactive\r\n",
		"v=0\r\nm=audio 1 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:x\r\na=ice-ufrag:x\r\n"} {
		f.Add([]byte(s))
	}
}

// fault says which rule of RFC 3264 §6 an answer breaks: as many streams as the
// offer has, each of the same media and profile, with formats of the offer's and
// nothing about others, not used where the offer does not use it.
func fault(offer, answer []byte) string {
	_, offered := readStreams(offer)
	offered = slices.DeleteFunc(offered, func(s stream) bool { return len(s.media) == 0 })
	_, answered := readStreams(answer)
	if len(answered) != min(len(offered), maxLines) {
		return "the number of streams"
	}
	for i, a := range answered {
		o := offered[i]
		switch {
		case !bytes.Equal(a.media, o.media) || !bytes.Equal(a.proto, o.proto):
			return "media or profile"
		case a.used() && !o.used():
			return "a stream that is not offered"
		}
		has := func(formats [][]byte, f []byte) bool {
			return slices.ContainsFunc(formats, func(g []byte) bool { return bytes.Equal(f, g) })
		}
		for _, f := range a.formats {
			if !has(o.formats, f) {
				return "a format that is not offered"
			}
		}
		for _, line := range a.lines {
			for _, kind := range []string{"a=rtpmap:", "a=fmtp:"} {
				if v, ok := bytes.CutPrefix(line, []byte(kind)); ok {
					if f, _, _ := bytes.Cut(v, []byte{' '}); !has(a.formats, f) {
						return "an attribute of no format"
					}
				}
			}
		}
		if by := a.security(nil); a.used() && by&(Plain|SDES) == 0 {
			return "a stream without its keys"
		}
	}
	return ""
}

// FuzzHeldAnswer: whatever a phone offers, what holds it is an answer to it.
func FuzzHeldAnswer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, offer []byte) {
		answer, lines, err := Hold(offer, "10.0.0.1", key)
		if len(answer) > 2*maxHeldAnswer+len(offer) || lines != bytes.Count(answer, []byte("\nm=")) {
			t.Fatalf("%q is answered with %d lines %q", offer, lines, answer)
		}
		if why := fault(offer, answer); why != "" {
			t.Fatalf("%q is answered %q: %s", offer, answer, why)
		}
		for _, d := range Directions(answer) {
			if d != Inactive {
				t.Fatalf("%q is answered %q", offer, answer)
			}
		}
		if again, _, _ := Hold(offer, "10.0.0.1", key); !bytes.Equal(again, answer) {
			t.Fatalf("%q is answered %q, and then %q", offer, answer, again)
		}
		if _, streams := readStreams(answer); err != nil && slices.ContainsFunc(streams, func(s stream) bool { return s.used() }) {
			t.Fatalf("%v: %q", err, answer)
		}
	})
}

// FuzzRefused: what refuses a phone's offer is an answer to it without streams, and so is
// any answer that is made to fit.
func FuzzRefused(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, offer []byte) {
		rest, lines := Refused(offer)
		_, streams := readStreams(offer)
		if Used(offer) != slices.ContainsFunc(streams, func(s stream) bool { return s.used() }) {
			t.Fatalf("%q: used is %v", offer, Used(offer))
		}
		if Used(rest) || lines != bytes.Count(append([]byte("\n"), rest...), []byte("\nm=")) {
			t.Fatalf("%q is refused by %d lines %q", offer, lines, rest)
		}
		_, want, ok := Split(offer)
		if fitted := Fit([]byte("v=0\r\n"), offer); ok && bytes.Count(fitted, []byte("\nm=")) != want {
			t.Fatalf("%q is refused by %q", offer, fitted)
		}
	})
}

// FuzzForAnother: what another party is offered has the same streams, all with an
// address that can be reached and in both directions.
func FuzzForAnother(f *testing.F) {
	f.Add([]byte(twoStreams), []byte(twoStreams))
	f.Add([]byte(strings.ReplaceAll(twoStreams, "10.0.0.", "0.0.0.")), []byte(twoStreams))
	f.Add([]byte("v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 1 RTP/AVP 0\r\na=inactive\r\n"), []byte(twoStreams))
	f.Fuzz(func(t *testing.T, body, reached []byte) {
		offer := ForAnother(body, reached)
		if offer == nil {
			return
		}
		if !Reached(offer) {
			t.Fatalf("%q becomes %q", body, offer)
		}
		for _, d := range Directions(offer) {
			if d != SendRecv {
				t.Fatalf("%q becomes %q", body, offer)
			}
		}
		_, before, _ := Split(body)
		_, now, _ := Split(offer)
		if Used(body) && now != before && bytes.HasPrefix(body, []byte("v=")) {
			t.Fatalf("%d streams become %d: %q", before, now, offer)
		}
	})
}

// FuzzBody: what is found in a body is a part of it.
func FuzzBody(f *testing.F) {
	f.Add("multipart/mixed;boundary=b", "", "", []byte("--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b--"))
	f.Add("application/sdp", "gzip", "session;handling=optional", []byte("v=0"))
	f.Add(`multipart/alternative;x="y;boundary=c";boundary="b"`, "", "", []byte("--b\n\nv=0\n--b\nc:multipart/mixed;boundary=b\n\n--b--"))
	f.Fuzz(func(t *testing.T, contentType, encoding, disposition string, content []byte) {
		b := Body{Type: []byte(contentType), Encoding: []byte(encoding), Disposition: []byte(disposition), Content: content}
		got, _ := b.Read()
		if !bytes.Contains(content, got) {
			t.Fatalf("%q is not in %q", got, content)
		}
	})
}

package sfu

import (
	"strings"
	"testing"
	"time"

	"sipxrest/media"
	"sipxrest/talk/talktest"
)

// FuzzSubscribe: an offer is refused or answered, and what comes of it ends.
func FuzzSubscribe(f *testing.F) {
	r := newRig(f)
	offer := anOffer(f, r)
	f.Add(offer)
	f.Add(strings.ReplaceAll(offer, "\r\n", "\n"))
	for _, change := range []string{"a=mid:0", "a=setup:actpass", "a=rtcp-mux", "UDP/TLS/RTP/SAVPF 9", "a=ssrc", "a=extmap:1", "v=0",
		"a=group:BUNDLE 0 1"} {
		f.Add(strings.Replace(offer, change, "", 1))
		f.Add(strings.Replace(offer, change, change+" "+change, 1))
	}
	f.Add(offer + "a=simulcast:send a;b\r\na=rid:a send\r\na=rid:b send\r\na=ssrc-group:FID 1 2\r\na=ssrc:1 msid:a b\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, answer, err := r.sfu.Subscribe(text, Events{})
		if err != nil {
			return
		}
		defer s.Close()
		if n := strings.Count(answer, "\r\nm="); n != strings.Count("\n"+text, "\nm=") {
			t.Errorf("%d m= lines in the answer to\n%s", n, text)
		}
		_ = s.Candidate(Candidate{Candidate: text})
	})
}

// FuzzAnswer: an answer is refused or taken.
func FuzzAnswer(f *testing.F) {
	r := newRig(f)
	_, offer, err := r.sfu.Publish(media.G722, Events{})
	if err != nil {
		f.Fatal(err)
	}
	_, answer, err := r.janus.Publish(offer, "g722", ignore)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answer)
	f.Add(strings.ReplaceAll(answer, "a=setup:active", "a=setup:passive"))
	f.Add(strings.ReplaceAll(answer, "a=mid:0", "a=mid:1"))
	f.Add(strings.ReplaceAll(answer, "G722/8000", "PCMU/8000"))
	f.Fuzz(func(t *testing.T, text string) {
		p, _, err := r.sfu.Publish(media.G722, Events{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		_ = p.Answer(text)
		_ = p.Answer(text)
		p.Write(tone(440, 0))
	})
}

// FuzzCandidate: a candidate is used, refused or ignored.
func FuzzCandidate(f *testing.F) {
	r := newRig(f)
	s, _, err := r.sfu.Subscribe(anOffer(f, r), Events{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("candidate:1 1 udp 2015363327 198.18.0.1 32268 typ host")
	f.Add("candidate:1 1 udp 2015363327 198.18.0.1 32268 typ srflx raddr 10.0.0.1 rport 9 generation 0 ufrag x network-cost 10")
	f.Add("candidate:1 2 UDP 1 2001:db8::1 9 typ relay raddr :: rport 0")
	f.Fuzz(func(_ *testing.T, text string) {
		s.mu.Lock()
		s.candidates = 0
		s.mu.Unlock()
		_ = s.Candidate(Candidate{Candidate: text})
	})
}

// FuzzRTP: a packet is played or not.
func FuzzRTP(f *testing.F) {
	r := newRig(f)
	s, _, err := r.sfu.Subscribe(anOffer(f, r), Events{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x90, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0, 1, 0x10, 30, 0, 0, 1, 2, 3})
	f.Add([]byte{0xa0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 3})
	f.Add([]byte{0x80, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1})
	var out [320]int16
	f.Fuzz(func(_ *testing.T, packet []byte) {
		s.take(packet)
		s.Pull(time.Now(), &out)
	})
}
func ignore(talktest.Candidate) {}

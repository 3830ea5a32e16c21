package media

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// What a phone may say about its media: nothing makes us panic, RTP goes to no
// address that is refused, and our answers (SDP) are read again as what they
// are.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(describe(phoneAddr, "9 8 0 101")))
	f.Add([]byte(describe(phoneAddr, "97", "a=rtpmap:97 PCMA/8000/1\r\na=sendonly\r\na=rtcp:4001\r\nm=video 0 RTP/AVP 9\r\n")))
	f.Add([]byte(describe("0.0.0.0:4000", "8", "c=IN IP6 ::ffff:127.0.0.1\r\n")))
	f.Add([]byte("v=0\nc=IN IP6 fe80::1%eth0\nm=audio 4000/2 RTP/AVP 8"))
	f.Add([]byte(head + "m=audio 4000 RTP/SAVP 8\r\n" + cryptoLine(1, 1)))
	f.Add([]byte(head + "m=audio 4000 RTP/AVP 8\r\na=crypto:1 AEAD_AES_256_GCM " + inline(1, 44) + "|2^31|1:4 WSH=64\r\n"))
	f.Add([]byte(head + "m=audio 4000 RTP/AVP 8\r\nm=audio 4002 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_32 " + inline(1, 30) +
		" UNENCRYPTED_SRTP\r\n" + cryptoLine(2, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := idle(t)
		check := func() {
			if to := s.destination(); to.IsValid() && s.ports.refused(to) != "" {
				t.Fatalf("RTP goes to %s", to)
			}
		}
		answer, err := s.Answer(b)
		if err != nil && code(err) == 0 {
			t.Fatalf("an error without a status: %v", err)
		}
		check()
		if err == nil {
			lines, err := readLines(answer)
			if err != nil || lines[s.terms.line].port != 20000 {
				t.Fatalf("our answer: %v\n%s", err, answer)
			}
			encrypts(t, s, lines[s.terms.line])
			for i, l := range lines {
				if i != s.terms.line && l.port != 0 {
					t.Fatalf("line %d is not refused:\n%s", i, answer)
				}
			}
			if again, err := s.Answer(b); err != nil || !bytes.Equal(again, answer) {
				t.Fatalf("the same offer is answered otherwise: %v\n%s", err, again)
			}
		}
		s.Offer()
		if err := s.Accept(b); err == nil {
			check()
		}
		s = idle(t)
		s.opt.Security = SRTPRequired
		if answer, err := s.Answer(b); err == nil {
			lines, _ := readLines(answer)
			encrypts(t, s, lines[s.terms.line])
			if s.mine == nil {
				t.Fatalf("a call in the clear where SRTP is required:\n%s", answer)
			}
		}
		s.Offer()
		if err := s.Accept(b); err == nil && s.mine == nil {
			t.Fatal("an answer in the clear where SRTP is required")
		}
		s = idle(t)
		s.Offer()
		if err := s.Accept(b); err != nil && code(err) == 0 {
			t.Fatalf("an error without a status: %v", err)
		}
		check()
	})
}

// encrypts checks that our answer has the key that is used, which is not the phone's,
// and none otherwise.
func encrypts(t *testing.T, s *Session, ours line) {
	t.Helper()
	if (s.mine == nil) != (len(ours.crypto) == 0) || (s.mine == nil) != (s.rx == nil) || ours.proto == "RTP/SAVP" && s.mine == nil {
		t.Fatalf("keys %q, encrypting %v, decrypting %v", ours.crypto, s.mine != nil, s.rx != nil)
	}
	if s.mine == nil {
		return
	}
	if k := readKey(ours.crypto[0]); len(ours.crypto) != 1 || !k.same(s.mine) || k.tag != s.terms.crypto.tag ||
		bytes.Equal(k.secret, s.terms.crypto.secret) || k.suite != s.terms.crypto.suite {
		t.Fatalf("keys %q", ours.crypto)
	}
}

// What anybody may send to our ports, in any order: nothing makes us panic, wait or grow.
func FuzzPackets(f *testing.F) {
	good, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: 65530, SSRC: 1}, Payload: loud(0)}).Marshal()
	f.Add(good, []byte{1, 0, 1, 40, 9, 200, 3, 7})
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 5, 0x8a, 0, 160}, []byte{1, 1, 255, 0, 2, 31, 32, 33})
	f.Add([]byte{0x81, 200, 0, 6, 0, 0, 0, 1}, []byte{0})
	f.Add([]byte{0xbf, 0x88, 0xff, 0xff}, []byte{})
	f.Fuzz(func(t *testing.T, b, script []byte) {
		s := idle(t)
		if _, err := s.Answer([]byte(describe(phoneAddr, "8 101"))); err != nil {
			t.Fatal(err)
		}
		named := netip.MustParseAddrPort(phoneAddr)
		now := time.Unix(1e9, 0)
		var p rtp.Packet
		var out [frameSamples]int16
		s.receiveRTCP(b, named, now)
		seq := uint16(0)
		if len(b) > 3 {
			seq = uint16(b[2])<<8 | uint16(b[3])
		}
		for _, step := range script[:min(len(script), 500)] {
			if len(b) > 7 { // the script moves sequence number and timestamp
				seq += uint16(int8(step)) * uint16(1+step%3)
				b[2], b[3] = byte(seq>>8), byte(seq)
				b[6], b[7] = byte(seq>>3), step
			}
			s.receive(&p, b, named, now)
			if step%4 != 0 {
				s.jitter.pull(&out, now)
				now = now.Add(frameTime)
			}
			if n := s.jitter.queued; n < 0 || s.jitter.waiting < 0 || s.jitter.waiting > slots || n > maxWaiting+maxPacket ||
				len(s.jitter.rest) > 2*maxPacket {
				t.Fatalf("%d packets wait, %d ticks", s.jitter.waiting, n)
			}
		}
		s.digits.take()
	})
}

// The same for an encrypted session: by everybody, and by the phone itself, whose packets
// are encrypted.
func FuzzEncryptedPackets(f *testing.F) {
	good, _ := (&rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: 65530, SSRC: 1}, Payload: loud(0)}).Marshal()
	f.Add(good, []byte{1, 0, 1, 40, 9, 200, 3, 7}, byte(0))
	f.Add([]byte{0xbf, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 5, 0x8a, 0, 160}, []byte{1, 1, 255, 0, 2, 31, 32, 33}, byte(3))
	f.Add([]byte{0x81, 200, 0, 6, 0, 0, 0, 1}, []byte{0}, byte(5))
	f.Fuzz(func(t *testing.T, b, script []byte, which byte) {
		if len(b) > maxPacket {
			return
		}
		with := &suites[int(which)%len(suites)]
		size := with.key + with.salt
		s := idle(t)
		offer := describe(phoneAddr, "8 101", fmt.Sprintf("a=crypto:1 %s %s|1:2\r\n", with.name, inline('a', size)))
		if _, err := s.Answer([]byte(offer)); err != nil {
			t.Fatal(err)
		}
		key := bytes.Repeat([]byte{'a'}, size)
		ctx, err := srtp.CreateContext(key[:with.key], key[with.key:], with.profile, srtp.MasterKeyIndicator([]byte{0, 1}))
		if err != nil {
			t.Fatal(err)
		}
		named := netip.MustParseAddrPort(phoneAddr)
		now := time.Unix(1e9, 0)
		var p rtp.Packet
		var out [frameSamples]int16
		s.receiveRTCP(b, named, now)
		if sealed, err := ctx.EncryptRTCP(nil, b, nil); err == nil {
			s.receiveRTCP(sealed, named, now)
		}
		s.receive(&p, b, named, now)
		if s.stats.Received > 0 {
			t.Fatal("a packet in the clear was taken")
		}
		for i, step := range script[:min(len(script), 200)] {
			if len(b) > 7 {
				b[3] += step
			}
			if sealed, err := ctx.EncryptRTP(nil, b, nil); err == nil {
				s.receive(&p, sealed, named, now)
				if len(sealed) > 0 {
					sealed[int(step)%len(sealed)] ^= 1 << (i % 8)
				}
				s.receive(&p, sealed, named, now)
			}
			s.receive(&p, b, named, now)
			s.Pull(now, &out)
			now = now.Add(frameTime)
		}
	})
}

func TestPullBoundsItsWork(t *testing.T) {
	s := idle(t)
	if _, err := s.Answer([]byte(describe(phoneAddr, "8"))); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	now := time.Unix(1e9, 0)
	var out [frameSamples]int16
	var p rtp.Packet
	began := time.Now()
	for range 100000 {
		h := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 8, SequenceNumber: uint16(r.IntN(40)), Timestamp: r.Uint32(), SSRC: 1},
			Payload: make([]byte, r.IntN(200))}
		b, err := h.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		s.receive(&p, b, netip.MustParseAddrPort(phoneAddr), now)
		s.jitter.pull(&out, now)
		now = now.Add(frameTime)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("%v", d)
	}
}

package media

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// nowhere is a socket that takes everything.
type nowhere struct{}

func (nowhere) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) { select {} }
func (nowhere) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	return len(b), nil
}
func (nowhere) Close() error { return nil }

var benched = []struct{ name, pts string }{{"G722", "9"}, {"PCMA", "8"}, {"PCMU", "0"}}

// One packet to the phone: Write, pacing, resampling, encoding, the header;
// the system's work for the socket is not in it.
func BenchmarkSend(b *testing.B) {
	for _, c := range benched {
		b.Run(c.name, func(b *testing.B) {
			s := idle(b)
			s.rtp = nowhere{}
			if _, err := s.Answer([]byte(describe(phoneAddr, c.pts))); err != nil {
				b.Fatal(err)
			}
			pcm := tone(440, 10000)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Write(pcm[i : i+frameSamples])
				i = (i + frameSamples) % len(pcm)
				s.sendFrame()
			}
		})
	}
}

// One packet from the phone: parsing, latching, jitter buffer, decoding,
// resampling, the callback.
func BenchmarkReceive(b *testing.B) {
	for _, c := range benched {
		b.Run(c.name, func(b *testing.B) {
			s := idle(b)
			if _, err := s.Answer([]byte(describe(phoneAddr, c.pts))); err != nil {
				b.Fatal(err)
			}
			var enc encoder
			enc.reset(s.terms.codec)
			var all [50][frameTicks]byte
			pcm := tone(440, 10000)
			for i := range all {
				enc.encode(&all[i], (*[frameSamples]int16)(pcm[i*frameSamples:]))
			}
			s.opt.Audio = func([]int16) {}
			from := netip.MustParseAddrPort(phoneAddr)
			now := time.Unix(1e9, 0)
			var p rtp.Packet
			var buf [12 + frameTicks]byte
			h := rtp.Header{Version: 2, PayloadType: s.terms.pt, SSRC: 1}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				h.SequenceNumber++
				h.Timestamp += frameTicks
				n, _ := h.MarshalTo(buf[:])
				n += copy(buf[n:], all[i%50][:])
				i++
				s.receive(&p, buf[:n], from, now)
				s.playFrame(now)
				now = now.Add(frameTime)
			}
			if st := s.Stats(); st.Lost+st.Late+st.Dropped > 0 {
				b.Fatalf("%+v", st)
			}
		})
	}
}

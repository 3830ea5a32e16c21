package media

import (
	"testing"
	"time"

	"sipxrest/media/opustest"
)

// 20 ms of Opus from the packet to the samples: buffer, decoder.
func BenchmarkPlayer(b *testing.B) {
	for _, name := range []string{"speech", "tone-1000", "speech-nb", "speech-wb", "music-fb", "stereo-music", "frame-60"} {
		packets := opustest.Packets(name)
		if name != "speech" { // tones change the decoder's mode at their ends, and begin anew with each round here
			packets = repeated(name, len(packets)/2)
		}
		b.Run("Opus/"+name, func(b *testing.B) { benchmarkPlayer(b, Opus, packets, true) })
	}
	b.Run("Opus/not heard", func(b *testing.B) { benchmarkPlayer(b, Opus, opustest.Packets("speech"), false) })
	for _, c := range []Codec{G722, PCMA, PCMU} {
		b.Run(c.String(), func(b *testing.B) {
			enc, wave := NewEncoder(c), tone(440, 10000)
			var packets [][]byte
			for i := range 50 {
				packets = append(packets, enc.Encode(nil, (*[320]int16)(wave[i*320:])))
			}
			benchmarkPlayer(b, c, packets, true)
		})
	}
}

func benchmarkPlayer(b *testing.B, c Codec, packets [][]byte, heard bool) {
	p := NewPlayer(PlayerConfig{})
	var out [frameSamples]int16
	now, seq, ts, media := newYear, uint16(0), uint32(0), 0
	tick := func() {
		now = now.Add(frameTime)
		for ; media < frameTicks; seq++ {
			packet := packets[int(seq)%len(packets)]
			p.Push(seq, ts, c, packet, 20, now)
			n := length(c, packet)
			ts += uint32(n) * unit(c)
			media += n
		}
		media -= frameTicks
		if heard {
			p.Pull(now, &out)
		} else {
			p.Skip(now)
		}
	}
	for range 2 * len(packets) { // the decoder makes its tables with what it meets first
		tick()
	}
	b.ReportAllocs()
	for b.Loop() {
		tick()
	}
	if st := p.Stats(); st.Lost+st.Faults > 0 || st.Waiting > 200*time.Millisecond {
		b.Fatalf("%+v", st)
	}
}

// 20 ms, encoded for the conversation.
func BenchmarkEncoder(b *testing.B) {
	for _, c := range []Codec{G722, PCMA, PCMU} {
		b.Run(c.String(), func(b *testing.B) {
			enc, wave := NewEncoder(c), tone(440, 10000)
			buf := make([]byte, 0, frameTicks)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				buf = enc.Encode(buf[:0], (*[320]int16)(wave[i:]))
				i = (i + frameSamples) % len(wave)
			}
		})
	}
}

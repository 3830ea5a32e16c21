package media

import (
	"bytes"
	"testing"
	"time"

	"sipxrest/media/opustest"
)

// What a participant may send as Opus or another codec, in any order: nothing makes
// us panic, wait or grow, and what waits is never more than 200 ms and a packet.
func FuzzPlayer(f *testing.F) {
	for _, name := range opustest.Names() {
		packets := opustest.Packets(name)
		f.Add(packets[len(packets)/2], []byte{1, 1, 1, 4, 1, 1, 200, 1, 1}, false)
	}
	f.Add([]byte{31<<3 | 3, 0xc2, 255, 255, 0}, []byte{1, 2, 3}, false)
	f.Add([]byte{3<<3 | 1}, []byte{1, 0, 1, 255, 1, 128}, false)
	f.Add([]byte{0xa0, 0xa1}, []byte{1, 0, 1, 255, 1, 128}, true)
	f.Fuzz(func(t *testing.T, packet, script []byte, other bool) {
		packet = bytes.Clone(packet)
		p := NewPlayer(PlayerConfig{})
		var out [frameSamples]int16
		seq, ts, now := uint16(65500), uint32(1<<32-10000), newYear
		for i, step := range script[:min(len(script), 100)] {
			seq += uint16(int8(step))
			ts += uint32(int8(step)) * 960
			c := Opus
			if other {
				c = Codec(step % 5)
			}
			if len(packet) > 1 {
				packet[1+i%(len(packet)-1)] ^= step >> 4
			}
			p.Push(seq, ts, c, packet, int(step)-1, now)
			switch step % 4 {
			case 0:
			case 1:
				p.Skip(now)
			default:
				if !p.Pull(now, &out) && out != [frameSamples]int16{} {
					t.Fatal("sound that is not heard")
				}
			}
			now = now.Add(time.Duration(step) * time.Millisecond)
			if st := p.Stats(); st.Waiting < 0 || st.Waiting > 200*time.Millisecond+ticks(maxPacket) || p.jitter.waiting > playerSlots {
				t.Fatalf("%v wait in %d packets", st.Waiting, p.jitter.waiting)
			}
			if l := p.Level(); l < 0 || l > levelSilence {
				t.Fatalf("level %d", l)
			}
		}
		for range 200 { // whatever it was, it ends
			now = now.Add(frameTime)
			p.Pull(now, &out)
		}
		if st := p.Stats(); st.Waiting > 0 || out != [frameSamples]int16{} {
			t.Fatalf("%v are left", st.Waiting)
		}
	})
}

// The length of a packet is what its frames decode to, or nothing is decoded.
func FuzzOpus(f *testing.F) {
	for _, name := range opustest.Names() {
		packets := opustest.Packets(name)
		f.Add(packets[len(packets)/2])
	}
	f.Add([]byte{})
	f.Add([]byte{16<<3 | 3, 48})
	f.Fuzz(func(t *testing.T, packet []byte) {
		n := opusTicks(packet)
		if n < 0 || n > opusMost {
			t.Fatalf("%d ticks", n)
		}
		core, err := newOpusCore() // not by opusDecoder: a panic is to be found
		if err != nil {
			t.Fatal(err)
		}
		pcm := make([]int16, opusSamples)
		got, err := core.DecodeToInt16(packet, pcm)
		if err == nil && got != 2*n {
			t.Fatalf("%d samples of %d ticks", got, n)
		}
	})
}

package media

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sipxrest/media/opustest"
)

// stream is what one source sends: packets and when each arrives.
type stream struct {
	codec   Codec
	packets [][]byte
	seq     uint16
	ts      uint32
	ppm     float64 // by which its clock is slower than ours
	arrives func(i int, sent time.Duration) (at time.Duration, lost bool)
}

// play gives a player the stream, pulls all along, and returns what was heard and
// how much waited after each frame.
func (s stream) play(p *Player, each func(frame int, now time.Time)) (pcm []int16, heard []bool, waited []time.Duration) {
	type arrival struct {
		at time.Duration
		i  int
	}
	var list []arrival
	var starts []uint32
	media := 0 // ticks
	end := time.Duration(0)
	for i, packet := range s.packets {
		sent := time.Duration(float64(ticks(media+length(s.codec, packet))) * (1 + s.ppm/1e6))
		starts = append(starts, uint32(media)*unit(s.codec))
		media += length(s.codec, packet)
		at, lost := sent, false
		if s.arrives != nil {
			at, lost = s.arrives(i, sent)
		}
		if !lost {
			list = append(list, arrival{at, i})
		}
		end = max(end, at)
	}
	slices.SortStableFunc(list, func(a, b arrival) int { return int(a.at - b.at) })
	var out [frameSamples]int16
	for frame := 0; time.Duration(frame)*frameTime < end+400*time.Millisecond; frame++ {
		at := time.Duration(frame)*frameTime + 7*time.Millisecond // the clocks are not in step
		for len(list) > 0 && list[0].at <= at {
			a := list[0]
			list = list[1:]
			p.Push(s.seq+uint16(a.i), s.ts+starts[a.i], s.codec, s.packets[a.i], -1, newYear.Add(a.at))
		}
		now := newYear.Add(at)
		heard = append(heard, p.Pull(now, &out))
		pcm = append(pcm, out[:]...)
		waited = append(waited, p.Stats().Waiting)
		if each != nil {
			each(frame, now)
		}
	}
	return pcm, heard, waited
}

// repeated is the steady middle of a stream, again and again: whole periods of its tone.
func repeated(name string, n int) (packets [][]byte) {
	all := opustest.Packets(name)
	middle := all[len(all)/3 : len(all)-2]
	for len(packets) < n {
		packets = append(packets, middle...)
	}
	return packets[:n]
}

// Each length of a packet is heard without a gap, with little delay, also when it
// does not come to the millisecond.
func TestPlayerOfEachLength(t *testing.T) {
	for _, ms := range []string{"2.5", "5", "10", "20", "40", "60", "80", "100", "120"} {
		name := "frame-" + ms
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			packets := opustest.Packets(name)
			long := ticks(opusTicks(packets[0]))
			s := stream{codec: Opus, packets: packets, seq: 65500, ts: 1<<32 - 5000, arrives: func(_ int, sent time.Duration) (time.Duration, bool) {
				return sent + time.Duration(r.IntN(4000))*time.Microsecond, false
			}}
			p := NewPlayer(PlayerConfig{})
			pcm, heard, waited := s.play(p, nil)
			st := p.Stats()
			if st.Lost+st.Late+st.Dropped+st.Faults+st.Ignored > 0 || int(st.Received) != len(packets) {
				t.Errorf("%+v", st)
			}
			first, last := slices.Index(heard, true), len(heard)-1
			for !heard[last] {
				last--
			}
			if i := slices.Index(heard[first:last], false); i >= 0 {
				t.Errorf("nothing is heard at %v", time.Duration(first+i)*frameTime)
			}
			if begins := time.Duration(first) * frameTime; begins > long+60*time.Millisecond {
				t.Errorf("begins after %v", begins)
			}
			if most := slices.Max(waited); most > long+50*time.Millisecond {
				t.Errorf("%v wait", most)
			}
			pcm = pcm[(first+4)*frameSamples : (last-8)*frameSamples]
			if got := purity(pcm[:len(pcm)-len(pcm)%160], 1000); got < 18 {
				t.Errorf("%.1f dB pure", got)
			}
		})
	}
}

// What networks do to packets: what is heard of it, and what is counted.
func TestPlayerOnNetworksThatLoseAndReorder(t *testing.T) {
	const n = 200
	type counts struct{ received, lost, late, reordered, duplicate, dropped uint64 }
	swapped := func(i int, sent time.Duration) (time.Duration, bool) {
		if i%10 == 5 { // 25 ms late: behind the next one
			return sent + 25*time.Millisecond, false
		}
		return sent, false
	}
	for _, tt := range []struct {
		name    string
		arrives func(i int, sent time.Duration) (time.Duration, bool)
		want    counts
		silence int // frames at most, between first and last
	}{
		{"nothing", nil, counts{received: n}, 0},
		{"one of ten lost", func(i int, sent time.Duration) (time.Duration, bool) { return sent, i%10 == 5 },
			counts{received: n - n/10, lost: n / 10}, 0}, // made up of what was before
		{"reordered", swapped, counts{received: n, reordered: n / 10}, 0},
		{"200 ms lost", func(i int, sent time.Duration) (time.Duration, bool) { return sent, i >= 100 && i < 110 },
			counts{received: n - 10, lost: 10}, 10},
		{"an outage of 1 s, then all at once", func(i int, sent time.Duration) (time.Duration, bool) {
			if i >= 100 && i < 150 {
				return 3010 * time.Millisecond, false
			}
			return sent, false
		}, counts{received: n, dropped: 41}, 50}, // 9 of them are what 200 ms hold beside the next
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPlayer(PlayerConfig{})
			s := stream{codec: Opus, packets: repeated("tone-1000", n), seq: 7, ts: 3, arrives: tt.arrives}
			_, heard, waited := s.play(p, nil)
			st := p.Stats()
			got := counts{st.Received, st.Lost, st.Late, st.Reordered, st.Duplicate, st.Dropped}
			t.Logf("%+v, waits %v", got, slices.Max(waited))
			if got.dropped > tt.want.dropped+2 || got.dropped+2 < tt.want.dropped {
				t.Errorf("%d dropped, want %d", got.dropped, tt.want.dropped)
			}
			if got.dropped = tt.want.dropped; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			first, last := slices.Index(heard, true), n-5
			silent := 0
			for _, h := range heard[first:last] {
				if !h {
					silent++
				}
			}
			if silent > tt.silence {
				t.Errorf("%d frames of silence, want %d at most", silent, tt.silence)
			}
			if m := slices.Max(waited); m > 200*time.Millisecond {
				t.Errorf("%v wait", m)
			}
		})
	}
}

// Silence that is not sent is silence: nothing is decoded or repeated in it, and
// speech is there again behind it.
func TestPlayerInPauses(t *testing.T) {
	for _, tt := range []struct {
		name string
		keep func(i int, packet []byte, quiet int) bool // whether it is sent, quiet: how many small ones came before it
	}{
		{"each packet is sent", func(int, []byte, int) bool { return true }},
		{"one in 400 ms is sent", func(_ int, p []byte, quiet int) bool { return len(p) > opusSilence || quiet%20 == 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packets := opustest.Packets("dtx")
			p := NewPlayer(PlayerConfig{})
			var out [frameSamples]int16
			seq, quiet, small := uint16(1), 0, 0
			var levels []float64
			for i, packet := range packets {
				now := newYear.Add(time.Duration(i) * frameTime)
				if tt.keep(i, packet, quiet) {
					p.Push(seq, uint32(i)*960, Opus, packet, -1, now)
					seq++
				}
				if len(packet) <= opusSilence {
					quiet++
					small++
				} else {
					quiet = 0
				}
				p.Pull(now, &out)
				e := 0.0
				for _, v := range out {
					e += float64(v) * float64(v)
				}
				levels = append(levels, 10*math.Log10(max(e/frameSamples, 1)))
			}
			st := p.Stats()
			if st.Lost+st.Faults+st.Dropped > 0 {
				t.Errorf("%+v", st)
			}
			if small < 50 {
				t.Fatalf("only %d packets are silence", small)
			}
			for i := range packets { // the second half is the first again
				run := 0
				for i-run > 0 && i-run < len(packets) && len(packets[i-run]) <= opusSilence {
					run++
				}
				if run > 8 && levels[i] > 0 { // behind the buffer and what fades
					t.Errorf("frame %d, %d frames into the pause, is at %.0f dB", i, run, levels[i])
				}
			}
			loud := 0
			for _, l := range levels[len(levels)/2:] {
				if l > 50 {
					loud++
				}
			}
			if loud < 10 {
				t.Errorf("only %d frames are heard after the pause", loud)
			}
		})
	}
}

// Clocks differ: a source's may be 200 ppm slower or faster than ours, which is
// 120 ms in 10 minutes. The delay does not grow with it.
func TestPlayerDelayDoesNotGrow(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine for minutes: it has nothing to race with")
	}
	for _, ppm := range []float64{-200, 0, 200} {
		for _, codec := range []Codec{Opus, PCMU} {
			const n = 10 * 60 * 50
			packets := make([][]byte, 0, n)
			loud, quiet := slices.Repeat([]byte{0xaf}, frameTicks), slices.Repeat([]byte{0xff}, frameTicks)
			tone, silence := repeated("tone-1000", 1)[0], []byte{15 << 3}
			for i := range n { // once a second a click, by which the delay is measured
				switch {
				case codec == PCMU && i%50 == 0:
					packets = append(packets, loud)
				case codec == PCMU:
					packets = append(packets, quiet)
				case i%50 == 0:
					packets = append(packets, tone)
				default:
					packets = append(packets, silence)
				}
			}
			p := NewPlayer(PlayerConfig{})
			s := stream{codec: codec, packets: packets, ppm: ppm, arrives: func(i int, sent time.Duration) (time.Duration, bool) {
				return sent + time.Duration(i*7%5)*time.Millisecond, false
			}}
			pcm, _, waited := s.play(p, nil)
			var delays []time.Duration
			at := 0
			for i := 0; i < n; i += 50 {
				sent := time.Duration(float64(time.Duration(i)*frameTime) * (1 + ppm/1e6))
				for at = int(sent * 16000 / time.Second); at < len(pcm) && pcm[at] < 200 && pcm[at] > -200; at++ {
				}
				if d := time.Duration(at)*time.Second/16000 - sent; d < 500*time.Millisecond { // else it was in what was dropped
					delays = append(delays, d)
				}
			}
			if missing := n/50 - len(delays); missing > int(p.Stats().Dropped) {
				t.Errorf("%v %+.0f ppm: %d clicks are missing", codec, ppm, missing)
			}
			first, last := slices.Max(delays[1:60]), slices.Max(delays[len(delays)-60:])
			t.Logf("%v %+.0f ppm: delay of the first minute %v, of the last %v, most %v; waits %v at most; %+v", codec, ppm, first, last,
				slices.Max(delays[1:]), slices.Max(waited), p.Stats())
			if most := slices.Max(delays[1:]); most > 100*time.Millisecond || last > first+3*frameTime/2 {
				t.Errorf("%v %+.0f ppm: delay of the first minute %v, of the last %v, most %v", codec, ppm, first, last, most)
			}
			if m := slices.Max(waited); m > 80*time.Millisecond {
				t.Errorf("%v %+.0f ppm: %v wait", codec, ppm, m)
			}
		}
	}
}

// What nobody hears is not decoded, and does not wait; what is heard after it is
// what comes then.
func TestPlayerThatIsSkipped(t *testing.T) {
	packets := repeated("tone-1000", 300)
	p := NewPlayer(PlayerConfig{})
	decoded := 0
	p.jitter.opus.begin = func() (opusCore, error) {
		core, err := newOpusCore()
		return counting{core, &decoded}, err
	}
	var out [frameSamples]int16
	heard, pcm := 0, []int16(nil)
	for i, packet := range packets {
		now := newYear.Add(time.Duration(i) * frameTime)
		p.Push(uint16(i), uint32(i)*960, Opus, packet, -1, now)
		if i >= 100 && i < 200 {
			p.Skip(now)
			if st := p.Stats(); st.Waiting > 40*time.Millisecond {
				t.Fatalf("%v wait at %d", st.Waiting, i)
			}
			continue
		}
		if p.Pull(now, &out) {
			heard++
		} else if i > 2 {
			t.Errorf("nothing is heard in frame %d", i)
		}
		if i > 210 {
			pcm = append(pcm, out[:]...)
		}
	}
	if heard < 197 || decoded < heard || decoded > heard+2 {
		t.Errorf("%d frames heard, %d packets decoded", heard, decoded)
	}
	if got := level(pcm, 1000, 16000); got < 3000 || got > 5000 {
		t.Errorf("1000 Hz is at %.0f", got)
	}
	if st := p.Stats(); st.Lost+st.Dropped+st.Late+st.Faults > 0 {
		t.Errorf("%+v", st)
	}
}

// counting counts the packets that are decoded.
type counting struct {
	opusCore
	n *int
}

func (c counting) DecodeToInt16(packet []byte, pcm []int16) (int, error) {
	*c.n++
	return c.opusCore.DecodeToInt16(packet, pcm)
}

// The level is that of the loudest packet of the last 200 ms (RFC 6464).
func TestPlayerLevel(t *testing.T) {
	p := NewPlayer(PlayerConfig{})
	var out [frameSamples]int16
	i := 0
	tick := func(level int, payload ...byte) int {
		now := newYear.Add(time.Duration(i) * frameTime)
		if payload != nil {
			p.Push(uint16(i), uint32(i)*960, Opus, payload, level, now)
		}
		if i++; i%2 == 0 {
			p.Skip(now)
		} else {
			p.Pull(now, &out)
		}
		return p.Level()
	}
	voice := opustest.Packets("speech")[20]
	if got := p.Level(); got != 127 {
		t.Errorf("%d before the first packet", got)
	}
	for _, step := range []struct {
		level   int
		payload []byte
		want    int
	}{
		{60, voice, 60}, {30, voice, 30}, {70, voice, 30}, {-1, voice, 30}, {200, voice, 30}, {0, voice, 0}, {90, voice, 0},
	} {
		if got := tick(step.level, step.payload...); got != step.want {
			t.Errorf("%d of %d", got, step.level)
		}
	}
	for range 12 {
		tick(-1, voice...)
	}
	if got := p.Level(); got != 40 {
		t.Errorf("%d without the extension", got)
	}
	for range 12 {
		tick(20, 15<<3)
	}
	if got := p.Level(); got != 127 {
		t.Errorf("%d in a pause", got)
	}
	tick(50, voice...)
	for range 9 {
		tick(0)
	}
	if got := p.Level(); got != 127 {
		t.Errorf("%d without packets", got)
	}
}

// A source may change its codec, and begin anew with other numbers.
func TestPlayerOfAnotherCodec(t *testing.T) {
	p := NewPlayer(PlayerConfig{})
	enc := NewEncoder(G722)
	wave := tone(1000, 10000)
	opus := repeated("tone-400", 100)
	var out [frameSamples]int16
	var pcm []int16
	seq, ts := uint16(65400), uint32(1<<32-3000)
	for i := range 300 {
		now := newYear.Add(time.Duration(i) * frameTime)
		switch {
		case i < 100:
			p.Push(seq, ts, Opus, opus[i], -1, now)
			ts += 960
		case i < 200:
			p.Push(seq, ts, G722, enc.Encode(nil, (*[320]int16)(wave[i%50*320:])), -1, now)
			ts += 160
		default: // anew: the first packet is not believed
			if i == 200 {
				seq, ts = seq+20000, ts+1<<30
			}
			p.Push(seq, ts, Opus, opus[i-200], -1, now)
			ts += 960
		}
		seq++
		p.Pull(now, &out)
		pcm = append(pcm, out[:]...)
	}
	part := func(from, to int) []int16 { return pcm[from*frameSamples : to*frameSamples] }
	for _, got := range []float64{level(part(20, 90), 400, 16000), level(part(220, 290), 400, 16000)} {
		if got < 3700 || got > 4500 {
			t.Errorf("400 Hz is at %.0f", got)
		}
	}
	if got := level(part(120, 190), 1000, 16000); got < 9000 || got > 11000 {
		t.Errorf("1000 Hz is at %.0f", got)
	}
	if st := p.Stats(); st.Ignored != 1 || st.Faults > 0 || st.Codec != Opus {
		t.Errorf("%+v", st)
	}
}

// A stream that begins anew all the time, with much sound in each packet, takes no
// more of the processor than any other: nothing is decoded faster than it sounds.
func TestPlayerDecodesNoFasterThanItSounds(t *testing.T) {
	p := NewPlayer(PlayerConfig{})
	decoded := 0
	p.jitter.opus.begin = func() (opusCore, error) {
		core, err := newOpusCore()
		return counting{core, &decoded}, err
	}
	packet := opustest.Packets("frame-60")[2]
	var out [frameSamples]int16
	for i := range 500 { // 10 s
		now := newYear.Add(time.Duration(i) * frameTime)
		for k := range 4 { // the second in sequence is believed
			p.Push(uint16(i*5000+k), uint32(i)*960, Opus, packet, -1, now)
		}
		p.Pull(now, &out)
	}
	if most := 500/3 + 6; decoded > most || decoded < most/2 {
		t.Errorf("%d packets of 60 ms are decoded in 10 s, want %d at most", decoded, most)
	}
}

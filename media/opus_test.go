package media

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"sipxrest/media/opustest"
)

var newYear = time.Unix(1e9, 0)

// What libopus encoded is decoded, in every mode, bandwidth and length.
func TestOpusOfLibopusIsDecoded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ticks int       // of the first packet
		hz    []float64 // of 4096 together
		pure  float64   // dB at least, of one tone
	}{
		{"tone-400", 160, []float64{400}, 28}, {"tone-1000", 160, []float64{1000}, 35},
		{"frame-2.5", 20, []float64{1000}, 20}, {"frame-5", 40, []float64{1000}, 20}, {"frame-10", 80, []float64{1000}, 25},
		{"frame-20", 160, []float64{1000}, 40}, {"frame-40", 320, []float64{1000}, 35}, {"frame-60", 480, []float64{1000}, 40},
		{"frame-80", 640, []float64{1000}, 40}, {"frame-100", 800, []float64{1000}, 40}, {"frame-120", 960, []float64{1000}, 40},
		{"speech-nb", 160, []float64{1000}, 30}, {"speech-mb", 160, []float64{1000}, 35}, {"speech-wb", 160, []float64{1000}, 40},
		{"speech-swb", 160, []float64{1000}, 40}, {"speech-fb", 160, []float64{1000}, 40},
		{"music-nb", 160, []float64{1000}, 45}, {"music-mb", 160, []float64{1000}, 45}, {"music-wb", 160, []float64{1000}, 45},
		{"music-swb", 160, []float64{1000}, 45}, {"music-fb", 160, []float64{1000}, 45},
		{"stereo-speech", 160, []float64{400, 1000}, 0}, {"stereo-music", 160, []float64{400, 1000}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packets := opustest.Packets(tt.name)
			if n := opusTicks(packets[0]); n != tt.ticks {
				t.Errorf("%d ticks, want %d", n, tt.ticks)
			}
			var d opusDecoder
			var pcm []int16
			for _, p := range packets {
				got := d.decode(p, newYear)
				if len(got) != 2*opusTicks(p) {
					t.Fatalf("%d samples, want %d: %v", len(got), 2*opusTicks(p), d.err)
				}
				pcm = append(pcm, got...)
			}
			pcm = pcm[2400 : len(pcm)-2400-len(pcm)%160] // whole periods, without the ends
			for _, hz := range tt.hz {
				want := 4096 / float64(len(tt.hz))
				if got := level(pcm, hz, 16000); math.Abs(20*math.Log10(got/want)) > 1 {
					t.Errorf("%.0f Hz is at %.0f, want %.0f", hz, got, want)
				}
				if got := purity(pcm, hz); len(tt.hz) == 1 && got < tt.pure {
					t.Errorf("%.1f dB pure, want %.0f", got, tt.pure)
				}
			}
		})
	}
}

// Speech has the loudness that libopus' own decoder gives it, frame by frame.
func TestSpeechIsAsLoudAsByLibopus(t *testing.T) {
	const skipped = 104 // samples that a player of files leaves out at the beginning (RFC 7845 §4.2), 312 at 48 kHz
	var d opusDecoder
	var pcm []int16
	for _, p := range opustest.Packets("speech") {
		pcm = append(pcm, d.decode(p, newYear)...)
	}
	pcm = pcm[skipped:]
	compared := 0
	for i, want := range opustest.SpeechLevels() {
		e := 0.0
		for _, v := range pcm[i*frameSamples : (i+1)*frameSamples] {
			e += float64(v) * float64(v)
		}
		got := 10 * math.Log10(max(e/frameSamples, 1))
		if want < 30 { // below -60 dBFS
			continue
		}
		compared++
		if math.Abs(got-want) > 2 { // it resamples from 48 kHz, which differs near 8 kHz
			t.Errorf("frame %d is at %.1f dB, libopus has %.1f", i, got, want)
		}
	}
	if compared < 80 {
		t.Errorf("only %d frames were compared", compared)
	}
}

// How long a packet sounds (RFC 6716 §3.1, §3.2), in ticks of 1/8000 s.
func TestLengthOfOpusPackets(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet []byte
		want   int
	}{
		{"nothing", nil, 0},
		{"SILK 10 ms", []byte{0 << 3}, 80}, {"SILK 60 ms", []byte{3 << 3}, 480}, {"SILK WB 40 ms", []byte{10 << 3}, 320},
		{"both layers 10 ms", []byte{12 << 3}, 80}, {"both layers 20 ms", []byte{15 << 3}, 160},
		{"CELT 2.5 ms", []byte{16 << 3}, 20}, {"CELT 20 ms", []byte{31 << 3}, 160}, {"stereo", []byte{31<<3 | 4}, 160},
		{"two of 60 ms", []byte{3<<3 | 1}, 960}, {"two of two sizes", []byte{1<<3 | 2}, 320},
		{"48 of 2.5 ms", []byte{16<<3 | 3, 48}, 960}, {"49 of 2.5 ms", []byte{16<<3 | 3, 49}, 0},
		{"three of 60 ms", []byte{3<<3 | 3, 3}, 0}, {"63 of 20 ms", []byte{31<<3 | 3, 63}, 0},
		{"no frame", []byte{31<<3 | 3, 0}, 0}, {"no count", []byte{31<<3 | 3}, 0},
		{"padding and variable sizes do not count", []byte{31<<3 | 3, 0xc2}, 320},
	} {
		if got := opusTicks(tt.packet); got != tt.want {
			t.Errorf("%s: %d ticks, want %d", tt.name, got, tt.want)
		}
	}
}

// brittle panics when the packet says so.
type brittle struct{ decoded *int }

func (b brittle) DecodeToInt16(packet []byte, pcm []int16) (int, error) {
	*b.decoded++
	switch packet[len(packet)-1] {
	case 0:
		panic("index out of range")
	case 1:
		return 0, errors.New("too short")
	}
	for i := range 320 {
		pcm[i] = 1000
	}
	return 320, nil
}

// A decoder that panics costs a frame, and three times in a minute the source for a minute.
func TestDecoderThatPanics(t *testing.T) {
	const dies, fails, works = 0, 1, 2
	made, decoded := 0, 0
	d := opusDecoder{begin: func() (opusCore, error) { made++; return brittle{&decoded}, nil }}
	at := newYear
	for i, step := range []struct {
		after   time.Duration
		packet  byte
		heard   bool
		made    int
		decoded int
	}{
		{0, works, true, 1, 1},
		{0, fails, false, 1, 2},
		{0, dies, false, 1, 3},
		{time.Second, works, true, 2, 4},
		{0, dies, false, 2, 5},
		{61 * time.Second, dies, false, 3, 6}, // the first ones are forgotten
		{time.Second, dies, false, 4, 7},
		{time.Second, works, true, 5, 8},
		{time.Second, dies, false, 5, 9}, // three within a minute
		{time.Second, works, false, 5, 9},
		{58 * time.Second, works, false, 5, 9},
		{time.Second, works, true, 6, 10},
		{0, dies, false, 6, 11},
		{0, works, true, 7, 12},
	} {
		at = at.Add(step.after)
		heard := d.decode([]byte{9 << 3, 1, 2, 3, step.packet}, at) != nil
		if heard != step.heard || made != step.made || decoded != step.decoded {
			t.Fatalf("step %d: heard %v, %d decoders, %d packets decoded, want %+v", i, heard, made, decoded, step)
		}
	}
	if d.faults != 7 {
		t.Errorf("%d faults", d.faults)
	}
}

// The log says once that a source cannot be decoded, and why.
func TestFaultsAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	p := NewPlayer(PlayerConfig{Log: slog.New(slog.NewTextHandler(&log, nil))})
	var out [frameSamples]int16
	for i := range 10 {
		at := newYear.Add(time.Duration(i) * frameTime)
		p.Push(uint16(i), uint32(i)*960, Opus, []byte{31<<3 | 3, 0, 7, 7}, -1, at)
		p.Pull(at, &out)
	}
	if st := p.Stats(); st.Faults != 10 || st.Received != 10 || st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
	if n := strings.Count(log.String(), "cannot be decoded"); n != 1 || !strings.Contains(log.String(), "RFC 6716") {
		t.Errorf("the log:\n%s", log.String())
	}
}

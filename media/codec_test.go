package media

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gotranspile/g722"
	"github.com/zaf/g711"
)

// tone is a second of a sine at 16 kHz.
func tone(hz, amplitude float64) []int16 {
	pcm := make([]int16, 16000)
	for i := range pcm {
		pcm[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/16000)))
	}
	return pcm
}

// level is the amplitude of the frequency in pcm (Goertzel, by its definition).
func level(pcm []int16, hz, rate float64) float64 {
	re, im := 0.0, 0.0
	for i, v := range pcm {
		re += float64(v) * math.Cos(2*math.Pi*hz*float64(i)/rate)
		im += float64(v) * math.Sin(2*math.Pi*hz*float64(i)/rate)
	}
	return 2 * math.Hypot(re, im) / float64(len(pcm))
}

// purity is the ratio, in dB, of what belongs to the frequency to all else.
func purity(pcm []int16, hz float64) float64 {
	all := 0.0
	for _, v := range pcm {
		all += float64(v) * float64(v)
	}
	a := level(pcm, hz, 16000)
	of := a * a / 2 * float64(len(pcm))
	return 10 * math.Log10(of/max(all-of, 1))
}

// through takes pcm through encoder and decoder, frame by frame.
func through(c Codec, pcm []int16) []int16 {
	var enc encoder
	enc.reset(c)
	var dec decoder
	var payload [frameTicks]byte
	var out []int16
	for ; len(pcm) >= frameSamples; pcm = pcm[frameSamples:] {
		enc.encode(&payload, (*[frameSamples]int16)(pcm))
		out = dec.decode(out, c, payload[:])
	}
	return out
}

func TestTonesComeThrough(t *testing.T) {
	for _, tt := range []struct {
		codec         Codec
		hz, amplitude float64
		pure          float64 // dB at least
	}{
		{G722, 300, 10000, 35}, {G722, 1000, 10000, 35}, {G722, 3000, 10000, 30}, {G722, 6000, 10000, 18},
		{G722, 1000, 32767, 30}, {G722, 1000, 300, 20},
		{PCMA, 300, 10000, 33}, {PCMA, 1000, 10000, 33}, {PCMA, 3000, 10000, 33}, {PCMA, 1000, 32767, 33}, {PCMA, 1000, 300, 20},
		{PCMU, 300, 10000, 33}, {PCMU, 1000, 10000, 33}, {PCMU, 3000, 10000, 33}, {PCMU, 1000, 32767, 30}, {PCMU, 1000, 300, 25},
	} {
		out := through(tt.codec, tone(tt.hz, tt.amplitude))[1600:14400] // whole periods, behind the filters' beginning
		loss := 20 * math.Log10(level(out, tt.hz, 16000)/tt.amplitude)
		t.Logf("%s %.0f Hz, amplitude %.0f: %.1f dB, level %+.2f dB", tt.codec, tt.hz, tt.amplitude, purity(out, tt.hz), loss)
		if got := purity(out, tt.hz); got < tt.pure {
			t.Errorf("%s %.0f Hz, amplitude %.0f: %.1f dB, want %.0f", tt.codec, tt.hz, tt.amplitude, got, tt.pure)
		}
		if math.Abs(loss) > 1 {
			t.Errorf("%s %.0f Hz, amplitude %.0f: level %+.2f dB", tt.codec, tt.hz, tt.amplitude, loss)
		}
	}
}

// What the library decodes without wrapping around we decode to the very bit.
func TestG722IsWhatTheLibraryDecodes(t *testing.T) {
	for name, pcm := range map[string][]int16{"300 Hz": tone(300, 12000), "6 kHz": tone(6000, 9000), "noise": noise(5000),
		"silence": make([]int16, 16000)} {
		payload := g722.Encode(pcm, g722.Rate64000, 0)
		want := g722.Decode(payload, g722.Rate64000, 0)
		var d decoder
		got := d.decode(nil, G722, payload)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: sample %d is %d, want %d", name, i, got[i], want[i])
			}
		}
	}
}

func noise(amplitude int) []int16 {
	r := rand.New(rand.NewPCG(1, 2))
	pcm := make([]int16, 16000)
	for i := range pcm {
		pcm[i] = int16(r.IntN(2*amplitude+1) - amplitude)
	}
	return pcm
}

// Full scale must saturate: a sample that wraps around is a crack.
func TestG722DoesNotWrapAround(t *testing.T) {
	for _, hz := range []float64{300, 1000, 2000} {
		out := through(G722, tone(hz, 32767))
		for i := 1600; i < len(out); i++ {
			if d := int(out[i]) - int(out[i-1]); d > 40000 || d < -40000 {
				t.Fatalf("%.0f Hz: sample %d goes from %d to %d", hz, i, out[i-1], out[i])
			}
		}
	}
}

func TestG711KeepsItsOwnValues(t *testing.T) {
	for b := range 256 {
		if v := g711.DecodeAlawFrame(byte(b)); g711.EncodeAlawFrame(v) != byte(b) {
			t.Errorf("A-law %#x is %d, encoded %#x", b, v, g711.EncodeAlawFrame(v))
		}
		if v := g711.DecodeUlawFrame(byte(b)); g711.EncodeUlawFrame(v) != byte(b) && v != 0 { // which has two
			t.Errorf("μ-law %#x is %d, encoded %#x", b, v, g711.EncodeUlawFrame(v))
		}
	}
}

func TestHalvingTheRateLeavesNoAliases(t *testing.T) {
	for _, tt := range []struct{ hz, min, max float64 }{ // dB
		{100, -0.1, 0.1}, {1000, -0.1, 0.1}, {3000, -0.1, 0.1}, {3400, -0.5, 0.5},
		{4600, -200, -50}, {5000, -200, -55}, {6000, -200, -55}, {7500, -200, -55},
	} {
		var d downsampler
		out := make([]int16, 8000)
		in := tone(tt.hz, 20000)
		for i := 0; i < len(in); i += frameSamples {
			d.halve(out[i/2:], in[i:i+frameSamples])
		}
		heard := tt.hz
		if heard > 4000 {
			heard = 8000 - heard
		}
		db := 20 * math.Log10(max(level(out[800:7200], heard, 8000), 1e-3)/20000)
		t.Logf("%.0f Hz: %.2f dB", tt.hz, db)
		if db < tt.min || db > tt.max {
			t.Errorf("%.0f Hz is at %.2f dB, want %.1f to %.1f", tt.hz, db, tt.min, tt.max)
		}
	}
}

func TestDoublingTheRateLeavesNoImages(t *testing.T) {
	for _, hz := range []float64{100, 1000, 3000, 3400} {
		narrow := make([]int16, 8000)
		for i := range narrow {
			narrow[i] = int16(20000 * math.Sin(2*math.Pi*hz*float64(i)/8000))
		}
		var u upsampler
		out := make([]int16, 16000)
		for i := 0; i < len(narrow); i += 80 { // any size of input
			u.double(out[2*i:], narrow[i:i+80])
		}
		out = out[1600:14400]
		wanted, image := 20*math.Log10(level(out, hz, 16000)/20000), 20*math.Log10(level(out, 8000-hz, 16000)/20000)
		t.Logf("%.0f Hz: %.2f dB, image %.1f dB", hz, wanted, image)
		if math.Abs(wanted) > 0.5 || image > -50 {
			t.Errorf("%.0f Hz is at %.2f dB, its image at %.1f dB", hz, wanted, image)
		}
	}
}

// Full scale square waves overshoot in every filter.
func TestResamplersSaturate(t *testing.T) {
	in := make([]int16, frameSamples)
	for i := range in {
		in[i] = math.MaxInt16
		if i/16%2 == 1 {
			in[i] = math.MinInt16
		}
	}
	var d downsampler
	var u upsampler
	narrow, out := make([]int16, frameTicks), make([]int16, frameSamples)
	for range 3 {
		d.halve(narrow, in)
		u.double(out, narrow)
	}
	for i := 1; i < len(out); i++ {
		if (out[i] > 20000 || out[i] < -20000) && (out[i-1] > 20000 || out[i-1] < -20000) && out[i] > 0 != (out[i-1] > 0) {
			t.Errorf("sample %d goes from %d to %d", i, out[i-1], out[i])
		}
	}
}

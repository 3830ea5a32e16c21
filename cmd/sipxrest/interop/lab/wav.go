package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
)

// sampleRate is G.711's; that of G.722 is twice it. baresip 1.0 does not
// resample a file for either.
const sampleRate = 8000

// tone returns a WAV file (16 bit, mono) of a sine of hz.
func tone(hz float64, seconds, rate int) []byte {
	samples := make([]int16, seconds*rate)
	for i := range samples {
		samples[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	size := uint32(2 * len(samples))
	var b bytes.Buffer
	b.WriteString("RIFF")
	binary.Write(&b, binary.LittleEndian, 36+size)
	b.WriteString("WAVEfmt ")
	binary.Write(&b, binary.LittleEndian, struct {
		Size                 uint32
		Format, Channels     uint16
		Rate, BytesPerSecond uint32
		Align, Bits          uint16
	}{16, 1, 1, uint32(rate), uint32(2 * rate), 2, 16})
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, size)
	binary.Write(&b, binary.LittleEndian, samples)
	return b.Bytes()
}

// audible is the mean square of samples, a hundredth of a tone's, below which
// a recording is silent.
const audible = 8000 * 8000 / 2 / 100

// recorded reads a recording that may still go on.
func recorded(path string) (samples []float64, rate int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	i := bytes.Index(data, []byte("data"))
	if !bytes.HasPrefix(data, []byte("RIFF")) || i < 0 || i < 28 || len(data) < i+8 {
		return nil, 0, fmt.Errorf("%s: not a WAV file", path)
	}
	rate = int(binary.LittleEndian.Uint32(data[24:]))
	if rate != sampleRate && rate != 2*sampleRate {
		return nil, 0, fmt.Errorf("%s: %d samples a second", path, rate)
	}
	// The length field is written when the recording is closed: read to the end.
	data = data[i+8:]
	samples = make([]float64, len(data)/2)
	for i := range samples {
		samples[i] = float64(int16(binary.LittleEndian.Uint16(data[2*i:])))
	}
	return samples, rate, nil
}

// Heard says how much of a recording's energy is at hz, from 0 (silence or
// other sounds) to about 1 (nothing else), in the half second where it is most.
func Heard(path string, hz float64) (float64, error) {
	samples, rate, err := recorded(path)
	if err != nil {
		return 0, err
	}
	window := rate / 2
	if len(samples) < window {
		return 0, errors.New("recording shorter than half a second")
	}
	var best float64
	for at := 0; at+window <= len(samples); at += window / 2 {
		energy, at := 0.0, samples[at:at+window]
		var re, im float64
		for n, s := range at {
			energy += s * s
			sin, cos := math.Sincos(2 * math.Pi * hz * float64(n) / float64(rate))
			re, im = re+s*cos, im+s*sin
		}
		if energy > float64(audible*window) {
			best = max(best, 2*(re*re+im*im)/(float64(window)*energy))
		}
	}
	return best, nil
}

// Levels are those of tones in Hz, in dBFS, in the last half second of a recording.
// A full-scale sine has 0.
func Levels(path string, hz ...float64) ([]float64, error) {
	samples, rate, err := recorded(path)
	if err != nil {
		return nil, err
	}
	window := rate / 2
	if len(samples) < window {
		return nil, errors.New("recording shorter than half a second")
	}
	samples = samples[len(samples)-window:]
	levels := make([]float64, len(hz))
	for i, f := range hz {
		var re, im, all float64
		for n, s := range samples {
			w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(n)/float64(window)) // Hann: a tone is nowhere but at its place
			sin, cos := math.Sincos(2 * math.Pi * f * float64(n) / float64(rate))
			re, im, all = re+w*s*cos, im+w*s*sin, all+w
		}
		levels[i] = 20 * math.Log10(max(2*math.Hypot(re, im)/(all*32768), 1e-6))
	}
	return levels, nil
}

package media

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
)

const (
	wavePCM        = 1      // WAVE_FORMAT_PCM
	waveExtensible = 0xfffe // WAVE_FORMAT_EXTENSIBLE: the format is in the first two bytes of a GUID
	maxWAV         = 10 * 60
)

// waveRates are the rates that are read.
var waveRates = []int{8000, 16000, 32000, 44100, 48000}

// ReadWAV reads a WAV file of linear PCM with 16 bits, mono or stereo, at 8,
// 16, 32, 44.1 or 48 kHz, of at most 10 minutes, and returns it at 16 kHz, mono.
// Errors say what is wrong with the file.
func ReadWAV(r io.Reader) ([]int16, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, waveError(err, "not a WAV file: it has less than 12 bytes")
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return nil, errors.New("not a WAV file: it does not begin with RIFF and WAVE")
	}
	var f *waveFormat
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(in, chunk[:]); err != nil {
			return nil, waveError(err, "a WAV file without sound: it has no data chunk")
		}
		size := int64(binary.LittleEndian.Uint32(chunk[4:]))
		switch name := string(chunk[:4]); {
		case name == "fmt " && f == nil:
			var err error
			if f, err = readWaveFormat(in, size); err != nil {
				return nil, err
			}
		case name == "data" && f == nil:
			return nil, errors.New("a WAV file whose data chunk comes before its fmt chunk")
		case name == "data":
			return f.read(in, size)
		default: // names, cue points and the like
			if _, err := io.CopyN(io.Discard, in, size+size%2); err != nil {
				return nil, waveError(err, "a WAV file without sound: it ends within its chunk %q", name)
			}
		}
	}
}

// waveError is an error of reading, or what is said of a file that ends too early.
func waveError(err error, format string, args ...any) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf(format, args...)
	}
	return err
}

// waveFormat is the fmt chunk.
type waveFormat struct{ rate, channels int }

func readWaveFormat(in io.Reader, size int64) (*waveFormat, error) {
	if size < 16 || size > 1024 {
		return nil, fmt.Errorf("a WAV file whose fmt chunk has %d bytes", size)
	}
	b := make([]byte, size+size%2)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, waveError(err, "a WAV file that ends within its fmt chunk")
	}
	format := int(binary.LittleEndian.Uint16(b))
	if format == waveExtensible && size >= 26 {
		format = int(binary.LittleEndian.Uint16(b[24:]))
	}
	f := &waveFormat{rate: int(binary.LittleEndian.Uint32(b[4:])), channels: int(binary.LittleEndian.Uint16(b[2:]))}
	bits := binary.LittleEndian.Uint16(b[14:])
	switch {
	case format != wavePCM:
		return nil, fmt.Errorf("a WAV file of format %d: only 1, linear PCM, is read", format)
	case bits != 16:
		return nil, fmt.Errorf("a WAV file with %d bits a sample: only 16 are read", bits)
	case f.channels != 1 && f.channels != 2:
		return nil, fmt.Errorf("a WAV file with %d channels: only mono and stereo are read", f.channels)
	case !slices.Contains(waveRates, f.rate):
		return nil, fmt.Errorf("a WAV file with %d samples a second: only 8000, 16000, 32000, 44100 and 48000 are read", f.rate)
	}
	return f, nil
}

// read reads the data chunk. Its size is that of the sound, or as much as comes
// where the program that wrote it did not know it (0, or all bits set).
func (f *waveFormat) read(in io.Reader, size int64) ([]int16, error) {
	known := size != 0 && size < math.MaxUint32
	most := int64(maxWAV * f.rate * f.channels * 2)
	limit := most + 1
	if known {
		limit = min(size, limit)
	}
	b, err := io.ReadAll(io.LimitReader(in, limit))
	switch {
	case err != nil:
		return nil, err
	case int64(len(b)) > most:
		return nil, fmt.Errorf("a WAV file of more than %d minutes", maxWAV/60)
	case known && int64(len(b)) < size: // cut off while it was copied
		return nil, fmt.Errorf("a WAV file that ends too early: of %d bytes of sound it has %d", size, len(b))
	}
	n := len(b) / 2 / f.channels
	if n == 0 {
		return nil, errors.New("a WAV file without sound: its data chunk is empty")
	}
	mono := make([]int16, n)
	for i := range mono {
		sum := 0
		for c := range f.channels {
			sum += int(int16(binary.LittleEndian.Uint16(b[2*(i*f.channels+c):])))
		}
		mono[i] = int16(sum / f.channels)
	}
	return resample(mono, f.rate), nil
}

// resample converts from the rate, one of waveRates, to 16 kHz.
func resample(in []int16, rate int) []int16 {
	if rate == 2*clockRate {
		return in
	}
	f := filters[rate]()
	out := make([]int16, (len(in)*f.up+f.down-1)/f.down)
	for n := range out {
		at, phase := n*f.down/f.up, n*f.down%f.up
		h := f.taps[phase]
		acc := float32(0)
		for i := max(0, len(h)/2-at); i < len(h) && at+i-len(h)/2 < len(in); i++ {
			acc += h[i] * float32(in[at+i-len(h)/2])
		}
		out[n] = clip(int(math.Round(float64(acc))))
	}
	return out
}

// filter is a sinc in a Kaiser window, for files: 80 dB, flat to 0.9 of what the
// lower rate can have.
type filter struct {
	up, down int         // rates, by their common divisor
	taps     [][]float32 // for each position that a sample of out has between two of in
}

// filters are made when they are needed.
var filters = func() map[int]func() *filter {
	m := map[int]func() *filter{}
	for _, rate := range waveRates {
		m[rate] = sync.OnceValue(func() *filter { return newFilter(rate) })
	}
	return m
}()

func newFilter(rate int) *filter {
	const (
		beta     = 7.86 // 80 dB
		zeros    = 24   // of the sinc, on each side
		passband = 0.93 // of the lower Nyquist frequency
	)
	f := &filter{up: 2 * clockRate, down: rate}
	a, b := f.up, f.down
	for b > 0 {
		a, b = b, a%b
	}
	f.up, f.down = f.up/a, f.down/a
	scale := min(1, float64(f.up)/float64(f.down)) * passband // cut-off, of the Nyquist frequency of in
	width, whole := zeros/scale, bessel(beta)
	side := int(math.Ceil(width))
	for phase := range f.up {
		h, sum := make([]float64, 2*side+1), 0.0
		for i := range h {
			x := float64(i-side) - float64(phase)/float64(f.up)
			r := x / width
			if r <= -1 || r >= 1 {
				continue
			}
			h[i] = bessel(beta*math.Sqrt(1-r*r)) / whole
			if a := math.Pi * x * scale; a != 0 {
				h[i] *= math.Sin(a) / a
			}
			sum += h[i]
		}
		taps := make([]float32, len(h))
		for i := range h {
			taps[i] = float32(h[i] / sum) // exactly 1 at 0 Hz
		}
		f.taps = append(f.taps, taps)
	}
	return f
}

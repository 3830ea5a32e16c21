package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// wave is a WAV file, of which change may change the bytes.
func wave(rate, channels int, pcm []int16, change func(b []byte) []byte) []byte {
	b := []byte("RIFF----WAVEfmt ")
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(channels))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate))
	b = binary.LittleEndian.AppendUint32(b, uint32(rate*channels*2))
	b = binary.LittleEndian.AppendUint16(b, uint16(channels*2))
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "LIST\x05\x00\x00\x00INFOx\x00data"...) // an odd length is filled up
	b = binary.LittleEndian.AppendUint32(b, uint32(len(pcm)*2))
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	if change != nil {
		b = change(b)
	}
	return b
}

const (
	waveFormatAt = 20 // in wave's files
	waveSoundAt  = 58
)

func sine(rate int, hz, amplitude float64) []int16 {
	pcm := make([]int16, rate)
	for i := range pcm {
		pcm[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return pcm
}

// Each rate is brought to 16 kHz: what it can have is kept, what it cannot is not folded back.
func TestWAVOfEachRate(t *testing.T) {
	for _, rate := range []int{8000, 16000, 32000, 44100, 48000} {
		for _, hz := range []float64{100, 1000, 3400, 7000, 9000, 12000} {
			if hz > float64(rate)/2*0.9 {
				continue
			}
			got, err := ReadWAV(iotest.OneByteReader(bytes.NewReader(wave(rate, 1, sine(rate, hz, 10000), nil))))
			if err != nil || len(got) != 16000 {
				t.Fatalf("%d: %d samples, %v", rate, len(got), err)
			}
			got = got[1600:14400]
			if hz > 8000 {
				if l := level(got, 16000-hz, 16000); l > 10 {
					t.Errorf("%d: %.0f Hz is folded back, at %.0f", rate, hz, l)
				}
				continue
			}
			l, pure := 20*math.Log10(level(got, hz, 16000)/10000), purity(got, hz)
			if math.Abs(l) > 0.5 || pure < 55 {
				t.Errorf("%d: %.0f Hz is at %+.2f dB, %.1f dB pure", rate, hz, l, pure)
			}
		}
	}
}

// Stereo is the mean of both sides.
func TestWAVOfTwoChannels(t *testing.T) {
	left, right := sine(16000, 400, 10000), sine(16000, 1000, 20000)
	var pcm []int16
	for i := range left {
		pcm = append(pcm, left[i], right[i])
	}
	got, err := ReadWAV(bytes.NewReader(wave(16000, 2, pcm, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := level(got, 400, 16000), level(got, 1000, 16000); math.Abs(a-5000) > 10 || math.Abs(b-10000) > 10 {
		t.Errorf("%.0f and %.0f", a, b)
	}
}

// Programs that write to a pipe do not know the length, others say the format by a GUID.
func TestWAVOfOtherPrograms(t *testing.T) {
	pcm := sine(16000, 400, 10000)
	extensible := func(b []byte) []byte {
		head := slices.Clone(b[:waveFormatAt+16])
		head[16] = 40
		head[waveFormatAt], head[waveFormatAt+1] = 0xfe, 0xff
		head = append(head, 22, 0, 16, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71)
		return append(head, b[waveFormatAt+16:]...)
	}
	for name, change := range map[string]func([]byte) []byte{
		"a length of 0": func(b []byte) []byte {
			return append(b[:waveSoundAt-4], append(make([]byte, 4), b[waveSoundAt:]...)...)
		},
		"all bits of it set":     func(b []byte) []byte { copy(b[waveSoundAt-4:], "\xff\xff\xff\xff"); return b },
		"WAVE_FORMAT_EXTENSIBLE": extensible,
		"something behind it":    func(b []byte) []byte { return append(b, "LIST\x02\x00\x00\x00xy"...) },
	} {
		got, err := ReadWAV(bytes.NewReader(wave(16000, 1, pcm, change)))
		if err != nil || !slices.Equal(got, pcm) {
			t.Errorf("%s: %v, %d samples of %d", name, err, len(got), len(pcm))
		}
	}
}

func TestWAVErrors(t *testing.T) {
	pcm := sine(8000, 400, 10000)
	at := func(i int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[i:], v); return b }
	}
	for _, tt := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "less than 12 bytes"},
		{"MP3", []byte("ID3\x04 and so on, for a while"), "not a WAV file: it does not begin with RIFF"},
		{"big-endian", wave(8000, 1, pcm, at(0, 'R', 'I', 'F', 'X')), "not a WAV file: it does not begin with RIFF"},
		{"A-law", wave(8000, 1, pcm, at(waveFormatAt, 6)), "format 6: only 1, linear PCM"},
		{"float", wave(8000, 1, pcm, at(waveFormatAt, 3)), "format 3: only 1, linear PCM"},
		{"24 bits", wave(8000, 1, pcm, at(waveFormatAt+14, 24)), "24 bits a sample: only 16"},
		{"no channel", wave(8000, 0, pcm, nil), "0 channels: only mono and stereo"},
		{"surround", wave(8000, 6, pcm, nil), "6 channels: only mono and stereo"},
		{"22.05 kHz", wave(22050, 1, pcm, nil), "22050 samples a second: only 8000, 16000, 32000, 44100 and 48000"},
		{"no sound", wave(8000, 1, nil, nil), "without sound: its data chunk is empty"},
		{"half a sample", wave(8000, 2, pcm[:1], nil), "without sound: its data chunk is empty"},
		{"no data", wave(8000, 1, pcm, nil)[:36], "without sound: it has no data chunk"},
		{"cut off", wave(8000, 1, pcm, nil)[:1000], "ends too early: of 16000 bytes of sound it has 942"},
		{"cut off in fmt", wave(8000, 1, pcm, nil)[:30], "ends within its fmt chunk"},
		{"cut off in another", wave(8000, 1, pcm, nil)[:47], `ends within its chunk "LIST"`},
		{"fmt of 4 bytes", wave(8000, 1, pcm, at(16, 4)), "fmt chunk has 4 bytes"},
		{"fmt of 16 MB", wave(8000, 1, pcm, at(16, 0, 0, 0, 1)), "fmt chunk has 16777216 bytes"},
		{"data before fmt", append(wave(8000, 1, nil, nil)[:12], "data\x02\x00\x00\x00xx"...), "before its fmt chunk"},
		{"11 minutes", wave(8000, 1, make([]int16, 11*60*8000), nil), "more than 10 minutes"},
		{"endless", wave(8000, 1, make([]int16, 11*60*8000), at(waveSoundAt-4, 255, 255, 255, 255)), "more than 10 minutes"},
	} {
		got, err := ReadWAV(bytes.NewReader(tt.file))
		if err == nil || got != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	broken := errors.New("input/output error")
	file := io.MultiReader(bytes.NewReader(wave(8000, 1, pcm, nil)[:200]), iotest.ErrReader(broken))
	if _, err := ReadWAV(file); !errors.Is(err, broken) {
		t.Errorf("an error of the disk: %v", err)
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(wave(16000, 1, []int16{1, 2, 3}, nil))
	f.Add(wave(44100, 2, make([]int16, 100), nil))
	f.Add([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x12\x00\x00\x00\x01\x00\x02\x00\x40\x1f\x00\x00\x00\x7d\x00\x00\x04\x00\x10\x00\x00\x00" +
		"data\xff\xff\xff\xff\x01\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pcm, err := ReadWAV(bytes.NewReader(b))
		if (err == nil) != (len(pcm) > 0) {
			t.Fatalf("%d samples, %v", len(pcm), err)
		}
		if len(pcm) > len(b) { // 8 kHz mono is doubled, of two bytes a sample
			t.Fatalf("%d samples of %d bytes", len(pcm), len(b))
		}
	})
}

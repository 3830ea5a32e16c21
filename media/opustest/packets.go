// Package opustest has packets of Opus that libopus made, for tests: tones,
// speech, silence that is not sent (DTX), each length of a packet, each bandwidth.
// make.sh makes its files again, and says what each is.
package opustest

import (
	"bytes"
	"embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed *.opus speech.levels
var files embed.FS

// Names returns the names of all streams, as "tone-400".
func Names() (names []string) {
	list, err := files.ReadDir(".")
	if err != nil {
		panic(err) // it is in the program
	}
	for _, f := range list {
		if name, ok := strings.CutSuffix(f.Name(), ".opus"); ok {
			names = append(names, name)
		}
	}
	return names
}

// Packets returns the packets of a stream in their order. Each call makes its own.
func Packets(name string) [][]byte {
	b, err := files.ReadFile(name + ".opus")
	if err != nil {
		panic(err)
	}
	packets, err := read(b)
	if err != nil {
		panic(fmt.Sprintf("%s.opus: %v", name, err))
	}
	return packets
}

// SpeechLevels returns how loud each 20 ms of "speech" is, as libopus' own decoder
// has it: 10 log10 of the mean square of samples at 16 kHz.
func SpeechLevels() (levels []float64) {
	b, err := files.ReadFile("speech.levels")
	if err != nil {
		panic(err)
	}
	for _, s := range strings.Fields(string(b)) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic(err)
		}
		levels = append(levels, v)
	}
	return levels
}

// read takes the packets out of an Ogg file (RFC 3533 §6, RFC 7845 §3), but for
// the two of its head.
func read(b []byte) (packets [][]byte, err error) {
	var packet []byte
	for len(b) > 0 {
		if len(b) < 27 || string(b[:4]) != "OggS" || len(b) < 27+int(b[26]) {
			return nil, fmt.Errorf("no Ogg page %d bytes before the end", len(b))
		}
		lacing := b[27 : 27+int(b[26])]
		b = b[27+len(lacing):]
		for _, n := range lacing {
			if int(n) > len(b) {
				return nil, fmt.Errorf("a page ends too early")
			}
			packet = append(packet, b[:n]...)
			b = b[n:]
			if n < 255 {
				packets = append(packets, packet)
				packet = nil
			}
		}
	}
	if len(packets) < 3 || !bytes.HasPrefix(packets[0], []byte("OpusHead")) || !bytes.HasPrefix(packets[1], []byte("OpusTags")) {
		return nil, fmt.Errorf("no Opus in it")
	}
	return packets[2:], nil
}

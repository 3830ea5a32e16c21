package media

import (
	"fmt"
	"strings"

	"github.com/gotranspile/g722"
	"github.com/zaf/g711"
)

const (
	frameSamples = 320 // 20 ms at 16 kHz
	frameTicks   = 160 // 20 ms of the RTP clock, 8000 Hz for all our codecs: G.722's too, by RFC 3551 §4.5.2
	clockRate    = 8000
)

// Codec is one that we speak. All but Opus have one byte per tick of their RTP
// clock of 8000 Hz.
type Codec uint8

const (
	none Codec = iota
	G722
	PCMA
	PCMU
	Opus // only understood, by [Player]: we never send it
)

// known lists the codecs in the order in which we offer them to phones.
var known = []struct {
	codec Codec
	name  string
	pt    uint8 // static payload type (RFC 3551 §6)
}{
	{G722, "G722", 9},
	{PCMA, "PCMA", 8},
	{PCMU, "PCMU", 0},
}

// String returns the name that session descriptions have, as "PCMA".
func (c Codec) String() string {
	if c == Opus {
		return "opus"
	}
	for _, k := range known {
		if k.codec == c {
			return k.name
		}
	}
	return "none"
}

// ParseCodec returns the codec that has the name in session descriptions, where
// case does not matter (RFC 4855 §3).
func ParseCodec(name string) (Codec, error) {
	for _, c := range []Codec{G722, PCMA, PCMU, Opus} {
		if strings.EqualFold(name, c.String()) {
			return c, nil
		}
	}
	return none, fmt.Errorf("%q is none of the codecs g722, pcma, pcmu, opus", name)
}

// Encoder makes payloads of frames, for a stream that keeps one codec. It is
// owned by one goroutine.
type Encoder struct {
	enc     encoder
	payload [frameTicks]byte
}

// NewEncoder takes [G722], [PCMA] or [PCMU]: there is no encoder of Opus.
func NewEncoder(c Codec) *Encoder {
	if c != G722 && c != PCMA && c != PCMU {
		panic("media: no encoder of " + c.String()) // a mistake of the program: configuration is checked before
	}
	e := &Encoder{}
	e.enc.reset(c)
	return e
}

// Encode appends the payload of one frame, 160 bytes, to dst.
func (e *Encoder) Encode(dst []byte, pcm *[320]int16) []byte {
	e.enc.encode(&e.payload, pcm)
	return append(dst, e.payload[:]...)
}

// encoder makes payloads of frames.
type encoder struct {
	codec Codec
	wide  *g722.Encoder
	down  downsampler
}

func (e *encoder) reset(c Codec) {
	*e = encoder{codec: c}
	if c == G722 {
		e.wide = g722.NewEncoder(g722.Rate64000, 0)
	}
}

// encode fills dst with one frame.
func (e *encoder) encode(dst *[frameTicks]byte, pcm *[frameSamples]int16) {
	if e.codec == G722 {
		e.wide.Encode(dst[:], pcm[:])
		return
	}
	var narrow [frameTicks]int16
	e.down.halve(narrow[:], pcm[:])
	if e.codec == PCMA {
		for i, v := range narrow {
			dst[i] = g711.EncodeAlawFrame(v)
		}
		return
	}
	for i, v := range narrow {
		dst[i] = g711.EncodeUlawFrame(v)
	}
}

// decoder makes samples of payloads.
type decoder struct {
	codec Codec
	wide  g722Decoder
	up    upsampler
}

func (d *decoder) reset(c Codec) {
	*d = decoder{codec: c}
	d.wide.reset()
}

// decode appends two samples for each byte of the payload to pcm. A change of
// codec starts anew.
func (d *decoder) decode(pcm []int16, c Codec, payload []byte) []int16 {
	if c != d.codec {
		d.reset(c)
	}
	var narrow [frameTicks]int16
	var wide [frameSamples]int16
	for len(payload) > 0 {
		n := min(len(payload), frameTicks)
		switch c {
		case G722:
			d.wide.decode(wide[:], payload[:n])
		case PCMA:
			for i, b := range payload[:n] {
				narrow[i] = g711.DecodeAlawFrame(b)
			}
			d.up.double(wide[:], narrow[:n])
		default:
			for i, b := range payload[:n] {
				narrow[i] = g711.DecodeUlawFrame(b)
			}
			d.up.double(wide[:], narrow[:n])
		}
		pcm = append(pcm, wide[:2*n]...)
		payload = payload[n:]
	}
	return pcm
}

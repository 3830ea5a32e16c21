package media

import (
	"github.com/gotranspile/g722"
	"github.com/zaf/g711"
)

const (
	frameSamples = 320 // 20 ms at 16 kHz
	frameTicks   = 160 // 20 ms of the RTP clock, 8000 Hz for all our codecs: G.722's too, by RFC 3551 §4.5.2
	clockRate    = 8000
)

// A codec is one that we speak. All have one byte per tick of the RTP clock.
type codec uint8

const (
	none codec = iota
	wideband
	alaw
	ulaw
)

// known lists the codecs in the order in which we offer them.
var known = []struct {
	codec codec
	name  string
	pt    uint8 // static payload type (RFC 3551 §6)
}{
	{wideband, "G722", 9},
	{alaw, "PCMA", 8},
	{ulaw, "PCMU", 0},
}

func (c codec) String() string {
	for _, k := range known {
		if k.codec == c {
			return k.name
		}
	}
	return "none"
}

// encoder makes payloads of frames.
type encoder struct {
	codec codec
	wide  *g722.Encoder
	down  downsampler
}

func (e *encoder) reset(c codec) {
	*e = encoder{codec: c}
	if c == wideband {
		e.wide = g722.NewEncoder(g722.Rate64000, 0)
	}
}

// encode fills dst with one frame.
func (e *encoder) encode(dst *[frameTicks]byte, pcm *[frameSamples]int16) {
	if e.codec == wideband {
		e.wide.Encode(dst[:], pcm[:])
		return
	}
	var narrow [frameTicks]int16
	e.down.halve(narrow[:], pcm[:])
	if e.codec == alaw {
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
	codec codec
	wide  g722Decoder
	up    upsampler
}

func (d *decoder) reset(c codec) {
	*d = decoder{codec: c}
	d.wide.reset()
}

// decode appends two samples for each byte of the payload to pcm. A change of
// codec starts anew.
func (d *decoder) decode(pcm []int16, c codec, payload []byte) []int16 {
	if c != d.codec {
		d.reset(c)
	}
	var narrow [frameTicks]int16
	var wide [frameSamples]int16
	for len(payload) > 0 {
		n := min(len(payload), frameTicks)
		switch c {
		case wideband:
			d.wide.decode(wide[:], payload[:n])
		case alaw:
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

package media

import (
	"errors"
	"fmt"
	"time"

	"github.com/pion/opus"
)

const (
	opusUnit    = 6              // the RTP clock of Opus is 48 kHz, whatever was encoded (RFC 7587 §4.1)
	opusMost    = 6 * frameTicks // a packet has at most 120 ms (RFC 6716 §3.2.5)
	opusSilence = 3              // bytes at most of a packet that says only that there is silence (DTX)
	opusFaults  = 3              // panics within a minute that switch a source off
	opusOff     = time.Minute    // for as long
	opusSamples = 2 * opusMost   // at 16 kHz
)

// opusFrames has the lengths of a frame in ticks by the configuration (RFC 6716 §3.1):
// SILK in three bandwidths, both layers in two, CELT in four.
var opusFrames = [32]int{
	80, 160, 320, 480, 80, 160, 320, 480, 80, 160, 320, 480,
	80, 160, 80, 160,
	20, 40, 80, 160, 20, 40, 80, 160, 20, 40, 80, 160, 20, 40, 80, 160,
}

// opusTicks returns how long a packet sounds, by its first bytes; 0 if that is
// nothing that a packet of Opus may say.
func opusTicks(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	frames := 1
	switch packet[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(packet) < 2 {
			return 0
		}
		frames = int(packet[1] & 0x3f)
	}
	n := frames * opusFrames[packet[0]>>3]
	if n > opusMost {
		return 0
	}
	return n
}

var errOpus = errors.New("a packet that is none of Opus (RFC 6716 §3.2)")

// opusCore is what decodes: *opus.Decoder, but in tests.
type opusCore interface {
	DecodeToInt16(packet []byte, pcm []int16) (int, error)
}

// opusDecoder decodes Opus to 16 kHz, mono. The packets are strangers' and the
// decoder is not ours, so that a panic in it counts as a packet that cannot be
// decoded. The zero value is ready.
type opusDecoder struct {
	core   opusCore
	begin  func() (opusCore, error) // nil: the library's
	pcm    []int16
	faults uint64                // packets that could not be decoded
	err    error                 // of the last one
	panics [opusFaults]time.Time // when the last ones were, in a ring
	at     int                   // of the oldest
	off    time.Time             // nothing is decoded before
}

func newOpusCore() (opusCore, error) {
	d, err := opus.NewDecoderWithOutput(2*clockRate, 1)
	return &d, err
}

// reset has the next packet decoded as the first one of a stream.
func (d *opusDecoder) reset() { d.core = nil }

// decode returns the sound of a packet, which is valid until the next call;
// nothing if it cannot be decoded.
func (d *opusDecoder) decode(packet []byte, now time.Time) []int16 {
	if now.Before(d.off) {
		return nil
	}
	n, err := d.try(packet, now)
	if err != nil {
		d.fault(err)
		return nil
	}
	return d.pcm[:n]
}

func (d *opusDecoder) fault(err error) {
	d.faults++
	d.err = err
}

func (d *opusDecoder) try(packet []byte, now time.Time) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, err = 0, fmt.Errorf("panic of the decoder: %v", r)
			d.panicked(now)
		}
	}()
	if d.core == nil {
		begin := d.begin
		if begin == nil {
			begin = newOpusCore
		}
		if d.core, err = begin(); err != nil {
			return 0, err
		}
	}
	if d.pcm == nil {
		d.pcm = make([]int16, opusSamples)
	}
	return d.core.DecodeToInt16(packet, d.pcm)
}

// panicked gives the decoder up, whose state nobody knows, and after too many
// the source for a while.
func (d *opusDecoder) panicked(now time.Time) {
	d.core = nil
	d.panics[d.at] = now
	d.at = (d.at + 1) % opusFaults
	if first := d.panics[d.at]; !first.IsZero() && now.Sub(first) < time.Minute {
		d.off = now.Add(opusOff)
		d.panics = [opusFaults]time.Time{}
	}
}

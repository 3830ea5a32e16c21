package mix

import (
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var newYear = time.Unix(1e9, 0)

// voice makes frames: a tone, or what of says.
type voice struct {
	hz, amplitude float64
	of            func(i int) int16 // in place of a tone
	silent        bool              // nothing comes
	level         int               // as a source, -dBov
	at            int               // samples so far
	pulled        int               // frames
	skipped       int
}

func (v *voice) Pull(_ time.Time, out *[320]int16) bool {
	v.pulled++
	if v.silent {
		clear(out[:])
		v.at += samples
		return false
	}
	for i := range out {
		if v.of != nil {
			out[i] = v.of(v.at)
		} else {
			out[i] = int16(math.Round(v.amplitude * math.Sin(2*math.Pi*v.hz*float64(v.at)/16000)))
		}
		v.at++
	}
	return true
}

func (v *voice) Skip(time.Time) { v.skipped++; v.at += samples }
func (v *voice) Level() int     { return v.level }

// telephone is a phone that speaks with a voice and keeps what it hears.
type telephone struct {
	voice
	heard []int16
	when  []time.Time
}

func (p *telephone) Push(now time.Time, in *[320]int16) {
	p.heard = append(p.heard, in[:]...)
	p.when = append(p.when, now)
}

// last is the sound of the last n frames.
func (p *telephone) last(n int) []int16 { return p.heard[len(p.heard)-n*samples:] }

// rig is a mixer whose clock the test is.
type rig struct {
	*Mixer
	now  time.Time
	room []int16 // what the conversation hears
}

func newRig(speakers int) *rig {
	r := &rig{now: newYear}
	r.Mixer = New(Config{Speakers: speakers, Out: func(pcm *[320]int16) { r.room = append(r.room, pcm[:]...) }})
	return r
}

// run lets n ticks go by.
func (r *rig) run(n int) {
	for range n {
		r.now = r.now.Add(frameTime)
		r.step(r.now)
	}
}

func (r *rig) phone(v voice) (*telephone, *Line) {
	p := &telephone{voice: v}
	return p, r.AddPhone(p)
}

// last is the sound that the conversation heard in the last n frames.
func (r *rig) last(n int) []int16 { return r.room[len(r.room)-n*samples:] }

// level is the amplitude of a frequency (Goertzel, by its definition).
func level(pcm []int16, hz float64) float64 {
	re, im := 0.0, 0.0
	for i, v := range pcm {
		re += float64(v) * math.Cos(2*math.Pi*hz*float64(i)/16000)
		im += float64(v) * math.Sin(2*math.Pi*hz*float64(i)/16000)
	}
	return 2 * math.Hypot(re, im) / float64(len(pcm))
}

// decibels is the level of a frequency, where 0 is an amplitude of 1.
func decibels(pcm []int16, hz float64) float64 { return 20 * math.Log10(max(level(pcm, hz), 0.01)) }

func loudest16(pcm []int16) (most int) {
	for _, v := range pcm {
		most = max(most, int(v), -int(v))
	}
	return most
}

package media

import (
	"math"
	"time"
)

// Tone returns a sine at 16 kHz with an amplitude of db decibels below full
// scale (-25, say). It begins and ends with a ramp of 5 ms, so that it does not
// click.
func Tone(hz float64, d time.Duration, db float64) []int16 {
	pcm := make([]int16, int(d*16000/time.Second))
	amplitude := math.MaxInt16 * math.Pow(10, db/20)
	ramp := min(80, len(pcm)/2)
	for i := range pcm {
		a := amplitude
		if edge := min(i, len(pcm)-1-i); edge < ramp {
			a *= float64(edge) / float64(ramp)
		}
		pcm[i] = int16(math.Round(a * math.Sin(2*math.Pi*hz*float64(i)/16000)))
	}
	return pcm
}

// Pause returns silence at 16 kHz.
func Pause(d time.Duration) []int16 { return make([]int16, int(d*16000/time.Second)) }

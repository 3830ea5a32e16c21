package media

import "math"

// The rates 16 kHz and 8 kHz are converted by one half-band FIR of 47 taps: a
// sinc in a Kaiser window, flat to 3.4 kHz, at least 60 dB down from 4.6 kHz.
// Every second tap of such a filter is 0 but for the one in its middle, which is one half:
// per sample at 8 kHz there are 12 multiplications, the filter being symmetric.
const (
	sideTaps = 12             // on each side of the middle, zeros not counted
	history  = 4*sideTaps - 2 // samples at 16 kHz that the filter looks back
	unity    = 1 << 15
)

// side has the taps at distances 1, 3, 5 and so on from the middle, in 1/unity.
var side = func() (taps [sideTaps]int) {
	const beta = 5.65 // 60 dB
	sum := 0.0
	var h [sideTaps]float64
	for i := range h {
		d := float64(2*i + 1)
		r := d / (2 * sideTaps)
		h[i] = math.Sin(math.Pi*d/2) / (math.Pi * d) * bessel(beta*math.Sqrt(1-r*r)) / bessel(beta)
		sum += 2 * h[i]
	}
	for i := range h {
		taps[i] = int(math.Round(h[i] / sum / 2 * unity)) // exactly 1 at 0 Hz, with the middle's half
	}
	return taps
}()

// bessel is I0, the modified Bessel function of the first kind.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-12*sum; k++ {
		term *= x / 2 / k
		sum += term * term
		if k > 50 {
			break
		}
	}
	return sum
}

// downsampler halves the rate. The zero value is ready.
type downsampler struct {
	x [history + frameSamples]int16 // what it looks back on, then the input
}

// halve writes len(in)/2 samples to out. in has an even number of samples, at
// most frameSamples.
func (d *downsampler) halve(out, in []int16) {
	copy(d.x[history:], in)
	x := d.x[:history+len(in)]
	for n := range len(in) / 2 {
		w := x[2*n : 2*n+history+1] // the output belongs to its middle
		const mid = history / 2
		acc := int(w[mid]) * (unity / 2)
		for i, tap := range side {
			acc += tap * (int(w[mid-1-2*i]) + int(w[mid+1+2*i]))
		}
		out[n] = clip((acc + unity/2) >> 15)
	}
	copy(d.x[:history], x[len(in):])
}

// upsampler doubles the rate. The zero value is ready.
type upsampler struct {
	x [2*sideTaps - 1 + frameSamples/2]int16
}

// double writes 2*len(in) samples to out. in has at most frameSamples/2.
func (u *upsampler) double(out, in []int16) {
	const back = 2*sideTaps - 1
	copy(u.x[back:], in)
	x := u.x[:back+len(in)]
	for n := range in {
		w := x[n : n+back+1]
		out[2*n] = w[sideTaps-1] // the middle tap alone
		acc := 0
		for i, tap := range side {
			acc += tap * (int(w[sideTaps-1-i]) + int(w[sideTaps+i]))
		}
		out[2*n+1] = clip((acc*2 + unity/2) >> 15)
	}
	copy(u.x[:back], x[len(in):])
}

func clip(v int) int16 { return int16(min(max(v, math.MinInt16), math.MaxInt16)) }

package mix

import "math"

const (
	ceiling = 30000 // peak above which several speakers together are made quieter
	attack  = 40    // samples within which that happens, 2.5 ms
	release = 1.05  // by which they become louder again with each frame
	shift   = 20    // of fixed point
)

// limiter keeps one output from overflowing. One who speaks alone is never touched.
type limiter struct{ gain float32 }

func (l *limiter) reset() { l.gain = 1 }

// apply makes a frame of a sum.
func (l *limiter) apply(t *sum, out *frame) {
	want := float32(1)
	if t.loud > 1 {
		if p := peak(t); p > ceiling {
			want = ceiling / float32(p)
		}
	}
	from, over := l.gain, samples
	if want < from {
		over = attack
	} else {
		want = min(want, from*release)
	}
	l.gain = want
	if from == 1 && want == 1 {
		for i, v := range t.v {
			out[i] = saturate(v)
		}
		return
	}
	if from == want {
		over = 0
	}
	step := (want - from) / float32(max(over, 1))
	for i, v := range t.v[:over] {
		out[i] = saturate(int32(float32(v) * (from + step*float32(i+1))))
	}
	steady := int64(want * (1 << shift))
	for i := over; i < samples; i++ {
		out[i] = saturate(int32(int64(t.v[i]) * steady >> shift))
	}
}

func peak(t *sum) (p int32) {
	for _, v := range t.v {
		p = max(p, v, -v)
	}
	return p
}

// saturate keeps a sample from wrapping around, which would be a crack.
func saturate(v int32) int16 { return int16(min(max(v, math.MinInt16), math.MaxInt16)) }

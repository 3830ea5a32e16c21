package mix

import "math"

// sum is what several say at once. It has room for 65,536 of them.
type sum struct {
	v    [samples]int32
	loud int // how many of them are above the gate's level
}

func (t *sum) clear() { *t = sum{} }

// without makes it what is left of all without one of them.
func (t *sum) without(all *sum, pcm *frame, loud bool) {
	for i := range t.v {
		t.v[i] = all.v[i] - int32(pcm[i])
	}
	if t.loud = all.loud; loud {
		t.loud--
	}
}

func (t *sum) add(pcm *frame, loud bool) {
	for i, v := range pcm {
		t.v[i] += int32(v)
	}
	if loud {
		t.loud++
	}
}

// Levels are in dBFS: 0 is the energy of a frame whose samples are all at full
// scale, so that a sine of full scale is at -3.
var (
	gateLevel    = energyAt(-55)
	speechLevel  = energyAt(-40)
	silenceLevel = energyAt(-45)
)

func energyAt(db float64) int64 {
	return int64(samples * math.Pow(-math.MinInt16*math.Pow(10, db/20), 2))
}

// energy is the sum of the squares of a frame.
func energy(pcm *frame) (e int64) {
	for _, v := range pcm {
		e += int64(v) * int64(v)
	}
	return e
}

const fadeSamples = 160 // 10 ms

// fade begins and ends a sound without a click. The zero value is silent.
type fade struct{ on bool }

// next lets one frame pass, or what is left of it, and reports whether that is any.
func (f *fade) next(on bool, pcm *frame) bool {
	switch was := f.on; {
	case was && !on:
		for i := range fadeSamples {
			pcm[i] = int16(int(pcm[i]) * (fadeSamples - i) / fadeSamples)
		}
		clear(pcm[fadeSamples:])
	case !was && on:
		for i := range fadeSamples {
			pcm[i] = int16(int(pcm[i]) * i / fadeSamples)
		}
	case !was:
		return false
	}
	f.on = on
	return true
}

// sum does the same to a sum that is or was heard.
func (f *fade) sum(on bool, t *sum) {
	switch was := f.on; {
	case was && !on:
		for i := range fadeSamples {
			t.v[i] = int32(int(t.v[i]) * (fadeSamples - i) / fadeSamples)
		}
		clear(t.v[fadeSamples:])
	case !was && on:
		for i := range fadeSamples {
			t.v[i] = int32(int(t.v[i]) * i / fadeSamples)
		}
	}
	f.on = on
}

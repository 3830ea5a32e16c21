package media

// g722Decoder decodes G.722 at 64 kbit/s (ITU-T G.722, mode 1) to 16 kHz. The
// library that encodes has a decoder too, but its samples wrap around where
// they should saturate: loud voices would crack.
type g722Decoder struct {
	low, high g722Band
	x         [24]int // delay line of the synthesis filter, newest last
}

// g722Band is the adaptive predictor and quantizer of one band. The names are
// those of the Recommendation.
type g722Band struct {
	s, sz   int    // predicted signal, the part of its zero section
	r, p, a [3]int // reconstructed and partially reconstructed signal; poles
	d, b    [7]int // quantized differences; zeros
	nb, det int    // logarithmic and linear scale factor of the quantizer
}

var (
	g722QMF = [12]int{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}
	g722WL  = [8]int{-60, -30, 58, 172, 334, 538, 1198, 3042}
	g722RL4 = [16]int{0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0}
	g722WH  = [4]int{798, -214, 798, -214}
	g722QM2 = [4]int{-7408, -1616, 7408, 1616}
	g722QM4 = [16]int{0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0}
	g722QM6 = [64]int{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	g722ILB = [32]int{
		2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
		2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
	}
)

func (g *g722Decoder) reset() { *g = g722Decoder{low: g722Band{det: 32}, high: g722Band{det: 8}} }

// decode writes two samples per byte to out.
func (g *g722Decoder) decode(out []int16, in []byte) {
	for n, code := range in {
		low, high := int(code&0x3f), int(code>>6)

		rlow := min(max(g.low.s+g.low.det*g722QM6[low]>>15, -16384), 16383)
		d := g.low.det * g722QM4[low>>2] >> 15
		g.low.scale(g722WL[g722RL4[low>>2]], 18432, 8)
		g.low.adapt(d)

		d = g.high.det * g722QM2[high] >> 15
		rhigh := min(max(g.high.s+d, -16384), 16383)
		g.high.scale(g722WH[high], 22528, 10)
		g.high.adapt(d)

		copy(g.x[:22], g.x[2:])
		g.x[22], g.x[23] = rlow+rhigh, rlow-rhigh
		first, second := 0, 0
		for i, c := range g722QMF {
			second += g.x[2*i] * c
			first += g.x[23-2*i] * c
		}
		out[2*n], out[2*n+1] = clip(first>>11), clip(second>>11)
	}
}

// scale adapts the quantizer (LOGSCL, SCALEL and their like of the high band).
func (b *g722Band) scale(w, limit, shift int) {
	b.nb = min(max(b.nb*127>>7+w, 0), limit)
	v := g722ILB[b.nb>>6&31]
	if s := shift - b.nb>>11; s < 0 {
		v <<= -s
	} else {
		v >>= s
	}
	b.det = v << 2
}

// adapt updates the predictor with the quantized difference d (block 4).
func (b *g722Band) adapt(d int) {
	b.d[0], b.r[0], b.p[0] = d, sat(b.s+d), sat(b.sz+d)

	// the poles (UPPOL2, UPPOL1)
	w := sat(4 * b.a[1])
	if b.p[0] < 0 == (b.p[1] < 0) {
		w = min(-w, 32767)
	}
	w >>= 7
	if b.p[0] < 0 == (b.p[2] < 0) {
		w += 128
	} else {
		w -= 128
	}
	a2 := min(max(w+b.a[2]*32512>>15, -12288), 12288)
	w = -192
	if b.p[0] < 0 == (b.p[1] < 0) {
		w = 192
	}
	limit := sat(15360 - a2)
	a1 := min(max(sat(w+b.a[1]*32640>>15), -limit), limit)

	// the zeros (UPZERO), and the delays (DELAYA)
	step := 128
	if d == 0 {
		step = 0
	}
	for i := 6; i > 0; i-- {
		w = step
		if b.d[i] < 0 != (d < 0) {
			w = -step
		}
		b.b[i] = sat(w + b.b[i]*32640>>15)
	}
	copy(b.d[1:], b.d[:6])
	b.r[2], b.r[1] = b.r[1], b.r[0]
	b.p[2], b.p[1] = b.p[1], b.p[0]
	b.a[1], b.a[2] = a1, a2

	// the next prediction (FILTEP, FILTEZ, PREDIC)
	sp := sat(a1*sat(2*b.r[1])>>15 + a2*sat(2*b.r[2])>>15)
	sz := 0
	for i := 1; i < 7; i++ {
		sz += b.b[i] * sat(2*b.d[i]) >> 15
	}
	b.sz = sat(sz)
	b.s = sat(sp + b.sz)
}

func sat(v int) int { return min(max(v, -32768), 32767) }

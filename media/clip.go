package media

// DecodeG722 decodes a whole recording, as G.722 at 64 kbit/s, to 16 kHz mono: two
// samples a byte.
func DecodeG722(recording []byte) []int16 {
	var d decoder
	d.reset(G722)
	return d.decode(make([]int16, 0, 2*len(recording)), G722, recording)
}

package mix

import "sync/atomic"

// clip is something to be played.
type clip struct {
	pcm  []int16
	loop bool
	all  bool // the conversation hears it as well
}

// player plays the clip that a pointer says, from its beginning; and makes the
// pointer nil at its end. The zero value plays nothing.
type player struct {
	now *clip
	at  int // sample that is next
}

// next makes one frame, and reports whether there is sound in it. A clip that is
// stopped or replaced fades out.
func (p *player) next(say *atomic.Pointer[clip], out *frame) bool {
	next := say.Load()
	if p.now == nil && next == nil {
		return false
	}
	clear(out[:])
	if next != p.now {
		if p.now != nil {
			p.copy(out[:fadeSamples], true)
		}
		p.now, p.at = next, 0
	}
	if p.now != nil && !p.copy(out[:], false) {
		say.CompareAndSwap(p.now, nil)
		p.now = nil
	}
	return true
}

// copy adds what comes next to out, and reports whether more is left.
func (p *player) copy(out []int16, fading bool) bool {
	for i := range out {
		if p.at == len(p.now.pcm) {
			if !p.now.loop || p.at == 0 {
				return false
			}
			p.at = 0
		}
		v := int32(p.now.pcm[p.at])
		p.at++
		if fading {
			v = v * int32(len(out)-i) / int32(len(out))
		}
		out[i] = saturate(int32(out[i]) + v)
	}
	return p.now.loop || p.at < len(p.now.pcm)
}

// beep does what next does, and reports also whether the conversation hears it.
func (p *player) beep(say *atomic.Pointer[clip], out *frame) (sound, all bool) {
	all = p.now != nil && p.now.all
	if c := say.Load(); c != nil {
		all = c.all
	}
	return p.next(say, out), all
}

package mix

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"sipxrest/internal/boundary"
)

const (
	gateFrames    = 20 // 400 ms below the gate's level close it
	speechFrames  = 5  // frames that are looked at for speech
	speechNeeded  = 3  // of those, above the level of speech
	silenceFrames = 50 // 1 s below the level of silence ends speech
)

// Line is one phone's place in the mix.
type Line struct {
	mixer    *Mixer
	phone    Phone
	muted    atomic.Bool
	deaf     atomic.Bool
	speaking atomic.Bool
	playing  atomic.Pointer[clip]

	// These belong to the clock.
	said    frame // by the phone, with fades
	counts  bool  // said is part of the mix
	in, out fade  // what is heard of the phone, what it hears
	gate    int   // frames below the gate's level, up to gateFrames
	loud    bool  // said is above the gate's level
	recent  uint8 // whether each of the last frames was speech, a bit each
	quiet   int   // frames of silence since the last one that was none
	limiter limiter
	player  player
}

// Mute silences the two directions: speaking means that nobody hears the phone,
// listening that the phone hears only what [Line.Play] plays. What the phone says
// meanwhile is dropped: nothing old is heard afterwards.
func (l *Line) Mute(speaking, listening bool) {
	l.muted.Store(speaking)
	l.deaf.Store(listening)
}

// Play plays something to this phone only, over what it hears, in place of
// what was played before; again and again if loop. The slice must not be
// changed as long as it is played.
func (l *Line) Play(pcm []int16, loop bool) {
	if len(pcm) == 0 {
		l.Stop()
		return
	}
	l.playing.Store(&clip{pcm: pcm, loop: loop})
}

// Stop ends what is played.
func (l *Line) Stop() { l.playing.Store(nil) }

// Playing reports whether something is played, other than beeps.
func (l *Line) Playing() bool { return l.playing.Load() != nil }

// Speaking reports whether somebody speaks at the phone: above -40 dBFS in 3 of 5
// frames, until it has been below -45 dBFS for a second. One who is muted does not.
func (l *Line) Speaking() bool { return l.speaking.Load() }

// Remove takes the phone out. It may be called twice, and does not wait: the clock
// may use the phone for the rest of its tick.
func (l *Line) Remove() {
	l.mixer.change(func(e *members) {
		e.lines = slices.DeleteFunc(e.lines, func(o *Line) bool { return o == l })
	})
	l.speaking.Store(false)
}

// pull takes what the phone says in this tick.
func (l *Line) pull(now time.Time) {
	heard := false
	if !boundary.Try(l.mixer.cfg.Log, "the sound of a phone", func() { heard = l.phone.Pull(now, &l.said) }) {
		l.said = frame{}
	}
	muted := l.muted.Load()
	e := int64(0)
	if heard {
		e = energy(&l.said)
	}
	l.listen(e, muted)
	l.loud = e >= gateLevel
	// A phone that is quiet now fades out by itself: what is left is below the gate.
	open := l.in.next(!muted, &l.said)
	l.counts = heard && open && l.gate < gateFrames
}

// listen watches the phone's level.
func (l *Line) listen(e int64, muted bool) {
	if e >= gateLevel {
		l.gate = 0
	} else {
		l.gate = min(l.gate+1, gateFrames)
	}
	if muted {
		l.recent, l.quiet = 0, silenceFrames
		l.speaking.Store(false)
		return
	}
	l.recent = l.recent << 1 & (1<<speechFrames - 1)
	if e > speechLevel {
		l.recent |= 1
	}
	if e >= silenceLevel {
		l.quiet = 0
	} else {
		l.quiet = min(l.quiet+1, silenceFrames)
	}
	switch speaking := l.speaking.Load(); {
	case !speaking && bits.OnesCount8(l.recent) >= speechNeeded:
		l.speaking.Store(true)
	case speaking && l.quiet >= silenceFrames:
		l.speaking.Store(false)
	}
}

// push gives the phone what it hears in this tick.
func (l *Line) push(m *Mixer, now time.Time) {
	t, deaf := &m.total, l.deaf.Load()
	switch {
	case deaf && !l.out.on:
		t.clear()
	case l.counts:
		t.without(&m.all, &l.said, l.loud)
	default:
		*t = m.all
	}
	if deaf == l.out.on {
		l.out.sum(!deaf, t)
	}
	if m.beepLoud && !deaf {
		t.add(&m.beepPCM, true)
	}
	if l.player.next(&l.playing, &m.out) {
		t.add(&m.out, true)
	}
	l.limiter.apply(t, &m.out)
	boundary.Try(m.cfg.Log, "the sound for a phone", func() { l.phone.Push(now, &m.out) })
}

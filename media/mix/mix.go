package mix

import (
	"context"
	"time"
)

// Phone is the audio of one call: *media.Session, one that is stepped. Its
// methods are called by the clock alone, and return at once.
type Phone interface {
	Pull(now time.Time, out *[320]int16) (heard bool)
	Push(now time.Time, in *[320]int16)
}

// Source is a participant that is heard: *media.Player. Its methods are called
// by the clock alone, and return at once.
type Source interface {
	Pull(now time.Time, out *[320]int16) (heard bool)
	Skip(now time.Time) // 20 ms that nobody hears
	Level() int         // -dBov
}

// Config is for one [Mixer].
type Config struct {
	Speakers int // sources that are heard at a time; 0: 6

	// Out gets what the phones say, in each tick, silence too: what the
	// conversation hears of them. The frame is valid until it returns. Nil: nobody does.
	Out func(*[320]int16)

	// Late gets how late each tick of the clock is. Nil: nobody wants to know.
	Late func(time.Duration)
}

// Mixer mixes one conversation. Its methods may be called by any goroutine, at
// any time, also before and after [Mixer.Run].
type Mixer struct{}

// New makes one without phones and sources.
func New(cfg Config) *Mixer { return &Mixer{} }

// Run is the clock: it returns with ctx. It is called once.
func (m *Mixer) Run(ctx context.Context) { <-ctx.Done() }

// SetSpeakers changes how many sources are heard at a time, at least 1.
func (m *Mixer) SetSpeakers(n int) {}

// AddPhone has a phone hear and be heard from the next tick on.
func (m *Mixer) AddPhone(p Phone) *Line { return &Line{} }

// AddSource has a source be heard by the phones. remove may be called twice, and
// does not wait: the clock may use the source for the rest of its tick.
func (m *Mixer) AddSource(s Source) (remove func()) { return func() {} }

// Beep plays something to all phones, over what they hear. all: the
// conversation hears it as well.
func (m *Mixer) Beep(pcm []int16, all bool) {}

// Line is one phone's place in the mix.
type Line struct{}

// Mute silences the two directions: speaking means that nobody hears the phone,
// listening that the phone hears only what [Line.Play] plays. What the phone says
// meanwhile is dropped: nothing old is heard afterwards.
func (l *Line) Mute(speaking, listening bool) {}

// Play plays something to this phone only, over what it hears, in place of
// what was played before; again and again if loop. The slice must not be
// changed as long as it is played.
func (l *Line) Play(pcm []int16, loop bool) {}

// Stop ends what is played.
func (l *Line) Stop() {}

// Playing reports whether something is played, other than beeps.
func (l *Line) Playing() bool { return false }

// Speaking reports whether somebody speaks at the phone: above -40 dBFS in 3 of 5
// frames, until it has been below -45 dBFS for a second. One who is muted does not.
func (l *Line) Speaking() bool { return false }

// Remove takes the phone out. It may be called twice, and does not wait: the clock
// may use the phone for the rest of its tick.
func (l *Line) Remove() {}

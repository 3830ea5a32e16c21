package mix

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	samples = 320 // of a frame of 20 ms at 16 kHz

	defaultSpeakers = 6
)

// frame is 20 ms of sound.
type frame = [samples]int16

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

	// Log is told of faults of phones and sources. Nil: nobody is.
	Log *slog.Logger

	// Late gets how late each tick of the clock is. Nil: nobody wants to know.
	Late func(time.Duration)
}

// Mixer mixes one conversation. Its methods may be called by any goroutine, at
// any time, also before and after [Mixer.Run]. None of them waits.
type Mixer struct {
	cfg      Config
	speakers atomic.Int32
	everyone atomic.Pointer[members] // who is there: never changed, only replaced
	beep     atomic.Pointer[clip]
	mu       sync.Mutex // one change of everyone at a time

	// These belong to the clock.
	tick     uint64 // number of this one
	phones   sum    // A: phones that are heard
	all      sum    // O + A: these and the sources that are heard
	total    sum    // of one listener
	room     limiter
	beeping  player
	out      frame
	beepPCM  frame
	beepLoud bool // beepPCM has sound
}

// members are those who speak and hear.
type members struct {
	lines   []*Line
	sources []*source
}

// New makes one without phones and sources.
func New(cfg Config) *Mixer {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mixer{cfg: cfg}
	if cfg.Speakers <= 0 {
		cfg.Speakers = defaultSpeakers
	}
	m.speakers.Store(int32(cfg.Speakers))
	m.everyone.Store(&members{})
	m.room.reset()
	return m
}

// SetSpeakers changes how many sources are heard at a time, at least 1.
func (m *Mixer) SetSpeakers(n int) { m.speakers.Store(int32(max(n, 1))) }

// Speakers returns how many sources are heard at a time, at most.
func (m *Mixer) Speakers() int { return int(m.speakers.Load()) }

// change replaces the snapshot by one that f has made of its copy.
func (m *Mixer) change(f func(*members)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.everyone.Load()
	next := &members{slices.Clone(old.lines), slices.Clone(old.sources)}
	f(next)
	m.everyone.Store(next)
}

// AddPhone has a phone hear and be heard from the next tick on.
func (m *Mixer) AddPhone(p Phone) *Line {
	l := &Line{mixer: m, phone: p, gate: gateFrames}
	l.limiter.reset()
	m.change(func(e *members) { e.lines = append(e.lines, l) })
	return l
}

// AddSource has a source be heard by the phones. remove may be called twice, and
// does not wait: the clock may use the source for the rest of its tick.
func (m *Mixer) AddSource(s Source) (remove func()) {
	added := &source{from: s}
	m.change(func(e *members) { e.sources = append(e.sources, added) })
	return func() {
		m.change(func(e *members) {
			e.sources = slices.DeleteFunc(e.sources, func(o *source) bool { return o == added })
		})
	}
}

// Beep plays something to all phones, over what they hear, in place of a beep that
// still sounds. all: the conversation hears it as well. The slice must not be
// changed as long as it sounds.
func (m *Mixer) Beep(pcm []int16, all bool) {
	if len(pcm) > 0 {
		m.beep.Store(&clip{pcm: pcm, all: all})
	}
}

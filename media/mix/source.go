package mix

import (
	"time"

	"sipxrest/internal/boundary"
)

const (
	stay       = 100 // ticks that a source is heard at least, 2 s
	hysteresis = 6   // dB that another one must be louder to take its place
)

// source is a participant.
type source struct {
	from Source

	// These belong to the clock.
	chosen bool   // is one of those that are heard
	since  uint64 // tick of the choice
	level  int    // in this tick, dB: more is louder
	pcm    frame
	loud   bool // pcm is above the gate's level
	fade   fade
}

// pull takes what the source says in this tick, and reports whether it is heard.
// One that is not is not decoded.
func (m *Mixer) pull(s *source, now time.Time) (heard bool) {
	if !boundary.Try(m.cfg.Log, "the sound of a participant", func() { heard = s.pull(now) }) {
		s.pcm = frame{}
		return false
	}
	return heard
}

func (s *source) pull(now time.Time) (heard bool) {
	if !s.chosen && !s.fade.on {
		s.from.Skip(now)
		return false
	}
	heard = s.from.Pull(now, &s.pcm)
	heard = s.fade.next(s.chosen, &s.pcm) && heard
	s.loud = heard && energy(&s.pcm) >= gateLevel
	return heard
}

// choose says which sources are heard in this tick: all, or the loudest. Those
// that were chosen stay for 2 s, and give way only to one that is louder by 6 dB.
func (m *Mixer) choose(sources []*source) {
	limit, chosen := m.Speakers(), 0
	if len(sources) <= limit {
		for _, s := range sources {
			s.choose(m.tick)
		}
		return
	}
	for _, s := range sources {
		s.level = -s.from.Level()
		if s.chosen {
			chosen++
		}
	}
	for ; chosen > limit; chosen-- {
		quietest(sources, 0, m.tick).chosen = false
	}
	for ; chosen < limit; chosen++ {
		loudest(sources).choose(m.tick)
	}
	for range limit {
		in, out := loudest(sources), quietest(sources, stay, m.tick)
		if out == nil || in.level < out.level+hysteresis {
			return
		}
		out.chosen = false
		in.choose(m.tick)
	}
}

func (s *source) choose(tick uint64) {
	if !s.chosen {
		s.chosen, s.since = true, tick
	}
}

// loudest returns the loudest source that is not chosen, of which there is one.
func loudest(sources []*source) (found *source) {
	for _, s := range sources {
		if !s.chosen && (found == nil || s.level > found.level) {
			found = s
		}
	}
	return found
}

// quietest returns the quietest source that has been chosen for so many ticks.
func quietest(sources []*source, ticks, now uint64) (found *source) {
	for _, s := range sources {
		if s.chosen && now-s.since >= ticks && (found == nil || s.level < found.level) {
			found = s
		}
	}
	return found
}

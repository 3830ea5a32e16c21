package mix

import "time"

// Step is one tick of the clock.
func Step(m *Mixer, now time.Time) { m.step(now) }

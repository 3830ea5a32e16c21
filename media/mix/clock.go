package mix

import (
	"context"
	"time"

	"sipxrest/internal/boundary"
)

const (
	frameTime = 20 * time.Millisecond
	catchUp   = 5 // ticks that are made up for: more the phones could not play, and time has passed for them, too
)

// Run is the clock: every 20 ms it takes a frame of everybody and gives one to
// everybody. It returns with ctx, and is called once.
func (m *Mixer) Run(ctx context.Context) {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	due := time.Now().Add(frameTime) // the next tick; by time passed, so that delays do not add up
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		for range catchUp {
			late := now.Sub(due)
			if late < 0 {
				break
			}
			if m.cfg.Late != nil {
				m.cfg.Late(late)
			}
			m.step(now)
			due = due.Add(frameTime)
		}
		if behind := now.Sub(due); behind >= 0 {
			due = due.Add((behind/frameTime + 1) * frameTime)
		}
	}
}

// step is one tick.
func (m *Mixer) step(now time.Time) {
	m.tick++
	e := m.everyone.Load()
	m.choose(e.sources)
	m.phones.clear()
	for _, l := range e.lines {
		if l.pull(now); l.counts {
			m.phones.add(&l.said, l.loud)
		}
	}
	m.all = m.phones
	for _, s := range e.sources {
		if m.pull(s, now) {
			m.all.add(&s.pcm, s.loud)
		}
	}
	all := false
	m.beepLoud, all = m.beeping.beep(&m.beep, &m.beepPCM)
	if m.cfg.Out != nil {
		m.total = m.phones
		if m.beepLoud && all {
			m.total.add(&m.beepPCM, true)
		}
		m.room.apply(&m.total, &m.out)
		boundary.Try(m.cfg.Log, "the sound of all phones", func() { m.cfg.Out(&m.out) })
	}
	for _, l := range e.lines {
		l.push(m, now)
	}
}

package attendant

import (
	"context"
	"time"
)

const (
	frame = 320 // samples of 20 ms
	// startTime is how long after the agreement on media prompts wait for the phone's
	// first packet: the beginning of what is sent before that is often not heard.
	startTime = 700 * time.Millisecond
	// gap is the pause between two prompts, in samples.
	gap = frame * 10
)

// Start has prompts played one after the other, in place of those that are played. A digit
// stops them; they do not begin while digits wait to be taken. The channel is closed once
// nothing of them is played any more.
func (a *Attendant) Start(names ...string) <-chan struct{} { return a.start(true, names) }

// Say is Start for prompts that no digit stops.
func (a *Attendant) Say(names ...string) <-chan struct{} { return a.start(false, names) }

func (a *Attendant) start(stops bool, names []string) <-chan struct{} {
	var clips [][]int16
	for _, name := range names {
		clips = append(clips, a.cfg.Clip(name)) // before a.mu is taken: it may have to decode
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	done := a.player.begin(clips, stops)
	select {
	case <-a.closed:
		a.player.clear()
	default:
		if a.away || stops && len(a.keys) > 0 {
			a.player.stop()
		}
	}
	return done
}

// Play is Start, and returns when the last one has been played, when a digit has
// stopped it, or with the cause of ctx's end, which stops it.
func (a *Attendant) Play(ctx context.Context, names ...string) error {
	return a.await(ctx, a.Start(names...))
}

// await waits for the end of what is played.
func (a *Attendant) await(ctx context.Context, done <-chan struct{}) error {
	err := a.wait(ctx, done)
	if err != nil {
		a.mu.Lock()
		if a.player.done == done {
			a.player.stop()
		}
		a.mu.Unlock()
	}
	return err
}

// Loop has music played over and over, whenever no prompt is. Digits do not stop it. nil
// ends it.
func (a *Attendant) Loop(pcm []int16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.player.music, a.player.at = pcm, 0
}

// Stop ends what is played, music included.
func (a *Attendant) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.player.clear()
}

// player is what is played to the caller. It is guarded by Attendant.mu. The zero value
// is ready.
type player struct {
	after time.Time // nothing is played before that; zero: not yet at all
	clips [][]int16 // the rest of the prompts
	stops bool      // by a digit
	done  chan struct{}
	music []int16
	at    int // in music
}

// hold has nothing played before a time. An earlier one counts.
func (p *player) hold(until time.Time) {
	if p.after.IsZero() || until.Before(p.after) {
		p.after = until
	}
}

// begin plays clips in place of what there was.
func (p *player) begin(clips [][]int16, stops bool) <-chan struct{} {
	p.stop()
	done := make(chan struct{})
	p.done, p.stops = done, stops
	for i, c := range clips {
		if i > 0 {
			p.clips = append(p.clips, make([]int16, gap))
		}
		p.clips = append(p.clips, c)
	}
	if len(clips) == 0 {
		p.stop()
	}
	return done
}

// stop ends the prompts.
func (p *player) stop() {
	p.clips = nil
	if p.done != nil {
		close(p.done)
		p.done = nil
	}
}

// clear ends all.
func (p *player) clear() {
	p.stop()
	p.music, p.at = nil, 0
}

// next writes the next 20 ms to out, and reports whether there is any sound.
func (p *player) next(now time.Time, out *[frame]int16) bool {
	if p.after.IsZero() || now.Before(p.after) {
		return false
	}
	n := 0
	for n < frame && len(p.clips) > 0 {
		k := copy(out[n:], p.clips[0])
		n += k
		if p.clips[0] = p.clips[0][k:]; len(p.clips[0]) == 0 {
			p.clips = p.clips[1:]
		}
	}
	if n > 0 {
		clear(out[n:])
	}
	switch {
	case len(p.clips) > 0:
		return true
	case p.done != nil:
		p.stop()
		return n > 0
	case len(p.music) == 0:
		return false
	}
	for n < frame {
		k := copy(out[n:], p.music[p.at:])
		n += k
		p.at = (p.at + k) % len(p.music)
	}
	return true
}

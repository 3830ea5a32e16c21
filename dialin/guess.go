package dialin

import (
	"context"
	"time"

	"sipxrest/internal/limit"
)

const (
	// maxCallerGuesses bounds what one caller may enter that is wrong, and
	// maxTrunkGuesses what all callers of one trunk may: a caller can claim any name.
	maxCallerGuesses = 9
	maxTrunkGuesses  = 60
	// guessTime is how long that counts.
	guessTime = 10 * time.Minute
	// barTime is how long a Nextcloud that refuses our address is not asked for
	// strangers: each further question would prolong that, for everybody.
	barTime = 5 * time.Minute
	// slowAnswer is how long Nextcloud takes to say that it cannot say, for the guess to
	// count: it makes those wait who guess, and then they would have as many as they like.
	slowAnswer = 5 * time.Second
	// maxBars bounds the trunks that are remembered for that.
	maxBars = 1000
)

// guess counts what a caller enters.
type guess struct {
	of            *limit.Failures
	caller, trunk limit.Suspect
}

func (s *Service) guess(q *Call) guess {
	source := q.source()
	return guess{s.guesses,
		limit.Suspect{Name: source + "\x00caller " + q.From, Most: maxCallerGuesses},
		limit.Suspect{Name: source, Most: maxTrunkGuesses}}
}

// source is who has sent the call: its trunk, or the network of a user.
func (q *Call) source() string {
	if q.Trunk == "" {
		return limit.Network(q.Source).String()
	}
	return "trunk " + q.Trunk
}

// allowed reports whether anything may be entered.
func (g guess) allowed() bool { return g.of.Wait(time.Now(), g.caller, g.trunk) == 0 }

// take counts an entry before anybody is asked, so that many calls at once get no more
// than one after another. It is false when there were too many.
func (g guess) take() bool { return g.of.Take(time.Now(), g.caller, g.trunk) }

// right takes an entry off the count.
func (g guess) right() { g.of.Forgive(time.Now(), g.caller, g.trunk) }

// unsaid takes an entry off the count of which Nextcloud has not said whether it is
// right, since it cannot. Who did not wait for that, which ctx tells, has guessed:
// Nextcloud was asked, and counts it.
func (g guess) unsaid(ctx context.Context, asked time.Time) {
	if ctx.Err() == nil && time.Since(asked) < slowAnswer {
		g.right()
	}
}

// bar is whom a Nextcloud is not asked for.
type bar struct{ cloud, source string }

// stranger reports whether nobody has proved who calls.
func (q *Call) stranger() bool { return q.Trunk != "" }

// barred reports whether a Nextcloud is not asked for a caller for now.
func (s *Service) barred(c Cloud, q *Call) bool {
	if !q.stranger() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.bars[bar{c.URL(), q.source()}]
	return ok && time.Now().Before(until)
}

// refuses notes that a Nextcloud refuses our address.
func (s *Service) refuses(c Cloud, q *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for b, until := range s.bars {
		if !now.Before(until) {
			delete(s.bars, b)
		}
	}
	if len(s.bars) < maxBars {
		s.bars[bar{c.URL(), q.source()}] = now.Add(barTime)
	}
}

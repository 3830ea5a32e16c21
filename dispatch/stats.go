package dispatch

import (
	"sync/atomic"
	"time"
)

// Outcome is what was decided on a call.
type Outcome uint8

// The outcomes.
const (
	OutcomeNoRule    Outcome = iota // 404
	OutcomeAnswer                   // connected to a room
	OutcomeHangup                   // refused
	OutcomeTransfer                 // connected to somebody
	OutcomeRedirect                 // 302
	OutcomeFallback                 // the webhook failed, or its answer could not be carried out
	OutcomeMedia                    // 488: the offer has not the media that the decision asks for
	OutcomeCancelled                // the caller gave up before there was a decision
	OutcomePIN                      // the PIN was not entered
	OutcomeForged                   // 403: a user called in the name of another
	numOutcomes
)

func (o Outcome) String() string {
	return [...]string{"no_rule", "answer", "hangup", "transfer", "redirect", "fallback", "media", "cancelled", "pin", "forged"}[o]
}

// bounds are those of Stats.Asked, in seconds.
var bounds = [...]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

type stats struct {
	decided [numOutcomes]atomic.Uint64
	asked   [len(bounds) + 1]atomic.Uint64
	askedNs atomic.Uint64
	running atomic.Int64
}

func (s *stats) time(d time.Duration) {
	i := 0
	for i < len(bounds) && d.Seconds() > bounds[i] {
		i++
	}
	s.asked[i].Add(1)
	s.askedNs.Add(uint64(d))
}

// Stats is what a Dispatcher has counted.
type Stats struct {
	Decided [numOutcomes]uint64 // by Outcome
	// Asked is how long webhooks took to decide: how many up to each of Bounds,
	// in seconds, and last those beyond; AskedSum in seconds.
	Asked    []uint64
	Bounds   []float64
	AskedSum float64
	Running  int // calls now
	Asking   int // webhooks being asked now
	// Of the events, Queued wait, those on their way among them.
	Queued                int
	Sent, Failed, Dropped uint64
	Rules                 int
}

// Stats answers what has been counted.
func (d *Dispatcher) Stats() Stats {
	s := Stats{Bounds: bounds[:], AskedSum: float64(d.stats.askedNs.Load()) / 1e9, Running: int(d.stats.running.Load()),
		Asking: len(d.asking), Queued: d.events.queued(), Sent: d.events.sent.Load(), Failed: d.events.failed.Load(),
		Dropped: d.events.dropped.Load(), Rules: d.Rules()}
	for i := range s.Decided {
		s.Decided[i] = d.stats.decided[i].Load()
	}
	for i := range d.stats.asked {
		s.Asked = append(s.Asked, d.stats.asked[i].Load())
	}
	return s
}

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
	OutcomeFallback                 // the webhook failed, or its response could not be carried out
	OutcomeMedia                    // 488: the offer has not the media that the decision asks for
	OutcomeCancelled                // the caller gave up before there was a decision
	OutcomePIN                      // the PIN was not entered
	OutcomeForged                   // 403: a user called in the name of another
	numOutcomes
)

func (o Outcome) String() string {
	return [...]string{"no_rule", "answer", "hangup", "transfer", "redirect", "fallback", "media", "cancelled", "pin", "forged"}[o]
}

// bounds are those of Stats.Asked.
var bounds = [...]time.Duration{10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second}

type stats struct {
	decided [numOutcomes]atomic.Uint64
	asked   [len(bounds) + 1]atomic.Uint64
	askedNs atomic.Uint64
	running atomic.Int64
}

func (s *stats) time(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	s.asked[i].Add(1)
	s.askedNs.Add(uint64(d))
}

// Stats is what a Dispatcher has counted.
type Stats struct {
	Decided [numOutcomes]uint64 // by Outcome
	// Asked is how long webhooks took to decide: how many up to each of Bounds,
	// and last those beyond.
	Asked    []uint64
	Bounds   []time.Duration
	AskedSum time.Duration
	Running  int // calls now
	Asking   int // webhooks being asked now
	// Of the events, Queued wait, those on their way among them.
	Queued                int
	Sent, Failed, Dropped uint64
	Rules                 int
}

// Stats returns what has been counted.
func (d *Dispatcher) Stats() Stats {
	events := d.events.Stats()
	s := Stats{Bounds: bounds[:], AskedSum: time.Duration(d.stats.askedNs.Load()), Running: int(d.stats.running.Load()),
		Asking: len(d.asking), Queued: events.Queued, Sent: events.Sent, Failed: events.Failed,
		Dropped: events.Dropped, Rules: d.Rules()}
	for i := range s.Decided {
		s.Decided[i] = d.stats.decided[i].Load()
	}
	for i := range d.stats.asked {
		s.Asked = append(s.Asked, d.stats.asked[i].Load())
	}
	return s
}

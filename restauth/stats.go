package restauth

import "sync/atomic"

// Failure is why a request was not let in.
type Failure uint8

// Why requests are not let in.
const (
	NoCredentials Failure = iota // none were given: the usual beginning of Digest
	WrongPIN
	StaleNonce         // the PIN was right
	BasicInClear       // Basic without TLS, which is not looked at
	BadCredentials     // an Authorization field that cannot be read
	TooManyGuesses     // 429
	NotTrusted         // a stranger on a listener for trusted peers
	CrossSite          // a page that is not in allowed-origins
	ForeignName        // a browser that calls by a name that is not ours
	numFailures    int = iota
)

func (f Failure) String() string {
	return [...]string{"no_credentials", "wrong_pin", "stale_nonce", "basic_in_clear", "bad_credentials", "too_many_guesses", "not_trusted", "cross_site", "foreign_name"}[f]
}

// Stats is what a gate has refused since it was made, and holds now.
type Stats struct {
	Failures [numFailures]uint64 // by Failure
	Nonces   int                 // nonces remembered because they were used
}

// gateStats are the counters of Stats.
type gateStats [numFailures]atomic.Uint64

func (s *gateStats) count(f Failure) { s[f].Add(1) }

// Stats reads the counters.
func (g *Gate) Stats() Stats {
	var s Stats
	for i := range s.Failures {
		s.Failures[i] = g.stats[i].Load()
	}
	s.Nonces = g.nonces.Len()
	return s
}

package dialout

import "sync/atomic"

// Source is who asks for calls.
type Source uint8

// Sources of calls.
const (
	FromTalk Source = iota
	FromREST
	numSources int = iota
)

func (s Source) String() string { return [...]string{"talk", "rest"}[s] }

// Stats is what a Service has done since it was made, and does now.
type Stats struct {
	Calls           [numSources][numOutcomes]uint64 // over, or never begun
	Active          int                             // in progress, or being verified
	Subscribers     int                             // event streams
	Connected, Down int                             // signaling servers × Nextclouds
	JournalFailures uint64
}

type counters [numSources][numOutcomes]atomic.Uint64

// Stats reads the counters.
func (s *Service) Stats() Stats {
	var st Stats
	for i := range s.counters {
		for o := range s.counters[i] {
			st.Calls[i][o] = s.counters[i][o].Load()
		}
	}
	s.mu.Lock()
	st.Active, st.Subscribers = s.active, s.subscribers
	s.mu.Unlock()
	st.JournalFailures = s.journal.failures.Load()
	if s.client != nil {
		for _, session := range s.client.Sessions() {
			if up, _ := session.Connected(); up {
				st.Connected++
			} else {
				st.Down++
			}
		}
	}
	return st
}

package sipflow

import (
	"time"

	"sipxrest/sipflow/transport"
)

// Stats is what has happened since the switchboard was made, and what there is
// now. The indexes of its arrays are the enumerations of the same name; their
// String methods name them for labels.
type Stats struct {
	Calls   CallStats
	Refused [numRefusals]uint64 // calls that were not placed

	Messages  [transport.NumKinds]Traffic
	Requests  [numMethods]uint64 // received, by method, repeats included
	Responses [numClasses]uint64 // received, by class (1 to 6; 0: others)
	Answers   [numClasses]uint64 // sent likewise, without repeats
	Strays    [numStrays]uint64

	ClientStarted [numMethods]uint64 // transactions of ours, by method
	ServerStarted uint64             // requests within calls that were relayed
	Clients       int                // transactions now
	Servers       int
	Repeated      uint64 // messages that we sent again
	Repeats       uint64 // messages that came again
	Timeouts      uint64 // transactions of ours without a final response
	Unacked       uint64 // 2xx of ours without an ACK
	Faults        uint64 // states that should not be possible, each of which ended what it was about

	Challenges [numVerdicts]uint64
	Inbound    [numInboundKinds]uint64 // INVITEs that would begin a call
	Forks      uint64                  // 2xx of further branches, or too late, that were hung up
	Limited    [numLimits]uint64

	Legs         int // dialogs, and such as are being made
	Inbox        int // events that wait for calls' goroutines, all together
	InboxMost    int // the most of one leg
	InboxFull    uint64
	Husks        int // legs that are over while NOTIFYs are still recorded
	EndedDialogs int // remembered to respond to what is late
	StreamsOurs  int // connections that we opened
	StreamsPeers int // connections that peers opened
	Avoided      int // hops that failed lately
	Draining     bool
}

// CallStats are those of calls.
type CallStats struct {
	Active, Bridged int // now
	Placed          [numFlowKinds]uint64
	Ended           [numFlowKinds][numOutcomes]uint64
	// From Place to the calling phone's answer, and until the parties were
	// joined; by REFER until the calling phone said that the other one rings,
	// or what became of it (Config.HangUpOn).
	Answered, Connected [numFlowKinds]Histogram
}

// Traffic is what went over the sockets of one transport, in messages.
type Traffic struct {
	In, Out   uint64
	Malformed uint64 // received, could not be read
	Failed    uint64 // could not be handed to the kernel
}

// Histogram is a distribution of times.
type Histogram struct {
	Bounds  []time.Duration // upper bounds; not to be changed
	Buckets []uint64        // per bound those not in the one before, then the rest
	Sum     time.Duration
}

// Stats reads the counters. It walks over the legs of every call, a sixteenth
// of them under one lock: some tens of nanoseconds each.
func (sw *Switchboard) Stats() *Stats {
	s, live := new(Stats), &sw.stats
	for f := range numFlowKinds {
		s.Calls.Placed[f] = live.placed[f].Load()
		for o := range numOutcomes {
			s.Calls.Ended[f][o] = live.ended[f][o].Load()
		}
		s.Calls.Answered[f], s.Calls.Connected[f] = live.answered[f].read(), live.connected[f].read()
	}
	for i := range s.Refused {
		s.Refused[i] = live.refused[i].Load()
	}
	for i := range s.Messages {
		t := &sw.transport.Messages[i]
		s.Messages[i] = Traffic{In: t.In.Load(), Out: t.Out.Load(), Malformed: t.Malformed.Load(), Failed: t.Failed.Load()}
	}
	for i := range s.Requests {
		s.Requests[i] = live.read.requests[i].Load()
	}
	for i := range s.Responses {
		s.Responses[i], s.Answers[i] = live.read.responses[i].Load(), live.answers[i].Load()
	}
	for i := range s.Strays {
		s.Strays[i] = live.read.strays[i].Load()
	}
	for i := range s.Challenges {
		s.Challenges[i] = live.challenges[i].Load()
	}
	for i := range s.Inbound {
		s.Inbound[i] = live.inbound[i].Load()
	}
	for i := range s.Limited {
		s.Limited[i] = live.limited[i].Load()
	}
	s.InboxFull, s.Forks, s.Faults = live.inboxFull.Load(), live.forks.Load(), sw.faults.Count.Load()

	sw.mu.Lock()
	s.Calls.Active, s.Calls.Bridged, s.Draining = sw.active, len(sw.bridges), sw.draining
	sw.mu.Unlock()
	for i := range sw.shards {
		sw.shards[i].read(s)
	}
	s.StreamsOurs, s.StreamsPeers = sw.transport.Connections()
	if sw.resolver != nil {
		s.Avoided = sw.resolver.Avoided()
	}
	return s
}

// Draining reports whether new calls are refused because of Drain or the end
// of Serve.
func (sw *Switchboard) Draining() bool {
	sw.mu.Lock()
	defer sw.mu.Unlock()
	return sw.draining
}

// read adds what the shard has.
func (s *shard) read(to *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, n := range s.stats.started {
		to.ClientStarted[i] += n
	}
	to.ServerStarted += s.stats.opened
	to.Repeated += s.stats.repeated
	to.Repeats += s.stats.repeats
	to.Timeouts += s.stats.timeouts
	to.Unacked += s.stats.unacked
	to.Clients += len(s.clients)
	to.Legs += len(s.legs)
	to.Husks += len(s.husks)
	to.EndedDialogs += len(s.ended.dialogs)
	for _, l := range s.legs {
		l.peer.mu.Lock()
		to.Servers += len(l.peer.open)
		l.peer.mu.Unlock()
		n := l.inbox.len()
		to.Inbox += n
		to.InboxMost = max(to.InboxMost, n)
	}
}

func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

func (h *histogram) read() Histogram {
	r := Histogram{Bounds: setupBounds[:], Buckets: make([]uint64, len(h.buckets)), Sum: time.Duration(h.sum.Load())}
	for i := range h.buckets {
		r.Buckets[i] = h.buckets[i].Load()
	}
	return r
}

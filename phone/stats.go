package phone

import (
	"sync/atomic"

	"sipxrest/media"
)

// Stats is what a Service has counted since it was made, and holds now.
type Stats struct {
	Calls   int // now
	Sockets int // now, of both kinds
	Devices int // notification sockets now
	Users   int // who have one

	Mediated, Direct uint64 // calls begun
	Answered         uint64 // mediated ones
	Outcomes         [numOutcomes]uint64
	Refused          uint64 // requests refused with 4xx or 5xx
	LoginsFailed     uint64

	ToPhones, FromPhones uint64      // calls that rang a SIP phone, or came from one
	RTP                  media.Stats // the packets Sent, Received, Lost, Late, Dropped, Foreign and Forged of calls that are over, and the largest Jitter; the rest is 0

	FramesRelayed   uint64 // of audio, that were sent
	FramesDropped   uint64 // the oldest, for a reader who is too slow
	FramesMalformed uint64 // whose length is not what they announce
}

// stats are the counters of Stats.
type stats struct {
	mediated, direct, answered, refused, loginsFailed atomic.Uint64
	ended                                             [numOutcomes]atomic.Uint64
	frames                                            relayed
	toPhones, fromPhones                              atomic.Uint64
	rtp                                               rtpStats
}

func (s *stats) placed(direct bool) {
	if direct {
		s.direct.Add(1)
	} else {
		s.mediated.Add(1)
	}
}

// Stats reads the counters.
func (s *Service) Stats() Stats {
	c := &s.stats
	out := Stats{
		Mediated: c.mediated.Load(), Direct: c.direct.Load(), Answered: c.answered.Load(),
		ToPhones: c.toPhones.Load(), FromPhones: c.fromPhones.Load(), RTP: c.rtp.read(),
		Refused: c.refused.Load(), LoginsFailed: c.loginsFailed.Load(),
		FramesRelayed: c.frames.sent.Load(), FramesDropped: c.frames.dropped.Load(), FramesMalformed: c.frames.malformed.Load(),
	}
	for i := range out.Outcomes {
		out.Outcomes[i] = c.ended[i].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Calls, out.Sockets, out.Users = len(s.calls), s.sockets, len(s.devices)
	for _, mine := range s.devices {
		out.Devices += len(mine)
	}
	return out
}

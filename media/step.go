package media

import "time"

// Pull gives the next 20 ms that came from the phone of a stepped session, and
// makes the callbacks Digit and NoMedia. It reports whether something is heard;
// if not, out is silence. That is so when nothing comes, while the phone holds the
// call, and while it sends a digit by RFC 4733 and 100 ms behind it: the tone of the key,
// of which phones let some slip into the sound, is not for others.
func (s *Session) Pull(now time.Time, out *[frameSamples]int16) (heard bool) {
	heard, n := s.hear(now, out)
	if !heard {
		clear(out[:])
	}
	s.tell(n)
	return heard
}

// hear takes the next frame, and what is to be told of it.
func (s *Session) hear(now time.Time, out *[frameSamples]int16) (heard bool, n notices) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.terms == nil {
		return false, n
	}
	if s.playing {
		before := s.jitter.hidden
		s.jitter.pull(out, now)
		heard = min(before, s.jitter.hidden) < fadeSamples && s.terms.direction == "sendrecv" && !now.Before(s.deaf)
	}
	return heard, s.notices(now)
}

// Push sends the next 20 ms to the phone of a stepped session, and the reports by
// RTCP that are due. Zeros alone are silence, and so is nil: as with [Session.Write]
// it is sent for 200 ms, and then once a second. An owner that was held up makes up
// for at most 5 frames; timestamps go on with the time whatever it does.
func (s *Session) Push(now time.Time, in *[frameSamples]int16) {
	s.mu.Lock()
	ready := s.terms != nil && !s.closed
	s.mu.Unlock()
	if !ready {
		return
	}
	if s.began.IsZero() {
		s.began = now
		s.report = now.Add(reportAfter())
	}
	if due := 1 + int(now.Sub(s.began)/frameTime) - s.frames; due > makeUp {
		s.frames += due - makeUp
		s.ts += uint32(due-makeUp) * frameTicks
	}
	s.frames++
	if in != nil && *in == silence {
		in = nil
	}
	if w, ok := s.next(); ok {
		s.sendSound(w, in)
	}
	s.reportIfDue(now)
}

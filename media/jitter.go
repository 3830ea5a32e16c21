package media

import "time"

const (
	slots       = 32               // packets that can wait
	minTarget   = 2 * frameTicks   // 40 ms wait before playing begins
	maxTarget   = 4 * frameTicks   // with a network that needs it
	maxWaiting  = 10 * frameTicks  // 200 ms; what is older is dropped
	maxGap      = 25 * frameTicks  // longest silence between two timestamps that is played as such
	maxDropout  = 3000             // RFC 3550 A.1: sequence numbers that may be missing
	maxMisorder = 100              // and that may be late
	fadeSamples = 3 * frameSamples // a gap is filled by repetition for 60 ms
	window      = 100              // frames between two looks at what waits in vain
)

type slotState uint8

const (
	free slotState = iota
	waiting
	played
)

type slot struct {
	state   slotState
	seq     uint16
	ts      uint32
	codec   Codec // none: a place in the sequence without sound
	payload []byte
}

// jitter puts packets into their order and gives a frame every 20 ms. It is
// guarded by Session.mu; only the clock pulls.
type jitter struct {
	dec   decoder
	stats *Stats

	slots  [slots]slot
	begun  bool   // next has a meaning
	next   uint16 // sequence number that is played next
	max    uint16 // highest that came
	ts     uint32 // timestamp that is played next
	active bool   // something has been played since the beginning: next does not go back
	bad    int    // sequence number that would confirm a jump, -1 for none

	waiting int       // slots
	queued  int       // ticks of sound in them
	primed  bool      // playing
	since   time.Time // when the first packet began to wait, while not primed
	target  int       // ticks to wait for before playing
	ticks   int       // of the last packet
	low     int       // least that was left after a frame in this window
	frames  int       // of this window

	pcm    []int16 // decoded, not yet played: the rest of a packet
	rest   []int16 // of pcm
	hide   int     // samples to be made up
	last   [frameSamples]int16
	at     int // position in last
	hidden int // samples made up since something was heard
}

// reset begins a new stream with seq.
func (j *jitter) reset(seq uint16) {
	for i := range j.slots {
		j.slots[i].state = free
	}
	j.begun, j.active, j.primed = true, false, false
	j.next, j.max, j.bad = seq, seq, -1
	j.waiting, j.queued, j.hide, j.rest = 0, 0, 0, nil
	j.ticks = frameTicks
	if j.target == 0 {
		j.target = minTarget
	}
}

// aim sets the target from the jitter of the network, in ticks.
func (j *jitter) aim(jitter int) {
	j.target = min(max(frameTicks+3*jitter, minTarget), maxTarget)
}

// push takes a packet; codec none stands for one without sound. It reports
// whether the packet belongs to the stream.
func (j *jitter) push(seq uint16, ts uint32, c Codec, payload []byte, now time.Time) bool {
	if !j.begun {
		j.reset(seq)
	}
	switch d := int(int16(seq - j.next)); {
	case d < 0 && !j.active && d > -slots/2 && int(int16(j.max-seq)) < slots:
		j.next = seq // nothing has been played: the first was not the first
	case d < 0 && d > -maxMisorder:
		if s := &j.slots[seq%slots]; s.state == played && s.seq == seq {
			j.stats.Duplicate++
		} else {
			j.stats.Late++
		}
		return true
	case d >= maxDropout || d < 0:
		if j.bad != int(seq) {
			j.bad = int(seq + 1)
			j.stats.Ignored++
			return false
		}
		j.reset(seq) // two in a row: the peer has begun anew
	case d >= slots:
		j.stats.Lost += uint64(d - j.waiting)
		j.stats.Dropped += uint64(j.waiting)
		j.reset(seq)
	}
	j.bad = -1
	s := &j.slots[seq%slots]
	if s.state == waiting {
		j.stats.Duplicate++
		return true
	}
	if int16(seq-j.max) < 0 {
		j.stats.Reordered++
	} else {
		j.max = seq
	}
	s.state, s.seq, s.ts, s.codec = waiting, seq, ts, c
	s.payload = append(s.payload[:0], payload...)
	if !j.primed && j.queued == 0 {
		j.since = now
	}
	j.waiting++
	if c != none {
		j.queued += len(payload)
	}
	for j.queued > maxWaiting && j.waiting > 1 {
		j.stats.Dropped++
		j.skip()
	}
	return true
}

// skip forgets the oldest packet that waits.
func (j *jitter) skip() {
	for j.head() == nil {
		j.stats.Lost++
		j.next++
	}
	j.pop()
}

// head is the packet that is played next, nil if it has not come.
func (j *jitter) head() *slot {
	if s := &j.slots[j.next%slots]; s.state == waiting && s.seq == j.next {
		return s
	}
	return nil
}

// pop marks the head, which is not nil, as played.
func (j *jitter) pop() {
	s := &j.slots[j.next%slots]
	s.state = played
	j.next++
	j.waiting--
	j.active = true
	if s.codec != none {
		j.queued -= len(s.payload)
		j.ts = s.ts + uint32(len(s.payload))
	}
}

// pull fills one frame.
func (j *jitter) pull(out *[frameSamples]int16, now time.Time) {
	n, whole := 0, true
	for n < len(out) {
		switch {
		case j.hide > 0:
			k := min(j.hide, len(out)-n)
			j.fade(out[n : n+k])
			n, whole = n+k, false
			j.hide -= k
		case len(j.rest) > 0:
			k := copy(out[n:], j.rest)
			n += k
			j.rest = j.rest[k:]
		case !j.step(now): // dry
			j.fade(out[n:])
			n, whole = len(out), false
		}
	}
	if whole {
		j.last, j.at, j.hidden = *out, 0, 0
	}
	j.trim()
}

// step takes the next packet, or finds that it is lost. It is false when there
// is nothing to play.
func (j *jitter) step(now time.Time) bool {
	if !j.primed && !j.prime(now) {
		return false
	}
	if j.waiting == 0 {
		j.primed = false // dry: what comes next waits again, as the network needs it
		return false
	}
	s := j.head()
	if s == nil {
		j.stats.Lost++
		j.next++
		j.hide = 2 * j.ticks
		j.ts += uint32(j.ticks)
		return true
	}
	if s.codec == none {
		j.pop()
		return true
	}
	if gap := int32(s.ts - j.ts); gap > 0 && gap <= maxGap {
		j.hide, j.ts = 2*int(gap), s.ts // the peer was silent, or the sound of lost packets was longer
		return true
	}
	j.pcm = j.dec.decode(j.pcm[:0], s.codec, s.payload)
	j.rest = j.pcm
	j.ticks = len(s.payload)
	j.pop()
	return true
}

// prime begins to play if enough has come, or has waited long enough.
func (j *jitter) prime(now time.Time) bool {
	if j.queued == 0 {
		for s := j.head(); s != nil; s = j.head() {
			j.pop() // there is no sound in it
		}
		return false
	}
	if j.queued < j.target && now.Sub(j.since) < ticks(j.target) {
		return false
	}
	s := j.head()
	for ; s == nil || s.codec == none; s = j.head() {
		if s != nil {
			j.pop()
			continue
		}
		j.stats.Lost++
		j.next++
	}
	j.primed, j.ts = true, s.ts
	j.low, j.frames = j.queued, 0
	return true
}

// trim drops a packet if more than the target has been left all the time:
// that is only delay.
func (j *jitter) trim() {
	if !j.primed {
		return
	}
	j.low = min(j.low, j.queued+len(j.rest)/2)
	if j.frames++; j.frames < window {
		return
	}
	if j.low >= j.target && j.head() != nil {
		j.stats.Dropped++
		j.skip()
	}
	j.low, j.frames = j.queued, 0
}

// fade makes up sound for a gap: the last frame again, ever more quietly, then
// silence.
func (j *jitter) fade(out []int16) {
	for i := range out {
		if j.hidden >= fadeSamples {
			clear(out[i:])
			return
		}
		out[i] = int16(int(j.last[j.at]) * (fadeSamples - j.hidden) / fadeSamples)
		j.at = (j.at + 1) % len(j.last)
		j.hidden++
	}
}

// ticks of the RTP clock as a duration.
func ticks(n int) time.Duration { return time.Duration(n) * time.Second / clockRate }

package media

import "time"

const (
	slots       = 32               // packets that can wait, for a phone
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
	ticks   int   // of sound
	payload []byte
}

// jitter puts packets into their order and gives a frame every 20 ms. It is
// guarded by Session.mu or Player.mu; only the clock pulls.
type jitter struct {
	dec   decoder
	opus  opusDecoder
	stats *Stats

	// These may be set before the first packet; 0 is what a phone gets.
	least, most int  // bounds of target
	reserve     bool // what the first packet has beyond 20 ms is no reserve: the next one comes as much later

	slots  []slot
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
	ticks   int       // of the last packet that was played
	length  int       // of the last packet that came
	unit    uint32    // what a tick is in timestamps
	low     int       // least that was left after a frame in this window
	frames  int       // of this window

	pcm    []int16 // decoded, not yet played: the rest of a packet
	rest   []int16 // of pcm
	hide   int     // samples to be made up
	void   int     // samples of silence: the peer was silent, or nobody listened
	blind  bool    // nobody listens: nothing is decoded
	stale  bool    // the decoder has missed packets for that reason
	owed   int     // ticks that were decoded beyond the time that has passed: who begins anew all the time is heard no faster
	last   [frameSamples]int16
	at     int // position in last
	hidden int // samples made up since something was heard
}

// reset begins a new stream with seq.
func (j *jitter) reset(seq uint16) {
	if j.slots == nil {
		j.slots = make([]slot, slots)
	}
	for i := range j.slots {
		j.slots[i].state = free
	}
	j.begun, j.active, j.primed = true, false, false
	j.next, j.max, j.bad = seq, seq, -1
	j.waiting, j.queued, j.hide, j.void, j.rest = 0, 0, 0, 0, nil
	j.ticks, j.length, j.unit = frameTicks, frameTicks, 1
	if j.most == 0 {
		j.least, j.most = minTarget, maxTarget
	}
	if j.target == 0 {
		j.target = j.least
	}
}

// slot is the place of a sequence number. There are as many as a power of two, so
// that numbers which wrap around keep their order.
func (j *jitter) slot(seq uint16) *slot { return &j.slots[int(seq)%len(j.slots)] }

// aim sets the target from the jitter of the network, in ticks.
func (j *jitter) aim(jitter int) {
	least, most := j.least, j.most
	if most == 0 {
		least, most = minTarget, maxTarget
	}
	j.target = min(max(frameTicks+3*jitter, least), most)
}

// enough is how many ticks have to be there for the target to be met.
func (j *jitter) enough() int {
	if j.reserve {
		return j.target + max(j.length-frameTicks, 0)
	}
	return j.target
}

// spare is how many ticks may be left over all the time. A source of WebRTC keeps
// the one packet that makes up for another one being late.
func (j *jitter) spare() int {
	if j.reserve {
		return j.enough() + frameTicks/2
	}
	return j.target
}

// push takes a packet; codec none stands for one without sound. It reports
// whether the packet belongs to the stream.
func (j *jitter) push(seq uint16, ts uint32, c Codec, payload []byte, now time.Time) bool {
	if !j.begun {
		j.reset(seq)
	}
	switch d := int(int16(seq - j.next)); {
	case d < 0 && !j.active && d > -len(j.slots)/2 && int(int16(j.max-seq)) < len(j.slots):
		j.next = seq // nothing has been played: the first was not the first
	case d < 0 && d > -maxMisorder:
		if s := j.slot(seq); s.state == played && s.seq == seq {
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
	case d >= len(j.slots):
		j.stats.Lost += uint64(d - j.waiting)
		j.stats.Dropped += uint64(j.waiting)
		j.reset(seq)
	}
	j.bad = -1
	s := j.slot(seq)
	if s.state == waiting {
		j.stats.Duplicate++
		return true
	}
	if int16(seq-j.max) < 0 {
		j.stats.Reordered++
	} else {
		j.max = seq
	}
	s.state, s.seq, s.ts, s.codec, s.ticks = waiting, seq, ts, c, length(c, payload)
	s.payload = append(s.payload[:0], payload...)
	if !j.primed && j.queued == 0 {
		j.since = now
	}
	j.waiting++
	if c != none {
		j.queued += s.ticks
		j.length = s.ticks
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
	if s := j.slot(j.next); s.state == waiting && s.seq == j.next {
		return s
	}
	return nil
}

// pop marks the head, which is not nil, as played.
func (j *jitter) pop() {
	s := j.slot(j.next)
	s.state = played
	j.next++
	j.waiting--
	j.active = true
	if s.codec != none {
		j.queued -= s.ticks
		j.unit = unit(s.codec)
		j.ts = s.ts + uint32(s.ticks)*j.unit
	}
}

// pull fills one frame, and reports whether there is sound of the peer in it,
// made up or not.
func (j *jitter) pull(out *[frameSamples]int16, now time.Time) (heard bool) {
	j.owed = max(j.owed-frameTicks, 0)
	n, whole := 0, true
	for n < len(out) {
		switch {
		case j.hide > 0:
			k := min(j.hide, len(out)-n)
			heard = j.fade(out[n:n+k]) || heard
			n, whole = n+k, false
			j.hide -= k
		case j.void > 0:
			k := min(j.void, len(out)-n)
			clear(out[n : n+k])
			n += k
			j.void -= k
		case len(j.rest) > 0:
			k := copy(out[n:], j.rest)
			n, heard = n+k, true
			j.rest = j.rest[k:]
		case !j.step(now): // dry
			heard = j.fade(out[n:]) || heard
			n, whole = len(out), false
		}
	}
	if whole {
		j.last, j.at, j.hidden = *out, 0, 0
	}
	j.trim()
	return heard
}

// pass lets one frame go by that nobody hears.
func (j *jitter) pass(now time.Time) {
	j.owed = max(j.owed-frameTicks, 0)
	j.blind = true
	for n := 0; n < frameSamples; {
		k := min(j.hide+j.void+len(j.rest), frameSamples-n)
		n += k
		l := min(k, len(j.rest))
		j.rest, k = j.rest[l:], k-l
		l = min(k, j.hide)
		j.hide, j.void = j.hide-l, j.void-(k-l)
		if n < frameSamples && !j.step(now) {
			break
		}
	}
	j.blind = false
	j.hidden = fadeSamples // what was heard before is not repeated
	j.trim()
}

// step takes the next packet, or finds that it is lost. It is false when there
// is nothing to play.
func (j *jitter) step(now time.Time) bool {
	if !j.begun {
		return false
	}
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
		j.ts += uint32(j.ticks) * j.unit
		return true
	}
	if s.codec == none {
		j.pop()
		return true
	}
	if gap := int32(s.ts-j.ts) / int32(j.unit); gap > 0 && gap <= maxGap && unit(s.codec) == j.unit {
		j.hide, j.ts = 2*int(gap), s.ts // the peer was silent, or the sound of lost packets was longer
		return true
	}
	j.decode(s, now)
	j.ticks = s.ticks
	j.pop()
	return true
}

// decode makes sound of a packet that has some.
func (j *jitter) decode(s *slot, now time.Time) {
	switch {
	case j.blind:
		j.void, j.stale = 2*s.ticks, true
		return
	case s.codec == Opus && (len(s.payload) <= opusSilence || j.owed > maxWaiting):
		j.void = 2 * s.ticks
		return
	case j.stale: // what it knows of the sound before is wrong by now
		j.dec.reset(none)
		j.opus.reset()
		j.stale = false
	}
	if s.codec != Opus {
		j.pcm = j.dec.decode(j.pcm[:0], s.codec, s.payload)
		j.rest = j.pcm
		return
	}
	j.owed += s.ticks
	if j.rest = j.opus.decode(s.payload, now); len(j.rest) != 2*s.ticks {
		j.rest, j.hide = nil, 2*s.ticks
	}
}

// length is how many ticks of sound a payload has.
func length(c Codec, payload []byte) int {
	switch c {
	case none:
		return 0
	case Opus:
		return opusTicks(payload)
	}
	return len(payload)
}

// unit is what a tick is in the timestamps of a codec.
func unit(c Codec) uint32 {
	if c == Opus {
		return opusUnit
	}
	return 1
}

// prime begins to play if enough has come, or has waited long enough.
func (j *jitter) prime(now time.Time) bool {
	if j.queued == 0 {
		for s := j.head(); s != nil; s = j.head() {
			j.pop() // there is no sound in it
		}
		return false
	}
	if j.queued < j.enough() && now.Sub(j.since) < ticks(j.target) {
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
	j.primed, j.ts, j.unit = true, s.ts, unit(s.codec)
	j.low, j.frames = j.queued, 0
	return true
}

// trim drops a packet if more than the target has been left all the time:
// that is only delay.
func (j *jitter) trim() {
	if !j.primed {
		return
	}
	j.low = min(j.low, j.queued+(len(j.rest)+j.void)/2)
	if j.frames++; j.frames < window {
		return
	}
	if j.low >= j.spare() && j.head() != nil {
		j.stats.Dropped++
		j.skip()
	}
	j.low, j.frames = j.queued, 0
}

// fade makes up sound for a gap: the last frame again, ever more quietly, then
// silence. It reports whether some of it is sound.
func (j *jitter) fade(out []int16) (sound bool) {
	for i := range out {
		if j.hidden >= fadeSamples {
			clear(out[i:])
			return sound
		}
		out[i] = int16(int(j.last[j.at]) * (fadeSamples - j.hidden) / fadeSamples)
		sound = sound || out[i] != 0
		j.at = (j.at + 1) % len(j.last)
		j.hidden++
	}
	return sound
}

// ticks of the RTP clock as a duration.
func ticks(n int) time.Duration { return time.Duration(n) * time.Second / clockRate }

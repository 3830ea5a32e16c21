package media

import (
	"log/slog"
	"sync"
	"time"
)

const (
	playerLeast  = 20 * time.Millisecond
	playerMost   = 120 * time.Millisecond
	playerStart  = 2 * frameTicks // what waits at first, while nobody knows how irregularly packets come
	playerLearns = 50             // packets that tell
	playerSlots  = 128            // packets that can wait: 200 ms in packets of 2.5 ms, and those that came out of order
	levelFrames  = 10             // frames that the level looks back, 200 ms
	levelUnknown = 40             // -dBov of a packet that does not say it
	levelSilence = 127            // of no packet, and the lowest of RFC 6464
)

// PlayerConfig is for one [Player].
type PlayerConfig struct {
	// What waits before playing begins: 40 ms at first, then between Min and Max, as
	// irregularly as packets come. 0: 20 ms and 120 ms, for a peer of WebRTC.
	Min, Max time.Duration

	// Log gets a line when a packet cannot be decoded, the first time. Nil: none.
	Log *slog.Logger
}

// Player makes sound of the RTP packets of one source: a jitter buffer and
// decoders without a socket. It is safe for concurrent use: one goroutine
// pushes what comes, the clock of a room pulls. Of what waits too long it drops
// the oldest, so that it never holds more than 200 ms, or one packet.
type Player struct {
	log   *slog.Logger
	begin time.Time // arrival times count from here

	mu      sync.Mutex
	jitter  jitter
	stats   Stats
	arrival arrival
	codec   Codec
	told    bool               // that a packet could not be decoded
	levels  [levelFrames]uint8 // loudest packet that came in each of the last frames, in a ring
	frame   int                // place of the current frame in it
}

// PlayerStats counts what came, since the player was made.
type PlayerStats struct {
	Received  uint64 // packets of the stream
	Lost      uint64 // were not there when their turn came
	Late      uint64 // of those, came after it
	Reordered uint64 // came out of order, but in time
	Duplicate uint64
	Dropped   uint64        // came in time, but too many of them waited
	Ignored   uint64        // stray sequence numbers
	Faults    uint64        // could not be decoded
	Waiting   time.Duration // sound that waits now
	Jitter    time.Duration // of arrival (RFC 3550 §6.4.1)
	Codec     Codec         // of the last packet with sound
}

// NewPlayer makes one that has heard nothing yet.
func NewPlayer(cfg PlayerConfig) *Player {
	if cfg.Min <= 0 {
		cfg.Min = playerLeast
	}
	if cfg.Max <= 0 {
		cfg.Max = playerMost
	}
	p := &Player{log: cfg.Log}
	p.jitter = jitter{
		stats: &p.stats, bad: -1, slots: make([]slot, playerSlots), reserve: true,
		least: min(inTicks(cfg.Min), maxWaiting), most: min(inTicks(max(cfg.Min, cfg.Max)), maxWaiting),
	}
	p.jitter.target = min(max(playerStart, p.jitter.least), p.jitter.most)
	for i := range p.levels {
		p.levels[i] = levelSilence
	}
	return p
}

// Push takes the payload of an RTP packet, of which it keeps nothing. level is
// the packet's audio level (RFC 6464), from 0, the loudest, to 127 -dBov; -1
// without that extension. The zero Codec stands for a packet without sound, such
// as comfort noise: its place in the sequence is no loss. It returns at once.
func (p *Player) Push(seq uint16, ts uint32, c Codec, payload []byte, level int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begin.IsZero() {
		p.begin = now
	}
	if len(payload) > maxPacket {
		p.stats.Ignored++
		return
	}
	silent := c == none || len(payload) == 0
	if !silent && length(c, payload) == 0 { // what cannot be: a gap is heard in its place
		p.jitter.opus.fault(errOpus)
		silent = true
	}
	if silent {
		c = none
	}
	if !p.jitter.push(seq, ts, c, payload, now) {
		return
	}
	p.stats.Received++
	if silent {
		return
	}
	p.codec = c
	if irregular := p.arrival.arrived(ts, unit(c), now.Sub(p.begin)); p.stats.Received > playerLearns {
		p.jitter.aim(irregular)
	}
	switch {
	case c == Opus && len(payload) <= opusSilence:
		level = levelSilence
	case level < 0:
		level = levelUnknown
	}
	p.levels[p.frame] = min(p.levels[p.frame], uint8(min(level, levelSilence)))
}

// Pull decodes the next 20 ms. It reports whether out is sound of the source;
// else it is silence.
func (p *Player) Pull(now time.Time, out *[320]int16) (heard bool) {
	heard, err := p.hear(now, out)
	if err != nil && p.log != nil {
		p.log.Warn("a participant's sound cannot be decoded", "err", err)
	}
	return heard
}

// hear is Pull. The error is the first one of the decoder.
func (p *Player) hear(now time.Time, out *[320]int16) (heard bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
	heard = p.jitter.pull(out, now)
	if p.jitter.opus.faults > 0 && !p.told {
		p.told = true
		err = p.jitter.opus.err
	}
	return heard, err
}

// Skip lets 20 ms pass by that nobody hears: nothing is decoded.
func (p *Player) Skip(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
	p.jitter.pass(now)
}

// turn begins the next frame of levels.
func (p *Player) turn() {
	p.frame = (p.frame + 1) % levelFrames
	p.levels[p.frame] = levelSilence
}

// Level returns how loud the loudest packet of the last 200 ms was, in -dBov
// from 0 to 127; 40 if packets do not say it, 127 if none came.
func (p *Player) Level() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	level := p.levels[0]
	for _, l := range p.levels[1:] {
		level = min(level, l)
	}
	return int(level)
}

// Stats may be called at any time.
func (p *Player) Stats() PlayerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	return PlayerStats{
		Received: s.Received, Lost: s.Lost, Late: s.Late, Reordered: s.Reordered, Duplicate: s.Duplicate, Dropped: s.Dropped,
		Ignored: s.Ignored, Faults: p.jitter.opus.faults,
		Waiting: ticks(p.jitter.queued + (len(p.jitter.rest)+p.jitter.void)/2), Jitter: ticks(int(p.arrival.jitter)), Codec: p.codec,
	}
}

// arrival is the jitter of arrival (RFC 3550 A.8) of a stream whose clock may run
// at a multiple of ours.
type arrival struct {
	timed   bool
	ts      uint32  // of the last packet
	unit    uint32  // what a tick is in timestamps
	media   int64   // that clock since the first packet, in its own units
	transit int64   // of the last packet, ticks
	jitter  float64 // ticks
}

// arrived returns the jitter with one more packet, in ticks.
func (a *arrival) arrived(ts, unit uint32, at time.Duration) int {
	if a.timed = a.timed && a.unit == unit; !a.timed {
		a.media = 0
	} else {
		a.media += int64(int32(ts - a.ts))
	}
	transit := int64(at/time.Microsecond)*clockRate/1e6 - a.media/int64(unit)
	if d := transit - a.transit; a.timed && d > -clockRate && d < clockRate { // else the clock jumped
		a.jitter += (float64(max(d, -d)) - a.jitter) / 16
	}
	a.timed, a.ts, a.unit, a.transit = true, ts, unit, transit
	return int(a.jitter)
}

// inTicks is a duration on the RTP clock.
func inTicks(d time.Duration) int { return int(d * clockRate / time.Second) }

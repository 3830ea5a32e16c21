package media

import (
	"log/slog"
	"time"
)

// PlayerConfig is for one [Player].
type PlayerConfig struct {
	// What waits before playing begins: Min at first, up to Max if packets come
	// irregularly. 0: 20 ms and 120 ms, for a peer of WebRTC.
	Min, Max time.Duration

	// Log gets a line when a source cannot be decoded, the first time. Nil: none.
	Log *slog.Logger
}

// Player makes sound of the RTP packets of one source: a jitter buffer and
// decoders without a socket. It is safe for concurrent use: one goroutine
// pushes what comes, the clock of a room pulls.
type Player struct{}

// PlayerStats counts what came, since the player was made.
type PlayerStats struct {
	Received  uint64 // packets of the stream
	Lost      uint64 // were not there when their turn came
	Late      uint64 // of those, came after it
	Reordered uint64 // came out of order, but in time
	Duplicate uint64
	Dropped   uint64        // came in time, but too many of them waited
	Ignored   uint64        // stray sequence numbers, payloads that are none
	Faults    uint64        // could not be decoded
	Waiting   time.Duration // sound that waits now
	Jitter    time.Duration // of arrival (RFC 3550 §6.4.1)
	Codec     Codec         // of the last packet
}

// NewPlayer makes one that has heard nothing yet.
func NewPlayer(cfg PlayerConfig) *Player { return &Player{} }

// Push takes the payload of an RTP packet, of which it keeps nothing. level is
// the packet's audio level (RFC 6464), from 0, the loudest, to 127 -dBov; -1
// without that extension. It returns at once.
func (p *Player) Push(seq uint16, ts uint32, c Codec, payload []byte, level int, now time.Time) {}

// Pull decodes the next 20 ms. It reports whether out is sound of the source;
// else it is silence.
func (p *Player) Pull(now time.Time, out *[320]int16) (heard bool) { clear(out[:]); return false }

// Skip lets 20 ms pass by that nobody hears: nothing is decoded.
func (p *Player) Skip(now time.Time) {}

// Level returns how loud the loudest packet of the last 200 ms was, in -dBov
// from 0 to 127; 40 if packets do not say it, 127 if none came.
func (p *Player) Level() int { return 127 }

// Stats may be called at any time.
func (p *Player) Stats() PlayerStats { return PlayerStats{} }

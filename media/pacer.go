package media

import "sync"

const (
	pacerSamples = 12 * frameSamples // 240 ms: two frames of 100 ms, and what is left of a third
	pacerStart   = 2 * frameSamples  // what waits before sending begins
	pacerWindow  = 100               // frames between two looks at what waits in vain
)

// pacer holds samples that come in bursts until their turn. When it is full
// the oldest go: what is heard late is worse than what is not heard. The zero
// value is ready. It is safe for concurrent use.
type pacer struct {
	mu      sync.Mutex
	ring    [pacerSamples]int16
	head, n int
	primed  bool // sending, since enough has been there
	waited  int  // frames since the first sample came, while not primed
	low     int  // least that was left after a frame, in this window
	frames  int  // of this window
	dropped uint64
}

func (p *pacer) write(pcm []int16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if over := len(pcm) - len(p.ring); over > 0 {
		p.dropped += uint64(over)
		pcm = pcm[over:]
	}
	p.drop(p.n + len(pcm) - len(p.ring))
	tail := (p.head + p.n) % len(p.ring)
	k := copy(p.ring[tail:], pcm)
	copy(p.ring[:], pcm[k:])
	p.n += len(pcm)
}

// drop forgets the k oldest samples.
func (p *pacer) drop(k int) {
	if k <= 0 {
		return
	}
	p.head = (p.head + k) % len(p.ring)
	p.n -= k
	p.dropped += uint64(k)
}

// take gives the next frame, if there is one to send now.
func (p *pacer) take(frame *[frameSamples]int16) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.primed {
		if p.n == 0 {
			p.waited = 0
			return false
		}
		p.waited++
		if p.n < pacerStart && p.waited <= pacerStart/frameSamples {
			return false
		}
		p.primed, p.low, p.frames = true, p.n, 0
	} else if p.n < frameSamples {
		p.primed, p.waited = false, 0 // dry: collect anew, for the bursts are longer than thought
		return false
	}
	k := min(p.n, frameSamples) // less if the last words end in the middle of a frame
	for i := range frame[:k] {
		frame[i] = p.ring[(p.head+i)%len(p.ring)]
	}
	clear(frame[k:])
	p.head = (p.head + k) % len(p.ring)
	p.n -= k

	// What has been left over all the time is only delay: the other side's
	// clock is faster than ours, or had a hiccup once.
	p.low = min(p.low, p.n)
	if p.frames++; p.frames == pacerWindow {
		if p.low >= pacerStart {
			p.drop(frameSamples)
		}
		p.low, p.frames = p.n, 0
	}
	return true
}

// forget drops all, uncounted: nobody is to hear it.
func (p *pacer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.head, p.n, p.primed, p.waited = 0, 0, false, 0
}

func (p *pacer) lost() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}

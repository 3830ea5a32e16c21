package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Calls are many small objects that live for minutes. The usual doubling of
// the heap between collections would collect a small heap too often and keep
// as much garbage as calls in a large one. So a small heap gets the room for
// garbage that keeps collecting below a twentieth of the CPU time, and the
// more lives in it, the less there is on top.
const (
	smallHeap  = 160 << 20 // bytes, garbage included, that are never too many
	minSlack   = 32 << 20  // room for garbage in a larger heap ...
	slackShare = 6         // ... or one part in so many of what lives
)

// tuneGC sets the room for garbage anew after each collection. GOGC, when set
// in the environment, wins; GOMEMLIMIT is Go's own business.
func tuneGC() {
	debug.FreeOSMemory() // what reading the users' files left behind
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{sample: []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}}
	t.adjust()
	t.afterNext()
}

type gcTuner struct {
	sample  []metrics.Sample
	percent int
}

// afterNext has adjust run after the next collection: the cleanup of an object
// that nobody refers to runs then.
func (t *gcTuner) afterNext() {
	type sentinel struct{ _ *byte }
	runtime.AddCleanup(new(sentinel), func(t *gcTuner) {
		t.adjust()
		t.afterNext()
	}, t)
}

func (t *gcTuner) adjust() {
	metrics.Read(t.sample)
	live := t.sample[0].Value.Uint64() + t.sample[1].Value.Uint64()
	if p := gcPercent(live); p < t.percent*9/10 || p > t.percent*11/10 { // each change stops the world
		t.percent = p
		debug.SetGCPercent(p)
	}
}

// gcPercent is the GOGC that leaves the right room above live bytes.
func gcPercent(live uint64) int {
	live = max(live, 4<<20) // the runtime's own floor
	slack := max(live/slackShare, minSlack)
	if live+slack < smallHeap {
		slack = smallHeap - live
	}
	return int(min(slack*100/live, 1600))
}

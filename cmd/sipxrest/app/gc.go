package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Calls are many small objects that live for minutes. The usual doubling of
// the heap between collections would collect a small heap too often and keep
// as much garbage as calls in a large one. So the room for garbage follows
// what is thrown away: about a second's worth, which keeps collecting at a few
// hundredths of the CPU time at any load.
const (
	gcEvery    = time.Second // between collections, about
	minSlack   = 24 << 20    // bytes of garbage that are always allowed
	maxSlack   = 128 << 20   // and never exceeded in a heap smaller than slackShare times that
	slackShare = 8           // a larger heap gets one part in so many of what lives
)

// tuneGC sets the room for garbage anew after each collection. GOGC, when set
// in the environment, wins; GOMEMLIMIT is Go's own business.
func tuneGC() {
	debug.FreeOSMemory() // what reading the users' files left behind
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{at: time.Now(), sample: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}}
	metrics.Read(t.sample)
	t.allocated = t.sample[2].Value.Uint64()
	t.adjust()
	t.afterNext()
}

type gcTuner struct {
	sample    []metrics.Sample
	percent   int
	at        time.Time
	allocated uint64
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
	allocated, now := t.sample[2].Value.Uint64(), time.Now()
	var rate float64 // bytes allocated between collections, at gcEvery
	if took := now.Sub(t.at); took > 0 {
		rate = float64(allocated-t.allocated) * float64(gcEvery) / float64(took)
	}
	t.allocated, t.at = allocated, now
	if p := gcPercent(live, uint64(rate)); p < t.percent*9/10 || p > t.percent*11/10 { // each change stops the world
		t.percent = p
		debug.SetGCPercent(p)
	}
}

// gcPercent is the GOGC that leaves the right room above live bytes, when so
// many are allocated within gcEvery.
func gcPercent(live, rate uint64) int {
	live = max(live, 4<<20) // the runtime's own floor
	slack := max(min(rate, maxSlack), minSlack, live/slackShare)
	return int(min(slack*100/live, 1600))
}

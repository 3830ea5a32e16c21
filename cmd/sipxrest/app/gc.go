package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Calls are many small objects that live for minutes. The usual doubling of
// the heap between collections would collect a small heap too often and keep
// as much garbage as calls in a large one. So the room for garbage follows
// what is thrown away. While a collection runs, for some 50 ms, messages wait: the
// slowest of a hundred calls are those that meet one. So it runs each five seconds,
// if the machine has the memory for that.
const (
	gcEvery    = 5 * time.Second // between collections, about
	minSlack   = 24 << 20        // bytes of garbage that are always allowed
	maxSlack   = 512 << 20       // and never exceeded in a heap smaller than slackShare times that
	slackShare = 8               // a larger heap gets one part in so many of what lives
	ownShare   = 16              // of the memory that we may use, garbage gets one part in so many
)

// mostSlack is the most that garbage may take in so much memory.
func mostSlack(memory uint64) uint64 { return max(min(memory/ownShare, maxSlack), minSlack) }

// ourMemory is how much memory the service may use: what its container allows, or what the
// machine has.
func ourMemory() uint64 {
	most, err := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)()
	if err != nil {
		return 2 << 30 // not known here: that of a small machine
	}
	return most
}

// tuneGC sets the room for garbage anew after each collection. GOGC, when set
// in the environment, wins; GOMEMLIMIT is Go's own business.
func tuneGC() {
	debug.FreeOSMemory() // what reading the users' files left behind
	if os.Getenv("GOGC") != "" {
		return
	}
	t := &gcTuner{most: mostSlack(ourMemory()), at: time.Now(), sample: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}}
	metrics.Read(t.sample)
	t.allocated = t.sample[2].Value.Uint64()
	t.adjust()
	t.afterNext()
}

type gcTuner struct {
	sample    []metrics.Sample
	most      uint64 // bytes of garbage
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
	if p := gcPercent(live, uint64(rate), t.most); p < t.percent*9/10 || p > t.percent*11/10 { // each change stops the world
		t.percent = p
		debug.SetGCPercent(p)
	}
}

// gcPercent is the GOGC that leaves the right room above live bytes, when so
// many are allocated within gcEvery and garbage may take at most so many.
func gcPercent(live, rate, most uint64) int {
	live = max(live, 4<<20) // the runtime's own floor
	slack := max(min(rate, most), minSlack, live/slackShare)
	return int(min(slack*100/live, 6400))
}

package app

import (
	"context"
	"os"
	"runtime"
	"time"
)

// A call is many short steps in several goroutines. With more processors than
// the work needs, Go wakes one for each step and lets it look for more before
// it sleeps again, which at moderate load is a third of all the CPU time (see
// BENCHMARKS.md). So the service runs on as few processors as keep up.
const (
	procsEvery = 100 * time.Millisecond // how often the load is looked at
	procsBusy  = 0.95                   // of the processors in use: add some
	procsIdle  = 0.50                   // of one processor less: take one away ...
	procsCalm  = 20                     // ... after so many looks in a row
)

// procsTuner decides how many processors to use.
type procsTuner struct {
	most int
	now  int
	calm int // looks in a row at which one less would do
}

// next takes the load since the last look, in processors.
func (t *procsTuner) next(load float64) int {
	switch {
	case load > procsBusy*float64(t.now) && t.now < t.most:
		t.now, t.calm = min(2*t.now, t.most), 0
	case t.now > 1 && load < procsIdle*float64(t.now-1):
		if t.calm++; t.calm >= procsCalm {
			t.now, t.calm = t.now-1, 0
		}
	default:
		t.calm = 0
	}
	return t.now
}

// tuneProcs sets GOMAXPROCS by the load until ctx ends. GOMAXPROCS, when set
// in the environment, wins.
func tuneProcs(ctx context.Context) {
	most := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") != "" || most == 1 {
		return
	}
	defer runtime.GOMAXPROCS(most)
	t := &procsTuner{most: most, now: 1}
	runtime.GOMAXPROCS(t.now)
	tick := time.NewTicker(procsEvery)
	defer tick.Stop()
	used, at := cpuTime(), time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		u, now := cpuTime(), time.Now()
		before := t.now
		if n := t.next(float64(u-used) / float64(now.Sub(at))); n != before {
			runtime.GOMAXPROCS(n) // stops the world for some microseconds
		}
		used, at = u, now
	}
}

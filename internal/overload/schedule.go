package overload

import (
	"math"
	"runtime/metrics"
	"time"
)

// Goroutines returns a function that tells how long goroutines have waited for a
// processor since it was called last: so late are messages handled whose arrival
// nobody knows, those over TCP, TLS and WebSocket, and all where the kernel does not
// tell. It is for one goroutine at a time.
func Goroutines() func() time.Duration {
	s := &schedule{sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
	s.delay()
	return s.delay
}

type schedule struct {
	sample []metrics.Sample
	before []uint64
}

// delay returns the mean since it was asked last, 0 if it is not known.
func (s *schedule) delay() time.Duration {
	metrics.Read(s.sample)
	if s.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0 // of a runtime to come
	}
	h := s.sample[0].Value.Float64Histogram()
	if len(s.before) != len(h.Counts) {
		s.before = make([]uint64, len(h.Counts))
	}
	sum, n := 0.0, uint64(0)
	for i, count := range h.Counts {
		if more := count - s.before[i]; more > 0 {
			n += more
			sum += float64(more) * lower(h.Buckets, i)
		}
		s.before[i] = count
	}
	if n == 0 {
		return 0
	}
	return time.Duration(sum / float64(n) * float64(time.Second))
}

// lower is the lower bound of a bucket, in seconds. The first has none.
func lower(bounds []float64, i int) float64 {
	if b := bounds[i]; !math.IsInf(b, 0) && b > 0 {
		return b
	}
	return 0
}

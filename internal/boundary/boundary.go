// Package boundary keeps a panic in what belongs to one packet, message or call from
// ending the process, and with it all calls.
package boundary

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

var (
	count atomic.Uint64
	told  = rate.Sometimes{First: 5, Interval: 10 * time.Second}
)

// Try runs do, and reports whether it came to its end. doing says in the log what
// failed: the first few times, then once each ten seconds, for what causes it may come
// again with each packet. Locks that do takes must be released by its own defers.
func Try(log *slog.Logger, doing string, do func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			n := count.Add(1)
			told.Do(func() {
				log.Error("internal fault: "+doing, "panic", r, "faults", n, "stack", string(debug.Stack()))
			})
		}
	}()
	do()
	return true
}

// Count is how many panics have ended here.
func Count() uint64 { return count.Load() }

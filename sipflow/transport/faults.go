package transport

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// ErrFault ends what came into a state that should not be possible.
var ErrFault = errors.New("internal fault, see the log")

// Faults are states that should not be possible. Each goroutine of the
// switchboard that serves more than one call has a boundary where a panic ends:
// it costs the transaction, message or connection at work, and no other.
type Faults struct {
	log   *slog.Logger
	Count atomic.Uint64
	told  rate.Sometimes
}

// Init sets the log. It is called before all else.
func (f *Faults) Init(log *slog.Logger) {
	f.log, f.told = log, rate.Sometimes{First: 5, Interval: 10 * time.Second}
}

// Try runs do, and reports whether it came to its end. doing says in the log
// what failed. Locks that do takes must be released by its own defers.
func (f *Faults) Try(doing string, do func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			f.Note(doing, r)
		}
	}()
	do()
	return true
}

// Note counts a panic and logs it with its stack: the first few, then one each
// ten seconds, for what causes it may come again with each message. It is called
// before the stack is unwound. attrs are further ones of the log line.
func (f *Faults) Note(doing string, panicked any, attrs ...any) {
	n := f.Count.Add(1)
	f.told.Do(func() {
		f.log.Error("internal fault: "+doing, append(attrs, "panic", panicked, "faults", n, "stack", string(debug.Stack()))...)
	})
}

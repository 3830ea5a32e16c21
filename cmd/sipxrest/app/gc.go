package app

import (
	"os"
	"runtime/debug"
)

// tuneGC lets the heap grow more between collections than Go does by itself:
// calls are many small objects that live for minutes. GOGC, when set, wins;
// GOMEMLIMIT is Go's own business.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

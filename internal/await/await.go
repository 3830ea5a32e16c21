// Package await has tests wait for what other processes and goroutines do in real time:
// stores and services that cannot run in fake time.
package await

import (
	"testing"
	"time"
)

const (
	// patience is for machines that have much else to do. A test that holds does not need it.
	patience = time.Minute
	look     = 10 * time.Millisecond
)

// Nil returns once f returns no error. If that takes longer than a minute, the last one
// is the test's failure.
func Nil(t testing.TB, f func() error) {
	t.Helper()
	limit := time.After(patience)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-limit:
			t.Fatal(err)
		case <-ticker.C:
		}
	}
}

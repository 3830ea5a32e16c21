package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the real program when a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PROGRAM") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

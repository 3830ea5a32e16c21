package sfu

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(benchChild) != "" {
		benchPeer()
	}
	goleak.VerifyTestMain(m)
}

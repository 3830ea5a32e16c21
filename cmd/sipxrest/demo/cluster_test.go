package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sipxrest/sipflow/siptest"
)

// A program that does not start is named, with what it said.
func TestClusterDemoTellsWhatDidNotStart(t *testing.T) {
	script := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho no room\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := RunCluster(t.Context(), ClusterOptions{Program: script}, &strings.Builder{})
	if err == nil || !strings.Contains(err.Error(), "store 1 has ended") || !strings.Contains(err.Error(), "store 1: no room") {
		t.Errorf("%v", err)
	}
	if err := RunCluster(t.Context(), ClusterOptions{Program: script + "-none"}, &strings.Builder{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestClusterDemoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	if err := RunCluster(ctx, ClusterOptions{Program: "/nonexistent"}, &strings.Builder{}); !errors.Is(err, why) {
		t.Error(err)
	}
}

// A stall of the machine is nothing that a call could have lost; a packet is.
func TestClusterDemoJudgesAudioByWhatIsLost(t *testing.T) {
	good := siptest.Audio{Packets: 300, Longest: 3 * time.Second}
	if h := hear(good, good, true); !h.whole() || h.String() != "600 packets of audio came, at most 3s apart, none was lost" {
		t.Errorf("%v", h)
	}
	lossy := good
	lossy.Lost = 2
	for _, h := range []hearing{hear(good, lossy, true), hear(lossy, good, true), hear(good, siptest.Audio{}, true), hear(good, good, false)} {
		if h.whole() {
			t.Errorf("%v", h)
		}
	}
	if h := hear(good, lossy, true); !strings.Contains(h.String(), "2 were lost or came wrong") {
		t.Errorf("%v", h)
	}
	if h := hear(good, good, false); !strings.Contains(h.String(), "and then no more") {
		t.Errorf("%v", h)
	}
}

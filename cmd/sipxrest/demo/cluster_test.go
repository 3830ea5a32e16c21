package demo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

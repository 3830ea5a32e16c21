package boundary

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestAPanicEndsHere(t *testing.T) {
	var log bytes.Buffer
	to := slog.New(slog.NewTextHandler(&log, nil))
	before := Count()
	if !Try(to, "nothing", func() {}) || Count() != before || log.Len() > 0 {
		t.Errorf("nothing has failed, but %d, %q", Count()-before, log.String())
	}
	for range 1000 {
		if Try(to, "a packet", func() { panic("out of range") }) {
			t.Fatal("it came to its end")
		}
	}
	if n := Count() - before; n != 1000 {
		t.Errorf("%d were counted", n)
	}
	if n := strings.Count(log.String(), "internal fault: a packet"); n < 1 || n > 10 || !strings.Contains(log.String(), "boundary_test.go") {
		t.Errorf("%d lines: %.500s", n, log.String())
	}
}

// What is tried for each packet costs no memory.
func TestTryingAllocatesNothing(t *testing.T) {
	log, n := slog.New(slog.DiscardHandler), 0
	if a := testing.AllocsPerRun(100, func() { Try(log, "a packet", func() { n++ }) }); a > 0 {
		t.Errorf("%v allocations", a)
	}
}

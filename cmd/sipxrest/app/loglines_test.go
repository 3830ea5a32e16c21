package app

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// logLines is a log's writer on whose lines a test can wait.
type logLines struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed and replaced at each line
}

func newLogLines() *logLines { return &logLines{changed: make(chan struct{})} }

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(b), nil
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logLines) waitFor(t *testing.T, want string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		text, changed := l.text.String(), l.changed
		l.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the log does not say %q:\n%s", want, text)
		}
	}
}

package apptest

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// Log is a log's writer on whose lines a test can wait.
type Log struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed and replaced at each line
}

// NewLog is an empty log.
func NewLog() *Log { return &Log{changed: make(chan struct{})} }

// Write takes what the log says.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(b), nil
}

// String is all that the log has said.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// WaitFor waits until the log has said something.
func (l *Log) WaitFor(t *testing.T, want string) {
	t.Helper()
	limit := time.After(time.Minute)
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

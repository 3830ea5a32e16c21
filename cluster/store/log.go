//go:build !nostore

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// logger hands on what the server says. It never ends the process, as the server's
// own does at Fatalf.
type logger struct {
	log   *slog.Logger
	fatal chan<- error
}

func (l *logger) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "store", "says", strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}

// Noticef is the server's, as all below. It notes each file and each connection: of
// use to an operator is who leads.
func (l *logger) Noticef(format string, v ...any) {
	level := slog.LevelDebug
	if strings.Contains(format, "leader") || strings.Contains(format, "quorum") {
		level = slog.LevelInfo
	}
	l.say(level, format, v)
}
func (l *logger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // it is in no file of the server's: store.credentials has it, and only the service may read that
	}
	l.say(slog.LevelWarn, format, v)
}
func (l *logger) Errorf(format string, v ...any) { l.say(slog.LevelError, format, v) }
func (l *logger) Debugf(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l *logger) Tracef(string, ...any)          {}

// Fatalf ends the store, if it is the first.
func (l *logger) Fatalf(format string, v ...any) {
	l.say(slog.LevelError, format, v)
	select {
	case l.fatal <- errors.New("store: " + strings.TrimSpace(fmt.Sprintf(format, v...))):
	default:
	}
}

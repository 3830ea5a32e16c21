package sfu

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// logs gives pion's lines to our log. Whatever pion takes for an error is one of
// a single connection, and is told by Events as well: all lines are at Debug.
type logs struct{ log *slog.Logger }

func (l logs) NewLogger(scope string) logging.LeveledLogger {
	return line{l.log.With("part", scope)}
}

type line struct{ log *slog.Logger }

func (l line) say(format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l line) text(msg string) {
	l.log.Debug(msg)
}

func (line) Trace(string)                     {}
func (line) Tracef(string, ...any)            {}
func (line) Debug(string)                     {}
func (line) Debugf(string, ...any)            {}
func (l line) Info(msg string)                { l.text(msg) }
func (l line) Infof(format string, a ...any)  { l.say(format, a) }
func (l line) Warn(msg string)                { l.text(msg) }
func (l line) Warnf(format string, a ...any)  { l.say(format, a) }
func (l line) Error(msg string)               { l.text(msg) }
func (l line) Errorf(format string, a ...any) { l.say(format, a) }

package app

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"sipxrest/cmd/sipxrest/config"
)

// Logger returns the logger that the configuration asks for. To the systemd
// journal it says how urgent each line is.
func Logger(cfg config.Log, w io.Writer) *slog.Logger {
	if toJournal(w) {
		return slog.New(newPriorities(func(priority string) slog.Handler { return newHandler(cfg, &prefixed{priority, w}) }))
	}
	return slog.New(newHandler(cfg, w))
}

func newHandler(cfg config.Log, w io.Writer) slog.Handler {
	var level slog.Level
	if level.UnmarshalText([]byte(cfg.Level)) != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		opts.ReplaceAttr = durationsAsText
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

// durationsAsText writes a duration as "30s", as the text format does, in
// place of its nanoseconds.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// toJournal reports whether w is our standard error and that is connected to the
// journal, which reads "<3>" before a line as its priority (sd-daemon(3)).
func toJournal(w io.Writer) bool {
	if f, ok := w.(*os.File); !ok || f != os.Stderr {
		return false
	}
	is, err := journal.StderrIsJournalStream()
	return is && err == nil
}

// Failure is how an error that ends a command is written to w: in the journal it
// is one of that priority, each of its lines.
func Failure(w io.Writer, text string) string {
	if !toJournal(w) {
		return text
	}
	return priorityOf(slog.LevelError) + strings.ReplaceAll(text, "\n", "\n"+priorityOf(slog.LevelError))
}

// priorityOf is the prefix of a line's level, as syslog(3) numbers them.
func priorityOf(l slog.Level) string { return [...]string{"<7>", "<6>", "<4>", "<3>"}[levelIndex(l)] }

func levelIndex(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 2
	case l >= slog.LevelInfo:
		return 1
	}
	return 0
}

// priorities are handlers by the level of what they write.
type priorities [4]slog.Handler

func newPriorities(handler func(priority string) slog.Handler) *priorities {
	p := &priorities{}
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		p[levelIndex(l)] = handler(priorityOf(l))
	}
	return p
}

// Enabled is slog.Handler's, as all below.
func (p *priorities) Enabled(ctx context.Context, l slog.Level) bool {
	return p[levelIndex(l)].Enabled(ctx, l)
}

func (p *priorities) Handle(ctx context.Context, r slog.Record) error {
	return p[levelIndex(r.Level)].Handle(ctx, r)
}

func (p *priorities) WithAttrs(attrs []slog.Attr) slog.Handler {
	return p.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (p *priorities) WithGroup(name string) slog.Handler {
	return p.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (p *priorities) with(do func(slog.Handler) slog.Handler) slog.Handler {
	next := &priorities{}
	for i, h := range p {
		next[i] = do(h)
	}
	return next
}

// prefixed writes a prefix before each line, in one piece with it: lines of other
// goroutines must not come between. Its handler writes one line at a time.
type prefixed struct {
	prefix string
	w      io.Writer
}

func (p *prefixed) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

package sipflow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// logEnd tells an operator how a call ended. Those that went as they should
// are told at debug level only, unless the configuration asks for all: at
// thousands of calls a second a line for each is a good part of the work.
func (sw *Switchboard) logEnd(c *Call) {
	level := slog.LevelInfo
	if !sw.cfg.LogCalls && (c.err == nil || errors.Is(c.err, ErrHungUpByUser) || errors.Is(c.err, ErrReplaced)) {
		level = slog.LevelDebug
	}
	if !sw.log.Enabled(context.Background(), level) {
		return
	}
	key := c.Holds()
	attrs := []slog.Attr{slog.String("agent", key.Agent), slog.String("calling", key.Calling), slog.String("called", key.Called),
		slog.Duration("took", (sw.stats.elapsed() - c.began).Round(time.Millisecond))}
	text := "call ended"
	if c.err != nil {
		text = "call ended without a connection"
		if errors.Is(c.err, ErrHungUpByUser) || errors.Is(c.err, ErrReplaced) {
			text = "call ended"
		}
		attrs = append(attrs, slog.Any("error", c.err))
	}
	sw.log.LogAttrs(context.Background(), level, text, attrs...)
}

// deniedEvery is how often an agent's trouble with its SIP password is told.
const deniedEvery = time.Minute

// deniedAgents remembers whose calls a proxy refused for their password.
type deniedAgents struct {
	mu   sync.Mutex
	told map[string]time.Time // at most 1000
}

// logDenied says why a challenge was not answered: the usual trouble of a new
// installation.
func (sw *Switchboard) logDenied(c *Call, method, why string) {
	agent := c.Key.Agent
	d := &sw.denied
	d.mu.Lock()
	if d.told == nil || len(d.told) >= 1000 {
		d.told = map[string]time.Time{}
	}
	last, known := d.told[agent]
	quiet := known && time.Since(last) < deniedEvery
	if !quiet {
		d.told[agent] = time.Now()
	}
	d.mu.Unlock()
	if !quiet {
		sw.log.Warn("the SIP proxy does not let the agent call: "+why, "agent", agent, "sip-user", c.Credentials.Username, "method", method)
	}
}

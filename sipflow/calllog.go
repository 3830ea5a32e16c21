package sipflow

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/limit"
)

// maxClipped bounds what strangers wrote in a line of the log or in an error, in bytes.
const maxClipped = 80

// An End is what the log says of a call that is over, in the same words for all
// flows. The caller of Place may log it with more of its own.
type End struct {
	Flow    string     // "refer", "invite", "inbound", …
	Key     Key        // the parties; what is empty is left out
	Peer    netip.Addr // who asked for the call by HTTP, or placed it by SIP; may be invalid
	CallIDs []string   // SIP Call-IDs of its dialogs, at most maxCallIDs
	Outcome string     // what it came to: "connected", "no_answer", "busy", …
	By      string     // who ended it: "service", "calling", "called"; "" where that is not known
	Took    time.Duration
	Err     error // why it came to nothing, or was cut short; nil else
}

// maxCallIDs bounds how many a line names: a call that is transferred again and
// again has many.
const maxCallIDs = 8

// Attrs are the end's part of a line of the log, and more between what it came to
// and why.
func (e *End) Attrs(more ...slog.Attr) []slog.Attr {
	attrs := make([]slog.Attr, 0, 10+len(more))
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, limit.Clip(value, maxClipped)))
		}
	}
	text("flow", e.Flow)
	text("agent", e.Key.Agent)
	text("calling", e.Key.Calling)
	text("called", e.Key.Called)
	if e.Peer.IsValid() {
		text("peer", e.Peer.String())
	}
	if len(e.CallIDs) > 0 {
		attrs = append(attrs, slog.Any("call_ids", e.CallIDs))
	}
	text("outcome", e.Outcome)
	text("ended_by", e.By)
	if e.Took > 0 {
		attrs = append(attrs, slog.Duration("took", e.Took.Round(time.Millisecond)))
	}
	attrs = append(attrs, more...)
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	return attrs
}

// maskedEnd is how many digits a log shows of a number that it masks.
const maskedEnd = 3

// longDigits are those of a telephone number. What has fewer is an extension.
var longDigits = regexp.MustCompile(`\+?\d{6,}`)

// Mask has the line show the ends of telephone numbers only: of calls whose numbers
// are those of private people, whom their operators need not know.
func (e *End) Mask() {
	e.Key.Calling, e.Key.Called = maskNumbers(e.Key.Calling), maskNumbers(e.Key.Called)
	e.Err = Masked(e.Err)
}

// Masked is an error whose text shows the ends of telephone numbers only.
func Masked(err error) error {
	if err == nil {
		return nil
	}
	return maskedError{err}
}

func maskNumbers(text string) string {
	return longDigits.ReplaceAllStringFunc(text, func(number string) string { return "…" + number[len(number)-maskedEnd:] })
}

type maskedError struct{ error }

func (e maskedError) Error() string { return maskNumbers(e.error.Error()) }
func (e maskedError) Unwrap() error { return e.error }

// EndText is the message of a line with the Attrs of an End.
const EndText = "call ended"

// PartyName is how a log line names the party that ended a call.
func PartyName(p Party) string {
	return [...]string{"service", "calling", "called", "network", "client", "unknown"}[p]
}

// noteLegs remembers the Call-IDs of the legs before the call lets go of some. It
// is called in the call's goroutine.
func (c *Call) noteLegs() {
	p := c.kept()
	for _, l := range c.legs {
		if len(p.callIDs) < maxCallIDs && !slices.Contains(p.callIDs, l.callID) {
			p.callIDs = append(p.callIDs, l.callID)
		}
	}
}

// end describes the end of a call whose flow has returned.
func (c *Call) end() *End {
	e := &End{Flow: c.kind().String(), Key: c.Holds(), Peer: c.Peer, CallIDs: c.kept().callIDs, Outcome: c.outcome.String(), Took: c.kept().took, Err: c.err}
	switch { // of the keys, some are made up to be unique
	case c.in != nil:
		e.Key.Called = c.CalledUser
	case c.dialsFirst():
		e.Key.Called = c.Dial.Target
	case c.Converse != nil:
		e.Key.Calling = ""
	}
	switch {
	case errors.Is(c.err, ErrDraining):
		e.By = PartyName(Self)
	case c.wasUp || c.in != nil || c.Dial != nil: // the others do not note it
		e.By = PartyName(c.by)
	}
	if errors.Is(c.err, ErrHungUpByUser) || errors.Is(c.err, ErrReplaced) {
		e.By = "client"
	}
	return e
}

// logEnd tells an operator how a call ended. Those that went as they should, or
// that their clients ended once they were up, are told at debug level only, unless
// the configuration asks for all: at thousands of calls a second a line for each is
// a good part of the work.
func (sw *Switchboard) logEnd(c *Call) {
	if c.LogsEnd {
		return
	}
	level := slog.LevelInfo
	byClient := errors.Is(c.err, ErrHungUpByUser) || errors.Is(c.err, ErrReplaced)
	if errors.Is(c.err, ErrForgotten) { // the other node tells how it ends
		level = slog.LevelDebug
	} else if !sw.cfg.LogCalls && (c.err == nil || byClient && c.outcome == OutcomeConnected) {
		level = slog.LevelDebug
	}
	if sw.log.Enabled(context.Background(), level) {
		sw.log.LogAttrs(context.Background(), level, EndText, c.end().Attrs()...)
	}
}

// deniedEvery is how often an agent's trouble with its SIP password is told.
const deniedEvery = time.Minute

// deniedAgents remembers whose calls a proxy refused for their password.
type deniedAgents struct {
	mu     sync.Mutex
	told   map[string]time.Time // at most 1000
	health time.Time            // the user of the health checks was told
}

// logDenied logs why a challenge got no credentials: the usual trouble of a new
// installation.
func (l *Leg) logDenied(cred *Credentials, method, why string) {
	c := l.call
	agent, key := c.Key.Agent, l.callee.passwordKey()
	if why == whyNobody && key != "" {
		why += ": name a user with one in " + key
	}
	d := &c.sw.denied
	d.mu.Lock()
	if d.told == nil || len(d.told) >= 1000 {
		d.told = map[string]time.Time{}
	}
	last, known := d.told[agent+" "+key]
	quiet := known && time.Since(last) < deniedEvery
	if !quiet {
		d.told[agent+" "+key] = time.Now()
	}
	d.mu.Unlock()
	if !quiet {
		user := ""
		if cred != nil {
			user = cred.Username
		}
		c.sw.log.Warn("the SIP proxy does not let the agent call: "+why, "agent", agent, "sip-user", user, "method", method)
	}
}

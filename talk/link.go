package talk

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"sipxrest/internal/boundary"
)

const (
	// The pauses between attempts double from firstPause to lastPause: a
	// session is kept for 30 s.
	firstPause = 250 * time.Millisecond
	lastPause  = 5 * time.Second
	// Those after a refusal do from firstRefusedPause to lastRefusedPause: ten
	// within 30 min, and the server refuses our address for hours.
	firstRefusedPause = time.Minute
	lastRefusedPause  = 15 * time.Minute
	// steadyTime is how long a connection lasts that is not counted as another
	// failed attempt.
	steadyTime = 10 * time.Second
	// byeTime is how long the response to our bye may take.
	byeTime = time.Second
	// doubtTime: what was written that long before the last sign of life may not
	// have arrived.
	doubtTime = 5 * time.Second
)

// link keeps one session with a signaling server connected.
type link struct {
	url, secret, backend, agent string
	features, needs             []string
	limit                       int64 // of messages read, in bytes
	client                      *http.Client
	log                         *slog.Logger
	out                         *outbox

	// Called by the goroutine of run; wrote by the one that writes. An error of
	// receive ends the connection.
	up      func(Hello)
	down    func(error)
	receive func(*message) error
	wrote   func(*item)

	// owned by run
	sessionID, resumeID string
	greeted             bool      // there was a session
	upAt                time.Time // of the connection, zero before the response to hello
	heardAt             time.Time // the last sign of life of a session

	mu     sync.Mutex
	wire   *wire // that has said hello, nil without one
	theirs *able
}

// able is what a server can do, as its welcome said last.
type able struct {
	version  string
	features []string
}

// hold notes the connection, nil for none.
func (l *link) hold(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire = w
	if w != nil {
		l.theirs = &able{w.version, w.features}
	}
}

// can reports whether the server has a feature.
func (l *link) can(feature string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.theirs != nil && slices.Contains(l.theirs.features, feature)
}

// cut ends the connection, if there is one, so that another is made.
func (l *link) cut(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire != nil {
		l.wire.end(why)
	}
}

// run connects again and again until ctx is done, then delivers what is left
// and says bye.
func (l *link) run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(FlushTime, cancel)
		context.AfterFunc(hard, func() { timer.Stop() })
	})()
	defer l.out.close()

	var wait pause
	for {
		// Without a session to end or a word to say there is nothing to connect for.
		if ctx.Err() != nil && (hard.Err() != nil || l.resumeID == "" && l.out.empty()) {
			return
		}
		l.upAt = time.Time{}
		err := l.once(ctx, hard)
		bye := err == nil
		if bye && ctx.Err() != nil && l.out.empty() {
			return
		}
		if bye || !l.upAt.IsZero() && time.Since(l.upAt) > steadyTime {
			wait = pause{}
		}
		d := wait.after(err)
		if refusal(err) {
			if ctx.Err() != nil {
				return
			}
			l.log.Error("the signaling server refuses us; nobody can be called by way of it until that is put right", "error", explain(err), "next-attempt", d.Round(time.Second))
		} else if !bye {
			l.log.Warn("no connection to the signaling server", "error", explain(err), "next-attempt", d.Round(time.Millisecond))
		}
		if err != nil {
			l.down(err)
		}
		// What ends us also ends the pause: there may be something left to say, and
		// little time for it.
		done := ctx.Done()
		if ctx.Err() != nil {
			done, d = hard.Done(), min(d, firstPause)
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-done:
			timer.Stop()
		}
	}
}

// once is one connection, from dialing to its end. It returns nil after a bye
// of ours. ctx ends in good order, hard at once.
func (l *link) once(ctx, hard context.Context) error {
	var silence *time.Timer // pings are heard by the goroutine that reads: this one
	heard := func() {
		// Until the response to hello, heardAt is of the connection before.
		if silence != nil {
			l.heardAt = time.Now()
			silence.Reset(silenceTime)
		}
	}
	w, err := l.connect(hard, heard)
	if err != nil {
		return err
	}
	defer w.close(context.Canceled)
	hello, err := l.hello(w)
	if err != nil {
		return err
	}
	l.upAt = time.Now()
	l.hold(w)
	defer l.hold(nil)
	l.up(hello)
	silence = w.within(silenceTime, errSilent)
	defer silence.Stop()
	heard()

	written := make(chan struct{})
	saidBye := make(chan struct{})
	go func() {
		defer close(written)
		if l.writeAll(ctx, w) {
			close(saidBye)
		}
	}()
	err = l.readAll(w, heard)
	w.close(err)
	<-written
	select {
	case <-saidBye: // whatever came of it: the session is not resumed
		l.resumeID = ""
		return nil
	default:
		return err
	}
}

// readAll reads until the connection ends.
func (l *link) readAll(w *wire, heard func()) error {
	for {
		m, err := w.read()
		if err != nil {
			return err
		}
		heard()
		if m.Type == "bye" {
			return l.bye(m)
		}
		boundary.Try(l.log, "a message of the signaling server", func() { err = l.receive(m) })
		if err != nil {
			return err
		}
	}
}

// writeAll writes what is in the outbox, bye after all else once ctx is done,
// and reports whether it said bye.
func (l *link) writeAll(ctx context.Context, w *wire) bool {
	for {
		// Looked at first: what was put before ctx was done is still written.
		ending := ctx.Err() != nil
		it := l.out.next()
		switch {
		case it != nil:
			err := w.write(it.data)
			l.out.done(err == nil)
			if err != nil {
				w.end(err)
				return false
			}
			l.wrote(it)
			if it.bye {
				w.within(byeTime, errNoBye)
				return true
			}
		case ending:
			if err := w.write(byeMessage); err != nil {
				w.end(err)
				return false
			}
			w.within(byeTime, errNoBye)
			return true
		default:
			select {
			case <-l.out.wake:
			case <-ctx.Done():
			case <-w.ctx.Done():
				return false
			}
		}
	}
}

var byeMessage = encode(object{"id": "bye", "type": "bye", "bye": object{}})

// refusal reports whether err would come again if we tried again soon.
func refusal(err error) bool {
	var missing *FeatureError
	var refused *ServerError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "invalid_token", "invalid_backend", "too_many_requests", "invalid_hello_version", "invalid_format", "invalid_client_type":
			return true
		}
	}
	return errors.As(err, &missing)
}

// pause is how long to wait before the next attempt.
type pause struct{ plain, refused time.Duration }

// after is the pause after an attempt that failed with err; none after bye.
func (p *pause) after(err error) time.Duration {
	if err == nil {
		return 0
	}
	d, first, last := &p.plain, firstPause, lastPause
	if refusal(err) {
		d, first, last = &p.refused, firstRefusedPause, lastRefusedPause
		*d = min(max(first, 2**d), last)
		return *d + rand.N(*d/5) // never sooner
	}
	*d = min(max(first, 2**d), last)
	return *d - rand.N(*d/5)
}

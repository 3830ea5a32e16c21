package talk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	// connectTime bounds TCP, TLS and the upgrade to WebSocket.
	connectTime = 10 * time.Second
	// welcomeTime is how long the server may take for its first message. It
	// gives up 2 s after the upgrade itself.
	welcomeTime = 2 * time.Second
	// helloTime bounds the response to hello, which is delayed by up to 25 s after
	// wrong attempts.
	helloTime = 30 * time.Second
	// writeTime is how long the server may take nothing. It reads nothing for up
	// to 10 s while Nextcloud is slow to take a phone.
	writeTime = 20 * time.Second
	// silenceTime is how long a connection may be silent: the server pings every
	// 54 s.
	silenceTime = 75 * time.Second
)

// ErrNotSignaling is in the errors of connections to anything but a signaling
// server.
var ErrNotSignaling = errors.New("not a signaling server")

// FeatureError says what a signaling server cannot do.
type FeatureError struct {
	Missing []string
	Version string // of the server, as it said
}

func (e *FeatureError) Error() string {
	return fmt.Sprintf("the signaling server (%s) has no %s: it is too old for dial-out, update it", e.Version, strings.Join(e.Missing, " and no "))
}

// byeError says why the server ended the session.
type byeError struct{ reason string }

func (e *byeError) Error() string {
	if e.reason == "" {
		return "the signaling server said bye"
	}
	return "the signaling server said bye: " + e.reason
}

var (
	errSilent = fmt.Errorf("nothing heard for %v", silenceTime)
	errNoBye  = errors.New("bye was not answered")
)

// wire is one WebSocket.
type wire struct {
	conn *websocket.Conn
	// ctx ends with the connection, its cause says why; end ends it.
	ctx context.Context
	end context.CancelCauseFunc
	// Of the server, as its welcome says.
	version  string
	features []string
}

// connect opens a WebSocket and reads the welcome. heard is called for each
// ping.
func (l *link) connect(ctx context.Context, heard func()) (*wire, error) {
	dialing, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, answer, err := websocket.Dial(dialing, l.url, &websocket.DialOptions{
		HTTPClient: l.client,
		HTTPHeader: http.Header{"User-Agent": {l.agent}},
		OnPingReceived: func(context.Context, []byte) bool {
			heard()
			return true
		},
	})
	switch {
	case err != nil && answer != nil:
		return nil, fmt.Errorf("%w: %s answers %q to WebSocket", ErrNotSignaling, l.url, printable(answer.Status, 80))
	case err != nil:
		return nil, err
	}
	conn.SetReadLimit(l.limit)
	w := &wire{conn: conn}
	w.ctx, w.end = context.WithCancelCause(ctx)
	if err := l.welcome(w); err != nil {
		w.close(err)
		return nil, err
	}
	return w, nil
}

// close ends the connection without a word: the session goes on at the server.
func (w *wire) close(why error) {
	w.end(why)
	w.conn.CloseNow()
}

// within ends the connection with err unless stopped before d is over.
func (w *wire) within(d time.Duration, err error) *time.Timer {
	return time.AfterFunc(d, func() { w.end(err) })
}

// read is the next message. Frames that are not text and messages that are not
// objects are passed over: newer servers may know more than we do.
func (w *wire) read() (*message, error) {
	for {
		kind, data, err := w.conn.Read(w.ctx)
		if err != nil {
			if cause := context.Cause(w.ctx); cause != nil {
				return nil, cause
			}
			return nil, err
		}
		m := new(message)
		if kind == websocket.MessageText && read(data, m) {
			return m, nil
		}
	}
}

// write writes a message. It fails if that takes longer than writeTime.
func (w *wire) write(data []byte) error {
	ctx, cancel := context.WithTimeout(w.ctx, writeTime)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageText, data)
}

// welcome reads the server's first message.
func (l *link) welcome(w *wire) error {
	late := fmt.Errorf("%w: no welcome within %v", ErrNotSignaling, welcomeTime)
	defer w.within(welcomeTime, late).Stop()
	m, err := w.read()
	if err != nil && !errors.Is(err, ErrNotSignaling) {
		return fmt.Errorf("the connection ended before the welcome: %w", err)
	} else if err != nil {
		return err
	}
	var v struct {
		Version  string   `json:"version"`
		Features []string `json:"features"`
	}
	if m.Type != "welcome" || !read(m.Welcome, &v) {
		return fmt.Errorf("%w: the first message is no welcome", ErrNotSignaling)
	}
	w.version, w.features = printable(v.Version, 64), v.Features
	missing := slices.DeleteFunc(slices.Clone(l.needs), func(f string) bool { return slices.Contains(v.Features, f) })
	if len(missing) > 0 {
		return &FeatureError{Missing: missing, Version: w.version}
	}
	return nil
}

// hello resumes the session or, where there is none any more, begins another
// one on the same connection.
func (l *link) hello(w *wire) (Hello, error) {
	defer w.within(helloTime, fmt.Errorf("no answer to hello within %v", helloTime)).Stop()
	kind := Renewed
	switch {
	case l.resumeID != "":
		kind = Resumed
	case !l.greeted:
		kind = First
	}
	for {
		hello := helloFor("hello", l.secret, l.backend, l.features)
		if kind == Resumed {
			hello = encode(object{"id": "hello", "type": "hello", "hello": object{"version": "1.0", "resumeid": l.resumeID}})
		}
		if err := w.write(hello); err != nil {
			return 0, fmt.Errorf("the connection ended before hello: %w", err)
		}
		err := l.helloAnswer(w)
		var refused *ServerError
		if kind == Resumed && errors.As(err, &refused) && refused.Code == "no_such_session" {
			l.resumeID = ""
			kind = Renewed
			continue
		}
		if err != nil {
			return 0, err
		}
		l.greeted = true
		return kind, nil
	}
}

// helloAnswer waits for the response to hello.
func (l *link) helloAnswer(w *wire) error {
	for {
		m, err := w.read()
		if err != nil {
			return fmt.Errorf("the connection ended before hello was answered: %w", err)
		}
		switch m.Type {
		case "hello":
			var v struct {
				SessionID string `json:"sessionid"`
				ResumeID  string `json:"resumeid"`
			}
			if !read(m.Hello, &v) || v.SessionID == "" {
				return fmt.Errorf("%w: the answer to hello has no sessionid", ErrNotSignaling)
			}
			l.sessionID, l.resumeID = v.SessionID, v.ResumeID
			return nil
		case "error":
			return m.serverError()
		case "bye":
			return l.bye(m)
		}
	}
}

// bye is what is left after the server's bye: no session.
func (l *link) bye(m *message) error {
	l.resumeID = ""
	var v struct {
		Reason string `json:"reason"`
	}
	read(m.Bye, &v)
	return &byeError{printable(v.Reason, 64)}
}

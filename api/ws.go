package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"sipxrest/event"
)

// subprotocol is that of streams over WebSocket.
const subprotocol = "sipxrest.events.v1"

// Codes with which streams over WebSocket are closed, beside those of RFC 6455.
const (
	closeRevoked websocket.StatusCode = 4003
	closeSlow    websocket.StatusCode = 4008
)

// serveWebSocket streams events over a WebSocket.
func (a *API) serveWebSocket(w http.ResponseWriter, r *request, rd *reading) *Problem {
	if why := handshake(r.Request); why != nil {
		return why
	}
	ws, err := websocket.Accept(w, r.Request, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the listener has looked at the origin
		Subprotocols:       []string{subprotocol},
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil { // it has answered; the handshake was looked at, so the connection is gone
		return nil
	}
	ws.SetReadLimit(1 << 10)
	ctx, cancel := context.WithCancel(context.Background()) // that of the request ends with the handshake
	s := &socket{ws: ws, api: a, ctx: ctx}
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel()
		s.listen()
	})
	why := CutFinished
	if !a.readToItsEnd(r, rd) {
		f := &follower{API: a, rd: rd, who: r.who, token: bearer(r.Request), out: s}
		why = f.follow(ctx)
	}
	if s.spoke.Load() {
		why = CutProtocol
	}
	a.streams.count(why)
	if why == CutSlow {
		r.log.Info("a stream was cut: its client does not take what is sent", "principal", r.who.rateName(), "peer", r.who.Addr, "cursor", rd.cursor)
	}
	s.close(why)
	cancel()
	reader.Wait()
	return nil
}

// handshake says why a request does not open a WebSocket (RFC 6455 §4.2.1).
func handshake(r *http.Request) *Problem {
	var wrong []MemberFault
	fault := func(field, detail string) {
		wrong = append(wrong, MemberFault{Parameter: field, Code: memberInvalid, Detail: detail})
	}
	if r.ProtoMajor != 1 || r.ProtoMinor == 0 {
		fault("Upgrade", "a WebSocket is opened over HTTP/1.1")
	}
	if !slices.ContainsFunc(r.Header["Connection"], func(line string) bool {
		return slices.ContainsFunc(strings.Split(line, ","), func(item string) bool { return strings.EqualFold(strings.TrimSpace(item), "upgrade") })
	}) {
		fault("Connection", "Upgrade is expected")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		fault("Sec-WebSocket-Version", "13 is expected")
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		fault("Sec-WebSocket-Key", "one is expected")
	} else if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(key) != 16 {
		fault("Sec-WebSocket-Key", "16 bytes in base64 are expected")
	}
	if wrong == nil {
		return nil
	}
	return invalid(wrong...).with("Sec-WebSocket-Version", "13")
}

// socket is the sink of one WebSocket.
type socket struct {
	ws    *websocket.Conn
	api   *API
	ctx   context.Context // ends when the client has gone: nothing is sent to it then, and no pong awaited
	spoke atomic.Bool     // the client has sent what it may not
}

// listen reads until the connection ends: pings get their pongs meanwhile. A client
// has nothing to say here.
func (s *socket) listen() {
	if _, _, err := s.ws.Reader(context.Background()); err == nil {
		s.spoke.Store(true)
		s.close(CutProtocol) // at once: who writes waits for nothing any more
	}
}

func (s *socket) event(_ event.Cursor, _ string, data []byte) error {
	ctx, cancel := context.WithTimeout(s.ctx, sendTime)
	defer cancel()
	return s.slow(ctx, s.ws.Write(ctx, websocket.MessageText, data))
}

// alive says where the reader is, and asks whether it is still there.
func (s *socket) alive(id event.Cursor) error {
	if err := s.event(id, streamHeartbeat, s.api.note(streamHeartbeat, id, noteData{})); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, sendTime)
	defer cancel()
	return s.slow(ctx, s.ws.Ping(ctx))
}

func (s *socket) flush() error { return nil }

// slow tells a client that takes nothing from one that has gone.
func (s *socket) slow(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errSlow
	}
	return err
}

// closeTime bounds how long a close may be unanswered.
const closeTime = time.Second

// close ends the connection, and says why to who reads on.
func (s *socket) close(why Cut) {
	code, reason := websocket.StatusNormalClosure, ""
	switch why {
	case CutSlow:
		code, reason = closeSlow, "slow"
	case CutRevoked:
		code, reason = closeRevoked, "revoked"
	case CutProtocol:
		code, reason = websocket.StatusPolicyViolation, "events are read here; send commands by POST"
	case CutShutdown:
		code, reason = websocket.StatusGoingAway, "shutdown"
	case CutFailed:
		code, reason = websocket.StatusInternalError, "events cannot be read"
	}
	end := time.AfterFunc(closeTime, func() { _ = s.ws.CloseNow() })
	_ = s.ws.Close(code, reason) // nobody is left to be told
	end.Stop()
	_ = s.ws.CloseNow()
}

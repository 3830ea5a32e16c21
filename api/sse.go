package api

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"sipxrest/event"
)

// serveSSE streams events as server-sent events.
func (a *API) serveSSE(w http.ResponseWriter, r *request, rd *reading) *Problem {
	if a.readToItsEnd(r, rd) {
		// 204 has an EventSource stop coming back.
		w.WriteHeader(http.StatusNoContent)
		a.streams.count(CutFinished)
		return nil
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // of the listener; nothing more is read
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no")
	s := &sse{w: w, out: out}
	s.buf = append(s.buf, "retry: "+strconv.FormatInt(retry().Milliseconds(), 10)+"\n\n"...)
	f := &follower{API: a, rd: rd, who: r.who, token: bearer(r.Request), out: s}
	why := f.follow(r.Context())
	a.streams.count(why)
	if why == CutSlow {
		r.log.Info("a stream was cut: its client does not take what is sent", "principal", r.who.rateName(), "peer", r.who.Addr, "cursor", rd.cursor)
	}
	return nil
}

// readToItsEnd reports whether who reads a call's events has had the last one.
func (a *API) readToItsEnd(r *request, rd *reading) bool {
	if rd.call == "" {
		return false
	}
	c, ok := a.bus.Call(rd.call)
	if !ok || c.State != event.Ended {
		return false
	}
	events, err := a.bus.CallEvents(rd.call, c.Version-1, 1)
	if err != nil || rd.lost != nil {
		return false
	}
	if len(events) == 0 { // they are gone: nothing will come
		return r.Header.Get("Last-Event-ID") != ""
	}
	return events[0].Seq <= rd.cursor.Seq
}

// sse is the sink of one response.
type sse struct {
	w   http.ResponseWriter
	out *http.ResponseController
	buf []byte
}

func (s *sse) event(id event.Cursor, kind string, data []byte) error {
	if strings.HasPrefix(kind, "stream.") && id.IsZero() {
		return nil
	}
	s.buf = append(append(s.buf, "id: "...), id.String()...)
	s.buf = append(append(s.buf, "\nevent: "...), kind...)
	s.buf = append(append(s.buf, "\ndata: "...), data...)
	s.buf = append(s.buf, "\n\n"...)
	if len(s.buf) >= chunkBytes {
		return s.write()
	}
	return nil
}

// alive sends a block that has an id only: it fires nothing in a browser, and moves
// its cursor.
func (s *sse) alive(id event.Cursor) error {
	s.buf = append(append(append(s.buf, "id: "...), id.String()...), "\n\n"...)
	return s.flush()
}

// write hands what is buffered to the connection, in pieces each of which may take
// sendTime.
func (s *sse) write() error {
	for rest := s.buf; len(rest) > 0; {
		piece := rest[:min(len(rest), chunkBytes)]
		// A test's recorder has no deadline.
		_ = s.out.SetWriteDeadline(time.Now().Add(sendTime))
		if _, err := s.w.Write(piece); err != nil {
			return slow(err)
		}
		rest = rest[len(piece):]
	}
	if s.buf = s.buf[:0]; cap(s.buf) > 4*chunkBytes {
		s.buf = nil // a long one came by
	}
	return nil
}

func (s *sse) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.write(); err != nil {
		return err
	}
	_ = s.out.SetWriteDeadline(time.Now().Add(sendTime))
	return slow(s.out.Flush())
}

// slow tells a client that takes nothing from one that has gone.
func slow(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	}
	return err
}

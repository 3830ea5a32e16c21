package dialout

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sipxrest/talk"
)

const (
	// maxSubscribers bounds the event streams of all calls together.
	maxSubscribers = 1000
	// maxWatchers bounds those of one call, wherever it is: nobody takes all.
	maxWatchers = 32
	// sendTime bounds how long a subscriber may take for an event.
	sendTime = 10 * time.Second
	// aliveTime is the pause after which a comment shows that the stream is
	// alive: proxies close silent connections.
	aliveTime = 15 * time.Second
)

// events streams a call's statuses as server-sent events, from its beginning or
// from behind Last-Event-ID, until the last one. A reader that does not keep up
// is cut off: nothing is kept for it but what the call itself keeps.
func (s *Service) events(w http.ResponseWriter, r *http.Request) {
	q := &question{}
	c, there, ok := s.callFor(w, r, q)
	if !ok {
		return
	}
	if !s.subscribe(q.ID) {
		sendRefusal(w, refuse(tooManyWatch, ""))
		return
	}
	defer s.unsubscribe(q.ID)
	next := 0
	if n, err := strconv.Atoi(r.Header.Get("Last-Event-ID")); err == nil && n > 0 {
		next = n
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // of the listener; nothing more is read
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	write := func(text string) bool {
		// A test's recorder has no deadline.
		_ = out.SetWriteDeadline(time.Now().Add(sendTime))
		_, err := w.Write([]byte(text))
		return err == nil && out.Flush() == nil
	}
	if !write("retry: 2000\n\n") {
		return
	}
	if c == nil {
		s.follow(r, q, there, next, write)
		return
	}
	alive := time.NewTicker(aliveTime)
	defer alive.Stop()
	for {
		statuses, more := c.after(next)
		for _, status := range statuses {
			next++
			if !write(event(next, status)) {
				return
			}
		}
		if more == nil {
			return
		}
		select {
		case <-more:
		case <-alive.C:
			if !write(": alive\n\n") {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.hard.Done():
			return
		}
	}
}

// follow streams the statuses of a call of another node, as there says them and then as
// that node does. It ends when the node is gone: the reader comes again.
func (s *Service) follow(r *http.Request, q *question, there fare, next int, write func(string) bool) {
	there.Statuses = there.Statuses[min(next, len(there.Statuses)):]
	for {
		for _, status := range there.Statuses {
			next++
			if !write(event(next, status)) {
				return
			}
		}
		if there.Over {
			return
		}
		q.Follow, q.After = true, next
		var known bool
		var err error
		if there, known, err = s.elsewhere(r.Context(), q); err != nil || !known || s.hard.Err() != nil {
			return
		}
		if len(there.Statuses) == 0 && !write(": alive\n\n") {
			return
		}
	}
}

// event is a status as an event whose id is n.
func event(n int, status talk.Status) string {
	data, err := json.Marshal(status)
	if err != nil { // strings and numbers
		return ""
	}
	return fmt.Sprintf("id: %d\nevent: status\ndata: %s\n\n", n, data)
}

// subscribe takes a place for the stream of a call, be it this node's or another's.
func (s *Service) subscribe(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subscribers >= maxSubscribers || !s.watchLocked(id) {
		return false
	}
	s.subscribers++
	return true
}

func (s *Service) unsubscribe(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers--
	s.unwatchLocked(id)
}

// watch takes a place for another node that waits for the next status of a call: it has
// the stream itself.
func (s *Service) watch(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watchLocked(id)
}

func (s *Service) unwatch(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwatchLocked(id)
}

func (s *Service) watchLocked(id string) bool {
	if s.watchers[id] >= maxWatchers {
		return false
	}
	s.watchers[id]++
	return true
}

func (s *Service) unwatchLocked(id string) {
	if s.watchers[id]--; s.watchers[id] == 0 {
		delete(s.watchers, id)
	}
}
